package limit

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// BenchmarkMemory is what limits cost a proxy, by key: known, and used here once. Run it with -benchtime 1x.
func BenchmarkMemory(b *testing.B) {
	const keys = 1_000_000
	kinds := []Limit{
		{What: Requests, Over: Minute, Amount: 60}, {What: Tokens, Over: Minute, Amount: 1e6},
		{What: Concurrency, Amount: 5}, {What: Cost, Over: Month, Amount: 1e12},
	}
	for _, n := range []int{1, 4} {
		for _, used := range []int{0, keys / 10} {
			b.Run(fmt.Sprintf("%d limits, %d used", n, used), func(b *testing.B) {
				for b.Loop() {
					now := time.Now()
					ids := make([]string, keys)
					for i := range ids {
						ids[i] = fmt.Sprintf("key-%022d", i)
					}
					before := heap()
					k := New(Options{BootID: "me", Now: func() time.Time { return now }})
					all := make([]*Terms, keys)
					for i, id := range ids {
						all[i] = terms(Key, id, Closed, kinds[:n]...)
					}
					known := heap() - before
					for _, t := range all[:used] {
						k.enter(t, k.reading(now)).users.Add(-1)
					}
					lend(k, now)
					b.ReportMetric(float64(known)/keys, "B/key")
					if used > 0 {
						b.ReportMetric(float64(heap()-before-known)/float64(used), "B/used")
					}
					runtime.KeepAlive(k)
					runtime.KeepAlive(all)
					runtime.KeepAlive(ids)
				}
			})
		}
	}
}

// lend answers everything that is asked with what is wanted.
func lend(k *Keeper, now time.Time) {
	asked := k.Ask(now)
	for i, r := range asked {
		m := &syncv1.LeaseResponse{Term: 1, Sequence: r.GetSequence()}
		if i == len(asked)-1 {
			m.Ttl, m.BookedTtl = durationpb.New(time.Minute), durationpb.New(time.Minute)
		}
		for _, h := range r.GetHoldings() {
			m.Grants = append(m.Grants, &syncv1.Grant{
				Limit: h.GetLimit(), Window: 1, State: syncv1.GrantState_GRANT_STATE_OPEN, Granted: h.GetWant(), Left: 1, EndsIn: durationpb.New(time.Minute),
			})
		}
		k.Apply(m, now)
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
