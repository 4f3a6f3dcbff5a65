package subscribe

import (
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"fairway/dataplane/internal/snapshot"
)

type metrics struct {
	applies   prometheus.Counter
	applyTime prometheus.Histogram
	rejects   prometheus.Gauge
	failures  *prometheus.CounterVec
	saves     *prometheus.CounterVec
}

// newMetrics registers with reg, unless that is nil.
func newMetrics(reg prometheus.Registerer, h *snapshot.Holder, expiry func() time.Time) *metrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fairway_sync_connected", Help: "1 while a control plane feeds this proxy.",
	}, func() float64 {
		if h.Connected() {
			return 1
		}
		return 0
	})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fairway_snapshot_revision", Help: "Revision of the state that this proxy serves from; 0 = none.",
	}, func() float64 { return float64(h.Current().Revision()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fairway_snapshot_age_seconds",
		Help: "Since a control plane last confirmed the state; 0 while connected, NaN without any state.",
	}, func() float64 {
		if age := h.Age(time.Now()); age >= 0 {
			return age.Seconds()
		}
		return math.NaN()
	})
	f.NewCounterFunc(prometheus.CounterOpts{
		Name: "fairway_miss_waits_total", Help: "Requests that waited for news of what their snapshot lacked; other misses were answered at once.",
	}, func() float64 { return float64(h.Waits()) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fairway_sync_certificate_expiry_timestamp_seconds", Help: "When this proxy's certificate ends; 0 = it has none.",
	}, func() float64 {
		if at := expiry(); !at.IsZero() {
			return float64(at.Unix())
		}
		return 0
	})
	return &metrics{
		applies: f.NewCounter(prometheus.CounterOpts{
			Name: "fairway_sync_applies_total", Help: "Transactions applied.",
		}),
		applyTime: f.NewHistogram(prometheus.HistogramOpts{
			Name: "fairway_sync_apply_seconds", Help: "From a transaction's last chunk to the new snapshot.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}),
		rejects: f.NewGauge(prometheus.GaugeOpts{
			Name: "fairway_sync_rejected_resources", Help: "Resources in quarantine: their last good version, if any, serves.",
		}),
		failures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_sync_failures_total", Help: "What went wrong: enroll, stream, apply, renew.",
		}, []string{"what"}),
		saves: f.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_lastgood_saves_total", Help: "Writes of the last good state, by result: ok, error.",
		}, []string{"result"}),
	}
}

func (m *metrics) saved(err error) {
	if err != nil {
		m.saves.WithLabelValues("error").Inc()
		return
	}
	m.saves.WithLabelValues("ok").Inc()
}
