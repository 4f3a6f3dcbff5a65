package snapshot

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// boundTo adds a key with accounts to a state.
func boundTo(t testing.TB, n int, accounts ...string) *syncv1.Change {
	t.Helper()
	st := keyState(n)
	st.AccountIds = accounts
	return put(t, keyKind, fmt.Sprint("k", n), int64(n), st)
}

func keyOf(t testing.TB, s *Snapshot, n int) *Key {
	t.Helper()
	k, ok := s.Key(macOf(n))
	if !ok {
		t.Fatalf("no key %d", n)
	}
	return k
}

func poolOf(t testing.TB, s *Snapshot, model string) *Pool {
	t.Helper()
	g, _ := s.Group("g1")
	p, ok := s.Pool(g, model)
	if !ok {
		t.Fatalf("no pool for %s", model)
	}
	return p
}

// members are the accounts of a pool, those aside in brackets.
func members(p *Pool) []string {
	var all []string
	if p == nil {
		return nil
	}
	for _, t := range p.Tiers {
		for _, r := range t.Rosters {
			for _, c := range r.Candidates {
				all = append(all, fmt.Sprint(t.Priority, " ", c.Account.ID))
			}
			for _, c := range r.Passive {
				all = append(all, fmt.Sprintf("%d (%s)", t.Priority, c.Account.ID))
			}
		}
	}
	for _, r := range p.Aside {
		for _, c := range r.Passive {
			all = append(all, fmt.Sprintf("(%s)", c.Account.ID))
		}
	}
	return all
}

func TestBound(t *testing.T) {
	src := small(t)
	src.apply(
		put(t, accountKind, "a4", 1, &syncv1.AccountState{ChannelId: "c1", Disabled: true}),
		put(t, accountKind, "a5", 1, &syncv1.AccountState{ChannelId: "c1", Unschedulable: true}),
		put(t, accountKind, "a6", 1, &syncv1.AccountState{ChannelId: "nowhere"}),
		put(t, channelKind, "c3", 1, &syncv1.ChannelState{Provider: 1, BaseUrl: "http://h", Models: []string{"m1"}, GroupIds: []string{"other"}}),
		put(t, accountKind, "a7", 1, &syncv1.AccountState{ChannelId: "c3"}),
	)
	tests := []struct {
		name     string
		accounts []string
		m1, m2   []string // members; nil = nobody
		models   []string
	}{
		{"to nothing", nil, []string{"10 a1", "10 a2", "10 (a5)", "5 a3"}, []string{"10 a1", "10 a2", "10 (a5)"}, []string{"m1", "m2"}},
		{"to one", []string{"a2"}, []string{"10 a2"}, []string{"10 a2"}, []string{"m1", "m2"}},
		{"to one of the lower tier", []string{"a3"}, []string{"5 a3"}, nil, []string{"m1"}},
		{"to one of each", []string{"a3", "a1"}, []string{"10 a1", "5 a3"}, []string{"10 a1"}, []string{"m1", "m2"}},
		{"to a passive one", []string{"a5"}, []string{"(a5)"}, []string{"(a5)"}, []string{}},
		{"to a passive one beside another", []string{"a5", "a1"}, []string{"10 a1", "10 (a5)"}, []string{"10 a1", "10 (a5)"}, []string{"m1", "m2"}},
		{"to one that is disabled", []string{"a4"}, nil, nil, []string{}},
		{"to one without its channel", []string{"a6"}, nil, nil, []string{}},
		{"to another group's", []string{"a7"}, nil, nil, []string{}},
		{"to one that is not known", []string{"a8"}, nil, nil, []string{}},
		{"to all of that", []string{"a8", "a7", "a6", "a4", "a3"}, []string{"5 a3"}, nil, []string{"m1"}},
	}
	for i, tt := range tests {
		src.apply(boundTo(t, 10+i, tt.accounts...))
	}
	r := NewReplica()
	receive(t, r, src.full())
	s := r.Snapshot()
	g, _ := s.Group("g1")
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k := keyOf(t, s, 10+i)
			for model, want := range map[string][]string{"m1": tt.m1, "m2": tt.m2} {
				part := s.Bound(poolOf(t, s, model), k)
				if diff := cmp.Diff(want, members(part)); diff != "" {
					t.Errorf("members for %s (-want +got):\n%s", model, diff)
				}
				if s.Bound(poolOf(t, s, model), k) != part {
					t.Errorf("%s: two calls gave two parts", model)
				}
			}
			if diff := cmp.Diff(tt.models, s.ModelsFor(g, k)); diff != "" {
				t.Errorf("models (-want +got):\n%s", diff)
			}
		})
	}
}

func TestModelsForGoesByTheRules(t *testing.T) {
	src := small(t)
	st := keyState(10)
	st.DeniedModels = []string{"m1"}
	src.apply(put(t, keyKind, "k10", 1, st))
	r := NewReplica()
	receive(t, r, src.full())
	s := r.Snapshot()
	g, _ := s.Group("g1")
	// Of k2, m2 is denied; a2 and a3, to which it is bound, serve both.
	for n, want := range map[int][]string{1: {"m1", "m2"}, 2: {"m1"}, 10: {"m2"}} {
		if diff := cmp.Diff(want, s.ModelsFor(g, keyOf(t, s, n))); diff != "" {
			t.Errorf("key %d (-want +got):\n%s", n, diff)
		}
	}
}

// TestBoundKeysShare: keys that name the same accounts, in whatever order, share a part; others do not.
func TestBoundKeysShare(t *testing.T) {
	src := small(t)
	src.apply(boundTo(t, 10, "a1", "a3"), boundTo(t, 11, "a3", "a1"), boundTo(t, 12, "a1"), boundTo(t, 13, "a1", "a8"))
	r := NewReplica()
	receive(t, r, src.full())
	s := r.Snapshot()
	p := poolOf(t, s, "m1")
	var parts [4]*Pool
	for i := range parts {
		parts[i] = s.Bound(p, keyOf(t, s, 10+i))
	}
	if parts[0] != parts[1] || parts[0] == parts[2] || parts[2] == parts[3] {
		t.Errorf("parts are %p", parts)
	}
	if s.Bound(p, keyOf(t, s, 1)) != p {
		t.Error("a key that is bound to nothing has not the pool itself")
	}
}

// TestBoundOnceForAll: of many that ask for a part at once, all get the same, whose turns they share.
func TestBoundOnceForAll(t *testing.T) {
	src := small(t)
	src.apply(boundTo(t, 10, "a1", "a3"))
	r := NewReplica()
	receive(t, r, src.full())
	s := r.Snapshot()
	p, k := poolOf(t, s, "m1"), keyOf(t, s, 10)
	got := make([]*Pool, 8)
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() { got[i] = s.Bound(p, k) })
	}
	all.Wait()
	if slices.ContainsFunc(got, func(p *Pool) bool { return p != got[0] }) {
		t.Errorf("parts are %p", got)
	}
}

// TestBoundGoesOn: a part follows its pool's changes, and its turns go on where they stopped.
func TestBoundGoesOn(t *testing.T) {
	src := small(t)
	for i := range 5 {
		id := fmt.Sprint("b", i)
		src.apply(put(t, accountKind, id, 1, &syncv1.AccountState{ChannelId: "c1"}))
	}
	src.apply(boundTo(t, 10, "b0", "b1", "b2", "b3", "b4"))
	r := NewReplica()
	receive(t, r, src.full())
	next := func() AccountID {
		s := r.Snapshot()
		return s.Bound(poolOf(t, s, "m1"), keyOf(t, s, 10)).Tiers[0].Next(1).Candidate.Account.ID
	}
	seen := make(map[AccountID]int)
	for i := range 10 { // two rounds
		seen[next()]++
		c := put(t, accountKind, "a1", int64(100+i), &syncv1.AccountState{ChannelId: "c1", Weight: uint32(i + 1)})
		base := src.revision
		src.apply(c)
		receive(t, r, src.delta(base, c))
	}
	if want := map[AccountID]int{"b0": 2, "b1": 2, "b2": 2, "b3": 2, "b4": 2}; cmp.Diff(want, seen) != "" {
		t.Errorf("turns were %v, want two each", seen)
	}
	c := put(t, accountKind, "b3", 200, &syncv1.AccountState{ChannelId: "c1", Disabled: true})
	base := src.revision
	src.apply(c)
	receive(t, r, src.delta(base, c))
	s := r.Snapshot()
	want := []string{"10 b0", "10 b1", "10 b2", "10 b4"}
	if diff := cmp.Diff(want, members(s.Bound(poolOf(t, s, "m1"), keyOf(t, s, 10)))); diff != "" {
		t.Errorf("members after one was disabled (-want +got):\n%s", diff)
	}
}

// TestForgetBound: what no request uses goes, also what is kept for the pool's next self.
func TestForgetBound(t *testing.T) {
	src := small(t)
	src.apply(boundTo(t, 10, "a1"), boundTo(t, 11, "a2", "a3"))
	r := NewReplica()
	receive(t, r, src.full())
	s := r.Snapshot()
	p := poolOf(t, s, "m1")
	old, recent := s.Bound(p, keyOf(t, s, 10)), s.Bound(p, keyOf(t, s, 11))
	old.Touch(10_000)
	// What is made of a part counts for it.
	recent.Serving(1, func(ch *Channel) bool { return ch.ID == "c1" }).Touch(20_000)
	p.ForgetBound(15_000)
	if s.Bound(p, keyOf(t, s, 11)) != recent {
		t.Error("a part in use was forgotten")
	}
	again := s.Bound(p, keyOf(t, s, 10))
	if again == old {
		t.Error("a part that nobody uses is still there")
	}
	again.Touch(20_000)

	c := put(t, accountKind, "a1", 100, &syncv1.AccountState{ChannelId: "c1", Weight: 7})
	base := src.revision
	src.apply(c)
	receive(t, r, src.delta(base, c))
	s = r.Snapshot()
	p = poolOf(t, s, "m1")
	kept := func() int {
		n := 0
		for range p.bound.Load().before.Load().Range {
			n++
		}
		return n
	}
	if n := kept(); n != 2 {
		t.Errorf("%d parts are kept to go on from, want 2", n)
	}
	if got := s.Bound(p, keyOf(t, s, 10)); got.TouchedMS() != 20_000 || kept() != 1 {
		t.Errorf("the part was used at %d, and %d are kept; want that of the one before, and 1", got.TouchedMS(), kept())
	}
	p.ForgetBound(30_000)
	if n := kept(); n != 0 {
		t.Errorf("%d parts are kept, want none", n)
	}
}

// TestBoundCostsWhatTheListCosts: whatever the pool's size, a request of a bound key allocates nothing, and its first one no more
// than the list of accounts demands.
func TestBoundCostsWhatTheListCosts(t *testing.T) {
	first := func(channels int) float64 {
		src := newSource("L")
		src.apply(put(t, groupKind, "g1", 1, &syncv1.GroupState{Name: "g"}), boundTo(t, 10, "a0", "a1", "a2"))
		for i := range channels {
			src.apply(
				put(t, channelKind, fmt.Sprint("c", i), 1, &syncv1.ChannelState{Provider: 1, BaseUrl: "http://h", Models: []string{"m1"}, GroupIds: []string{"g1"}}),
				put(t, accountKind, fmt.Sprint("a", i), 1, &syncv1.AccountState{ChannelId: fmt.Sprint("c", i)}),
			)
		}
		r := NewReplica()
		receive(t, r, src.full())
		s := r.Snapshot()
		p, k := poolOf(t, s, "m1"), keyOf(t, s, 10)
		s.Bound(p, k)
		if n := testing.AllocsPerRun(100, func() { s.Bound(p, k) }); n != 0 {
			t.Errorf("%v allocations in a pool of %d, want none", n, channels)
		}
		return testing.AllocsPerRun(100, func() { s.compileBound(p, k.rules.accounts, nil) })
	}
	if few, many := first(3), first(2000); many > few {
		t.Errorf("%v allocations for a pool of 3, %v for one of 2000", few, many)
	}
}

// TestPoolsYieldsBound: what is made of a pool for bound keys is among the pools in use.
func TestPoolsYieldsBound(t *testing.T) {
	src := small(t)
	src.apply(boundTo(t, 10, "a1"))
	r := NewReplica()
	receive(t, r, src.full())
	s := r.Snapshot()
	part := s.Bound(poolOf(t, s, "m1"), keyOf(t, s, 10))
	var seen bool
	for _, p := range s.Pools {
		seen = seen || p == part
	}
	if !seen {
		t.Error("the part is not among them")
	}
	n := 0
	for range s.Pools {
		if n++; n == 1 {
			break // and nothing goes on after that
		}
	}
}

// BenchmarkBound is a request of a bound key finding its part of a pool of 100k accounts: again, and for the first time.
func BenchmarkBound(b *testing.B) {
	for _, n := range []int{1, 8, 64} {
		const channels, perChannel = 1000, 100
		src := newSource("L")
		var ids []string
		changes := []*syncv1.Change{put(b, groupKind, "g1", 1, &syncv1.GroupState{Name: "g"})}
		for i := range channels {
			changes = append(changes, put(b, channelKind, fmt.Sprint("channel-", i), 1, &syncv1.ChannelState{
				Provider: 1, BaseUrl: "https://h", Models: []string{"m1"}, GroupIds: []string{"g1"},
			}))
			for j := range perChannel {
				id := fmt.Sprintf("account-%d.%d", i, j)
				changes = append(changes, put(b, accountKind, id, 1, &syncv1.AccountState{ChannelId: fmt.Sprint("channel-", i)}))
				if len(ids) < n && i%15 == 0 && j == 0 {
					ids = append(ids, id)
				}
			}
		}
		src.apply(append(changes, boundTo(b, 10, ids...))...)
		r := NewReplica()
		receive(b, r, src.full())
		s := r.Snapshot()
		p, k := poolOf(b, s, "m1"), keyOf(b, s, 10)
		b.Run(fmt.Sprint(n, "/again"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Bound(p, k)
			}
		})
		b.Run(fmt.Sprint(n, "/first"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.compileBound(p, k.rules.accounts, nil)
			}
		})
	}
}
