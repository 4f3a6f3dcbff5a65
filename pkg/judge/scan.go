package judge

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"fairway/pkg/breaker"
)

// suspect is an account that rates or slowness speak against.
type suspect struct {
	account *account
	badness float64
}

// scan looks at all accounts: rests that are over, failures in a row that nobody contradicted, rates and slowness. The
// worst go first, as long as their tiers can spare them.
func (j *Judge) scan(m moment) {
	now := j.time(m)
	var suspects []suspect
	for _, a := range j.list {
		if a.Disabled {
			continue
		}
		if (a.ordered.until != 0 || a.soft.until != 0 || a.families != nil) && a.settle(m) {
			j.bump(a)
		}
		if a.traffic != nil {
			j.turn(a.traffic, m)
		}
		switch a.state {
		case breaker.Open:
			if a.breaker.Tick(now, &j.calm) {
				j.after(a, "its rest is over")
			}
		case breaker.Closed:
			if a.rowAt != 0 && m.sub(a.rowAt) >= contest {
				j.trip(a, "")
			} else if a.traffic != nil {
				if b := j.badness(a, now); b > 0 {
					suspects = append(suspects, suspect{a, b})
				}
			}
		}
	}
	slices.SortStableFunc(suspects, func(a, b suspect) int { return cmp.Compare(b.badness, a.badness) })
	for _, s := range suspects {
		if j.ejectable(s.account) {
			j.eject(s.account, now)
		}
	}
}

// badness is how far a is beyond what rates and slowness allow; 0 = it is not.
func (j *Judge) badness(a *account, now time.Time) float64 {
	if a.breaker.Failing(now, &j.rules) {
		ok, failed := a.breaker.Counts(now, &j.rules)
		return 1 + float64(failed)/float64(ok+failed)
	}
	if a.traffic.slow {
		return 1 - 1/(1+a.traffic.ratio())
	}
	return 0
}

func (j *Judge) eject(a *account, now time.Time) {
	ok, failed := a.breaker.Counts(now, &j.rules)
	if a.breaker.Tick(now, &j.rules) {
		j.after(a, fmt.Sprintf("%d of %d attempts failed", failed, ok+failed))
		return
	}
	ratio := a.traffic.ratio()
	a.breaker.Open(now, breaker.ReasonSlow, 0, &j.rules)
	j.after(a, fmt.Sprintf("the first byte takes %.1f times as long as it should", ratio))
}

// batch makes weights: what changes slowly, or matters little at once.
func (j *Judge) batch(m moment) {
	j.balance(m)
	for _, a := range j.list {
		if a.traffic != nil && m.sub(a.last) > 2*j.rules.Window && a.inFlight(nil) == 0 {
			a.traffic = nil
		}
		if len(a.seats) > 0 {
			if a.session != 0 && m.sub(a.session) >= a.Session {
				a.closeSession()
			}
			a.seats = slices.DeleteFunc(a.seats, func(s seat) bool { return s.stale(m) })
			if len(a.seats) == 0 {
				a.seats = nil
			}
		}
		if a.headroomReset != 0 && a.headroomReset <= m {
			a.headroom, a.headroomReset = -1, 0
		}
		if a.traffic == nil && a.revision == 0 {
			continue // nothing was ever said of it, and there is nothing to say
		}
		if gist := j.gist(a, m); gist != a.gist || a.state == breaker.HalfOpen {
			a.gist = gist
			j.bump(a)
		}
	}
	for _, c := range j.channels {
		c.seats = slices.DeleteFunc(c.seats, func(s seat) bool { return s.stale(m) })
	}
	j.fits(m)
	for id, p := range j.proxies {
		if m.sub(p.seen) > silence {
			j.part(p)
		}
		if m.sub(p.seen) > time.Hour && len(p.permits) == 0 {
			delete(j.proxies, id)
		}
	}
}

func (a *account) closeSession() {
	a.session, a.requests, a.tokens = 0, 0, 0
	for i := range a.seats {
		a.seats[i].requests, a.seats[i].tokens = 0, 0
	}
}

// gist is what facts say, coarsely: proxies need not hear of what hardly changed.
func (j *Judge) gist(a *account, m moment) uint64 {
	h := uint64(14695981039346656037)
	mix := func(v uint64) { h = (h ^ v) * 1099511628211 }
	if t := a.traffic; t != nil {
		ok, failed := t.counts()
		mix(coarse(float64(ok), 2))
		mix(coarse(float64(failed), 2))
		mix(coarse(t.ratio(), 4))
		mix(coarse(t.mean().Seconds(), 2))
	}
	mix(coarse(float64(a.use), 4))
	mix(coarse(float64(a.inFlight(nil)), 2))
	mix(coarse(float64(a.headroom)+1, 6))
	mix(uint64(a.session)) //nolint:gosec // bits, not a number
	mix(coarse(float64(a.requests), 3))
	mix(coarse(float64(a.tokens), 3))
	mix(uint64(len(a.families)))
	if j.coming(a, m) {
		mix(1)
	}
	if a.Capped {
		mix(uint64(len(j.fleet)))
		for i := range a.seats {
			mix(coarse(16*j.portion(a, a.seats[i].proxy, m), 3))
		}
	}
	return h
}

// coarse is a number of 0 or more with so many binary digits after its first.
func coarse(v float64, digits int) uint64 {
	return math.Float64bits(finite(v, 0, math.MaxFloat64)+1) >> (52 - digits)
}

// portion is p's of the account's caps: by its traffic, with a quarter shared equally, so that a proxy that is new or was
// idle can start.
func (j *Judge) portion(a *account, p *proxy, m moment) float64 {
	n := float64(max(len(j.fleet), 1))
	var own, all float64
	for i := range a.seats {
		level := a.seats[i].level(m)
		all += level
		if a.seats[i].proxy == p {
			own = level
		}
	}
	if all < 0.01 {
		return 1 / n
	}
	return 0.75*own/all + 0.25/n
}
