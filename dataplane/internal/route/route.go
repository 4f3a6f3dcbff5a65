// Package route chooses the account that serves a request next.
//
// Pick finds the tier: the highest, but as much of the traffic as it is short of health goes to the next. A conversation goes
// to the account it belongs to (affinity.go). Else the group's strategy decides (draw.go): a candidate is drawn by the weights
// that the operator gave, and stays with the probability of what is known of it now (health, headroom, score), so that
// nothing is ever sorted or rebuilt. An idle one it takes; else it draws another and takes the better ("power of two
// choices", on this process's own counts only: a minimum over a shared, stale score would send everybody to the same
// account). When nobody is well, the least bad is tried rather than nobody (panic.go).
//
// It decides from memory in nanoseconds, takes no lock, allocates nothing and changes no cell. Refresh, in the background,
// sums up what single draws cannot know. The room sends nothing, and does not decide whether a retry is worth it; Budget says
// whether one is affordable.
package route

import (
	"fairway/dataplane/internal/snapshot"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/splitmix"
)

// Reason says how Pick came to its answer.
type Reason uint8

const (
	// Chosen is an account that nothing speaks against, of the highest tier.
	Chosen Reason = iota + 1
	// Stuck is the account that the conversation belongs to.
	Stuck
	// Spilled is as Chosen, but of a lower tier, or of dearer channels than the cheapest: those before could not, or
	// not for all.
	Spilled
	// Panicked means that too few are well; this one rests, and is the least bad.
	Panicked
	// Exhausted means that every account was tried already by this request.
	Exhausted
	// Held means that every account that is left is held back by its provider's order.
	Held
	// Resting means that accounts are left, all of them resting after failures, and that the group, or the conversation, has
	// nobody else tried.
	Resting
	// Crowded means that every account that is left has as much to do as it may.
	Crowded
)

// String is the reason for logs and metrics.
func (r Reason) String() string {
	switch r {
	case Chosen:
		return "chosen"
	case Stuck:
		return "affinity"
	case Spilled:
		return "spilled"
	case Panicked:
		return "panicked"
	case Exhausted:
		return "exhausted"
	case Held:
		return "held"
	case Resting:
		return "resting"
	case Crowded:
		return "crowded"
	default:
		return "none"
	}
}

// Ask is what a request wants of Pick.
type Ask struct {
	Group    *snapshot.Group
	Settings *snapshot.Settings  // of the fleet
	Tried    []*snapshot.Account // of the pool's snapshot; they are not picked again
	NowMS    int64               // unix ms
	Affinity uint64              // of the conversation, as Affinity makes it; 0 = none
	Seed     uint64              // the proxy's own, of its id: "least_recent" has another order at each; the first one counts
}

// staleMS is the age at which a pulse says nothing any more.
const staleMS = 1000

// Pick chooses from p. The candidate is nil exactly when the reason is Exhausted, Held, Resting or Crowded.
func Pick(p *snapshot.Pool, a *Ask, rng *Rand) (*snapshot.Candidate, Reason) {
	if a.Group.Strategy == int32(resourcev1.Strategy_STRATEGY_LOWEST_COST) {
		p = p.ByCost()
	}
	p.Touch(a.NowMS)
	if len(p.Tiers) == 0 {
		return nil, Exhausted
	}
	if a.Affinity != 0 && a.Group.Affinity == int32(resourcev1.Affinity_AFFINITY_HARD) {
		return loyal(&p.Tiers[0], a)
	}
	pulse := pulseOf(p, a)
	first := begin(pulse, a, rng)
	if c, reason := from(p, first, pulse, a, rng); c != nil {
		return c, reason
	}
	// Tiers that were dead a moment ago come last: to know that they still are takes a look at every account.
	for _, dead := range [...]bool{false, true} {
		for i := range p.Tiers {
			if i == first || dead != (pulse != nil && pulse.Tiers[i].Healthy == 0) {
				continue
			}
			if c, reason := from(p, i, pulse, a, rng); c != nil {
				return c, reason
			}
		}
	}
	return panicPick(p, a)
}

// pulseOf is how the pool is doing; nil when that is not known, or was long ago, or for another strategy.
func pulseOf(p *snapshot.Pool, a *Ask) *snapshot.Pulse {
	pulse := p.Pulse()
	if pulse == nil || pulse.Strategy != a.Group.Strategy || a.NowMS-pulse.AtMS > staleMS || len(pulse.Tiers) != len(p.Tiers) {
		return nil
	}
	return pulse
}

// begin draws the tier that a request begins in. A conversation begins in the same one each time, while their health stays.
func begin(pulse *snapshot.Pulse, a *Ask, rng *Rand) int {
	if pulse == nil || pulse.Tiers[0].UpTo >= 1 {
		return 0
	}
	var r float32
	if a.Affinity != 0 && a.Group.Affinity == int32(resourcev1.Affinity_AFFINITY_ON) {
		r = unit(splitmix.Mix(^a.Affinity)) // apart from the numbers that its account is found by
	} else {
		r = unit(rng.Uint64())
	}
	for i := range pulse.Tiers {
		if r < pulse.Tiers[i].UpTo {
			return i
		}
	}
	return 0
}

// from picks from tier i; nil: nobody there is usable.
func from(p *snapshot.Pool, i int, pulse *snapshot.Pulse, a *Ask, rng *Rand) (*snapshot.Candidate, Reason) {
	t := &p.Tiers[i]
	var beat *snapshot.TierPulse
	if pulse != nil {
		beat = &pulse.Tiers[i]
	}
	if a.Affinity != 0 && a.Group.Affinity == int32(resourcev1.Affinity_AFFINITY_ON) {
		if c := stick(t, beat, a); c != nil {
			return c, Stuck
		}
	}
	s := tasteOf(beat, a)
	c := choose(t, a, &s, rng)
	if c == nil {
		return nil, 0
	}
	if pulse != nil && pulse.Panic && !a.Group.NoPanic {
		if tired := relief(t, c, beat, a, rng); tired != nil {
			return tired, Panicked
		}
	}
	if i == 0 {
		return c, Chosen
	}
	return c, Spilled
}

// usable says whether nothing speaks against c.
func usable(c *snapshot.Candidate, a *Ask) bool {
	return well(c.Cell, a.NowMS) && !was(c, a.Tried)
}

// fit is usable for what was drawn; that looks at the candidate only if something was tried.
func fit(d *snapshot.Drawn, a *Ask) bool {
	return well(d.Cell, a.NowMS) && (len(a.Tried) == 0 || !was(d.Candidate, a.Tried))
}

// well says whether an account neither rests nor has as much to do as it may.
func well(c *snapshot.Cell, nowMS int64) bool { return !c.Resting(nowMS) && !c.Crowded() }

// was says whether c is among those that were tried.
func was(c *snapshot.Candidate, tried []*snapshot.Account) bool {
	for _, a := range tried {
		if a == c.Account {
			return true
		}
	}
	return false
}
