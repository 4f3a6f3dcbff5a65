package route

import (
	"fairway/dataplane/internal/snapshot"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

const (
	// draws is how often a tier is drawn from before it is scanned. Refresh keeps a healthy tier's chance of a draw that
	// stays at a quarter or more.
	draws = 24
	// seconds is how many of them may go into finding another one than the first, which is busy.
	seconds = 8
	// rounds is how many accounts "least_recent" passes over before the tier is scanned.
	rounds = 1024
	// scanEnough is how many candidates a scan looks at once it has found one.
	scanEnough = 1024
)

// taste is a strategy at work in one tier.
type taste struct {
	strategy resourcev1.Strategy
	weights  *snapshot.Balance
	sure     float32 // the factor at which a draw stays for certain
}

func tasteOf(beat *snapshot.TierPulse, a *Ask) taste {
	s := taste{strategy: resourcev1.Strategy(a.Group.Strategy), sure: 1}
	if s.strategy == resourcev1.Strategy_STRATEGY_UNSPECIFIED {
		s.strategy = resourcev1.Strategy_STRATEGY_BALANCED
	}
	s.weights = &a.Settings.Balance
	switch {
	case beat != nil && beat.Factor > 0:
		s.sure = beat.Factor
	case s.strategy == resourcev1.Strategy_STRATEGY_BALANCED:
		s.sure = power(s.weights.Cost + s.weights.Performance + s.weights.Reliability + s.weights.Load)
	}
	return s
}

// power makes a weight of a score: the steeper it is, the more the best get, and the later the others are noticed when they
// become the best.
func power(s float32) float32 { return (s * s) * (s * s) }

// factor is what is known of a candidate now, beside its weight.
func (s *taste) factor(c *snapshot.Cell, cost float32) float32 {
	f := c.Vigor.Load()
	switch s.strategy {
	case resourcev1.Strategy_STRATEGY_BALANCED:
		// The score of an idle one. What load takes from it is for the second choice to see.
		f *= power(s.merit(c, cost) + s.weights.Load)
	case resourcev1.Strategy_STRATEGY_LEAST_USED:
		f *= c.Use.Load()
	}
	return f
}

// merit is the score of "balanced" but for load.
func (s *taste) merit(c *snapshot.Cell, cost float32) float32 {
	return s.weights.Cost*cost + s.weights.Performance*c.Performance.Load() + s.weights.Reliability*c.Reliability.Load()
}

// score is all of it.
func (s *taste) score(t *snapshot.Tier, d *snapshot.Drawn) float32 {
	return s.merit(d.Cell, d.Cost) + s.weights.Load*leisure(t, d)
}

// leisure is 1 - utilisation: of its cap where it has one, else beside an account of the mean share, so that one request
// at such an account is 1/2.
func leisure(t *snapshot.Tier, d *snapshot.Drawn) float32 {
	load := d.Cell.InFlight.Load()
	switch full := d.Cell.Full.Load(); {
	case load <= 0:
		return 1
	case full > 0:
		return max(0, 1-float32(load)/float32(full))
	default:
		mean := t.Weight / float32(t.Size)
		return 1 / (1 + float32(load)*d.Candidate.Scale*mean/d.Cell.Vigor.Load())
	}
}

// choose picks from one tier; nil: nobody there is usable.
func choose(t *snapshot.Tier, a *Ask, s *taste, rng *Rand) *snapshot.Candidate {
	if t.Size == 1 {
		c := &t.Rosters[0].Candidates[0]
		if usable(c, a) {
			return c
		}
		return nil
	}
	if s.strategy == resourcev1.Strategy_STRATEGY_LEAST_RECENT {
		return inTurn(t, a, s, rng)
	}
	var first snapshot.Drawn
	for left := draws; left > 0; left-- {
		d := t.Draw(rng.Uint64(), rng.Uint64())
		c := d.Cell
		// Spelled out, because this is where requests spend their nanoseconds: usable, not the first again, and it stays.
		load := c.InFlight.Load()
		if max(c.CooldownUntil.Load(), c.HeldUntil.Load()) > a.NowMS || c == first.Cell {
			continue
		}
		if full := c.Full.Load(); full > 0 && load >= full || len(a.Tried) > 0 && was(d.Candidate, a.Tried) {
			continue
		}
		if f := s.factor(c, d.Cost); f < s.sure && !s.stays(f, rng) {
			continue
		}
		if first.Cell != nil {
			return s.better(&first, &d)
		}
		if load <= 0 {
			// Nobody has less to do than nothing, so there is no need to wait for another one's memory.
			return d.Candidate
		}
		first, left = d, min(left, seconds+1)
	}
	if first.Cell != nil {
		return first.Candidate
	}
	return scan(t, a, s, rng)
}

// stays draws lots with what is known of a candidate.
func (s *taste) stays(f float32, rng *Rand) bool { return unit(rng.Uint64())*s.sure < f }

// better prefers a, which is busy, unless b has less to do for its share. What else is known of them, draws went by: were it
// compared once more here, the best would carry more than they can as soon as all are busy. Only where "balanced" gives load no
// weight at all, the rest of the score decides. Of two that have caps, the one with less of its cap under way is the better.
func (s *taste) better(a, b *snapshot.Drawn) *snapshot.Candidate {
	if s.strategy == resourcev1.Strategy_STRATEGY_BALANCED && s.weights.Load == 0 {
		if s.merit(b.Cell, b.Cost) > s.merit(a.Cell, a.Cost) {
			return b.Candidate
		}
		return a.Candidate
	}
	mine, other := a.Cell.InFlight.Load(), b.Cell.InFlight.Load()
	if am, bm := a.Cell.Full.Load(), b.Cell.Full.Load(); am > 0 && bm > 0 {
		if float32(other)*float32(am)*a.Cell.Vigor.Load() < float32(mine)*float32(bm)*b.Cell.Vigor.Load() {
			return b.Candidate
		}
		return a.Candidate
	}
	// Who is on the way back has a share as small as its vigor.
	if other <= 0 || float32(other)*b.Candidate.Scale*a.Cell.Vigor.Load() < float32(mine)*a.Candidate.Scale*b.Cell.Vigor.Load() {
		return b.Candidate
	}
	return a.Candidate
}

// inTurn takes the next one in the tier's order that is usable.
func inTurn(t *snapshot.Tier, a *Ask, s *taste, rng *Rand) *snapshot.Candidate {
	for range min(4*t.Size, rounds) {
		d := t.Next(a.Seed)
		if !fit(&d, a) {
			continue
		}
		if f := s.factor(d.Cell, d.Cost); f >= s.sure || s.stays(f, rng) {
			return d.Candidate
		}
	}
	return scan(t, a, s, rng)
}

// scan looks through a tier in which most are unusable, from a random place on, and takes a usable one by what draws go by
// (weighted reservoir sampling). It stops early only when it has one.
func scan(t *snapshot.Tier, a *Ask, s *taste, rng *Rand) *snapshot.Candidate {
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
		cost := t.Cost(roster)
		for j := range candidates {
			d := snapshot.Drawn{Cell: candidates[j].Cell, Candidate: &candidates[j], Cost: cost}
			seen++
			if fit(&d, a) {
				w := s.weight(&d)
				total += w
				if rng.float()*total < w {
					best = d.Candidate
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

// leastFactor is above 0, so that who is the only one left is found however little is left of it.
const leastFactor = 1e-30

// weight is a candidate's part of its tier's draws, up to a factor common to all.
func (s *taste) weight(d *snapshot.Drawn) float64 {
	f := max(float64(s.factor(d.Cell, d.Cost)), leastFactor)
	if s.strategy == resourcev1.Strategy_STRATEGY_LEAST_RECENT {
		return f
	}
	return f / float64(d.Candidate.Scale)
}
