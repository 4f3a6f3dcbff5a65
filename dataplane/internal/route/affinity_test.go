package route

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"fairway/dataplane/internal/snapshot"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// owners are the accounts that conversations belong to.
func owners(t testing.TB, h *house, conversations int) []snapshot.AccountID {
	t.Helper()
	p, a := h.pool(), h.ask()
	rng := SeededRand(1)
	ids := make([]snapshot.AccountID, conversations)
	for i := range ids {
		a.Affinity = Affinity("key", "m", fmt.Append(nil, i))
		c, reason := Pick(p, a, &rng)
		if reason != Stuck {
			t.Fatalf("conversation %d: %v", i, reason)
		}
		ids[i] = c.Account.ID
	}
	return ids
}

// TestConversationsStay: the same at every proxy and whatever happens elsewhere; and in all they follow weights.
func TestConversationsStay(t *testing.T) {
	w := world{channels: []channel{{0, 3, []uint32{1, 1, 2}}, {0, 1, []uint32{5}}, {-1, 9, []uint32{1}}}, group: groupOf(balanced)}
	const n = 20_000
	here, there := owners(t, open(t, w), n), owners(t, open(t, w), n)
	got := make(map[snapshot.AccountID]int)
	for i, id := range here {
		if got[id]++; id != there[i] {
			t.Fatalf("conversation %d is at %s here and at %s there", i, id, there[i])
		}
	}
	agree(t, got, map[snapshot.AccountID]float64{"0.0": .75, "0.1": .75, "0.2": 1.5, "1.0": 1})
}

// TestFewConversationsMove: when one of many accounts comes, or goes, others' conversations stay, but for a few.
func TestFewConversationsMove(t *testing.T) {
	const n = 20_000
	many := make([]uint32, 100)
	var channels []channel
	for range 100 {
		channels = append(channels, channel{0, 7, []uint32{3}})
	}
	for _, tt := range []struct {
		name     string
		channels []channel
	}{{"of one channel", []channel{{0, 1, many}}}, {"of a channel each", channels}} {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t, world{channels: tt.channels, group: groupOf(balanced)})
			before := owners(t, h, n)
			kind, id := syncv1.Kind_KIND_ACCOUNT, "0.0"
			back := h.sent[fmt.Sprint(kind, id)]
			h.send(&syncv1.Change{Kind: kind, Id: id, Deleted: true})
			without := owners(t, h, n)
			moved, had := 0, 0
			for i := range before {
				if before[i] == "0.0" {
					had++
				} else if before[i] != without[i] {
					moved++
				}
			}
			if had == 0 || moved > 4*n/100 {
				t.Errorf("%d conversations moved beside the %d that had to, want %d of %d at most", moved, had, 4*n/100, n)
			}
			h.send(back)
			for i, id := range owners(t, h, n) {
				if id != before[i] {
					t.Fatalf("conversation %d is at %s, was at %s", i, id, before[i])
				}
			}
		})
	}
}

// TestAffinityIsBounded: whatever conversations there are, an account that has its share and a quarter more takes no more of
// them, idle ones keep theirs, and nobody who cannot serve gets one.
func TestAffinityIsBounded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := open(t, world{channels: drawChannels(rt), group: groupOf(weighted)})
		p, a := h.pool(), h.ask()
		rng := SeededRand(rapid.Uint64().Draw(rt, "seed"))
		conversations := rapid.IntRange(1, 10).Draw(rt, "conversations")
		each(p, func(c *snapshot.Candidate) {
			if rapid.IntRange(0, 4).Draw(rt, "cooling") == 0 {
				c.Cell.Cool(nowMS + 1)
			}
		})
		for i := range 200 {
			a.Affinity = Affinity("k", "m", fmt.Append(nil, i%conversations))
			c, reason := Pick(p, a, &rng)
			if reason == Stuck {
				share := 1 / float64(c.Scale*p.Tiers[0].Weight)
				if most := max(1, math.Ceil(slack*float64(a.Group.Cell.Active.Load())*share)); float64(c.Cell.InFlight.Load()) > most {
					rt.Fatalf("an account with %d under way got a conversation, want %v at most", c.Cell.InFlight.Load(), most)
				}
				if c.Cell.Resting(nowMS) {
					rt.Fatalf("%s rests", c.Account.ID)
				}
			} else if w := begun(&p.Tiers[0], a.Affinity); usable(w.next(), a) {
				if w := begun(&p.Tiers[0], a.Affinity); w.next().Cell.InFlight.Load() <= 1 {
					rt.Fatalf("an idle owner lost its conversation: %v", reason)
				}
			}
			c.Cell.InFlight.Add(1)
			a.Group.Cell.Active.Add(1)
		}
	})
}

// TestConversationsLeaveWhoRests: at once, to the same one each time, and back when it is over.
func TestConversationsLeaveWhoRests(t *testing.T) {
	h := open(t, world{channels: []channel{{0, 1, make([]uint32, 40)}}, group: groupOf(balanced)})
	p, a := h.pool(), h.ask()
	rng := SeededRand(1)
	a.Affinity = Affinity("key", "m", []byte("s"))
	home, _ := Pick(p, a, &rng)
	home.Cell.Cool(nowMS + 10)
	second, reason := Pick(p, a, &rng)
	if second == home || reason != Stuck {
		t.Fatalf("picked %s (%v)", second.Account.ID, reason)
	}
	for range 20 {
		if c, _ := Pick(p, a, &rng); c != second {
			t.Fatalf("it moved on to %s", c.Account.ID)
		}
	}
	a.Tried = []*snapshot.Account{second.Account}
	if c, _ := Pick(p, a, &rng); c == second || c == home {
		t.Errorf("picked %s, which was tried or rests", c.Account.ID)
	}
	a.Tried, a.NowMS = nil, nowMS+10
	if c, _ := Pick(p, a, &rng); c != home {
		t.Errorf("it is at %s, want back at %s", c.Account.ID, home.Account.ID)
	}
}

// TestLoadOfOthersCounts: what is under way here for other groups makes accounts busy, and the mean higher.
func TestLoadOfOthersCounts(t *testing.T) {
	h := open(t, world{channels: []channel{{0, 1, []uint32{1, 1, 1, 1}}}, group: groupOf(balanced)})
	p, a := h.pool(), h.ask()
	rng := SeededRand(1)
	a.Affinity = 77
	home, _ := Pick(p, a, &rng)
	home.Cell.InFlight.Store(1)
	if c, reason := Pick(p, a, &rng); c != home || reason != Stuck {
		t.Errorf("it leaves for one request under way: %s (%v)", c.Account.ID, reason)
	}
	each(p, func(c *snapshot.Candidate) { c.Cell.InFlight.Store(10) })
	if _, reason := Pick(p, a, &rng); reason == Stuck {
		t.Error("it stays with ten under way and nobody to compare with")
	}
	Refresh(h.replica.Snapshot(), time.UnixMilli(nowMS))
	for load, want := range map[int32]bool{10: true, 13: true, 14: false} {
		home.Cell.InFlight.Store(load)
		if c, reason := Pick(p, a, &rng); (reason == Stuck && c == home) != want {
			t.Errorf("%d under way of 40: picked %s (%v), home is %s", load, c.Account.ID, reason, home.Account.ID)
		}
	}
}

func TestAffinityNames(t *testing.T) {
	base := Affinity("k", "m", []byte("s"))
	if base == 0 || base != Affinity("k", "m", []byte("s")) {
		t.Error("the same conversation has two names")
	}
	for _, other := range []uint64{Affinity("k2", "m", []byte("s")), Affinity("k", "m2", []byte("s")), Affinity("k", "m", []byte("s2")), Affinity("km", "", []byte("s"))} {
		if other == base {
			t.Error("two conversations have one name")
		}
	}
}

// TestLog2 is near enough, and never falls.
func TestLog2(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		x, y := rapid.Uint64Min(1).Draw(rt, "x"), rapid.Uint64Min(1).Draw(rt, "y")
		if got, want := float64(log2(x)), math.Log2(float64(x))-64; math.Abs(got-want) > 0.005 {
			rt.Errorf("log2(%d) = %f, want %f", x, got, want)
		}
		if x < y && log2(x) > log2(y) {
			rt.Errorf("log2 falls from %d to %d", x, y)
		}
	})
}
