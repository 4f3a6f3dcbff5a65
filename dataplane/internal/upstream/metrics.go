package upstream

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// HostStats is what a pool knows of one target. The counters begin when the target was first used.
type HostStats struct {
	Addr  string
	Name  string // for TLS; empty = plain
	Proxy string // "scheme://host:port" without credentials; empty = direct

	Open    int // connections: idle, in use and being dialled
	Idle    int
	Waiting int // requests that found every connection in use

	Dials, DialErrors   uint64
	Kept                uint64 // kept connections taken, the stale ones too
	Waits, WaitTimeouts uint64
	Stale               uint64 // kept connections found closed before use
	Retries             uint64 // kept connections found closed in use, and replaced
}

// Stats describes every target, ordered by address.
func (p *Pool) Stats() []HostStats {
	hosts := *p.hosts.Load()
	all := make([]HostStats, 0, len(hosts))
	for _, h := range hosts {
		all = append(all, h.stats())
	}
	slices.SortFunc(all, func(a, b HostStats) int {
		return cmp.Or(cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Proxy, b.Proxy))
	})
	return all
}

func (h *host) stats() HostStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := HostStats{
		Addr: h.key.addr, Name: h.key.name,
		Open: h.open, Idle: len(h.idle), Waiting: len(h.waiters),
		Dials: h.counts.dials, DialErrors: h.counts.dialErrors, Kept: h.counts.kept,
		Waits: h.counts.waits, WaitTimeouts: h.counts.waitTimeouts, Stale: h.counts.stale, Retries: h.counts.retries,
	}
	if h.proxy != nil {
		s.Proxy = h.proxy.Scheme + "://" + h.proxy.Host
	}
	return s
}

func (h *host) snapshot() counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.counts
}

func (n *counts) add(m counts) {
	n.kept += m.kept
	n.dials += m.dials
	n.dialErrors += m.dialErrors
	n.waits += m.waits
	n.waitTimeouts += m.waitTimeouts
	n.stale += m.stale
	n.retries += m.retries
}

// collector reads the counters when they are asked for: requests pay for plain additions only.
type collector struct {
	p                                                                   *Pool
	conns, dials, dialErrors, kept, waits, waitTimeouts, stale, retries *prometheus.Desc
	errors, aborts                                                      *prometheus.Desc
	warm, warmWanted, warmFailures                                      *prometheus.Desc
}

func newCollector(p *Pool) *collector {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("fairway_upstream_"+name, help, labels, nil)
	}
	return &collector{
		p:            p,
		conns:        d("connections", "Connections to upstreams.", "state"),
		dials:        d("dials_total", "Connections dialled."),
		dialErrors:   d("dial_errors_total", "Dials that failed, in TCP, a proxy or TLS."),
		kept:         d("kept_total", "Kept connections taken for a request, the stale ones too."),
		waits:        d("waits_total", "Requests that waited for a free connection."),
		waitTimeouts: d("wait_timeouts_total", "Requests that waited in vain."),
		stale:        d("stale_total", "Kept connections found closed before use."),
		retries:      d("stale_retries_total", "Requests sent again because a kept connection was closed in use."),
		errors:       d("errors_total", "Requests that failed, by how far they had come.", "phase"),
		aborts:       d("aborts_total", "Requests that the caller gave up."),
		warm:         d("warm_connections", "Idle connections of the targets that are kept warm."),
		warmWanted:   d("warm_wanted", "Connections that are to be kept open for targets that are kept warm."),
		warmFailures: d("warm_failures_total", "Connections that could not be opened ahead of need."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.p.grow.Lock() // so that no host is forgotten between the two sums
	sum := c.p.past
	open, idle := 0, 0
	for _, h := range *c.p.hosts.Load() {
		sum.add(h.snapshot())
		s := h.stats()
		open, idle = open+s.Open, idle+s.Idle
	}
	c.p.grow.Unlock()
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(c.conns, float64(idle), "idle")
	gauge(c.conns, float64(open-idle), "active")
	counter(c.dials, sum.dials)
	counter(c.dialErrors, sum.dialErrors)
	counter(c.kept, sum.kept)
	counter(c.waits, sum.waits)
	counter(c.waitTimeouts, sum.waitTimeouts)
	counter(c.stale, sum.stale)
	counter(c.retries, sum.retries)
	for phase := PhaseQueue; phase <= PhaseBody; phase++ {
		counter(c.errors, c.p.errors[phase].Load(), phase.String())
	}
	counter(c.aborts, c.p.aborts.Load())
	gauge(c.warm, float64(c.p.warmNow()))
	gauge(c.warmWanted, float64(c.p.warmer.wanted.Load()))
	counter(c.warmFailures, c.p.warmer.failures.Load())
}
