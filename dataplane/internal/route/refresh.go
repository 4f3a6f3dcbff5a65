package route

import (
	"time"

	"fairway/dataplane/internal/snapshot"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

const (
	// lingerMS is how long after its last request a pool counts as in use.
	lingerMS = 60_000
	// spare is how much of a tier may be ill before the next one helps: 1.4 times what is well is what it takes.
	spare = 1.4
	// most is how many times the mean factor a candidate's may count: beyond it, one that stands out would make nearly all
	// draws of others end in vain.
	most = 4
	// shy is just below 1: what is equal in all candidates is not drawn lots for, however it was rounded.
	shy = 1 - 1e-5
)

// pass is one round of Refresh.
type pass struct {
	nowMS   int64
	weights snapshot.Balance
}

// Refresh sums up the pools that requests use: what a single draw cannot know, such as a tier's health and the mean of what
// its draws stay with. Pick goes without what is older than a second. One goroutine calls it, every 250 ms; it looks at each
// account of those pools once, and at each channel once per pool.
func Refresh(s *snapshot.Snapshot, now time.Time) {
	settings := s.SettingsRef()
	r := &pass{nowMS: now.UnixMilli(), weights: settings.Balance}
	for g, p := range s.Pools {
		p.ForgetBound(r.nowMS - lingerMS)
		if at := p.TouchedMS(); at == 0 || r.nowMS-at > lingerMS || len(p.Tiers) == 0 {
			continue
		}
		p.SetPulse(r.pulse(p, g, settings))
	}
}

// pulse sums up a pool.
func (r *pass) pulse(p *snapshot.Pool, g *snapshot.Group, settings *snapshot.Settings) *snapshot.Pulse {
	pulse := &snapshot.Pulse{AtMS: r.nowMS, Strategy: g.Strategy, Tiers: make([]snapshot.TierPulse, len(p.Tiers))}
	total := 0.0
	for i := range p.Tiers {
		beat := &pulse.Tiers[i]
		*beat = r.beat(&p.Tiers[i], resourcev1.Strategy(g.Strategy))
		if beat.Healthy > 0 && total < 1 {
			total = min(1, total+spare*float64(beat.Healthy))
		}
		beat.UpTo = float32(total)
	}
	pulse.Panic = total < settings.Breaker.Panic
	if total > 0 && total < 1 {
		// All together are short: each takes its part.
		for i := range pulse.Tiers {
			pulse.Tiers[i].UpTo = float32(float64(pulse.Tiers[i].UpTo) / total)
		}
	}
	return pulse
}

// beat sums up a tier.
func (r *pass) beat(t *snapshot.Tier, strategy resourcev1.Strategy) snapshot.TierPulse {
	var weight, healthy, sum, top float64
	var load int64
	for i, roster := range t.Rosters {
		tally := r.tally(roster)
		w := float64(roster.Channel.Weight)
		weight += w
		healthy += w * tally.Healthy
		load += tally.InFlight
		mean, best := tally.Vigor, tally.MaxVigor
		switch strategy {
		case resourcev1.Strategy_STRATEGY_BALANCED, resourcev1.Strategy_STRATEGY_UNSPECIFIED:
			base := float64(r.weights.Cost*t.Cost(i) + r.weights.Load)
			mean = tally.Powers[4] + base*(4*tally.Powers[3]+base*(6*tally.Powers[2]+base*(4*tally.Powers[1]+base*tally.Powers[0])))
			best = tally.MaxVigor * float64(power(float32(base+tally.MaxQ)))
		case resourcev1.Strategy_STRATEGY_LEAST_USED:
			mean, best = tally.Use, tally.MaxUse
		}
		sum += w * mean
		top = max(top, best)
	}
	beat := snapshot.TierPulse{InFlight: load, Healthy: float32(healthy / weight)}
	if healthy > 0 {
		beat.Factor = float32(min(top, most*sum/healthy) * shy)
	}
	return beat
}

// tally sums up a channel, once in a round.
func (r *pass) tally(roster *snapshot.Roster) *snapshot.Tally {
	t := &roster.Tally
	if t.Pass == r {
		return t
	}
	*t = snapshot.Tally{Pass: r}
	channel := 1 / float64(roster.Channel.Weight)
	for i := range roster.Candidates {
		c := &roster.Candidates[i]
		t.InFlight += int64(max(0, c.Cell.InFlight.Load()))
		if c.Cell.Resting(r.nowMS) {
			continue
		}
		share := channel / float64(c.Scale)
		vigor, use := float64(c.Cell.Vigor.Load()), float64(c.Cell.Use.Load())
		q := float64(r.weights.Performance*c.Cell.Performance.Load() + r.weights.Reliability*c.Cell.Reliability.Load())
		t.Healthy += share
		t.Vigor += share * vigor
		t.Use += share * vigor * use
		part := share * vigor
		for j := range t.Powers {
			t.Powers[j] += part
			part *= q
		}
		t.MaxVigor = max(t.MaxVigor, vigor)
		t.MaxUse = max(t.MaxUse, vigor*use)
		t.MaxQ = max(t.MaxQ, q)
	}
	return t
}
