package report

import "github.com/prometheus/client_golang/prometheus"

// register makes the metrics; all are read from what is counted anyway.
func (r *Reporter) register(to prometheus.Registerer) error {
	counter := func(name, help string, labels prometheus.Labels, read func() uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "fairway", Subsystem: "usage", Name: name, Help: help, ConstLabels: labels,
		}, func() float64 { return float64(read()) })
	}
	gauge := func(name, help string, read func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "fairway", Subsystem: "usage", Name: name, Help: help,
		}, read)
	}
	all := []prometheus.Collector{
		counter("spooled_records_total", "Usage records taken by this process.", nil, r.spool.Spooled),
		counter("acked_records_total", "Usage records that the books have, earlier processes' included.", nil, r.sent.Load),
		counter("report_failures_total", "Report connections that ended in an error.", nil, r.failures.Load),
		counter("corrupt_records_total", "Records of earlier processes that could not be read.", nil, r.corrupt.Load),
		gauge("lag_records", "Usage records of this process that the books do not have yet.", func() float64 {
			acked := r.acked.Load()
			return float64(max(r.spool.Spooled(), acked) - acked)
		}),
		gauge("backlog_boots", "Earlier processes whose usage is not all on the books.", func() float64 {
			return float64(r.backlog.Load())
		}),
		gauge("spool_bytes", "Size of the usage spool on disk.", func() float64 {
			return float64(r.spool.disk.Load())
		}),
	}
	for why := range dropReasons {
		all = append(all, counter("dropped_records_total", "Usage records that could not be spooled.",
			prometheus.Labels{"reason": why.String()}, r.spool.drops[why].Load))
	}
	for _, c := range all {
		if err := to.Register(c); err != nil {
			return err
		}
	}
	return nil
}
