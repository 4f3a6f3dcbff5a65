package route

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/clientkey"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// bind adds a key that is bound to accounts and returns it.
func (h *house) bind(accounts ...string) *snapshot.Key {
	h.t.Helper()
	mac := clientkey.MAC{31: 1}
	h.send(h.change(syncv1.Kind_KIND_KEY, "k", &syncv1.KeyState{GroupId: "g", Mac: mac[:], AccountIds: accounts}))
	k, ok := h.replica.Snapshot().Key(mac)
	if !ok {
		h.t.Fatal("no key")
	}
	return k
}

// bound is the key's part of the pool.
func (h *house) bound(k *snapshot.Key) *snapshot.Pool {
	h.t.Helper()
	p := h.replica.Snapshot().Bound(h.pool(), k)
	if p == nil {
		h.t.Fatal("nobody is bound")
	}
	return p
}

func TestBoundKeysGetTheirShares(t *testing.T) {
	for _, strategy := range strategies {
		t.Run(strategy.String(), func(t *testing.T) {
			h := open(t, world{group: groupOf(strategy), channels: []channel{
				{priority: 2, weight: 100, accounts: []uint32{100, 300, 100, 500}},
				{priority: 2, weight: 200, accounts: []uint32{100, 100}},
				{priority: 1, weight: 100, accounts: []uint32{100}},
			}})
			p := h.bound(h.bind("0.0", "0.1", "1.1", "2.0", "9.9"))
			want := map[snapshot.AccountID]float64{"0.0": 1, "0.1": 3, "1.1": 8}
			if strategy == leastRecent {
				want = map[snapshot.AccountID]float64{"0.0": 1, "0.1": 1, "1.1": 1}
			}
			agree(t, counts(t, p, h.ask(), 12_000), want)
		})
	}
}

// TestBoundIsAsIfAlone: to a bound key, a pool is one in which only its accounts are enabled: draw by draw, whatever state they
// are in.
func TestBoundIsAsIfAlone(t *testing.T) {
	bound := []string{"0.1", "0.2", "1.0", "1.3", "2.1"}
	states := map[string]func(*snapshot.Pool){
		"idle": func(*snapshot.Pool) {},
		"one rests": func(p *snapshot.Pool) {
			find(t, p, "0.1").Cell.Cool(nowMS + 1000)
		},
		"the first tier rests": func(p *snapshot.Pool) {
			for _, id := range bound[:4] {
				find(t, p, snapshot.AccountID(id)).Cell.Cool(nowMS + 1000)
			}
		},
		"all rest": func(p *snapshot.Pool) {
			for i, id := range bound {
				find(t, p, snapshot.AccountID(id)).Cell.Cool(nowMS + 1000 - int64(i))
			}
		},
		"all are held": func(p *snapshot.Pool) {
			for _, id := range bound {
				find(t, p, snapshot.AccountID(id)).Cell.Hold(nowMS + 1000)
			}
		},
		"busy and capped": func(p *snapshot.Pool) {
			for i, id := range bound {
				c := find(t, p, snapshot.AccountID(id)).Cell
				c.InFlight.Store(int32(i))
				c.Full.Store(int32(2 * (i + 1)))
			}
			find(t, p, "0.2").Cell.Full.Store(1)
		},
	}
	for name, prepare := range states {
		for _, strategy := range strategies {
			if strategy == leastRecent {
				continue // its turns begin anywhere
			}
			for _, affinity := range []resourcev1.Affinity{affinityOn, affinityHard} {
				t.Run(fmt.Sprintf("%s/%v/%v", name, strategy, affinity), func(t *testing.T) {
					g := groupOf(strategy)
					g.Affinity = int32(affinity)
					w := world{group: g, channels: []channel{
						{priority: 2, weight: 100, accounts: []uint32{100, 300, 100, 500}},
						{priority: 2, weight: 200, accounts: []uint32{100, 100, 50, 70}},
						{priority: 1, weight: 100, accounts: []uint32{100, 100}},
					}, ratios: []int64{1_000_000, 1_500_000, 1_000_000}}
					many, alone := open(t, w), open(t, w)
					p := many.bound(many.bind(bound...))
					var off []*syncv1.Change
					for i, c := range w.channels {
						for j, weight := range c.accounts {
							if id := accountID(i, j); !slices.Contains(bound, id) {
								off = append(off, alone.change(syncv1.Kind_KIND_ACCOUNT, id,
									&syncv1.AccountState{ChannelId: channelID(i), Weight: weight, Disabled: true}))
							}
						}
					}
					alone.send(off...)
					q := alone.pool()
					prepare(p)
					prepare(q)
					for _, fresh := range []bool{false, true} {
						if fresh {
							Refresh(many.replica.Snapshot(), time.UnixMilli(nowMS))
							Refresh(alone.replica.Snapshot(), time.UnixMilli(nowMS))
						}
						a, b := many.ask(), alone.ask()
						r, s := SeededRand(3), SeededRand(3)
						for i := range 300 {
							a.Affinity, b.Affinity = 0, 0
							if i%2 == 1 {
								n := Affinity("k", "m", fmt.Append(nil, i))
								a.Affinity, b.Affinity = n, n
							}
							c, why := Pick(p, a, &r)
							d, whyAlone := Pick(q, b, &s)
							if why != whyAlone || (c == nil) != (d == nil) || c != nil && c.Account.ID != d.Account.ID {
								t.Fatalf("pick %d (after a refresh: %v) = %v, %v; alone %v, %v", i, fresh, c, why, d, whyAlone)
							}
						}
					}
					if at, want := ReadyAt(p), ReadyAt(q); at != want {
						t.Errorf("ReadyAt = %d, alone %d", at, want)
					}
				})
			}
		}
	}
}

// TestRefreshKeepsBound: the parts that bound keys use are summed up as other pools are, and go when no request uses them.
func TestRefreshKeepsBound(t *testing.T) {
	h := open(t, world{channels: []channel{{priority: 1, accounts: []uint32{100, 100, 100}}}})
	k := h.bind("0.1", "0.2")
	p := h.bound(k)
	rng := SeededRand(1)
	Pick(p, h.ask(), &rng)
	find(t, p, "0.1").Cell.Cool(nowMS + 1000)
	Refresh(h.replica.Snapshot(), time.UnixMilli(nowMS))
	if pulse := p.Pulse(); pulse == nil || pulse.Tiers[0].Healthy != 0.5 {
		t.Errorf("pulse = %+v, want one of which half is healthy", pulse)
	}
	Refresh(h.replica.Snapshot(), time.UnixMilli(nowMS+lingerMS))
	if h.bound(k) != p {
		t.Error("a part that was used a minute ago is gone")
	}
	Refresh(h.replica.Snapshot(), time.UnixMilli(nowMS+lingerMS+1))
	if h.bound(k) == p {
		t.Error("a part that nobody uses is still there")
	}
}

// BenchmarkPickBound is a request of a key that is bound to some of 100k accounts: finding its part, and picking from it. It
// allocates nothing.
func BenchmarkPickBound(b *testing.B) {
	for _, n := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			h := benchHouse(b, 1000, 100, true, balanced)
			ids := make([]string, n)
			for i := range ids {
				ids[i] = accountID(i*13, i)
			}
			k := h.bind(ids...)
			s, whole, a := h.replica.Snapshot(), h.pool(), h.ask()
			rng := SeededRand(1)
			Pick(s.Bound(whole, k), a, &rng)
			Refresh(s, time.UnixMilli(nowMS))
			b.ReportAllocs()
			for b.Loop() {
				Pick(s.Bound(whole, k), a, &rng)
			}
		})
	}
}
