package accesslog

import "github.com/prometheus/client_golang/prometheus"

// register makes the metrics; all are read from what is counted anyway.
func (l *Log) register(to prometheus.Registerer) error {
	counter := func(name, help string, labels prometheus.Labels, read func() uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "fairway", Subsystem: "access_log", Name: name, Help: help, ConstLabels: labels,
		}, func() float64 { return float64(read()) })
	}
	const dropped = "Lines of the access log that were lost, because too many waited (full) or because they could not be written (write)."
	for _, c := range []prometheus.Collector{
		counter("lines_total", "Lines of the access log that were written.", nil, l.lines.Load),
		counter("errors_total", "Writes, rotations and openings of the access log that failed.", nil, l.failures.Load),
		counter("bodies_dropped_total", "Requests whose bodies were not kept for the access log, because those of others took all room.", nil, l.room.Refused),
		counter("dropped_total", dropped, prometheus.Labels{"reason": "full"}, l.overflowed.Load),
		counter("dropped_total", dropped, prometheus.Labels{"reason": "write"}, l.unwritten.Load),
	} {
		if err := to.Register(c); err != nil {
			return err
		}
	}
	return nil
}
