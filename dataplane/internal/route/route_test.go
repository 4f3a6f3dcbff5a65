package route

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/digest"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// channel of a test pool: its accounts have the given weights.
type channel struct {
	priority int32
	weight   uint32
	accounts []uint32
}

// pool compiles channels into a pool, as a proxy would. Account j of channel i is "i.j".
func pool(t testing.TB, channels ...channel) *snapshot.Pool {
	t.Helper()
	txn := &syncv1.Txn{Lineage: "L", Revision: 1, ReplacedBuckets: math.MaxUint64, Last: true}
	add := func(kind syncv1.Kind, id string, m proto.Message) {
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		txn.Changes = append(txn.Changes, &syncv1.Change{Kind: kind, Id: id, Version: 1, Body: b})
	}
	add(syncv1.Kind_KIND_GROUP, "g", &syncv1.GroupState{Name: "g"})
	for i, c := range channels {
		id := fmt.Sprintf("%05d", i)
		add(syncv1.Kind_KIND_CHANNEL, id, &syncv1.ChannelState{Provider: 1,
			BaseUrl: "http://h", Models: []string{"m"}, GroupIds: []string{"g"}, Priority: c.priority, Weight: c.weight,
		})
		for j, w := range c.accounts {
			add(syncv1.Kind_KIND_ACCOUNT, fmt.Sprintf("%d.%d", i, j), &syncv1.AccountState{ChannelId: id, Weight: w})
		}
	}
	var sums digest.Sums
	for _, c := range txn.GetChanges() {
		sums.Add(int32(c.GetKind()), c.GetId(), c.GetVersion(), c.GetBody())
	}
	txn.Digest = sums.Root()
	r := snapshot.NewReplica()
	if _, err := r.Receive(txn); err != nil {
		t.Fatal(err)
	}
	g, _ := r.Snapshot().Group("g")
	p, ok := r.Snapshot().Pool(g, "m")
	if !ok {
		t.Fatal("no pool")
	}
	return p
}

// each calls f with every candidate.
func each(p *snapshot.Pool, f func(*snapshot.Candidate)) {
	for i := range p.Tiers {
		for _, r := range p.Tiers[i].Rosters {
			for j := range r.Candidates {
				f(&r.Candidates[j])
			}
		}
	}
}

func find(t testing.TB, p *snapshot.Pool, id snapshot.AccountID) *snapshot.Candidate {
	t.Helper()
	var found *snapshot.Candidate
	each(p, func(c *snapshot.Candidate) {
		if c.Account.ID == id {
			found = c
		}
	})
	if found == nil {
		t.Fatalf("no account %s", id)
	}
	return found
}

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
				c, reason := Pick(p, nil, 0, &rng)
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
		c, _ := Pick(p, nil, 0, &rng)
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
		if c, _ := Pick(p, nil, 0, &rng); c.Account.ID == "0.0" {
			loaded++
		}
	}
	if loaded > 100 { // only when ten draws in a row fall on it
		t.Errorf("the account with 50 in flight was picked %d times of 10000", loaded)
	}
}

// TestPickNeverReturnsWhatItMustNot tries all combinations of states of four accounts in two tiers.
func TestPickNeverReturnsWhatItMustNot(t *testing.T) {
	const now = 1000
	type state int
	const (
		fine state = iota
		tried
		cooling
		held
		states
	)
	p := pool(t, channel{1, 1, []uint32{1, 9}}, channel{1, 5, []uint32{3}}, channel{0, 1, []uint32{1}})
	var all []*snapshot.Candidate
	each(p, func(c *snapshot.Candidate) { all = append(all, c) })
	high := 3
	rng := SeededRand(1)
	for combination := range int(math.Pow(float64(states), float64(len(all)))) {
		kinds := make([]state, len(all))
		var done []*snapshot.Account
		fineHigh, fineLow, coolingHigh, coolingLow, heldAny := 0, 0, 0, 0, false
		for i, c := range all {
			kinds[i] = state(combination / int(math.Pow(float64(states), float64(i))) % int(states))
			c.Cell.CooldownUntil.Store(now) // over by now
			c.Cell.HeldUntil.Store(now - 1)
			switch kinds[i] {
			case fine:
				if i < high {
					fineHigh++
				} else {
					fineLow++
				}
			case tried:
				done = append(done, c.Account)
			case cooling:
				c.Cell.CooldownUntil.Store(now + 1 + int64(i))
				if i < high {
					coolingHigh++
				} else {
					coolingLow++
				}
			case held:
				c.Cell.HeldUntil.Store(now + 1)
				heldAny = true
			}
		}
		want := Exhausted
		switch {
		case fineHigh > 0:
			want = Chosen
		case fineLow > 0:
			want = Spilled
		case coolingHigh+coolingLow > 0:
			want = Panicked
		case heldAny:
			want = Held
		}
		for range 20 {
			c, reason := Pick(p, done, now, &rng)
			if reason != want || (c == nil) != (reason == Exhausted || reason == Held) {
				t.Fatalf("%v: reason = %v, want %v", kinds, reason, want)
			}
			if c == nil {
				continue
			}
			i := 0
			for all[i].Account != c.Account {
				i++
			}
			ok := kinds[i] == fine && (reason == Chosen) == (i < high)
			if reason == Panicked {
				ok = kinds[i] == cooling && (i < high) == (coolingHigh > 0)
			}
			if !ok {
				t.Fatalf("%v: picked %s (%v)", kinds, c.Account.ID, reason)
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
		if c, reason := Pick(p, nil, 50, &rng); c.Account != only.Account || reason != Chosen {
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
		if c, _ := Pick(p, nil, 50, &rng); c.Account == b.Account {
			got++
		}
	}
	if want := 0.75 * n; math.Abs(float64(got)-want) > 0.03*n {
		t.Errorf("the heavier was picked %d times of %d, want about %.0f", got, n, want)
	}
}

func TestPickAllocatesNothing(t *testing.T) {
	p := pool(t, channel{1, 1, []uint32{1, 2, 3}}, channel{0, 1, []uint32{1}})
	rng := SeededRand(1)
	tried := []*snapshot.Account{find(t, p, "0.0").Account}
	if n := testing.AllocsPerRun(100, func() { Pick(p, tried, 0, &rng) }); n != 0 {
		t.Errorf("%v allocations per pick", n)
	}
}

func TestBudget(t *testing.T) {
	var cell snapshot.GroupCell
	b := BudgetOf(&snapshot.Group{Cell: &cell}, snapshot.Settings{RetryBudgetPercent: 20, RetryBudgetMin: 3})
	grants := func() int {
		n := 0
		for b.Retry() {
			n++
		}
		for range n {
			b.EndRetry()
		}
		return n
	}
	for _, tt := range []struct{ active, want int }{{0, 3}, {1, 3}, {15, 3}, {20, 4}, {1000, 200}} {
		for range tt.active {
			b.Begin()
		}
		if got := grants(); got != tt.want {
			t.Errorf("%d active requests: %d retries, want %d", tt.active, got, tt.want)
		}
		for range tt.active {
			b.End()
		}
	}
	if cell.Active.Load() != 0 || cell.Retries.Load() != 0 {
		t.Errorf("%d active and %d retries are left", cell.Active.Load(), cell.Retries.Load())
	}
}

func TestBudgetIsNeverExceeded(t *testing.T) {
	var cell snapshot.GroupCell
	b := BudgetOf(&snapshot.Group{Cell: &cell}, snapshot.Settings{RetryBudgetPercent: 0, RetryBudgetMin: 4})
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 2000 {
				if !b.Retry() {
					continue
				}
				if n := cell.Retries.Load(); n > 4 {
					t.Errorf("%d retries at once, want 4 at most", n)
				}
				b.EndRetry()
			}
		})
	}
	all.Wait()
	if n := cell.Retries.Load(); n != 0 {
		t.Errorf("%d retries are left", n)
	}
}

// TestTwoChoices: whatever is not looked at, the answer is that of two choices spelled out: of the first two different
// ones that are drawn and usable, the one with less load for its share; the first when they are equal.
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
		for range draws {
			c := tier.Draw(rng.Uint64(), rng.Uint64()).Candidate
			if c == first || c.Cell.CooldownUntil.Load() > now || slices.Contains(tried, c.Account) {
				continue
			}
			if first == nil {
				first, want = c, c
				continue
			}
			if float32(c.Cell.InFlight.Load())*c.Scale < float32(first.Cell.InFlight.Load())*first.Scale {
				want = c
			}
			break
		}
		if first == nil {
			return // what a scan finds is tested by itself
		}
		rng = SeededRand(seed)
		if got, reason := Pick(p, tried, now, &rng); got != want || reason != Chosen {
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

// benchPool makes channels of that many accounts each.
func benchPool(b *testing.B, channels, accounts int, weighted bool) *snapshot.Pool {
	list := make([]channel, channels)
	for i := range list {
		list[i].weight = 100
		list[i].accounts = slices.Repeat([]uint32{100}, accounts)
		if weighted {
			list[i].weight += uint32(i % 7)
			list[i].accounts[0] = 50
		}
	}
	return pool(b, list...)
}

// BenchmarkPick has bars: 60 ns at 10k accounts, 100 ns at 100k, no allocation. The accounts are idle, as nearly all of so
// many are at any moment.
func BenchmarkPick(b *testing.B) {
	for _, tt := range []struct {
		channels, accounts int
		weighted           bool
	}{{1, 3, false}, {10_000, 1, false}, {100, 100, true}, {1, 10_000, true}, {1000, 100, true}, {100_000, 1, true}, {1, 100_000, true}} {
		b.Run(fmt.Sprintf("%dx%d", tt.channels, tt.accounts), func(b *testing.B) {
			p := benchPool(b, tt.channels, tt.accounts, tt.weighted)
			rng := SeededRand(1)
			b.ReportAllocs()
			for b.Loop() {
				Pick(p, nil, 1, &rng)
			}
		})
	}
}

// BenchmarkPickBusy is the worst case: each account has requests under way, so that two have to be compared.
func BenchmarkPickBusy(b *testing.B) {
	for _, n := range [][2]int{{100, 100}, {1000, 100}, {100_000, 1}, {1, 100_000}} {
		b.Run(fmt.Sprintf("%dx%d", n[0], n[1]), func(b *testing.B) {
			p := benchPool(b, n[0], n[1], true)
			load := int32(0)
			each(p, func(c *snapshot.Candidate) {
				load = load%3 + 1
				c.Cell.InFlight.Store(load)
			})
			rng := SeededRand(1)
			b.ReportAllocs()
			for b.Loop() {
				Pick(p, nil, 1, &rng)
			}
		})
	}
}
