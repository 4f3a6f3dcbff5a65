package publish

import (
	"github.com/prometheus/client_golang/prometheus"

	"fairway/controlplane/internal/model"
)

type metrics struct {
	txns       *prometheus.CounterVec
	bytes      prometheus.Counter
	mismatches prometheus.Counter
	resends    prometheus.Counter
	published  prometheus.Counter
	failures   *prometheus.CounterVec
	revision   prometheus.Gauge
	apply      prometheus.Histogram
	lag        prometheus.Histogram
	reach      prometheus.Histogram
}

// seconds: a change takes about a millisecond; the tail is what one looks for.
func seconds() []float64 {
	return []float64{.0005, .001, .002, .004, .008, .016, .032, .064, .128, .25, .5, 1, 2, 4, 8, 16, 32}
}

func (p *Publisher) newMetrics(reg *prometheus.Registry) (*metrics, error) {
	m := &metrics{
		txns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_sync_txns_total",
			Help: "State transactions sent to proxies: delta (from the ring), diff (buckets that differ) or full.",
		}, []string{"mode"}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_sync_sent_bytes_total", Help: "Bytes of state sent to proxies.",
		}),
		mismatches: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_sync_digest_mismatches_total",
			Help: "Acknowledgements whose digest was not the one of the revision.",
		}),
		resends: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_sync_resends_total", Help: "Full states sent again because of a digest mismatch.",
		}),
		published: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_sync_published_total", Help: "Transactions published to all proxies.",
		}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_build_failures_total",
			Help: "Resources that could not be built, or were built without references that do not resolve.",
		}, []string{"kind"}),
		revision: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fairway_sync_revision", Help: "The newest revision published.",
		}),
		apply: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "fairway_sync_proxy_apply_seconds", Help: "What proxies say applying took.", Buckets: seconds(),
		}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "fairway_sync_apply_lag_seconds",
			Help:    "From sending a transaction to a proxy to its acknowledgement.",
			Buckets: seconds(),
		}),
		reach: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "fairway_sync_reach_seconds",
			Help:    "From a change's arrival at this replica to its acknowledgement, for each proxy.",
			Buckets: seconds(),
		}),
	}
	for _, mode := range []mode{modeDelta, modeDiff, modeFull} {
		m.txns.WithLabelValues(string(mode))
	}
	for _, k := range model.Kinds() {
		m.failures.WithLabelValues(string(k))
	}
	if reg == nil {
		return m, nil
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	for _, c := range []prometheus.Collector{m.txns, m.bytes, m.mismatches, m.resends, m.published, m.failures, m.revision, m.apply, m.lag, m.reach,
		gauge("fairway_sync_connected_proxies", "Proxies connected to this replica.", func() float64 {
			return float64(len(p.fleet.newest()))
		}),
		gauge("fairway_sync_rejected_resources", "Resources that connected proxies could not compile, counted for each proxy.",
			func() float64 { return float64(p.fleet.rejects()) }),
		gauge("fairway_sync_ring_entries", "Transactions kept for proxies that lag or resume.", func() float64 {
			entries, _ := p.ring.load()
			return float64(entries)
		}),
		gauge("fairway_sync_ring_bytes", "Bytes of those transactions.", func() float64 {
			_, bytes := p.ring.load()
			return float64(bytes)
		}),
		gauge("fairway_sync_state_bytes", "Bytes of a full state.", func() float64 {
			if s := p.ring.current(); s != nil {
				return float64(s.size)
			}
			return 0
		}),
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
