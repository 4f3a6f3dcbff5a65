package ledger

import (
	"log/slog"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/controlplane/internal/model"
)

// maxChannelLabels bounds the channels that have series of their own; the others are "other". A channel keeps its label
// while the process lives, because a counter must not move from one series to another.
const maxChannelLabels = 200

const otherChannels = "other"

type metrics struct {
	records, refused, duplicates, gaps, uncertain prometheus.Counter
	moved, corrections, slow                      prometheus.Counter
	queries                                       prometheus.Histogram
	tokens, cost                                  *prometheus.CounterVec

	mu       sync.Mutex
	channels map[string]channelCounters // by id
	labels   map[string]bool
}

// channelCounters are a channel's series.
type channelCounters struct {
	input, cached, output, cost prometheus.Counter
}

func newMetrics(r prometheus.Registerer, log *slog.Logger) *metrics {
	register := func(c prometheus.Collector, name string) {
		if r == nil {
			return
		}
		if err := r.Register(c); err != nil {
			log.Warn("ledger metric is not registered", "name", name, "error", err)
		}
	}
	opts := func(name, help string) prometheus.CounterOpts {
		return prometheus.CounterOpts{Namespace: "fairway", Subsystem: "ledger", Name: name, Help: help}
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(opts(name, help))
		register(c, name)
		return c
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(opts(name, help), labels)
		register(c, name)
		return c
	}
	queries := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "fairway", Subsystem: "ledger", Name: "query_seconds", Help: "How long queries of usage took.",
		Buckets: []float64{.01, .05, .1, .5, 1, 5, 10, 30},
	})
	register(queries, "query_seconds")
	return &metrics{
		records:     counter("records_total", "Usage records put on the books."),
		refused:     counter("refused_total", "Usage records left out: broken, or a sum would overflow."),
		duplicates:  counter("duplicates_total", "Usage records skipped because they were on the books already."),
		gaps:        counter("gaps_total", "Reports refused because records before them are missing."),
		uncertain:   counter("uncertain_commits_total", "Attempts to commit whose outcome was not known at first."),
		moved:       counter("thinned_rows_total", "Hourly counters that were added to those of their day."),
		corrections: counter("corrections_total", "Corrections of usage that operators made at this replica."),
		slow:        counter("slow_queries_total", "Queries of usage that took longer than --slow-usage-query."),
		queries:     queries,
		tokens:      vec("tokens_total", "Tokens put on the books; input includes cached.", "kind", "channel"),
		cost:        vec("cost_nano_usd_total", "Cost put on the books, in nano-USD.", "channel"),
		channels:    map[string]channelCounters{}, labels: map[string]bool{},
	}
}

// book counts what was put on the books for a channel.
func (m *metrics) book(channelID string, a amounts, name func(model.Kind, string) string) {
	c := a.counters()
	s := m.channel(channelID, name)
	s.input.Add(float64(c.GetInputTokens()))
	s.cached.Add(float64(c.GetCachedTokens()))
	s.output.Add(float64(c.GetOutputTokens()))
	s.cost.Add(float64(c.GetCostNanoUsd()))
}

func (m *metrics) channel(id string, name func(model.Kind, string) string) channelCounters {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.channels[id]; ok {
		return s
	}
	label := name(model.KindChannel, id)
	fits := m.labels[label] || len(m.labels) < maxChannelLabels
	if !fits {
		label = otherChannels
	}
	s := channelCounters{
		input:  m.tokens.WithLabelValues("input", label),
		cached: m.tokens.WithLabelValues("cached", label),
		output: m.tokens.WithLabelValues("output", label),
		cost:   m.cost.WithLabelValues(label),
	}
	if fits { // the map is bounded too
		m.labels[label], m.channels[id] = true, s
	}
	return s
}
