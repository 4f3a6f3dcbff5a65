package route

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"fairway/dataplane/internal/snapshot"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// refresh sums the house's pool up, as one in use.
func refresh(h *house) *snapshot.Pulse {
	h.t.Helper()
	rng := SeededRand(1)
	p := h.pool()
	a := h.ask()
	Pick(p, a, &rng)
	Refresh(h.replica.Snapshot(), time.UnixMilli(nowMS))
	if a.Group.Strategy == int32(lowestCost) {
		p = p.ByCost()
	}
	return p.Pulse()
}

// TestSpillFollowsHealth: a tier takes 1.4 times what is well in it, by weight; the next takes the rest.
func TestSpillFollowsHealth(t *testing.T) {
	ten := []uint32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}
	tests := []struct {
		name string
		ill  [3]int     // of ten in each tier
		want [3]float64 // of all
	}{
		{"all well", [3]int{0, 0, 0}, [3]float64{1, 0, 0}},
		{"within what is spare", [3]int{2, 0, 0}, [3]float64{1, 0, 0}},
		{"half", [3]int{5, 0, 0}, [3]float64{.7, .3, 0}},
		{"half of two", [3]int{5, 5, 0}, [3]float64{.7, .3, 0}},
		{"into the third", [3]int{7, 8, 0}, [3]float64{.42, .28, .30}},
		{"the first is gone", [3]int{10, 8, 0}, [3]float64{0, .28, .72}},
		{"short in all", [3]int{9, 9, 9}, [3]float64{1. / 3, 1. / 3, 1. / 3}},
		{"short in two", [3]int{8, 9, 10}, [3]float64{2. / 3, 1. / 3, 0}},
	}
	for _, strategy := range strategies {
		for _, tt := range tests {
			t.Run(fmt.Sprint(strategy, " ", tt.name), func(t *testing.T) {
				h := open(t, world{channels: []channel{{2, 1, ten}, {1, 1, ten}, {0, 1, ten}}, group: groupOf(strategy)})
				for i, ill := range tt.ill {
					for j := range ill {
						find(t, h.pool(), snapshot.AccountID(accountID(i, j))).Cell.Cool(nowMS + 1)
					}
				}
				refresh(h)
				const n = 20_000
				got := make(map[snapshot.AccountID]int)
				a, p := h.ask(), h.pool()
				rng := SeededRand(3)
				for range n {
					c, reason := Pick(p, a, &rng)
					if (reason == Chosen) != (c.Account.Channel.Priority == 2) || c.Cell.Resting(nowMS) {
						t.Fatalf("picked %s (%v)", c.Account.ID, reason)
					}
					got[snapshot.AccountID(fmt.Sprint(2-c.Account.Channel.Priority))]++
				}
				agree(t, got, map[snapshot.AccountID]float64{"0": tt.want[0], "1": tt.want[1], "2": tt.want[2]})
			})
		}
	}
}

// TestSpillCountsWeight: health is that of the weight, not of heads.
func TestSpillCountsWeight(t *testing.T) {
	h := open(t, world{channels: []channel{{1, 1, []uint32{1, 3}}, {1, 4, []uint32{1}}, {0, 1, []uint32{1}}}})
	find(t, h.pool(), "0.1").Cell.Cool(nowMS + 1)
	find(t, h.pool(), "1.0").Cell.Hold(nowMS + 1)
	pulse := refresh(h)
	if got := pulse.Tiers[0].Healthy; math.Abs(float64(got)-0.05) > 1e-6 {
		t.Errorf("healthy = %v, want 1/20", got)
	}
}

// TestConversationsSpillAsOne: a conversation does not change tiers from request to request.
func TestConversationsSpillAsOne(t *testing.T) {
	h := open(t, world{channels: []channel{{1, 1, []uint32{1, 1}}, {0, 1, []uint32{1, 1}}}, group: groupOf(balanced)})
	find(t, h.pool(), "0.0").Cell.Cool(nowMS + 1)
	refresh(h)
	p, a := h.pool(), h.ask()
	rng := SeededRand(1)
	tiers := make(map[int32]int)
	for i := range 2000 {
		a.Affinity = Affinity("k", "m", fmt.Append(nil, i))
		first, _ := Pick(p, a, &rng)
		tiers[first.Account.Channel.Priority]++
		for range 3 {
			if c, reason := Pick(p, a, &rng); c != first || reason != Stuck {
				t.Fatalf("conversation %d moved from %s to %s (%v)", i, first.Account.ID, c.Account.ID, reason)
			}
		}
	}
	if tiers[1] < 1300 || tiers[1] > 1500 {
		t.Errorf("%v conversations by tier, want about 1400 in the first of 2000", tiers)
	}
}

// TestAnOldPulseSaysNothing: when nobody sums up, tiers serve in their order.
func TestAnOldPulseSaysNothing(t *testing.T) {
	h := open(t, world{channels: []channel{{1, 1, []uint32{1, 1}}, {0, 1, []uint32{1}}}})
	ill := find(t, h.pool(), "0.0").Cell
	ill.Cool(nowMS + 1)
	refresh(h)
	a := h.ask()
	if got := counts(t, h.pool(), a, 1000)["1.0"]; got == 0 {
		t.Fatal("nothing is spilled")
	}
	a.NowMS += staleMS + 1
	if got := counts(t, h.pool(), a, 1000)["1.0"]; got != 0 {
		t.Errorf("%d of 1000 are spilled by a pulse of long ago", got)
	}
}

// TestPulseLivesOn: a change of the state keeps it where it still fits.
func TestPulseLivesOn(t *testing.T) {
	h := open(t, world{channels: []channel{{1, 1, []uint32{1, 1}}, {0, 1, []uint32{1}}}})
	find(t, h.pool(), "0.0").Cell.Cool(nowMS + 1)
	pulse := refresh(h)
	h.send(h.account(0, 1, 2, false))
	if h.pool().Pulse() != pulse {
		t.Error("the pulse is gone after a change of a weight")
	}
	h.send(&syncv1.Change{Kind: syncv1.Kind_KIND_CHANNEL, Id: channelID(1), Deleted: true})
	if h.pool().Pulse() != nil {
		t.Error("the pulse of two tiers is that of one")
	}
}

// TestOnlyPoolsInUseAreSummedUp: a minute after its last request a pool costs nothing any more.
func TestOnlyPoolsInUseAreSummedUp(t *testing.T) {
	h := open(t, world{channels: []channel{{1, 1, []uint32{1}}}})
	p := h.pool()
	Refresh(h.replica.Snapshot(), time.UnixMilli(nowMS))
	if p.Pulse() != nil {
		t.Error("a pool that nobody uses is summed up")
	}
	at := refresh(h)
	Refresh(h.replica.Snapshot(), time.UnixMilli(nowMS+lingerMS+1))
	if p.Pulse() != at {
		t.Error("a pool that nobody has used for a minute is summed up")
	}
}

// TestFactorIsAsDefined: the reference of draws is min(max, 4 means) of what candidates that do not rest get, whatever the
// strategy and however it is summed up.
func TestFactorIsAsDefined(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		channels := drawChannels(rt)
		w := world{channels: channels, group: groupOf(rapid.SampledFrom(strategies).Draw(rt, "strategy"))}
		for range channels {
			w.ratios = append(w.ratios, rapid.Int64Range(1_000_000, 1_040_000).Draw(rt, "ratio"))
		}
		h := open(t, w)
		p, a := h.pool(), h.ask()
		unitFactor := rapid.Float32Range(0.01, 1)
		each(p, func(c *snapshot.Candidate) {
			known{
				unitFactor.Draw(rt, "vigor"), unitFactor.Draw(rt, "performance"), unitFactor.Draw(rt, "reliability"),
				rapid.Float32Range(.25, 4).Draw(rt, "use"),
			}.tell(c.Cell)
			c.Cell.InFlight.Store(rapid.Int32Range(0, 9).Draw(rt, "load"))
			if rapid.IntRange(0, 4).Draw(rt, "cooling") == 0 {
				c.Cell.Cool(nowMS + 1)
			}
		})
		pulse := refresh(h)
		if a.Group.Strategy == int32(lowestCost) {
			p = p.ByCost()
		}
		s := tasteOf(nil, a)
		tier := &p.Tiers[0]
		var sum, weight, all, top float64
		load := int64(0)
		for i, r := range tier.Rosters {
			for j := range r.Candidates {
				c := &r.Candidates[j]
				load += int64(c.Cell.InFlight.Load())
				all += 1 / float64(c.Scale)
				if c.Cell.Resting(nowMS) {
					continue
				}
				f := float64(s.factor(c.Cell, tier.Cost(i)))
				sum += f / float64(c.Scale)
				weight += 1 / float64(c.Scale)
				top = max(top, f)
			}
		}
		beat := pulse.Tiers[0]
		if beat.InFlight != load || math.Abs(float64(beat.Healthy)-weight/all) > 1e-4 {
			rt.Errorf("%+v, want %d under way and %f healthy", beat, load, weight/all)
		}
		if weight == 0 {
			return
		}
		low, high := min(top, 4*sum/weight), 4*sum/weight
		if f := float64(beat.Factor); f < low*(1-1e-3) || f > high*(1+1e-3) {
			rt.Errorf("factor = %f, want %f to %f", f, low, high)
		}
	})
}

// TestPanicRelievesTheLast: below the limit, the few that are well take no more than so many times their share, while others
// have next to nothing to do. Groups that say so rather overload them; and calm fleets leave the others alone.
func TestPanicRelievesTheLast(t *testing.T) {
	tests := []struct {
		name    string
		well    int // of 20
		load    int // requests held open
		noPanic bool
		woken   bool
	}{
		{"few are well", 2, 400, false, true},
		{"few are well, and little to do", 2, 16, false, false},
		{"half are well", 10, 400, false, false},
		{"few are well, no panic", 2, 400, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t, world{
				channels: []channel{{0, 1, make([]uint32, 20)}},
				group:    &syncv1.GroupState{Strategy: int32(resourcev1.Strategy_STRATEGY_WEIGHTED_RANDOM), NoPanic: tt.noPanic},
			})
			p, a := h.pool(), h.ask()
			for i := tt.well; i < 20; i++ {
				find(t, p, snapshot.AccountID(accountID(0, i))).Cell.Cool(nowMS + 1)
			}
			held := find(t, p, "0.19")
			held.Cell.Hold(nowMS + 1)
			full := find(t, p, "0.18")
			full.Cell.Full.Store(1)
			full.Cell.InFlight.Store(1)
			rng := SeededRand(1)
			woken, most := 0, 0
			for i := range tt.load {
				if i%10 == 0 {
					refresh(h)
				}
				c, reason := Pick(p, a, &rng)
				if c == held || c == full || (reason == Panicked) != c.Cell.Resting(nowMS) {
					t.Fatalf("picked %s (%v)", c.Account.ID, reason)
				}
				if reason == Panicked {
					woken++
				} else {
					most = max(most, int(c.Cell.InFlight.Load()))
				}
				c.Cell.InFlight.Add(1)
			}
			if (woken > 0) != tt.woken {
				t.Errorf("%d requests went to accounts that rest, want some = %v", woken, tt.woken)
			}
			// Twice the share of 400, and what came since the last summing up.
			if tt.woken && most > 2*tt.load/20+20 {
				t.Errorf("one that is well had %d under way", most)
			}
		})
	}
}
