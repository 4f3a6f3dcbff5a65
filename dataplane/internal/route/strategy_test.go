package route

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"fairway/dataplane/internal/snapshot"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// known is what the health room says of an account; 0 = nothing.
type known struct{ vigor, performance, reliability, use float32 }

func (k known) tell(c *snapshot.Cell) {
	for _, f := range []struct {
		to *snapshot.Factor
		v  float32
	}{{&c.Vigor, k.vigor}, {&c.Performance, k.performance}, {&c.Reliability, k.reliability}, {&c.Use, k.use}} {
		if f.v != 0 {
			f.to.Store(f.v)
		}
	}
}

// TestIdleSharesFollowTheDefinition: what each strategy gives to idle accounts is weight times what it says it is.
func TestIdleSharesFollowTheDefinition(t *testing.T) {
	two := []channel{{0, 2, []uint32{1, 3}}, {0, 1, []uint32{5}}}
	tests := []struct {
		name     string
		strategy resourcev1.Strategy
		ratios   []int64
		known    map[snapshot.AccountID]known
		want     map[snapshot.AccountID]float64
	}{
		{"weights", weighted, nil, nil, map[snapshot.AccountID]float64{"0.0": 0.5, "0.1": 1.5, "1.0": 1}},
		{"vigor", weighted, nil, map[snapshot.AccountID]known{"0.1": {vigor: .1}, "1.0": {vigor: .5}},
			map[snapshot.AccountID]float64{"0.0": 0.5, "0.1": .15, "1.0": .5}},
		{"no vigor", weighted, nil, map[snapshot.AccountID]known{"0.1": {vigor: 1e-9}}, map[snapshot.AccountID]float64{"0.0": 0.5, "0.1": 0, "1.0": 1}},
		{"little vigor anywhere", weighted, nil, map[snapshot.AccountID]known{"0.0": {vigor: .01}, "0.1": {vigor: .02}, "1.0": {vigor: .02}},
			map[snapshot.AccountID]float64{"0.0": 0.25, "0.1": 1.5, "1.0": 1}},
		{"scores do not count", weighted, []int64{1e6, 3e6}, map[snapshot.AccountID]known{"0.1": {performance: .1, reliability: .2, use: 3}},
			map[snapshot.AccountID]float64{"0.0": 0.5, "0.1": 1.5, "1.0": 1}},
		{"use", leastUsed, nil, map[snapshot.AccountID]known{"0.0": {use: 4}, "0.1": {use: .25}, "1.0": {vigor: .5, use: 2}},
			map[snapshot.AccountID]float64{"0.0": 2, "0.1": .375, "1.0": 1}},
		{"all prices the same", lowestCost, []int64{1_000_000, 1_050_000}, nil, map[snapshot.AccountID]float64{"0.0": 0.5, "0.1": 1.5, "1.0": 1}},
		{"the cheapest", lowestCost, []int64{1_060_000, 1_000_000}, nil, map[snapshot.AccountID]float64{"1.0": 1}},
		{"score", balanced, []int64{2e6, 1e6}, map[snapshot.AccountID]known{"0.0": {performance: .5}, "0.1": {reliability: .1, vigor: .5}},
			map[snapshot.AccountID]float64{
				"0.0": 0.5 * math.Pow(.2+.15+.2+.1, 4), "0.1": 1.5 * .5 * math.Pow(.2+.3+.2+.01, 4), "1.0": 1,
			}},
		{"in turn", leastRecent, nil, nil, map[snapshot.AccountID]float64{"0.0": 1, "0.1": 1, "1.0": 1}},
		{"in turn by vigor", leastRecent, nil, map[snapshot.AccountID]known{"0.1": {vigor: .25}}, map[snapshot.AccountID]float64{"0.0": 1, "0.1": .25, "1.0": 1}},
	}
	for _, tt := range tests {
		for _, refreshed := range []bool{false, true} {
			if tt.strategy == leastUsed && !refreshed {
				continue // factors above 1 are of no use before the first summing up
			}
			t.Run(fmt.Sprint(tt.name, " refreshed=", refreshed), func(t *testing.T) {
				h := open(t, world{channels: two, ratios: tt.ratios, group: &syncv1.GroupState{Strategy: int32(tt.strategy)}})
				p, a := h.pool(), h.ask()
				for id, k := range tt.known {
					k.tell(find(t, p, id).Cell)
				}
				if refreshed {
					counts(t, p, a, 1)
					Refresh(h.replica.Snapshot(), time.UnixMilli(nowMS))
				}
				agree(t, counts(t, p, a, 100_000), tt.want)
			})
		}
	}
}

// TestEachTermDecides: with its weight at 1, the score is its term alone, idle or busy.
func TestEachTermDecides(t *testing.T) {
	tests := []struct {
		name    string
		weights *syncv1.BalanceState
		ratios  []int64
		better  known // of 0.0; 1.0 has all the other advantages
		worse   known
		loads   [2]int32
	}{
		{"cost", &syncv1.BalanceState{Cost: 1}, []int64{1e6, 3e6}, known{performance: .1, reliability: .1}, known{}, [2]int32{5, 1}},
		{"performance", &syncv1.BalanceState{Performance: 1}, []int64{3e6, 1e6}, known{reliability: .1}, known{performance: .3}, [2]int32{5, 1}},
		{"reliability", &syncv1.BalanceState{Reliability: 1}, []int64{3e6, 1e6}, known{performance: .1}, known{reliability: .3}, [2]int32{5, 1}},
		{"load", &syncv1.BalanceState{Load: 1}, []int64{3e6, 1e6}, known{performance: .1, reliability: .1}, known{}, [2]int32{1, 5}},
	}
	for _, tt := range tests {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprint(tt.name, " busy=", busy), func(t *testing.T) {
				h := open(t, world{
					channels: []channel{{0, 1, []uint32{1}}, {0, 1, []uint32{1}}}, ratios: tt.ratios,
					group: groupOf(balanced), settings: &syncv1.SettingsState{Balance: tt.weights},
				})
				p, a := h.pool(), h.ask()
				one, other := find(t, p, "0.0"), find(t, p, "1.0")
				tt.better.tell(one.Cell)
				tt.worse.tell(other.Cell)
				most := 0.5
				if busy {
					one.Cell.InFlight.Store(tt.loads[0])
					other.Cell.InFlight.Store(tt.loads[1])
					most = 0.001 // when only one is drawn eight times in a row
				} else if tt.name != "load" {
					most = 0.02 // the fourth power of 0.3
				}
				const n = 10_000
				got := counts(t, p, a, n)
				if worse := float64(got["1.0"]) / n; math.Abs(worse-most) > 0.02 && worse > most {
					t.Errorf("the worse one got %.3f, want at most %.3f", worse, most)
				}
			})
		}
	}
}

// TestBusyOnesAreComparedByLoad: of two that are busy the one with less to do for its share is taken, whatever else is known
// of them; where both have a cap, their shares of it count.
func TestBusyOnesAreComparedByLoad(t *testing.T) {
	tests := []struct {
		name  string
		known known // of 1.0
		loads [2]int32
		full  [2]int32
		want  snapshot.AccountID
	}{
		{"less to do", known{}, [2]int32{4, 2}, [2]int32{}, "1.0"},
		{"less to do, but slow", known{performance: .5}, [2]int32{4, 1}, [2]int32{}, "1.0"},
		{"a little slow, but far less to do", known{performance: .8}, [2]int32{90, 1}, [2]int32{}, "1.0"},
		{"on the way back", known{vigor: .25}, [2]int32{3, 1}, [2]int32{}, "0.0"},
		{"near its cap", known{}, [2]int32{8, 9}, [2]int32{10, 100}, "1.0"},
		{"at its cap", known{performance: .1, reliability: .1}, [2]int32{8, 9}, [2]int32{8, 100}, "1.0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t, world{channels: []channel{{0, 1, []uint32{1}}, {0, 1, []uint32{1}}}, group: groupOf(balanced)})
			p, a := h.pool(), h.ask()
			for i, id := range []snapshot.AccountID{"0.0", "1.0"} {
				c := find(t, p, id).Cell
				c.InFlight.Store(tt.loads[i])
				c.Full.Store(tt.full[i])
			}
			tt.known.tell(find(t, p, "1.0").Cell)
			got := counts(t, p, a, 1000)
			// The other one only when eight draws in a row leave out the better.
			if other := 1000 - got[tt.want]; other > 150 {
				t.Errorf("picked %v, want %s", got, tt.want)
			}
		})
	}
}

// TestLeastRecentIsExact: of as many picks as there are usable accounts, each gets one, in the same order each time, whatever the
// sizes and weights, and wherever the picks begin.
func TestLeastRecentIsExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := open(t, world{channels: drawChannels(rt), group: &syncv1.GroupState{Strategy: int32(leastRecent)}})
		p, a := h.pool(), h.ask()
		a.Seed = rapid.Uint64().Draw(rt, "seed")
		usable := 0
		each(p, func(c *snapshot.Candidate) {
			if rapid.IntRange(0, 3).Draw(rt, "cooling") == 0 {
				c.Cell.Cool(nowMS + 1)
			} else {
				usable++
			}
		})
		if usable == 0 {
			return
		}
		rng := SeededRand(1)
		var order []snapshot.AccountID
		for range 3 * usable {
			c, reason := Pick(p, a, &rng)
			if reason != Chosen {
				rt.Fatalf("reason = %v", reason)
			}
			order = append(order, c.Account.ID)
		}
		first := slices.Sorted(slices.Values(order[:usable]))
		if len(slices.Compact(first)) != usable {
			rt.Errorf("one was picked twice of %d: %v", usable, order[:usable])
		}
		if !slices.Equal(order[:usable], order[usable:2*usable]) || !slices.Equal(order[:usable], order[2*usable:]) {
			rt.Errorf("the order changes: %v", order)
		}
	})
}

// TestLeastRecentDiffersByProxy: all in one order would come to each account at the same time.
func TestLeastRecentDiffersByProxy(t *testing.T) {
	orders := make(map[string]bool)
	for seed := range uint64(20) {
		h := open(t, world{channels: []channel{{0, 1, make([]uint32, 11)}}, group: groupOf(leastRecent)})
		p, a := h.pool(), h.ask()
		a.Seed = seed
		rng := SeededRand(1)
		var order []snapshot.AccountID
		for range 11 {
			c, _ := Pick(p, a, &rng)
			order = append(order, c.Account.ID)
		}
		orders[fmt.Sprint(order)] = true
	}
	if len(orders) < 15 {
		t.Errorf("%d orders for 20 proxies", len(orders))
	}
}

// TestLeastRecentGoesOn: a change of the state does not begin the round again.
func TestLeastRecentGoesOn(t *testing.T) {
	h := open(t, world{channels: []channel{{0, 1, []uint32{1, 1, 1, 1, 1, 1, 1}}}, group: groupOf(leastRecent)})
	rng := SeededRand(1)
	seen := make(map[snapshot.AccountID]int)
	for i := range 7 {
		c, _ := Pick(h.pool(), h.ask(), &rng)
		seen[c.Account.ID]++
		h.send(h.account(0, i, uint32(i+2), false))
	}
	if len(seen) != 7 {
		t.Errorf("%d accounts had a turn, want 7: %v", len(seen), seen)
	}
}

// TestLowestCostSpillsToTheNextPrice: dearer ones serve when the cheapest cannot, before the next tier does.
func TestLowestCostSpillsToTheNextPrice(t *testing.T) {
	h := open(t, world{
		channels: []channel{{1, 1, []uint32{1}}, {1, 1, []uint32{1}}, {1, 1, []uint32{1}}, {0, 1, []uint32{1}}},
		ratios:   []int64{2_000_000, 1_000_000, 1_500_000, 100_000}, group: groupOf(lowestCost),
	})
	p, a := h.pool(), h.ask()
	rng := SeededRand(1)
	reason := Chosen
	for _, want := range []snapshot.AccountID{"1.0", "2.0", "0.0", "3.0"} {
		c, got := Pick(p, a, &rng)
		if c.Account.ID != want || got != reason {
			t.Errorf("picked %s (%v), want %s (%v)", c.Account.ID, got, want, reason)
		}
		c.Cell.Cool(nowMS + 1)
		reason = Spilled
	}
}

// TestAWeakOneAmongThousandsIsSpared: thinning does what a table made for it would.
func TestAWeakOneAmongThousandsIsSpared(t *testing.T) {
	h := open(t, world{channels: []channel{{0, 1, make([]uint32, 2000)}}, group: groupOf(balanced)})
	p, a := h.pool(), h.ask()
	for i := range 1000 {
		find(t, p, snapshot.AccountID(accountID(0, i))).Cell.Vigor.Store(0.01)
	}
	weak := 0
	for id, n := range counts(t, p, a, 100_000) {
		if find(t, p, id).Cell.Vigor.Load() < 1 {
			weak += n
		}
	}
	if want := 100_000 * 0.01 / 1.01; math.Abs(float64(weak)-want) > 6*math.Sqrt(want) {
		t.Errorf("the weak half got %d, want about %.0f", weak, want)
	}
}
