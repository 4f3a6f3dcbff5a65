package limit

import "github.com/prometheus/client_golang/prometheus"

// meters are the room's metrics.
type meters struct {
	refused [whatCount][scopeCount]prometheus.Counter
	waits   prometheus.Counter
}

func newMeters(k *Keeper, r prometheus.Registerer) *meters {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "fairway_limit_refused_total", Help: "Requests refused by a limit, by what it counts and whose it is.",
	}, []string{"what", "scope"})
	m := &meters{waits: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "fairway_limit_waits_total", Help: "Requests that waited for the leader to answer for a limit, 250 ms at most.",
	})}
	for what := range whatCount {
		for scope := range scopeCount {
			m.refused[what][scope] = refused.WithLabelValues(what.String(), scope.String())
		}
	}
	if r == nil {
		return m
	}
	r.MustRegister(refused, m.waits,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fairway_limit_purses", Help: "Limits that are in use at this proxy.",
		}, func() float64 {
			k.mu.Lock()
			defer k.mu.Unlock()
			return float64(len(k.purses))
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "fairway_lease_connected", Help: "1 while the leader that lends credits of limits answers.",
		}, func() float64 {
			if k.Connected() {
				return 1
			}
			return 0
		}),
		&credits{k: k, desc: prometheus.NewDesc("fairway_lease_credits",
			"Credits that this proxy holds unspent, by what they are: requests, tokens, slots or nano-USD.", []string{"what"}, nil)},
	)
	return m
}

// refuse counts a refusal.
func (m *meters) refuse(f *Refusal) { m.refused[f.What][f.Scope].Inc() }

// credits adds up what purses hold, when it is asked for.
type credits struct {
	k    *Keeper
	desc *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *credits) Describe(to chan<- *prometheus.Desc) { to <- c.desc }

// Collect implements prometheus.Collector.
func (c *credits) Collect(to chan<- prometheus.Metric) {
	var sums [whatCount]float64
	c.k.mu.Lock()
	for _, p := range c.k.purses {
		sums[p.what] += float64(max(p.current.Load().balance.Load(), 0))
	}
	c.k.mu.Unlock()
	for what, sum := range sums {
		to <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, sum, What(what).String())
	}
}
