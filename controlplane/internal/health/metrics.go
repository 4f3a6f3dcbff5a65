package health

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// maxReasons bounds the reasons that have a series of their own: they come from proxies.
const maxReasons = 40

const otherReason = "other"

type metrics struct {
	decisions *prometheus.CounterVec
	reports   prometheus.Counter
	failures  prometheus.Counter
	permits   *prometheus.CounterVec
	granted   prometheus.Counter

	mu      sync.Mutex
	reasons map[string]bool
}

// results of permits.
const (
	permitGranted = "granted"
	permitOK      = "ok"
	permitFailed  = "failed"
	permitUnused  = "unused"
)

func newMetrics(h *Health, r prometheus.Registerer) *metrics {
	m := &metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_health_decisions_total", Help: "Decisions about accounts that were stored, by the state and why.",
		}, []string{"state", "reason"}),
		reports: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_health_reports_total", Help: "Reports of proxies about the accounts' health.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fairway_health_write_failures_total", Help: "Attempts to store a decision that failed; it is tried again.",
		}),
		permits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fairway_probe_permits_total",
			Help: "Permits to try an account: granted, and what became of them (ok, failed, or unused).",
		}, []string{"result"}),
		reasons: map[string]bool{},
	}
	for _, result := range []string{permitOK, permitFailed, permitUnused} {
		m.permits.WithLabelValues(result)
	}
	m.granted = m.permits.WithLabelValues(permitGranted)
	if r == nil {
		return m
	}
	for name, c := range map[string]prometheus.Collector{
		"decisions": m.decisions, "reports": m.reports, "failures": m.failures, "permits": m.permits,
		"fleet": &collector{
			h: h,
			accounts: prometheus.NewDesc("fairway_accounts",
				"Accounts by how they are: closed (they serve), open, half_open or disabled. Absent where another replica leads.",
				[]string{"state"}, nil),
			proxies: prometheus.NewDesc("fairway_health_proxies",
				"Proxies that report health to this replica; 0 where another one leads.", nil, nil),
			leads: prometheus.NewDesc("fairway_health_leader", "1 where health is decided, 0 elsewhere.", nil, nil),
		},
	} {
		if err := r.Register(c); err != nil {
			h.log.Warn("health metric is not registered", "name", name, "error", err)
		}
	}
	return m
}

// decided counts a decision that was stored.
func (m *metrics) decided(h *resourcev1.AccountHealth) {
	m.decisions.WithLabelValues(stateName(h.GetState()), m.reason(h.GetReason())).Inc()
}

// reason is the label of a reason. Those that look like one get their own until there are too many.
func (m *metrics) reason(s string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reasons[s] {
		return s
	}
	plain := s != "" && len(s) <= 40 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
	if !plain || len(m.reasons) >= maxReasons {
		return otherReason
	}
	m.reasons[s] = true
	return s
}

// reported counts a report and what it says of permits.
func (m *metrics) reported(r *syncv1.HealthReport) {
	m.reports.Inc()
	for _, o := range r.GetProbes() {
		result := permitUnused
		switch {
		case o.GetFailed():
			result = permitFailed
		case o.GetOk():
			result = permitOK
		}
		m.permits.WithLabelValues(result).Inc()
	}
}

// collector says how the fleet is at the moment of asking.
type collector struct {
	h                        *Health
	accounts, proxies, leads *prometheus.Desc
}

// Describe names the series.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	out <- c.accounts
	out <- c.proxies
	out <- c.leads
}

// Collect looks at the view, if there is one.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	t := c.h.current()
	leads, proxies := 0.0, 0.0
	if t != nil {
		leads, proxies = 1, float64(t.size())
		counts := counted(t.view())
		for _, state := range states() {
			out <- prometheus.MustNewConstMetric(c.accounts, prometheus.GaugeValue, counts[state], stateName(state))
		}
	}
	out <- prometheus.MustNewConstMetric(c.proxies, prometheus.GaugeValue, proxies)
	out <- prometheus.MustNewConstMetric(c.leads, prometheus.GaugeValue, leads)
}

func (t *term) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.streams)
}

func counted(v *adminv1.FleetHealth) map[resourcev1.HealthState]float64 {
	counts := map[resourcev1.HealthState]float64{}
	for _, a := range v.GetAccounts() {
		counts[a.GetHealth().GetState()]++
	}
	return counts
}

func states() []resourcev1.HealthState {
	return []resourcev1.HealthState{
		resourcev1.HealthState_HEALTH_STATE_CLOSED, resourcev1.HealthState_HEALTH_STATE_OPEN,
		resourcev1.HealthState_HEALTH_STATE_HALF_OPEN, resourcev1.HealthState_HEALTH_STATE_DISABLED,
	}
}

// stateName is a state for logs and labels.
func stateName(s resourcev1.HealthState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "HEALTH_STATE_"))
}
