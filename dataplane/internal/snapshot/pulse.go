package snapshot

// Pulse is how a pool is doing, as routing summed it up last. It is immutable.
type Pulse struct {
	AtMS     int64
	Strategy int32       // a resource.v1.Strategy, for which the references hold
	Panic    bool        // too little health is left
	Tiers    []TierPulse // as the pool's
}

// TierPulse is how a tier is doing.
type TierPulse struct {
	Healthy  float32 // share, by weight, that does not rest
	UpTo     float32 // the share of requests that begin in this tier or a higher one; 1 in the last that gets any
	Factor   float32 // at which a draw is taken for certain; 0 = not known
	InFlight int64   // attempts under way at all of its accounts
}

// Pulse is the newest; nil before the first.
func (p *Pool) Pulse() *Pulse { return p.pulse.Load() }

// SetPulse replaces it.
func (p *Pool) SetPulse(q *Pulse) { p.pulse.Store(q) }

// Touch notes that requests use the pool, to within a second.
func (p *Pool) Touch(nowMS int64) {
	if d := nowMS - p.touched.Load(); d >= 1000 || d < 0 {
		p.touched.Store(nowMS)
	}
}

// TouchedMS is when a request used the pool last (unix ms), to within a second; 0 = never.
func (p *Pool) TouchedMS() int64 { return p.touched.Load() }

// Pools yields the pools that requests have asked for, with the group that each serves.
func (s *Snapshot) Pools(yield func(*Group, *Pool) bool) {
	for id, routes := range s.routes.all() {
		g, ok := s.groups.get(id)
		if !ok {
			continue
		}
		for _, r := range routes.table.all() {
			p := r.pool.Load()
			if p == nil {
				continue
			}
			if !p.each(func(p *Pool) bool { return yield(g, p) }) {
				return
			}
		}
	}
}

// each yields the pool and what was made of it; false when yield said so.
func (p *Pool) each(yield func(*Pool) bool) bool {
	if !yield(p) {
		return false
	}
	for i := range p.parts {
		if part := p.parts[i].Load(); part != nil && part != p && !part.each(yield) {
			return false
		}
	}
	if bands := p.byCost.Load(); bands != nil && bands != p && !yield(bands) {
		return false
	}
	if b := p.bound.Load(); b != nil {
		for _, part := range b.parts.Range {
			if part, _ := part.(*Pool); !part.each(yield) {
				return false
			}
		}
	}
	return true
}

// Resting says whether the account is to be left alone at nowMS, if there is any other.
func (c *Cell) Resting(nowMS int64) bool {
	return c.CooldownUntil.Load() > nowMS || c.HeldUntil.Load() > nowMS
}

// Crowded says whether the account takes no more at once.
func (c *Cell) Crowded() bool {
	full := c.Full.Load()
	return full > 0 && c.InFlight.Load() >= full
}
