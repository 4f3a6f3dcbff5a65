package ingress

import "github.com/prometheus/client_golang/prometheus"

type meters struct {
	connections prometheus.Gauge
	refused     prometheus.Counter
	malformed   prometheus.Counter
	panics      prometheus.Counter
	handshakes  prometheus.Counter
}

func newMeters(r prometheus.Registerer) *meters {
	m := &meters{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairway_ingress_connections",
			Help: "Client connections that are open.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_ingress_refused_connections_total",
			Help: "Client connections that were refused because a limit was reached.",
		}),
		malformed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_ingress_malformed_requests_total",
			Help: "Messages that were refused because they are no HTTP request, or could be read as two different ones.",
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_ingress_panics_total",
			Help: "Requests whose handler panicked.",
		}),
		handshakes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_ingress_tls_failures_total",
			Help: "Client connections whose TLS handshake failed.",
		}),
	}
	if r != nil {
		r.MustRegister(m.connections, m.refused, m.malformed, m.panics, m.handshakes)
	}
	return m
}
