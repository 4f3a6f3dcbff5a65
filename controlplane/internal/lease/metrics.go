package lease

import (
	"github.com/prometheus/client_golang/prometheus"

	"fairway/pkg/bank"
)

type metrics struct {
	answers, declares, refused, dropped prometheus.Counter
}

func newMetrics(l *Leases, r prometheus.Registerer) *metrics {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fairway_lending_requests_total",
		Help: "Requests of proxies for shares of limits, by how they were answered; declare = the proxy is to say everything that it holds.",
	}, []string{"answer"})
	m := &metrics{
		answers: requests.WithLabelValues("ok"), declares: requests.WithLabelValues("declare"), refused: requests.WithLabelValues("refused"),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_lending_dropped_notes_total",
			Help: "Notes about leases that were not told, because their proxy is slow or away; what they say comes with its next declaration.",
		}),
	}
	if r == nil {
		return m
	}
	gauge := func(name, help string, value func(bank.Stats, *term) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help + " 0 where another replica leads."}, func() float64 {
			t := l.current()
			if t == nil {
				return 0
			}
			t.mu.Lock()
			defer t.mu.Unlock()
			return float64(value(t.bank.Stats(), t))
		})
	}
	for name, c := range map[string]prometheus.Collector{
		"requests": requests, "dropped": m.dropped,
		"owners": gauge("fairway_lending_owners", "Keys, groups and tenants that have limits.",
			func(s bank.Stats, _ *term) int { return s.Owners }),
		"limits": gauge("fairway_lending_limits", "Limits that are in use.", func(s bank.Stats, _ *term) int { return s.Live }),
		"leases": gauge("fairway_lending_leases", "Shares of limits that proxies hold.", func(s bank.Stats, _ *term) int { return s.Leases }),
		"proxies": gauge("fairway_lending_proxies", "Proxies that lease here and are heard of.",
			func(s bank.Stats, _ *term) int { return s.Proxies }),
		"streams":  gauge("fairway_lending_streams", "Streams of proxies that lease here.", func(_ bank.Stats, t *term) int { return t.boots.streams() }),
		"balances": gauge("fairway_lending_balances", "Keys, groups and tenants that have spent something of a budget.", func(_ bank.Stats, t *term) int { return len(t.spent) }),
	} {
		if err := r.Register(c); err != nil {
			l.log.Warn("lease metric is not registered", "name", name, "error", err)
		}
	}
	return m
}
