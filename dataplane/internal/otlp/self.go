package otlp

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// register makes the metrics about the export; all are read from what is counted anyway.
func (x *Exporter) register(to prometheus.Registerer) error {
	counter := func(name, help string, labels prometheus.Labels, of *atomic.Uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "fairway", Subsystem: "otlp", Name: name, Help: help, ConstLabels: labels,
		}, func() float64 { return float64(of.Load()) })
	}
	const (
		dropped = "Spans that were lost, because too many waited to be sent (full) or because sending failed (send)."
		failed  = "Exports that failed."
	)
	for _, c := range []prometheus.Collector{
		counter("requests_dropped_total", "Requests that neither traces nor metrics tell of, because too many waited.", nil, &x.overflowed),
		counter("spans_total", "Spans that the collector took.", nil, &x.sent),
		counter("spans_dropped_total", dropped, prometheus.Labels{"reason": "full"}, &x.crowded),
		counter("spans_dropped_total", dropped, prometheus.Labels{"reason": "send"}, &x.refused),
		counter("errors_total", failed, prometheus.Labels{"signal": "traces"}, &x.failures[traces]),
		counter("errors_total", failed, prometheus.Labels{"signal": "metrics"}, &x.failures[histograms]),
	} {
		if err := to.Register(c); err != nil {
			return err
		}
	}
	return nil
}
