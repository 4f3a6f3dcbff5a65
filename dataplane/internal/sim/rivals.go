package sim

import (
	"slices"
	"time"

	"fairway/dataplane/internal/route"
	"fairway/dataplane/internal/snapshot"
)

type choose = func(*snapshot.Pool, *route.Ask) (*snapshot.Candidate, route.Reason)

// chooser is how a proxy chooses.
func (w *World) chooser(p *proxy) choose {
	switch {
	case w.setup.Rival == RoundRobin:
		return w.roundRobin()
	case w.setup.Rival == ArgMin:
		return w.argMin(p)
	case w.setup.Rival == PlainRandom:
		return p.plainRandom
	case w.setup.Power != 0:
		return p.powered
	}
	return func(pool *snapshot.Pool, ask *route.Ask) (*snapshot.Candidate, route.Reason) {
		return route.Pick(pool, ask, &p.rng)
	}
}

// roundRobin is nginx's smooth weighted one: each account gains its weight, the richest serves and pays for all.
func (w *World) roundRobin() choose {
	purse := make([]int, len(w.accounts))
	seen := w.index()
	return func(pool *snapshot.Pool, ask *route.Ask) (*snapshot.Candidate, route.Reason) {
		var best *snapshot.Candidate
		at, total := 0, 0
		for _, u := range w.accounts {
			c := seen.free(pool, ask, u)
			if c == nil {
				continue
			}
			purse[u.index] += u.capacity
			total += u.capacity
			if best == nil || purse[u.index] > purse[at] {
				best, at = c, u.index
			}
		}
		return paid(best, func() { purse[at] -= total })
	}
}

// argMin takes the least busy by a view that each proxy gets once a second.
func (w *World) argMin(p *proxy) choose {
	view := make([]float64, len(w.accounts))
	seen := w.index()
	boot := p.boot
	w.every(w.now+time.Duration(w.network.Int64N(int64(time.Second))), time.Second, func() {
		if p.boot == boot {
			for i, u := range w.accounts {
				view[i] = float64(u.under) / float64(u.capacity)
			}
		}
	})
	return func(pool *snapshot.Pool, ask *route.Ask) (*snapshot.Candidate, route.Reason) {
		var best *snapshot.Candidate
		at := 0
		for i, u := range w.accounts {
			if best != nil && view[i] >= view[at] {
				continue
			}
			if c := seen.free(pool, ask, u); c != nil {
				best, at = c, i
			}
		}
		return paid(best, func() {})
	}
}

func (p *proxy) plainRandom(pool *snapshot.Pool, ask *route.Ask) (*snapshot.Candidate, route.Reason) {
	for range 1000 {
		d := pool.Tiers[0].Draw(p.rng.Uint64(), p.rng.Uint64())
		if usable(d.Candidate, ask) {
			return d.Candidate, route.Chosen
		}
	}
	return nil, route.Resting
}

func paid(c *snapshot.Candidate, pay func()) (*snapshot.Candidate, route.Reason) {
	if c == nil {
		return nil, route.Resting
	}
	pay()
	return c, route.Chosen
}

// index finds the accounts of the newest pool by their numbers.
type index struct {
	world      *World
	pool       *snapshot.Pool
	candidates []*snapshot.Candidate
}

func (w *World) index() *index { return &index{world: w} }

// free is an account's candidate, nil if it is not there or not usable.
func (x *index) free(pool *snapshot.Pool, ask *route.Ask, u *upstream) *snapshot.Candidate {
	if pool != x.pool {
		x.pool, x.candidates = pool, make([]*snapshot.Candidate, len(x.world.accounts))
		for i, u := range x.world.accounts {
			x.candidates[i] = pool.Find(snapshot.AccountID(u.id))
		}
	}
	if c := x.candidates[u.index]; c != nil && usable(c, ask) {
		return c
	}
	return nil
}

func usable(c *snapshot.Candidate, ask *route.Ask) bool {
	return !c.Cell.Resting(ask.NowMS) && !c.Cell.Crowded() && !slices.Contains(ask.Tried, c.Account)
}

// powered is "balanced" with another power of the score: the same two draws, by weight x vigor x score^k, and the same
// comparison of load.
func (p *proxy) powered(pool *snapshot.Pool, ask *route.Ask) (*snapshot.Candidate, route.Reason) {
	b := &ask.Settings.Balance
	tier := &pool.Tiers[0]
	p.lots = p.lots[:0]
	total := float32(0)
	for i, roster := range tier.Rosters {
		for j := range roster.Candidates {
			c := &roster.Candidates[j]
			if !usable(c, ask) {
				continue
			}
			score := b.Cost*tier.Cost(i) + b.Performance*c.Cell.Performance.Load() + b.Reliability*c.Cell.Reliability.Load() + b.Load
			weight := c.Cell.Vigor.Load() / c.Scale
			for range p.world.setup.Power {
				weight *= score
			}
			p.lots = append(p.lots, lot{c, weight})
			total += weight
		}
	}
	first := p.draw(total)
	if first == nil {
		return route.Pick(pool, ask, &p.rng)
	}
	if first.c.Cell.InFlight.Load() > 0 {
		out := first.weight
		first.weight = 0
		if second := p.draw(total - out); second != nil && burden(second.c) < burden(first.c) {
			first = second
		}
	}
	return first.c, route.Chosen
}

// lot is a candidate's part in a draw.
type lot struct {
	c      *snapshot.Candidate
	weight float32
}

func (p *proxy) draw(total float32) *lot {
	at := float32(p.rng.Uint64()>>40) / (1 << 24) * total
	var last *lot
	for i := range p.lots {
		l := &p.lots[i]
		if l.weight == 0 {
			continue
		}
		last = l
		if at -= l.weight; at < 0 {
			break
		}
	}
	return last
}

// burden is what an account has to do for its share.
func burden(c *snapshot.Candidate) float32 {
	return float32(c.Cell.InFlight.Load()) * c.Scale / c.Cell.Vigor.Load()
}
