package route

import (
	"math"

	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/breaker"
)

const (
	// calm is how many attempts an account may have under way before the others' rest is disturbed for its sake.
	calm = 8
	// wakes is how many draws look for one that may be woken.
	wakes = 8
)

// relief is one that rests, in place of c, which is well but carries more than it should: panicked pools have so few that
// are well that these would go down too. An account may carry as many times its share as when the panic began, half of all
// being well by default; what is more goes where health says that it should not. nil = c is fine, or nobody can help.
func relief(t *snapshot.Tier, c *snapshot.Candidate, beat *snapshot.TierPulse, a *Ask, rng *Rand) *snapshot.Candidate {
	load := c.Cell.InFlight.Load()
	if load < calm {
		return nil
	}
	share := 1 / float64(c.Scale*t.Weight)
	if float64(load)*a.Settings.Breaker.Panic <= share*float64(beat.InFlight) {
		return nil
	}
	for range wakes {
		d := t.Draw(rng.Uint64(), rng.Uint64())
		if d.Cell.HeldUntil.Load() > a.NowMS || d.Cell.Crowded() || was(d.Candidate, a.Tried) {
			continue
		}
		if d.Cell.InFlight.Load() < load && d.Cell.CooldownUntil.Load() > a.NowMS {
			return d.Candidate
		}
	}
	return nil
}

// panicPick takes the account that is ready soonest, of the highest tier that has one. It keeps to what providers ordered,
// to caps, and to groups that would rather fail.
func panicPick(p *snapshot.Pool, a *Ask) (*snapshot.Candidate, Reason) {
	reason := Exhausted
	for i := range p.Tiers {
		var best *snapshot.Candidate
		var until int64
		for _, r := range p.Tiers[i].Rosters {
			for j := range r.Candidates {
				c := &r.Candidates[j]
				why := against(c, a)
				if why == Resting && !a.Group.NoPanic || why == Chosen {
					u := restUntil(c, a.NowMS)
					if best == nil || u < until || u == until && c.Cell.InFlight.Load() < best.Cell.InFlight.Load() {
						best, until = c, u
					}
					continue
				}
				reason = worse(reason, why)
			}
		}
		switch {
		case best == nil:
		case until > a.NowMS:
			return best, Panicked
		case i == 0:
			return best, Chosen // it came back while we looked
		default:
			return best, Spilled
		}
	}
	return nil, reason
}

// restUntil is when c's rest ends, for comparison: after now while it rests. One that is half open comes last, as somebody
// tries it already.
func restUntil(c *snapshot.Candidate, nowMS int64) int64 {
	until := c.Cell.CooldownUntil.Load()
	if v := c.Account.Verdict; until == math.MaxInt64 && v != nil && v.State == breaker.Open && v.UntilMS != 0 {
		return max(v.UntilMS, nowMS+1)
	}
	return until
}

// against is what speaks against c; Chosen = nothing.
func against(c *snapshot.Candidate, a *Ask) Reason {
	switch {
	case was(c, a.Tried):
		return Exhausted
	case c.Cell.HeldUntil.Load() > a.NowMS:
		return Held
	case c.Cell.Crowded():
		return Crowded
	case c.Cell.CooldownUntil.Load() > a.NowMS:
		return Resting
	default:
		return Chosen
	}
}

// worse is the reason to give when there are several: the one that ends first.
func worse(a, b Reason) Reason {
	rank := func(r Reason) int {
		switch r {
		case Crowded:
			return 3
		case Resting:
			return 2
		case Held:
			return 1
		default:
			return 0
		}
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// ReadyAt is the time (unix ms) at which the first of the pool's accounts can be used again; past or now when one can, and
// math.MaxInt64 when that is nothing that time brings. It looks at every account: for error answers, not for the hot path.
func ReadyAt(p *snapshot.Pool) int64 {
	first, found := int64(0), false
	for i := range p.Tiers {
		for _, r := range p.Tiers[i].Rosters {
			for j := range r.Candidates {
				if at := readyAt(&r.Candidates[j]); !found || at < first {
					first, found = at, true
				}
			}
		}
	}
	return first
}

// readyAt is when c can be used again. A verdict keeps it out for good as far as draws can tell; the verdict itself knows
// when it is tried again.
func readyAt(c *snapshot.Candidate) int64 {
	cool, held := c.Cell.CooldownUntil.Load(), c.Cell.HeldUntil.Load()
	if v := c.Account.Verdict; cool == math.MaxInt64 && v != nil {
		switch {
		case v.State == breaker.HalfOpen:
			cool = 0 // whoever may try it does so now
		case v.UntilMS != 0:
			cool = v.UntilMS
		}
	}
	return max(cool, held)
}
