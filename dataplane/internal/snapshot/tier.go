package snapshot

import (
	"slices"
	"sort"
	"sync/atomic"

	"fairway/pkg/money"
	"fairway/pkg/splitmix"
)

// Tier is the channels of one priority. It is immutable and never empty.
type Tier struct {
	Priority int32
	Rosters  []*Roster // sorted by channel id
	Size     int       // candidates in all of them
	Weight   float32   // of all channels: a candidate's share is 1/(Scale*Weight)

	lanes []lane // one per roster
	asked *asked
}

// asked is what of a tier only some strategies need. It is made when the first request asks.
type asked struct {
	ring  atomic.Pointer[Ring]
	order atomic.Pointer[order]
	turn  *turn // shared with the tier's former and later selves
}

// lane is a roster as a draw sees it: half a cache line, and of a roster of one, all that there is to know.
type lane struct {
	slot slot       // of the tier's alias table
	only *Cell      // of a roster of one
	sole *Candidate // of a roster of one
	cost float32    // the lowest price of the pool / the channel's
}

// Drawn is a candidate as a draw found it, with its cell at hand. The draw has not looked at either.
type Drawn struct {
	Cell      *Cell
	Candidate *Candidate
	Cost      float32 // the lowest price of the pool / its channel's, above 0 to 1
}

// Draw turns two random numbers into a candidate: a channel by its weight among the tier's channels, and an account by
// its weight among the channel's. It takes no lock and allocates nothing.
func (t *Tier) Draw(r1, r2 uint64) Drawn {
	n := 0
	l := &t.lanes[0]
	if len(t.lanes) > 1 {
		n = column(len(t.lanes), r1)
		l = &t.lanes[n]
		if l.slot.passes(r1) {
			n = int(l.slot.alias)
			l = &t.lanes[n]
		}
	}
	if l.only != nil {
		return Drawn{Cell: l.only, Candidate: l.sole, Cost: l.cost}
	}
	r := t.Rosters[n]
	i := column(len(r.seats), r2)
	s := &r.seats[i]
	if s.slot.passes(r2) {
		i = int(s.slot.alias)
		s = &r.seats[i]
	}
	return Drawn{Cell: s.cell, Candidate: &r.Candidates[i], Cost: l.cost}
}

// Cost is the lowest price of the pool / that of channel i of the tier.
func (t *Tier) Cost(i int) float32 { return t.lanes[i].cost }

// Ring is the channels by a hash of their ids. The first call makes it.
func (t *Tier) Ring() *Ring {
	if ring := t.asked.ring.Load(); ring != nil {
		return ring
	}
	spots := make([]Spot, len(t.Rosters))
	for i, r := range t.Rosters {
		spots[i] = Spot{Hash: spotHash(string(r.Channel.ID)), Index: uint32(i), Weight: r.Channel.Weight}
	}
	t.asked.ring.CompareAndSwap(nil, newRing(spots))
	return t.asked.ring.Load()
}

// Next is the tier's candidates one after the other, in an order of its own for each seed, whatever they weigh: all calls
// share one cursor, and of as many calls in a row as there are candidates each gets another one. The seed of the first call
// counts. It takes no lock, and only the first call allocates.
func (t *Tier) Next(seed uint64) Drawn {
	o := t.asked.order.Load()
	if o == nil {
		t.asked.order.CompareAndSwap(nil, newOrder(t, seed))
		o = t.asked.order.Load()
	}
	turn := t.asked.turn.Add(1) - 1
	n := uint64(t.Size)
	return t.nth(o, int((turn%n*o.step+o.first)%n))
}

// order is a permutation of a tier's candidates, counted through all rosters: first, first+step, first+2*step ... modulo
// their number, to which step is prime.
type order struct {
	seed        uint64
	first, step uint64
	starts      []uint32 // of each roster, its first candidate's number
}

func newOrder(t *Tier, seed uint64) *order {
	n := uint64(t.Size)
	o := &order{seed: seed, first: splitmix.Mix(seed) % n, step: 1, starts: make([]uint32, len(t.Rosters))}
	if n > 2 {
		for o.step = 1 + splitmix.Mix(seed+1)%(n-1); gcd(o.step, n) != 1; {
			o.step = 1 + o.step%(n-1)
		}
	}
	start := 0
	for i, r := range t.Rosters {
		o.starts[i] = uint32(start)
		start += len(r.Candidates)
	}
	return o
}

// nth is candidate number i of all rosters. Where they are of one size, the first guess is right.
func (t *Tier) nth(o *order, i int) Drawn {
	n := i * len(o.starts) / t.Size
	if int(o.starts[n]) > i || n+1 < len(o.starts) && int(o.starts[n+1]) <= i {
		n = sort.Search(len(o.starts), func(j int) bool { return int(o.starts[j]) > i }) - 1
	}
	l := &t.lanes[n]
	if l.only != nil {
		return Drawn{Cell: l.only, Candidate: l.sole, Cost: l.cost}
	}
	r := t.Rosters[n]
	i -= int(o.starts[n])
	return Drawn{Cell: r.seats[i].cell, Candidate: &r.Candidates[i], Cost: l.cost}
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// newTier makes a tier of rosters of one priority, in a pool whose lowest price is cheapest. Its turn goes on from where turn
// stands. From before, what the tier was in the pool that this one follows (nil = nothing), it takes what is the same, and makes
// again what was asked for.
func newTier(rosters []*Roster, cheapest money.PPM, turn *turn, before *Tier) Tier {
	t := Tier{
		Priority: rosters[0].Channel.Priority, Rosters: rosters, lanes: make([]lane, len(rosters)), asked: &asked{turn: turn},
	}
	for i, r := range rosters {
		t.Size += len(r.Candidates)
		t.Weight += float32(r.Channel.Weight)
		l := &t.lanes[i]
		l.cost = float32(float64(cheapest) / float64(price(r.Channel)))
		if len(r.Candidates) == 1 {
			l.sole = &r.Candidates[0]
			l.only = l.sole.Cell
		}
	}
	if before != nil {
		if before.asked.ring.Load() != nil {
			t.Ring()
		}
		if o := before.asked.order.Load(); o != nil {
			t.asked.order.Store(newOrder(&t, o.seed))
		}
		if slices.EqualFunc(before.Rosters, t.Rosters, func(a, b *Roster) bool { return a.Channel.Weight == b.Channel.Weight }) {
			for i := range t.lanes {
				t.lanes[i].slot = before.lanes[i].slot
			}
			return t
		}
	}
	weights := make([]uint32, len(rosters))
	for i, r := range rosters {
		weights[i] = r.Channel.Weight
	}
	for i, slot := range aliasTable(weights) {
		t.lanes[i].slot = slot
	}
	return t
}

// price is what a channel costs, beside others of the same model: they all pay its prices.
func price(c *Channel) money.PPM { return max(c.PriceRatio, 1) }
