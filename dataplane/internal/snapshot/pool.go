package snapshot

import (
	"cmp"
	"slices"
	"sync/atomic"

	"fairway/pkg/operation"
)

// Candidate is one enabled account of one enabled channel. Candidates are shared by all pools of their channel; the
// upstream's name of a model is Account.Channel.UpstreamModel(model).
type Candidate struct {
	Account *Account
	Cell    *Cell   // Account.Cell, one step nearer
	Scale   float32 // 1/(share of the tier's traffic), up to a factor common to the tier: in-flight * Scale compares load
	Weight  uint32  // among the channel's accounts
}

// Roster is what one channel offers: its enabled accounts. It is immutable and never empty in a Tier.
type Roster struct {
	Channel    *Channel
	Candidates []Candidate // sorted by account id

	seats []seat // one per candidate
}

// seat is a candidate as a draw sees it: a quarter of a cache line, so that a hundred thousand of them stay near the
// processor. The candidate itself is read once it has won.
type seat struct {
	slot slot // of the roster's alias table
	cell *Cell
}

// newRoster keeps of accounts those that may serve. It returns nil when there are none, or the channel is disabled.
func newRoster(ch *Channel, accounts []*Account) *Roster {
	if ch == nil || ch.Disabled {
		return nil
	}
	var total float64
	weights := make([]uint32, 0, len(accounts))
	r := &Roster{Channel: ch, Candidates: make([]Candidate, 0, len(accounts))}
	for _, a := range accounts {
		if a.Disabled {
			continue
		}
		total += float64(a.Weight)
		weights = append(weights, a.Weight)
		r.Candidates = append(r.Candidates, Candidate{Account: a, Cell: a.Cell, Weight: a.Weight})
	}
	if len(weights) == 0 {
		return nil
	}
	r.seats = make([]seat, len(r.Candidates))
	for i, slot := range aliasTable(weights) {
		c := &r.Candidates[i]
		c.Scale = float32(total / (float64(c.Weight) * float64(ch.Weight)))
		r.seats[i] = seat{slot: slot, cell: c.Cell}
	}
	return r
}

// Tier is the channels of one priority. It is immutable and never empty.
type Tier struct {
	Priority int32
	Rosters  []*Roster // sorted by channel id
	Size     int       // candidates in all of them
	lanes    []lane    // one per roster
}

// lane is a roster as a draw sees it: half a cache line, and of a roster of one, all that there is to know.
type lane struct {
	slot   slot       // of the tier's alias table
	only   *Cell      // of a roster of one
	sole   *Candidate // of a roster of one
	roster *Roster
}

// Drawn is a candidate as a draw found it, with its cell at hand. The draw has not looked at either.
type Drawn struct {
	Cell      *Cell
	Candidate *Candidate
}

// Draw turns two random numbers into a candidate: a channel by its weight among the tier's channels, and an account by
// its weight among the channel's. It takes no lock and allocates nothing.
func (t *Tier) Draw(r1, r2 uint64) Drawn {
	l := &t.lanes[0]
	if len(t.lanes) > 1 {
		l = &t.lanes[column(len(t.lanes), r1)]
		if l.slot.passes(r1) {
			l = &t.lanes[l.slot.alias]
		}
	}
	if l.only != nil {
		return Drawn{Cell: l.only, Candidate: l.sole}
	}
	seats := l.roster.seats
	i := column(len(seats), r2)
	s := &seats[i]
	if s.slot.passes(r2) {
		i = int(s.slot.alias)
		s = &seats[i]
	}
	return Drawn{Cell: s.cell, Candidate: &l.roster.Candidates[i]}
}

// Pool is all that may serve one model for one group. It is immutable.
type Pool struct {
	Tiers []Tier // highest priority first; never empty

	parts [operation.Count]atomic.Pointer[Pool] // see Serving
}

// Serving is the part of the pool whose channels can serve an operation, which can says: the pool itself if that is all of
// it, nil if it is nobody. The first call for an operation asks can of each channel; its answers must not change.
func (p *Pool) Serving(op operation.Operation, can func(*Channel) bool) *Pool {
	part := p.parts[op].Load()
	if part == nil {
		part = p.partFor(can)
		if !p.parts[op].CompareAndSwap(nil, part) {
			part = p.parts[op].Load() // everybody sees one and the same
		}
	}
	if len(part.Tiers) == 0 {
		return nil
	}
	return part
}

// partFor compiles the part of the pool that can; without a tier if nobody can.
func (p *Pool) partFor(can func(*Channel) bool) *Pool {
	part, all := &Pool{}, true
	for i := range p.Tiers {
		var rosters []*Roster
		for _, r := range p.Tiers[i].Rosters {
			if can(r.Channel) {
				rosters = append(rosters, r)
			}
		}
		all = all && len(rosters) == len(p.Tiers[i].Rosters)
		if len(rosters) > 0 {
			part.Tiers = append(part.Tiers, newTier(rosters, nil))
		}
	}
	if all {
		return p
	}
	return part
}

// newPool sorts rosters into tiers. It takes over the alias tables of old where a tier's weights are the same.
func newPool(units []*unit, old *Pool) *Pool {
	rosters := make([]*Roster, 0, len(units))
	for _, u := range units {
		if u.roster != nil {
			rosters = append(rosters, u.roster)
		}
	}
	// Units come sorted by id, and the sort is stable.
	slices.SortStableFunc(rosters, func(a, b *Roster) int { return cmp.Compare(b.Channel.Priority, a.Channel.Priority) })
	p := &Pool{}
	for len(rosters) > 0 {
		priority := rosters[0].Channel.Priority
		n := 1
		for n < len(rosters) && rosters[n].Channel.Priority == priority {
			n++
		}
		p.Tiers = append(p.Tiers, newTier(rosters[:n:n], old))
		rosters = rosters[n:]
	}
	return p
}

// newTier makes a tier of rosters of one priority.
func newTier(rosters []*Roster, old *Pool) Tier {
	t := Tier{Priority: rosters[0].Channel.Priority, Rosters: rosters, lanes: make([]lane, len(rosters))}
	for i, r := range rosters {
		t.Size += len(r.Candidates)
		t.lanes[i].roster = r
		if len(r.Candidates) == 1 {
			t.lanes[i].sole = &r.Candidates[0]
			t.lanes[i].only = t.lanes[i].sole.Cell
		}
	}
	if twin := old.twin(&t); twin != nil {
		for i := range t.lanes {
			t.lanes[i].slot = twin.lanes[i].slot
		}
		return t
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

// twin finds the tier of p whose channel weights are those of t, place by place.
func (p *Pool) twin(t *Tier) *Tier {
	if p == nil {
		return nil
	}
	for i := range p.Tiers {
		o := &p.Tiers[i]
		if o.Priority == t.Priority && slices.EqualFunc(o.Rosters, t.Rosters, func(a, b *Roster) bool {
			return a.Channel.Weight == b.Channel.Weight
		}) {
			return o
		}
	}
	return nil
}
