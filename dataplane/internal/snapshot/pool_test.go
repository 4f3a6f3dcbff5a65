package snapshot

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"fairway/pkg/money"
	"fairway/pkg/operation"
)

// TestDrawsReadFirstLines: what each draw reads of a cell, and of a roster, is in one cache line.
func TestDrawsReadFirstLines(t *testing.T) {
	var c Cell
	for name, at := range map[string]uintptr{
		"InFlight": unsafe.Offsetof(c.InFlight), "Full": unsafe.Offsetof(c.Full), "CooldownUntil": unsafe.Offsetof(c.CooldownUntil),
		"HeldUntil": unsafe.Offsetof(c.HeldUntil), "Vigor": unsafe.Offsetof(c.Vigor), "Performance": unsafe.Offsetof(c.Performance),
		"Reliability": unsafe.Offsetof(c.Reliability), "Use": unsafe.Offsetof(c.Use),
	} {
		if at >= 64 {
			t.Errorf("Cell.%s is at %d, beyond the first line", name, at)
		}
	}
	if at := unsafe.Offsetof(c.LatencyEWMA); at < 64 {
		t.Errorf("Cell.LatencyEWMA is at %d, in the line of draws", at)
	}
	var r Roster
	if end := unsafe.Offsetof(r.seats) + unsafe.Sizeof(r.seats); end > 64 {
		t.Errorf("what draws read of a roster ends at %d, beyond the first line", end)
	}
}

// units makes a unit of each channel: its price ratio, and how many accounts.
func units(rt *rapid.T, priority int32) []*unit {
	list := make([]*unit, rapid.IntRange(1, 6).Draw(rt, "channels"))
	for i := range list {
		ch := &Channel{
			ID: ChannelID(fmt.Sprintf("c%d", i)), Priority: priority, Weight: rapid.Uint32Range(1, 5).Draw(rt, "weight"),
			PriceRatio: money.PPM(rapid.Int64Range(100, 130).Draw(rt, "ratio")),
		}
		var accounts []*Account
		for j := range rapid.IntRange(1, 40).Draw(rt, "accounts") {
			id := AccountID(fmt.Sprintf("%s-%02d", ch.ID, j))
			accounts = append(accounts, &Account{ID: id, Channel: ch, Weight: rapid.Uint32Range(1, 3).Draw(rt, "of"), Cell: &Cell{}})
		}
		list[i] = &unit{id: ch.ID, channel: ch, accounts: accounts, roster: newRoster(ch, accounts, nil)}
	}
	return list
}

// TestNextIsAPermutation: whatever the sizes, each candidate comes once in a round, with its own cell.
func TestNextIsAPermutation(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := newPool(units(rt, 1), nil, 0)
		tier := &p.Tiers[0]
		seed := rapid.Uint64().Draw(rt, "seed")
		seen := make(map[AccountID]bool)
		for range tier.Size {
			d := tier.Next(seed)
			if d.Cell != d.Candidate.Account.Cell || seen[d.Candidate.Account.ID] {
				rt.Fatalf("%s comes again, or with another's cell", d.Candidate.Account.ID)
			}
			seen[d.Candidate.Account.ID] = true
		}
	})
}

// TestByCost: bands hold what costs the same to within 5%, cheapest first, and together all that the pool has.
func TestByCost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		list := units(rt, 2)
		for i, u := range units(rt, 1) {
			u.channel.ID = ChannelID(fmt.Sprintf("d%d", i))
			list = append(list, u)
		}
		p := newPool(list, nil, 0)
		bands := p.ByCost()
		if bands != p.ByCost() {
			rt.Error("two calls, two pools")
		}
		var before *Tier
		size := 0
		for i := range bands.Tiers {
			b := &bands.Tiers[i]
			size += b.Size
			low, high := b.Rosters[0].Channel.PriceRatio, b.Rosters[0].Channel.PriceRatio
			for j, r := range b.Rosters {
				low, high = min(low, r.Channel.PriceRatio), max(high, r.Channel.PriceRatio)
				if want := float32(cheapest(p)) / float32(r.Channel.PriceRatio); b.Cost(j) < want*0.9999 || b.Cost(j) > want*1.0001 {
					rt.Errorf("cost = %f, want %f", b.Cost(j), want)
				}
			}
			if float64(high) > float64(low)*1.05 {
				rt.Errorf("a band from %d to %d", low, high)
			}
			if !slices.IsSortedFunc(b.Rosters, func(x, y *Roster) int { return strings.Compare(string(x.Channel.ID), string(y.Channel.ID)) }) {
				rt.Error("a band is not in the order of ids")
			}
			if before != nil && (before.Priority < b.Priority || before.Priority == b.Priority && before.Rosters[0].Channel.PriceRatio >= high) {
				rt.Errorf("band %d comes after a worse one", i)
			}
			before = b
		}
		all := 0
		for i := range p.Tiers {
			all += p.Tiers[i].Size
		}
		if size != all {
			rt.Errorf("%d candidates in bands of %d", size, all)
		}
	})
}

func cheapest(p *Pool) money.PPM {
	low := money.PPM(0)
	for i := range p.Tiers {
		for _, r := range p.Tiers[i].Rosters {
			if c := r.Channel.PriceRatio; low == 0 || c < low {
				low = c
			}
		}
	}
	return low
}

// TestNear is the next members on the circle, or all.
func TestNear(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		spots := make([]Spot, rapid.IntRange(1, 60).Draw(rt, "n"))
		hashes := make([]uint64, len(spots))
		for i := range spots {
			spots[i] = Spot{Hash: rapid.Uint64().Draw(rt, "hash"), Index: uint32(i), Weight: 1}
			hashes[i] = spots[i].Hash
		}
		slices.Sort(hashes)
		h := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom(hashes)).Draw(rt, "at")
		got := newRing(spots).Near(h)
		if len(got) != min(near, len(hashes)) {
			rt.Fatalf("%d members of %d", len(got), len(hashes))
		}
		if len(hashes) <= near {
			return
		}
		at := sort.Search(len(hashes), func(i int) bool { return hashes[i] >= h })
		for i, s := range got {
			if want := hashes[(at+i)%len(hashes)]; s.Hash != want {
				rt.Fatalf("member %d is %x, want %x", i, s.Hash, want)
			}
		}
	})
}

// TestPoolsAreFoundByWhoSumsUp: those that requests asked for, and what was made of them, once each.
func TestPoolsAreFoundByWhoSumsUp(t *testing.T) {
	src := small(t)
	r := NewReplica()
	receive(t, r, src.full())
	s := r.Snapshot()
	found := func() map[*Pool]int {
		pools := make(map[*Pool]int)
		for g, p := range s.Pools {
			if g.ID != "g1" {
				t.Errorf("a pool of group %s", g.ID)
			}
			pools[p]++
		}
		return pools
	}
	if got := found(); len(got) != 0 {
		t.Errorf("%d pools before the first request", len(got))
	}
	g, _ := s.Group("g1")
	p, _ := s.Pool(g, "m1")
	whole := p.Serving(operation.Chat, func(*Channel) bool { return true })
	part := p.Serving(operation.Embeddings, func(c *Channel) bool { return c.ID == "c1" })
	bands := part.ByCost()
	if whole != p || part == p || bands != part {
		t.Fatal("the parts are not what the test needs")
	}
	got := found()
	if len(got) != 2 || got[p] != 1 || got[part] != 1 {
		t.Errorf("%v, want the pool and its part once each", got)
	}
}
