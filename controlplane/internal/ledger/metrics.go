package ledger

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	records, refused, duplicates, gaps, uncertain prometheus.Counter
}

func newMetrics(r prometheus.Registerer, log *slog.Logger) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "fairway", Subsystem: "ledger", Name: name, Help: help})
		if r != nil {
			if err := r.Register(c); err != nil {
				log.Warn("ledger metric is not registered", "name", name, "error", err)
			}
		}
		return c
	}
	return &metrics{
		records:    counter("records_total", "Usage records put on the books."),
		refused:    counter("refused_total", "Usage records left out: broken, or a sum would overflow."),
		duplicates: counter("duplicates_total", "Usage records skipped because they were on the books already."),
		gaps:       counter("gaps_total", "Reports refused because records before them are missing."),
		uncertain:  counter("uncertain_commits_total", "Attempts to commit whose outcome was not known at first."),
	}
}
