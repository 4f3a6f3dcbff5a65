package health

import "github.com/prometheus/client_golang/prometheus"

// meters are the room's metrics. Their labels are of tables in code: reasons, kinds and results.
type meters struct {
	rests    *prometheus.CounterVec
	opens    prometheus.Counter
	headroom prometheus.Counter
	throttle prometheus.Counter
	limited  [refusalCount]prometheus.Counter // nil = not of a plan
	probes   *prometheus.CounterVec
}

func newMeters(k *Keeper, r prometheus.Registerer) *meters {
	var all []prometheus.Collector
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		all = append(all, c)
		return c
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
		all = append(all, c)
		return c
	}
	m := &meters{
		rests:    counters("fairway_account_rests_total", "Rests of accounts, or of model families at them, that began here, by reason.", "reason"),
		opens:    counter("fairway_local_breaker_opens_total", "Breakers of accounts that this proxy opened on what it saw itself."),
		headroom: counter("fairway_headroom_limited_total", "Rests of accounts whose headers said that next to nothing is left of a limit."),
		throttle: counter("fairway_throttled_total", "Accounts passed over because their channel refuses most of what it is asked for the model."),
		probes:   counters("fairway_probes_granted_total", "Permits to try an account that is half open, by result.", "result"),
	}
	for _, result := range []string{"ok", "failed", "unused"} {
		m.probes.WithLabelValues(result)
	}
	limited := counters("fairway_plan_limited_total", "Accounts passed over because their plan's caps are used up, by cap.", "kind")
	for _, kind := range []Refusal{RequestsSpent, TokensSpent, SessionSpent, Busy} {
		m.limited[kind] = limited.WithLabelValues(kind.String())
	}
	all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "fairway_health_connected", Help: "1 while the leader that looks after accounts' health is heard.",
	}, func() float64 {
		if k.connected.Load() {
			return 1
		}
		return 0
	}))
	if r != nil {
		r.MustRegister(all...)
	}
	return m
}

// refused counts a refusal.
func (m *meters) refused(r Refusal) {
	if r == Throttled {
		m.throttle.Inc()
	} else if c := m.limited[r]; c != nil {
		c.Inc()
	}
}
