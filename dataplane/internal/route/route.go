// Package route chooses the account that serves a request next.
//
// Pick walks a pool's tiers from the highest priority down. In a tier it draws a candidate by weight. An idle one it
// takes, so idle accounts are used by weight; else it draws another and takes the one with less load for its share
// ("power of two choices", on this process's own counts only: a minimum over a shared, stale score would send everybody
// to the same account). It decides from memory in nanoseconds, takes no lock and allocates nothing. It sends nothing,
// changes no cell, and does not decide whether a retry is worth it; Budget says whether one is affordable.
package route

import "fairway/dataplane/internal/snapshot"

// Reason says how Pick came to its answer.
type Reason uint8

const (
	// Chosen is an account that nothing speaks against, of the highest tier.
	Chosen Reason = iota + 1
	// Spilled is the same, of a lower tier: the higher ones could not.
	Spilled
	// Panicked means that all are cooling; this one is the least bad.
	Panicked
	// Exhausted means that every account was tried already by this request.
	Exhausted
	// Held means that every account that is left is held back by its provider's order.
	Held
)

// String is the reason for logs and metrics.
func (r Reason) String() string {
	switch r {
	case Chosen:
		return "chosen"
	case Spilled:
		return "spilled"
	case Panicked:
		return "panicked"
	case Exhausted:
		return "exhausted"
	case Held:
		return "held"
	default:
		return "none"
	}
}

// draws is how often a tier is drawn from before it is scanned.
const draws = 10

// scanEnough is how many candidates a scan looks at once it has found one.
const scanEnough = 1024

// Pick chooses from p, never one of tried (accounts of p's snapshot), at the time nowMS (unix ms). The candidate is nil
// exactly when the reason is Exhausted or Held.
func Pick(p *snapshot.Pool, tried []*snapshot.Account, nowMS int64, rng *Rand) (*snapshot.Candidate, Reason) {
	for i := range p.Tiers {
		t := &p.Tiers[i]
		c := choose(t, tried, nowMS, rng)
		if c == nil {
			continue
		}
		if i == 0 {
			return c, Chosen
		}
		return c, Spilled
	}
	return panicPick(p, tried, nowMS)
}

// choose picks from one tier; nil: nobody there is usable.
func choose(t *snapshot.Tier, tried []*snapshot.Account, nowMS int64, rng *Rand) *snapshot.Candidate {
	if t.Size == 1 {
		c := &t.Rosters[0].Candidates[0]
		if usable(c, tried, nowMS) {
			return c
		}
		return nil
	}
	var first snapshot.Drawn
	for range draws {
		d := t.Draw(rng.Uint64(), rng.Uint64())
		switch {
		case !fit(d, tried, nowMS) || d.Cell == first.Cell:
		case first.Cell != nil:
			return lighter(first, d)
		case d.Cell.InFlight.Load() <= 0:
			// Nobody has less to do than nothing, so there is no need to wait for another one's memory.
			return d.Candidate
		default:
			first = d
		}
	}
	if first.Cell != nil {
		return first.Candidate
	}
	return scan(t, tried, nowMS, rng)
}

// lighter prefers a, which is busy, unless b has less load for its share.
func lighter(a, b snapshot.Drawn) *snapshot.Candidate {
	load := b.Cell.InFlight.Load()
	if load <= 0 || float32(load)*b.Candidate.Scale < float32(a.Cell.InFlight.Load())*a.Candidate.Scale {
		return b.Candidate
	}
	return a.Candidate
}

// fit is usable for what was drawn; that looks at the candidate only if something was tried.
func fit(d snapshot.Drawn, tried []*snapshot.Account, nowMS int64) bool {
	return rested(d.Cell, nowMS) && (len(tried) == 0 || !was(d.Candidate, tried))
}

// usable says whether nothing speaks against c.
func usable(c *snapshot.Candidate, tried []*snapshot.Account, nowMS int64) bool {
	return rested(c.Cell, nowMS) && !was(c, tried)
}

func rested(c *snapshot.Cell, nowMS int64) bool {
	return c.CooldownUntil.Load() <= nowMS && c.HeldUntil.Load() <= nowMS
}

// was says whether c is among those that were tried.
func was(c *snapshot.Candidate, tried []*snapshot.Account) bool {
	for _, a := range tried {
		if a == c.Account {
			return true
		}
	}
	return false
}

// scan looks through a tier in which most are unusable, from a random place on, and takes a usable one by weight
// (weighted reservoir sampling). It stops early only when it has one.
func scan(t *snapshot.Tier, tried []*snapshot.Account, nowMS int64, rng *Rand) *snapshot.Candidate {
	var best *snapshot.Candidate
	var total float64
	seen := 0
	roster := rng.below(len(t.Rosters))
	offset := rng.below(len(t.Rosters[roster].Candidates))
	// One round more than there are rosters: the first is begun in its middle, and its start comes last.
	for i := 0; i <= len(t.Rosters); i++ {
		candidates := t.Rosters[roster].Candidates
		switch i {
		case 0:
			candidates = candidates[offset:]
		case len(t.Rosters):
			candidates = candidates[:offset]
		}
		for j := range candidates {
			c := &candidates[j]
			seen++
			if usable(c, tried, nowMS) {
				w := 1 / float64(c.Scale)
				total += w
				if rng.float()*total < w {
					best = c
				}
			}
			if best != nil && seen >= scanEnough {
				return best
			}
		}
		if roster++; roster == len(t.Rosters) {
			roster = 0
		}
	}
	return best
}

// panicPick takes the account that is ready soonest, of the highest tier that has one. It keeps to what providers
// ordered.
func panicPick(p *snapshot.Pool, tried []*snapshot.Account, nowMS int64) (*snapshot.Candidate, Reason) {
	reason := Exhausted
	for i := range p.Tiers {
		var best *snapshot.Candidate
		var until int64
		for _, r := range p.Tiers[i].Rosters {
			for j := range r.Candidates {
				c := &r.Candidates[j]
				if was(c, tried) {
					continue
				}
				if c.Cell.HeldUntil.Load() > nowMS {
					reason = Held
					continue
				}
				if u := c.Cell.CooldownUntil.Load(); best == nil || u < until {
					best, until = c, u
				}
			}
		}
		if best != nil {
			return best, Panicked
		}
	}
	return nil, reason
}

// ReadyAt is the time (unix ms) at which the first of the pool's accounts can be used again; past or now when one can.
// It looks at every account: for error answers, not for the hot path.
func ReadyAt(p *snapshot.Pool) int64 {
	first, found := int64(0), false
	for i := range p.Tiers {
		for _, r := range p.Tiers[i].Rosters {
			for j := range r.Candidates {
				if at := r.Candidates[j].Cell.ReadyAt(); !found || at < first {
					first, found = at, true
				}
			}
		}
	}
	return first
}
