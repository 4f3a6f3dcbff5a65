// Package top shows the fleet on a terminal, as it is now: a frame is a pure function of what the admin API said last, the
// time and the size; a loop asks and redraws until somebody quits.
//
// It refuses to judge health (the leader does), to know where the answers come from (the caller asks), and to let a
// name that somebody else chose write to the terminal: what cannot be printed is replaced.
package top

import (
	"time"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// View is what is known of the fleet. The zero value knows nothing yet.
type View struct {
	Health *adminv1.FleetHealth       // the leader's; nil = not known
	Status *adminv1.GetStatusResponse // nil = not known
	// Fetched is when both came, by our own clock.
	Fetched time.Time
	// Err is why there is nothing newer; nil = there is.
	Err error
	// Minute is how much the counters have grown in the last minute; nil = not known.
	Minute *Totals
}

// serverTime is the leader's clock, as far as we can tell: moments are its, and ours may differ.
func (v *View) serverTime(now time.Time) time.Time {
	if t := v.Health.GetTime(); t != nil {
		return t.AsTime().Add(now.Sub(v.Fetched))
	}
	return now
}

// Totals are the counters of all proxies together.
type Totals struct {
	Requests, Failures, Unavailable, Retries uint64
	MissedFound, MissedFinal                 uint64
	Spilled, Panicked, Hedges, Throttled     uint64
}

func totals(h *adminv1.FleetHealth) Totals {
	var t Totals
	for _, p := range h.GetProxies() {
		t.add(of(p))
	}
	return t
}

func of(p *adminv1.ProxyHealth) Totals {
	return Totals{
		Requests: p.GetRequests(), Failures: p.GetFailures(), Unavailable: p.GetUnavailable(), Retries: p.GetRetries(),
		MissedFound: p.GetMissedFound(), MissedFinal: p.GetMissedFinal(),
		Spilled: p.GetSpilled(), Panicked: p.GetPanicked(), Hedges: p.GetHedges(), Throttled: p.GetThrottled(),
	}
}

func (t *Totals) fields() []*uint64 {
	return []*uint64{
		&t.Requests, &t.Failures, &t.Unavailable, &t.Retries, &t.MissedFound, &t.MissedFinal, &t.Spilled, &t.Panicked, &t.Hedges, &t.Throttled,
	}
}

func (t *Totals) add(u Totals) {
	for i, f := range u.fields() {
		*t.fields()[i] += *f
	}
}

// since is how much a proxy's counters have grown. One that started anew counts from nothing.
func (t Totals) since(before Totals) Totals {
	restarted := false
	for i, f := range t.fields() {
		restarted = restarted || *f < *before.fields()[i]
	}
	if restarted {
		return t
	}
	for i, f := range t.fields() {
		*f -= *before.fields()[i]
	}
	return t
}

// growth sums up what the counters grew by, step by step, over the last minute. The zero value is ready.
type growth struct {
	last  map[string]Totals // by proxy
	steps []step
}

type step struct {
	at time.Time
	by Totals
}

// observe takes a new answer and returns the growth of the last minute; nil at the first.
func (g *growth) observe(h *adminv1.FleetHealth, now time.Time) *Totals {
	var by Totals
	next := make(map[string]Totals, len(h.GetProxies()))
	for _, p := range h.GetProxies() {
		next[p.GetId()] = of(p)
		// A proxy that was not there before may have counted long before we came.
		if before, ok := g.last[p.GetId()]; ok {
			by.add(next[p.GetId()].since(before))
		}
	}
	begun := g.last != nil
	g.last = next
	if !begun {
		return nil
	}
	g.steps = append(g.steps, step{now, by})
	for len(g.steps) > 0 && now.Sub(g.steps[0].at) >= time.Minute {
		g.steps = g.steps[1:]
	}
	sum := &Totals{}
	for _, s := range g.steps {
		sum.add(s.by)
	}
	return sum
}
