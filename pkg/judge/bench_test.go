package judge

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"fairway/pkg/breaker"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// crowd is a judge of many accounts in channels of 100, of which those before busy have traffic from two proxies.
func crowd(n, busy int) (*Judge, []Account, time.Time) {
	all := make([]Account, n)
	models, groups := []string{"m1", "m2"}, []string{"g"}
	for i := range all {
		all[i] = Account{
			ID: fmt.Sprintf("acct_%08d", i), Name: fmt.Sprintf("account-%d", i), Channel: fmt.Sprintf("c%d", i/100), ChannelID: fmt.Sprintf("c%d", i/100),
			Models: models, Groups: groups, ChannelWeight: 100, Weight: 100, Priority: int32(i / 100 % 3),
		}
	}
	j := New(Options{Now: start, FirstEver: true})
	j.Configure(breaker.Defaults(), all, start)
	for at := 0; at < busy; at += 10_000 {
		r := &syncv1.HealthReport{Sequence: uint64(at + 1)}
		for i := at; i < min(at+10_000, busy); i++ {
			r.Accounts = append(r.Accounts, ok(all[i].ID, 5))
		}
		j.Report("p", "b", "h", r, start)
		j.Report("q", "b", "h", r, start)
	}
	return j, all, start
}

func BenchmarkReport1000(b *testing.B) {
	j, all, now := crowd(100_000, 1000)
	r := &syncv1.HealthReport{Sequence: 1 << 40, Stats: &syncv1.ProxyStats{}}
	for i := range 1000 {
		d := failed(all[i].ID, 20, 1, 0)
		d.TtftHistogram = make([]uint32, buckets)
		d.TtftRatioSum, d.TtftRatioCount, d.DurationMsSum, d.DurationCount = 20, 20, 9000, 20
		r.Accounts = append(r.Accounts, d)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Sequence++
		now = now.Add(time.Millisecond)
		j.Report("p", "b", "h", r, now)
	}
}

func BenchmarkTick(b *testing.B) {
	for _, busy := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("100k accounts/%d busy/scan", busy), func(b *testing.B) {
			j, _, now := crowd(100_000, busy)
			b.ReportAllocs()
			for b.Loop() {
				now = now.Add(time.Second)
				j.batched = j.tell(now) // the batch is measured by itself
				j.Tick(now)
			}
		})
		b.Run(fmt.Sprintf("100k accounts/%d busy/batch", busy), func(b *testing.B) {
			j, _, now := crowd(100_000, busy)
			j.tell(now.Add(time.Second))
			b.ReportAllocs()
			for b.Loop() {
				j.batch(j.now)
			}
		})
	}
}

func BenchmarkUpdate(b *testing.B) {
	j, all, now := crowd(100_000, 100_000)
	j.batch(j.now)
	b.Run("nothing", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if j.Update("p", j.revision, now) != nil {
				b.Fatal("something")
			}
		}
	})
	b.Run("100 accounts", func(b *testing.B) {
		b.ReportAllocs()
		since := j.revision
		for i := range 100 {
			j.bump(j.accounts[all[i].ID])
		}
		for b.Loop() {
			if n := len(j.Update("p", since, now).GetAccounts()); n != 100 {
				b.Fatal(n)
			}
		}
	})
	b.Run("a full part of 5000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			j.Update("p", 0, now)
		}
	})
}

// BenchmarkMemory reports what an account costs.
func BenchmarkMemory(b *testing.B) {
	for _, busy := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("%d busy", busy), func(b *testing.B) {
			var before, after runtime.MemStats
			for b.Loop() {
				runtime.GC()
				runtime.ReadMemStats(&before)
				j, _, _ := crowd(100_000, busy)
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(j.list)), "B/account")
			}
		})
	}
}
