package bank

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// BenchmarkMemory is what limits cost: configured, and in use by some proxies at once. Run it with -benchtime 1x.
func BenchmarkMemory(b *testing.B) {
	const keys = 1_000_000
	for _, boots := range []int{0, 1, 4} {
		b.Run(fmt.Sprintf("%d boots", boots), func(b *testing.B) {
			for b.Loop() {
				ids := make([]string, keys)
				for i := range ids {
					ids[i] = fmt.Sprintf("key-%022d", i)
				}
				before := heap()
				bank := New(first)
				at := Moment{Wall: noon}
				for _, id := range ids {
					bank.Configure(Owner{Key, id}, []Limit{{Kind: rpm.Kind, Amount: 1e6}}, at)
				}
				for p := range boots {
					r := ask("", 1, true)
					for _, id := range ids {
						r.Holdings = append(r.Holdings, &syncv1.Holding{
							Limit: ID{Owner{Key, id}, rpm.Kind}.ref(), Want: 10, Least: 1,
						})
					}
					if _, err := bank.Handle(fmt.Sprint("b", p), r, at); err != nil {
						b.Fatal(err)
					}
				}
				used := heap() - before
				b.ReportMetric(float64(used)/keys, "B/key")
				runtime.KeepAlive(bank)
				runtime.KeepAlive(ids)
			}
		})
	}
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkHandle is an exchange about 100 keys, of one boot among some: where there is enough for all of them, and where
// each has too little and waits for what others have.
func BenchmarkHandle(b *testing.B) {
	for _, limit := range []int64{1e9, 40} {
		for _, boots := range []int{1, 8, 64} {
			b.Run(fmt.Sprintf("%d slots, %d boots", limit, boots), func(b *testing.B) {
				bank := New(first)
				at := Moment{Wall: noon}
				requests := make([]*syncv1.LeaseRequest, boots)
				for i := range 100 {
					bank.Configure(Owner{Key, fmt.Sprint("k", i)}, []Limit{{Kind: slots.Kind, Amount: limit}}, at)
				}
				for p := range requests {
					requests[p] = ask("", 1, true)
					for i := range 100 {
						requests[p].Holdings = append(requests[p].Holdings, &syncv1.Holding{
							Limit: ID{Owner{Key, fmt.Sprint("k", i)}, slots.Kind}.ref(), Want: 10, Least: 1, EndsIn: durationpb.New(time.Second),
						})
					}
				}
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					boot := n % boots
					r := requests[boot]
					r.Sequence, r.Full = uint64(n/boots+1), n < boots
					n++
					if a, err := bank.Handle(fmt.Sprint("b", boot), r, at); err != nil || a == nil || a.GetDeclare() {
						b.Fatal(a, err)
					}
					for _, h := range r.GetHoldings() { // all that was granted is in use
						l := bank.find(idOf(h.GetLimit())).book.cells[0]
						s := bank.sessions[fmt.Sprint("b", boot)].leases[l]
						h.Window, h.Granted, h.Returned, h.Used = 1, s.granted, s.returned, s.granted-s.returned
					}
					bank.Notes(at)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*100), "ns/holding")
			})
		}
	}
}
