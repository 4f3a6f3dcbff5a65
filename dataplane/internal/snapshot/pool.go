package snapshot

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"fairway/pkg/money"
	"fairway/pkg/operation"
)

// Pool is all that may serve one model for one group. What it is made of never changes; how it is doing does.
type Pool struct {
	Tiers []Tier    // highest priority first; empty only if all accounts are passive
	Aside []*Roster // of channels whose accounts are all passive

	Dearest money.PPM // the greatest price ratio of the channels in Tiers

	pulse   atomic.Pointer[Pulse]
	touched atomic.Int64
	turns   *turns
	op      operation.Operation                   // of a part
	parts   [operation.Count]atomic.Pointer[Pool] // see Serving
	byCost  atomic.Pointer[Pool]                  // see ByCost
	bound   atomic.Pointer[bounds]                // see Snapshot.Bound; nil = no key has asked
}

// Find looks for an account among all, be it passive or not.
func (p *Pool) Find(id AccountID) *Candidate {
	for i := range p.Tiers {
		for _, r := range p.Tiers[i].Rosters {
			if c := r.find(id); c != nil {
				return c
			}
		}
	}
	for _, r := range p.Aside {
		if c := r.find(id); c != nil {
			return c
		}
	}
	return nil
}

// Serving is the part of the pool whose channels can serve an operation, which can says: the pool itself if that is all of
// it, nil if it is nobody. The first call for an operation asks can of each channel; its answers must not change.
func (p *Pool) Serving(op operation.Operation, can func(*Channel) bool) *Pool {
	part := p.parts[op].Load()
	if part == nil {
		part = p.partFor(op, can)
		if !p.parts[op].CompareAndSwap(nil, part) {
			part = p.parts[op].Load() // everybody sees one and the same
		}
	}
	if len(part.Tiers)+len(part.Aside) == 0 {
		return nil
	}
	return part
}

// partFor compiles the part of the pool that can; without anything in it if nobody can.
func (p *Pool) partFor(op operation.Operation, can func(*Channel) bool) *Pool {
	all := true
	able := func(rosters []*Roster) []*Roster {
		var some []*Roster
		for _, r := range rosters {
			if can(r.Channel) {
				some = append(some, r)
			}
		}
		all = all && len(some) == len(rosters)
		return some
	}
	tiers := make([][]*Roster, 0, len(p.Tiers))
	for i := range p.Tiers {
		if some := able(p.Tiers[i].Rosters); len(some) > 0 {
			tiers = append(tiers, some)
		}
	}
	part := &Pool{Aside: able(p.Aside), turns: p.turns, op: op}
	if all {
		return p
	}
	part.compile(tiers, nil)
	return part
}

// sameCost is how far apart prices are that count as the same, in percent of the lower.
const sameCost = 5

// ByCost is the pool with each tier cut where prices leap: the channels of one of its tiers cost the same to within 5%, and
// of those of one priority the cheapest come first. The first call makes it.
func (p *Pool) ByCost() *Pool {
	if bands := p.byCost.Load(); bands != nil {
		return bands
	}
	p.byCost.CompareAndSwap(nil, p.cutByCost(nil))
	return p.byCost.Load()
}

func (p *Pool) cutByCost(old *Pool) *Pool {
	var tiers [][]*Roster
	for i := range p.Tiers {
		rosters := slices.Clone(p.Tiers[i].Rosters)
		slices.SortStableFunc(rosters, func(a, b *Roster) int { return cmp.Compare(price(a.Channel), price(b.Channel)) })
		for len(rosters) > 0 {
			most := price(rosters[0].Channel) * (100 + sameCost) / 100
			n := 1
			for n < len(rosters) && price(rosters[n].Channel) <= most {
				n++
			}
			band := rosters[:n:n]
			slices.SortFunc(band, func(a, b *Roster) int { return cmp.Compare(a.Channel.ID, b.Channel.ID) })
			tiers = append(tiers, band)
			rosters = rosters[n:]
		}
	}
	if len(tiers) == len(p.Tiers) {
		return p
	}
	bands := &Pool{Aside: p.Aside, turns: p.turns, op: p.op}
	bands.compile(tiers, old)
	return bands
}

// newPool sorts rosters into tiers. Of old, a pool for the same model, it goes on with what is the same, and makes at once what
// requests asked of it; without old, its turns begin at from.
func newPool(units []*unit, old *Pool, from uint64) *Pool {
	p := &Pool{}
	if old != nil {
		p.turns = old.turns
	} else {
		p.turns = &turns{of: make(map[turnKey]*turn), from: from}
	}
	rosters := make([]*Roster, 0, len(units))
	for _, u := range units {
		switch {
		case u.roster == nil:
		case u.roster.serves():
			rosters = append(rosters, u.roster)
		default:
			p.Aside = append(p.Aside, u.roster)
		}
	}
	// Units come sorted by id, and the sort is stable.
	slices.SortStableFunc(rosters, func(a, b *Roster) int { return cmp.Compare(b.Channel.Priority, a.Channel.Priority) })
	var tiers [][]*Roster
	for len(rosters) > 0 {
		priority := rosters[0].Channel.Priority
		n := 1
		for n < len(rosters) && rosters[n].Channel.Priority == priority {
			n++
		}
		tiers = append(tiers, rosters[:n:n])
		rosters = rosters[n:]
	}
	p.compile(tiers, old)
	if old == nil {
		return p
	}
	p.follow(old)
	old.bound.Load().succeed(p)
	if bands := old.byCost.Load(); bands != nil {
		next := p.cutByCost(bands)
		if next != p && bands != old {
			next.follow(bands)
		}
		p.byCost.Store(next)
	}
	return p
}

// follow takes over how old is doing, as far as it is true of p.
func (p *Pool) follow(old *Pool) {
	p.touched.Store(old.touched.Load())
	if slices.EqualFunc(p.Tiers, old.Tiers, func(a, b Tier) bool { return a.Priority == b.Priority }) {
		p.pulse.Store(old.pulse.Load())
	}
}

// compile makes the tiers, each of rosters of one priority. Several of one priority are bands.
func (p *Pool) compile(tiers [][]*Roster, old *Pool) {
	var cheapest money.PPM
	for _, rosters := range tiers {
		for _, r := range rosters {
			c := price(r.Channel)
			if cheapest == 0 || c < cheapest {
				cheapest = c
			}
			p.Dearest = max(p.Dearest, c)
		}
	}
	p.Tiers = make([]Tier, 0, len(tiers))
	band := 0
	for i, rosters := range tiers {
		priority := rosters[0].Channel.Priority
		if band++; i == 0 || priority != p.Tiers[i-1].Priority {
			band = 0
		}
		turn := p.turns.at(turnKey{op: p.op, priority: priority, band: band})
		p.Tiers = append(p.Tiers, newTier(rosters, cheapest, turn, old.tier(priority, band)))
	}
}

// tier finds a tier by its priority, and among several of that by its place; nil = there is none. p may be nil.
func (p *Pool) tier(priority int32, band int) *Tier {
	if p == nil {
		return nil
	}
	i := slices.IndexFunc(p.Tiers, func(t Tier) bool { return t.Priority == priority })
	if i < 0 || i+band >= len(p.Tiers) || p.Tiers[i+band].Priority != priority {
		return nil
	}
	return &p.Tiers[i+band]
}

// turns are the cursors of a pool's tiers. They outlive it: the pool that follows goes on where it stopped.
type turns struct {
	mu   sync.Mutex
	of   map[turnKey]*turn
	from uint64 // where those begin that are not there yet
}

type turnKey struct {
	op       operation.Operation
	priority int32
	band     int
}

// turn counts draws one after the other. It fills two cache lines, because all requests of a tier write it.
type turn struct {
	atomic.Uint64
	_ [128 - 8]byte
}

func (ts *turns) at(key turnKey) *turn {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t := ts.of[key]
	if t == nil {
		t = &turn{}
		t.Store(ts.from)
		ts.of[key] = t
	}
	return t
}
