package snapshot

import (
	"cmp"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unique"
)

// bounds are the parts of a pool for keys that are bound to accounts, by the accounts that these name: keys that name the same
// ones share a part, and with it its turns. A part is compiled when the first such key asks for it, and forgotten when none
// does any more. Safe for concurrent use.
type bounds struct {
	parts sync.Map // unique.Handle[string] -> *Pool
	// Those of the pool before this one: a part goes on where the one before it stopped. Nil = none.
	before atomic.Pointer[sync.Map]
}

// accountNames names a list of accounts, so that two lists can be compared at once.
func accountNames(ids []AccountID) unique.Handle[string] {
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(string(id))
		b.WriteByte(0)
	}
	return unique.Make(b.String())
}

// Bound is the part of a pool of this snapshot that the key may use: the pool itself if the key is bound to no accounts, nil if
// none of those that it is bound to is in the pool. It takes no lock, and only the first call for a list of accounts allocates:
// what it costs then depends on that list, not on the pool.
func (s *Snapshot) Bound(p *Pool, k *Key) *Pool {
	if k.rules == nil || k.rules.accounts == nil {
		return p
	}
	part := s.boundPart(p, k.rules)
	if len(part.Tiers)+len(part.Aside) == 0 {
		return nil
	}
	return part
}

func (s *Snapshot) boundPart(p *Pool, r *keyRules) *Pool {
	b := p.bound.Load()
	if b == nil {
		p.bound.CompareAndSwap(nil, &bounds{})
		b = p.bound.Load()
	}
	if part := load(&b.parts, r.names); part != nil {
		return part
	}
	before := b.before.Load()
	part := s.compileBound(p, r.accounts, load(before, r.names))
	if first, ok := b.parts.LoadOrStore(r.names, part); ok {
		part, _ = first.(*Pool) // everybody sees one and the same
	}
	if before != nil {
		before.Delete(r.names)
	}
	return part
}

// load finds a part; nil = it is not there. m may be nil.
func load(m *sync.Map, names unique.Handle[string]) *Pool {
	if m == nil {
		return nil
	}
	v, _ := m.Load(names)
	part, _ := v.(*Pool)
	return part
}

// compileBound compiles the part of a pool that accounts are; without anything in it if none of them is there. Old is what the
// part was in the pool before; nil = nothing.
func (s *Snapshot) compileBound(p *Pool, accounts []AccountID, old *Pool) *Pool {
	found := make([]*Account, 0, len(accounts))
	for _, id := range accounts {
		home, _ := s.homes.get(id)
		if r := p.roster(home); r != nil {
			if c := r.find(id); c != nil {
				found = append(found, c.Account)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b *Account) int { return cmp.Compare(a.Channel.ID, b.Channel.ID) })
	var units []*unit
	for len(found) > 0 {
		ch := found[0].Channel
		n := 1
		for n < len(found) && found[n].Channel == ch {
			n++
		}
		units = append(units, &unit{id: ch.ID, roster: newRoster(ch, found[:n], nil)})
		found = found[n:]
	}
	// Parts come and go with those who ask for them: were the first turn always the same, who asks seldom would always get the
	// same account.
	return newPool(units, old, rand.Uint64())
}

// roster finds a channel's roster in the pool; nil = it is not there.
func (p *Pool) roster(id ChannelID) *Roster {
	in := func(rosters []*Roster) *Roster {
		i, ok := slices.BinarySearchFunc(rosters, id, func(r *Roster, id ChannelID) int { return cmp.Compare(r.Channel.ID, id) })
		if !ok {
			return nil
		}
		return rosters[i]
	}
	for i := range p.Tiers {
		if r := in(p.Tiers[i].Rosters); r != nil {
			return r
		}
	}
	return in(p.Aside)
}

// succeed makes the parts of a pool those to go on from in the next one.
func (b *bounds) succeed(next *Pool) {
	if b == nil {
		return
	}
	b.before.Store(nil) // two pools back nobody looks
	n := &bounds{}
	n.before.Store(&b.parts)
	next.bound.Store(n)
}

// ForgetBound drops the parts for keys that are bound to accounts which no request has used since (unix ms).
func (p *Pool) ForgetBound(sinceMS int64) {
	b := p.bound.Load()
	if b == nil {
		return
	}
	for _, m := range [...]*sync.Map{&b.parts, b.before.Load()} {
		if m == nil {
			continue
		}
		for names, part := range m.Range {
			if part, _ := part.(*Pool); part.lastTouchedMS() < sinceMS {
				m.Delete(names)
			}
		}
	}
}

// lastTouchedMS is when a request used the pool, or what was made of it, last.
func (p *Pool) lastTouchedMS() int64 {
	var last int64
	p.each(func(p *Pool) bool {
		last = max(last, p.TouchedMS())
		return true
	})
	return last
}

// ServingTo yields those of Serving that may serve the key, whatever its group. The order is none.
func (s *Snapshot) ServingTo(k *Key) iter.Seq[*Account] {
	accounts := k.Accounts()
	if accounts == nil {
		return s.Serving
	}
	return func(yield func(*Account) bool) {
		for _, id := range accounts {
			a, ok := s.Account(id)
			if ok && !a.Disabled && a.Channel != nil && !a.Channel.Disabled && !yield(a) {
				return
			}
		}
	}
}

// ModelsFor are the names that the group serves to the key, sorted. Callers must not change the list.
func (s *Snapshot) ModelsFor(g *Group, k *Key) []string {
	names := s.Models(g)
	if k.rules == nil {
		return names
	}
	var bound map[string]bool
	if k.rules.accounts != nil {
		bound = make(map[string]bool)
		for a := range s.ServingTo(k) {
			if a.Passive || !a.Channel.In(g.ID) {
				continue
			}
			for _, m := range a.Channel.Models {
				bound[m] = true
			}
		}
	}
	allowed := make([]string, 0, len(names))
	for _, name := range names {
		if k.AllowsModel(name) && (bound == nil || bound[name]) {
			allowed = append(allowed, name)
		}
	}
	return allowed
}
