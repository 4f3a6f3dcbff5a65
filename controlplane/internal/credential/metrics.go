package credential

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

type metrics struct {
	exchanges *prometheus.CounterVec
	expiry    atomic.Int64 // the earliest, Unix seconds; 0 = none, or another replica leads
	missing   atomic.Int64
}

func newMetrics(r prometheus.Registerer, now func() time.Time, log *slog.Logger) *metrics {
	m := &metrics{exchanges: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fairway_credential_exchanges_total",
		Help: "Credentials exchanged, by method and result: ok, refused by the endpoint, or failed before it could.",
	}, []string{"method", "result"})}
	for i := range resourcev1.ExchangeMethod_name {
		if i != 0 {
			for _, result := range []string{"ok", "refused", "failed"} {
				m.exchanges.WithLabelValues(methodName(resourcev1.ExchangeMethod(i)), result)
			}
		}
	}
	if r == nil {
		return m
	}
	for name, c := range map[string]prometheus.Collector{
		"exchanges": m.exchanges,
		"expiry":    &expiryCollector{m: m, now: now, desc: expiryDesc()},
		"missing": prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fairway_credential_missing", Help: "Accounts whose exchange has given nothing yet; 0 where another replica leads.",
		}, func() float64 { return float64(m.missing.Load()) }),
	} {
		if err := r.Register(c); err != nil {
			log.Warn("credential metric is not registered", "name", name, "error", err)
		}
	}
	return m
}

func expiryDesc() *prometheus.Desc {
	return prometheus.NewDesc("fairway_credential_earliest_expiry_seconds",
		"Until the first exchanged credential ends; negative when it has. Absent where another replica leads.", nil, nil)
}

// expiryCollector says nothing while nothing is known: a number would be taken for one.
type expiryCollector struct {
	m    *metrics
	now  func() time.Time
	desc *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *expiryCollector) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *expiryCollector) Collect(ch chan<- prometheus.Metric) {
	if at := c.m.expiry.Load(); at != 0 {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, time.Unix(at, 0).Sub(c.now()).Seconds())
	}
}

// note takes the earliest expiry, and how many wait for their first credential, of accounts that serve.
func (m *metrics) note(jobs map[string]*job) {
	var earliest, missing int64
	for _, j := range jobs {
		if j.account.GetDisabled() || j.account.GetExchange() == nil {
			continue
		}
		c := j.current()
		if c == nil {
			missing++
			continue
		}
		if at := c.GetExpireTime().GetSeconds(); earliest == 0 || at < earliest {
			earliest = at
		}
	}
	m.expiry.Store(earliest)
	m.missing.Store(missing)
}

// forget is for the end of a term.
func (m *metrics) forget() {
	m.expiry.Store(0)
	m.missing.Store(0)
}

// methodName is a method's name in metrics and logs, such as "google_service_account".
func methodName(m resourcev1.ExchangeMethod) string {
	return strings.ToLower(strings.TrimPrefix(m.String(), "EXCHANGE_METHOD_"))
}
