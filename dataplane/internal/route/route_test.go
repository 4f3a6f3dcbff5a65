package route

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"fairway/dataplane/internal/snapshot"
)

// TestIdleAccountsAreUsedByWeight: a channel's share follows its weight among channels however many accounts it has;
// an account's follows its weight inside the channel.
func TestIdleAccountsAreUsedByWeight(t *testing.T) {
	tests := []struct {
		name     string
		channels []channel
		want     map[snapshot.AccountID]float64
	}{
		{"one", []channel{{0, 1, []uint32{1}}}, map[snapshot.AccountID]float64{"0.0": 1}},
		{"equal", []channel{{0, 1, []uint32{1, 1, 1, 1}}}, map[snapshot.AccountID]float64{"0.0": .25, "0.1": .25, "0.2": .25, "0.3": .25}},
		{"channels before accounts", []channel{{0, 3, []uint32{1}}, {0, 1, []uint32{1, 3, 6}}},
			map[snapshot.AccountID]float64{"0.0": .75, "1.0": .025, "1.1": .075, "1.2": .15}},
		{"only the highest tier", []channel{{1, 1, []uint32{1, 4}}, {0, 100, []uint32{100}}}, map[snapshot.AccountID]float64{"0.0": .2, "0.1": .8}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			const n = 200_000
			p := pool(t, tt.channels...)
			rng := SeededRand(7)
			got := make(map[snapshot.AccountID]int)
			for range n {
				c, reason := pick(p, nil, 0, &rng)
				if reason != Chosen {
					t.Fatalf("reason = %v, want chosen", reason)
				}
				got[c.Account.ID]++
			}
			for id, share := range tt.want {
				// Six standard deviations: the seed is fixed, so this is no matter of luck.
				if slack := 6*math.Sqrt(n*share*(1-share)) + 1; math.Abs(float64(got[id])-n*share) > slack {
					t.Errorf("%s was picked %d times of %d, want %.0f±%.0f", id, got[id], n, n*share, slack)
				}
			}
			if len(got) != len(tt.want) {
				t.Errorf("%d accounts were used, want %d", len(got), len(tt.want))
			}
		})
	}
}

// TestLoadIsSpreadByWeight holds every request open: what is in flight must follow the weights closely.
func TestLoadIsSpreadByWeight(t *testing.T) {
	p := pool(t, channel{0, 1, []uint32{1, 1, 1, 2, 5}})
	rng := SeededRand(9)
	const n = 10_000
	for range n {
		c, _ := pick(p, nil, 0, &rng)
		c.Cell.InFlight.Add(1)
	}
	each(p, func(c *snapshot.Candidate) {
		want := n * float64(c.Weight) / 10
		if got := float64(c.Cell.InFlight.Load()); math.Abs(got-want) > 0.03*want {
			t.Errorf("%s has %.0f in flight, want %.0f±3%%", c.Account.ID, got, want)
		}
	})
}

func TestALoadedAccountIsAvoided(t *testing.T) {
	p := pool(t, channel{0, 1, []uint32{1, 1}})
	find(t, p, "0.0").Cell.InFlight.Store(50)
	rng := SeededRand(3)
	loaded := 0
	for range 10_000 {
		if c, _ := pick(p, nil, 0, &rng); c.Account.ID == "0.0" {
			loaded++
		}
	}
	if loaded > 100 { // only when ten draws in a row fall on it
		t.Errorf("the account with 50 in flight was picked %d times of 10000", loaded)
	}
}

// TestPickNeverReturnsWhatItMustNot tries all combinations of states of four accounts in two tiers, in groups of all kinds.
func TestPickNeverReturnsWhatItMustNot(t *testing.T) {
	const now = nowMS
	reasons := []Reason{Chosen, Exhausted, Resting, Held, Crowded} // what the states come to
	h := open(t, world{channels: []channel{{1, 1, []uint32{1, 9}}, {1, 5, []uint32{3}}, {0, 1, []uint32{1}}}})
	p := h.pool()
	var all []*snapshot.Candidate
	each(p, func(c *snapshot.Candidate) { all = append(all, c) })
	const high = 3
	rng := SeededRand(1)
	put := func(c *snapshot.Candidate, s Reason, i int64) {
		c.Cell.CooldownUntil.Store(now) // over by now
		c.Cell.HeldUntil.Store(now - 1)
		c.Cell.InFlight.Store(0)
		c.Cell.Full.Store(2)
		switch s {
		case Resting:
			c.Cell.CooldownUntil.Store(now + 1 + i)
		case Held:
			c.Cell.HeldUntil.Store(now + 1)
		case Crowded:
			c.Cell.InFlight.Store(2)
		}
	}
	for n := range 2 * 3 * 5 { // NoPanic, affinity, strategy
		g := &snapshot.Group{NoPanic: n%2 == 1, Affinity: int32(1 + n/2%3), Strategy: int32(1 + n/6)}
		hard := g.Affinity == int32(affinityHard)
		for combination := range int(math.Pow(float64(len(reasons)), float64(len(all)))) {
			a := h.ask()
			a.Group, a.Affinity = g, 1+rng.Uint64()>>1
			is := make(map[*snapshot.Candidate]Reason)
			var count [2]map[Reason]int
			count[0], count[1] = make(map[Reason]int), make(map[Reason]int)
			for i, c := range all {
				is[c] = reasons[combination/int(math.Pow(float64(len(reasons)), float64(i)))%len(reasons)]
				put(c, is[c], int64(i))
				if is[c] == Exhausted {
					a.Tried = append(a.Tried, c.Account)
				}
				count[i/high][is[c]]++
			}
			has := func(r Reason) bool { return count[0][r]+count[1][r] > 0 }
			want := Exhausted
			switch {
			case hard:
				w := begun(&p.Tiers[0], a.Affinity)
				if want = is[w.next()]; want == Chosen {
					want = Stuck
				}
			case has(Chosen) && g.Affinity == int32(affinityOn):
				want = Stuck
			case count[0][Chosen] > 0:
				want = Chosen
			case has(Chosen):
				want = Spilled
			case has(Resting) && !g.NoPanic:
				want = Panicked
			case has(Crowded):
				want = Crowded
			case has(Resting):
				want = Resting
			case has(Held):
				want = Held
			}
			c, reason := Pick(p, a, &rng)
			if reason != want || (c == nil) != slices.Contains([]Reason{Exhausted, Held, Resting, Crowded}, reason) {
				t.Fatalf("%+v, %v: %v, want %v", g, count, reason, want)
			}
			if c == nil {
				continue
			}
			tier := slices.Index(all, c) / high
			ok := is[c] == Chosen && tier == 0
			switch {
			case reason == Panicked:
				ok = is[c] == Resting && (tier == 0) == (count[0][Resting] > 0)
			case count[0][Chosen] == 0:
				ok = is[c] == Chosen && tier == 1
			}
			if !ok {
				t.Fatalf("%+v, %v: picked %s, which is %v (%v)", g, count, c.Account.ID, is[c], reason)
			}
		}
	}
}

// TestTheLastUsableIsFound: one of many, and with next to no weight.
func TestTheLastUsableIsFound(t *testing.T) {
	channels := make([]channel, 50)
	for i := range channels {
		channels[i] = channel{0, 10000, []uint32{10000, 10000, 10000, 10000}}
	}
	channels[20] = channel{0, 1, []uint32{10000, 1, 10000}}
	p := pool(t, channels...)
	each(p, func(c *snapshot.Candidate) { c.Cell.Cool(100) })
	only := find(t, p, "20.1")
	only.Cell.CooldownUntil.Store(0)
	rng := SeededRand(5)
	for range 1000 {
		if c, reason := pick(p, nil, 50, &rng); c.Account != only.Account || reason != Chosen {
			t.Fatalf("picked %v (%v), want the only usable one", c.Account.ID, reason)
		}
	}
	if at := ReadyAt(p); at != 0 {
		t.Errorf("ReadyAt = %d, want 0", at)
	}
	only.Cell.Cool(70)
	if at := ReadyAt(p); at != 70 {
		t.Errorf("ReadyAt = %d, want 70", at)
	}
}

// TestScanFollowsWeights: among the few that are left the weights count too.
func TestScanFollowsWeights(t *testing.T) {
	weights := make([]uint32, 400)
	for i := range weights {
		weights[i] = 1000
	}
	weights[7], weights[300] = 1, 3
	p := pool(t, channel{0, 1, weights})
	each(p, func(c *snapshot.Candidate) { c.Cell.Cool(100) })
	a, b := find(t, p, "0.7"), find(t, p, "0.300")
	a.Cell.CooldownUntil.Store(0)
	b.Cell.CooldownUntil.Store(0)
	rng := SeededRand(11)
	got := 0
	const n = 20_000
	for range n {
		if c, _ := pick(p, nil, 50, &rng); c.Account == b.Account {
			got++
		}
	}
	if want := 0.75 * n; math.Abs(float64(got)-want) > 0.03*n {
		t.Errorf("the heavier was picked %d times of %d, want about %.0f", got, n, want)
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	for _, strategy := range strategies {
		for _, affinity := range []uint64{0, 1} {
			t.Run(fmt.Sprint(strategy, affinity), func(t *testing.T) {
				h := open(t, world{channels: []channel{{1, 1, []uint32{1, 2, 3}}, {0, 1, []uint32{1}}, {1, 9, []uint32{2}}}, group: groupOf(strategy)})
				p, a := h.pool(), h.ask()
				a.Affinity, a.Tried = affinity, []*snapshot.Account{find(t, p, "0.0").Account}
				rng := SeededRand(1)
				if n := testing.AllocsPerRun(100, func() { Pick(p, a, &rng) }); n != 0 {
					t.Errorf("%v allocations per pick", n)
				}
			})
		}
	}
}

// TestTwoChoices: whatever is not looked at, the answer is that of two choices spelled out: of the first two different
// ones that are drawn, usable, and kept by their vigor, the one with less load for its share; the first when they are equal.
func TestTwoChoices(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := pool(t, drawChannels(rt)...)
		tier := &p.Tiers[0]
		if tier.Size == 1 {
			return
		}
		const now = 1000
		var tried []*snapshot.Account
		each(p, func(c *snapshot.Candidate) {
			c.Cell.InFlight.Store(rapid.Int32Range(0, 3).Draw(rt, "load"))
			c.Cell.Full.Store(rapid.SampledFrom([]int32{0, 0, 0, 2}).Draw(rt, "cap"))
			c.Cell.Vigor.Store(rapid.SampledFrom([]float32{1, 1, 0.5}).Draw(rt, "vigor"))
			switch rapid.IntRange(0, 5).Draw(rt, "state") {
			case 0:
				c.Cell.Cool(now + 1)
			case 1:
				tried = append(tried, c.Account)
			}
		})
		seed := rapid.Uint64().Draw(rt, "seed")
		var first, want *snapshot.Candidate
		rng := SeededRand(seed)
		for left := draws; left > 0; left-- {
			c := tier.Draw(rng.Uint64(), rng.Uint64()).Candidate
			full := c.Cell.Full.Load()
			if c == first || c.Cell.CooldownUntil.Load() > now || full > 0 && c.Cell.InFlight.Load() >= full || slices.Contains(tried, c.Account) {
				continue
			}
			if v := c.Cell.Vigor.Load(); v < 1 && unit(rng.Uint64()) >= v {
				continue
			}
			if c.Cell.InFlight.Load() == 0 {
				want = c
				break
			}
			if first == nil {
				first, want, left = c, c, min(left, seconds+1)
				continue
			}
			busy := func(c *snapshot.Candidate) float32 {
				return float32(c.Cell.InFlight.Load()) * c.Scale / c.Cell.Vigor.Load()
			}
			if busy(c) < busy(first) {
				want = c
			}
			break
		}
		if want == nil {
			return // what a scan finds is tested by itself
		}
		rng = SeededRand(seed)
		if got, reason := pick(p, tried, now, &rng); got != want || reason != Chosen {
			rt.Fatalf("Pick = %v (%v), want %v", got.Account.ID, reason, want.Account.ID)
		}
	})
}

// drawChannels makes a few channels of one priority.
func drawChannels(rt *rapid.T) []channel {
	channels := make([]channel, rapid.IntRange(1, 4).Draw(rt, "channels"))
	for i := range channels {
		channels[i].weight = rapid.Uint32Range(1, 5).Draw(rt, "weight")
		channels[i].accounts = rapid.SliceOfN(rapid.Uint32Range(1, 5), 1, 4).Draw(rt, "accounts")
	}
	return channels
}

// TestEveryReasonHasAName: metrics are made of them.
func TestEveryReasonHasAName(t *testing.T) {
	seen := make(map[string]bool)
	for r := range Crowded + 1 {
		if name := r.String(); seen[name] || (name == "none") != (r == 0) {
			t.Errorf("reason %d is %q", r, name)
		} else {
			seen[name] = true
		}
	}
}

// TestPassiveAccountsAreOnlyFound: no draw meets them, a look-up does.
func TestPassiveAccountsAreOnlyFound(t *testing.T) {
	for _, strategy := range strategies {
		t.Run(strategy.String(), func(t *testing.T) {
			h := open(t, world{
				channels: []channel{{0, 1, []uint32{1, 100, 1}}, {0, 100, []uint32{5}}, {1, 1, []uint32{1}}},
				passive:  map[string]bool{"0.1": true, "1.0": true, "2.0": true},
				group:    groupOf(strategy),
			})
			p := h.pool()
			if len(p.Tiers) != 1 || p.Tiers[0].Size != 2 {
				t.Fatalf("%d tiers, want one of 2", len(p.Tiers))
			}
			got := counts(t, p, h.ask(), 1000)
			if got["0.0"] == 0 || got["0.2"] == 0 || len(got) != 2 {
				t.Errorf("picked %v, want 0.0 and 0.2 alone", got)
			}
			for _, id := range []snapshot.AccountID{"0.0", "0.1", "0.2", "1.0", "2.0"} {
				if c := p.Find(id); c == nil || c.Account.ID != id || c.Account.Channel == nil {
					t.Errorf("%s is not found", id)
				}
			}
			if c := p.Find("9.9"); c != nil {
				t.Errorf("found %s for 9.9", c.Account.ID)
			}
		})
	}
}

// TestOnlyPassive: the pool is there for those who know their account, and serves nobody else.
func TestOnlyPassive(t *testing.T) {
	h := open(t, world{channels: []channel{{0, 1, []uint32{1}}}, passive: map[string]bool{"0.0": true}})
	rng := SeededRand(1)
	p := h.pool()
	if c, reason := Pick(p, h.ask(), &rng); c != nil || reason != Exhausted || p.Find("0.0") == nil {
		t.Errorf("picked %v (%v)", c, reason)
	}
	if models := h.replica.Snapshot().Models(h.group()); len(models) != 0 {
		t.Errorf("%v are listed", models)
	}
	h.send(h.account(0, 0, 1, false))
	if c, reason := Pick(h.pool(), h.ask(), &rng); c == nil {
		t.Errorf("nobody is picked though it is passive no more: %v", reason)
	}
	if models := h.replica.Snapshot().Models(h.group()); len(models) != 1 {
		t.Errorf("%v are listed, want m", models)
	}
}
