package route

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"fairway/dataplane/internal/snapshot"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// benchHouse makes channels of that many accounts each.
func benchHouse(b *testing.B, channels, accounts int, uneven bool, strategy resourcev1.Strategy) *house {
	w := world{channels: make([]channel, channels), group: &syncv1.GroupState{Name: "g", Strategy: int32(strategy), Affinity: int32(affinityOn)}}
	for i := range w.channels {
		c := &w.channels[i]
		c.weight = 100
		c.accounts = slices.Repeat([]uint32{100}, accounts)
		if uneven {
			c.weight += uint32(i % 7)
			c.accounts[0] = 50
		}
	}
	return open(b, w)
}

func benchPick(b *testing.B, h *house, a *Ask) {
	p := h.pool()
	rng := SeededRand(1)
	Pick(p, a, &rng)
	Refresh(h.replica.Snapshot(), time.UnixMilli(nowMS))
	b.ReportAllocs()
	for b.Loop() {
		Pick(p, a, &rng)
	}
}

// BenchmarkPick has bars: 60 ns at 10k accounts, 100 ns at 100k, no allocation. The accounts are idle, as nearly all of so
// many are at any moment; the strategy is the one by default.
func BenchmarkPick(b *testing.B) {
	for _, tt := range []struct {
		channels, accounts int
		uneven             bool
	}{{1, 3, false}, {10_000, 1, false}, {100, 100, true}, {1, 10_000, true}, {1000, 100, true}, {100_000, 1, true}, {1, 100_000, true}} {
		b.Run(fmt.Sprintf("%dx%d", tt.channels, tt.accounts), func(b *testing.B) {
			h := benchHouse(b, tt.channels, tt.accounts, tt.uneven, balanced)
			benchPick(b, h, h.ask())
		})
	}
}

// BenchmarkStrategies compares strategies: all idle, all busy (so that two have to be compared), and idle with a tenth that
// has next to no vigor.
func BenchmarkStrategies(b *testing.B) {
	for _, strategy := range []resourcev1.Strategy{weighted, leastUsed, leastRecent, lowestCost, balanced} {
		for _, n := range []int{100, 1000} {
			for _, state := range []string{"idle", "busy", "weak"} {
				b.Run(fmt.Sprintf("%s/%dx100/%s", strategy, n, state), func(b *testing.B) {
					h := benchHouse(b, n, 100, true, strategy)
					i := 0
					each(h.pool(), func(c *snapshot.Candidate) {
						switch i++; {
						case state == "busy":
							c.Cell.InFlight.Store(int32(i%3 + 1))
						case state == "weak" && i%10 == 0:
							c.Cell.Vigor.Store(0.01)
						}
					})
					benchPick(b, h, h.ask())
				})
			}
		}
	}
}

// BenchmarkAffinity is a conversation after the other.
func BenchmarkAffinity(b *testing.B) {
	for _, tt := range [][2]int{{1, 3}, {100, 100}, {1000, 100}, {1, 100_000}} {
		b.Run(fmt.Sprintf("%dx%d", tt[0], tt[1]), func(b *testing.B) {
			h := benchHouse(b, tt[0], tt[1], true, balanced)
			p, a := h.pool(), h.ask()
			rng := SeededRand(1)
			a.Affinity = 1
			Pick(p, a, &rng)
			Refresh(h.replica.Snapshot(), time.UnixMilli(nowMS))
			b.ReportAllocs()
			for b.Loop() {
				a.Affinity += 0x9e3779b97f4a7c15
				Pick(p, a, &rng)
			}
		})
	}
}

// BenchmarkRefresh is a round over one pool in use.
func BenchmarkRefresh(b *testing.B) {
	for _, tt := range [][2]int{{100, 100}, {1000, 100}, {100_000, 1}} {
		b.Run(fmt.Sprintf("%dx%d", tt[0], tt[1]), func(b *testing.B) {
			h := benchHouse(b, tt[0], tt[1], true, balanced)
			rng := SeededRand(1)
			Pick(h.pool(), h.ask(), &rng)
			b.ReportAllocs()
			for b.Loop() {
				Refresh(h.replica.Snapshot(), time.UnixMilli(nowMS))
			}
		})
	}
}
