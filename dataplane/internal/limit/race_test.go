package limit

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// TestThousand: a thousand at once never take more than was lent, from four scopes of which each is short of something
// else, and what they give back is all there again.
func TestThousand(t *testing.T) {
	w := newWorld(t)
	var s Scopes
	for at := range places {
		s[at] = termsAt(at, Limit{What: Requests, Over: Minute, Amount: 1e6}, Limit{What: Tokens, Over: Minute, Amount: 1e6},
			Limit{What: Concurrency, Amount: 1e6}, Limit{What: Cost, Over: Day, Amount: 1e6})
	}
	w.open(s[:]...)
	w.lend(
		of(s[AtParent], 0, 137), of(s[AtParent], 1, 1e5), of(s[AtParent], 2, 1e4), of(s[AtParent], 3, 1e5),
		of(s[AtTenant], 0, 1e4), of(s[AtTenant], 1, 10*150), of(s[AtTenant], 2, 1e4), of(s[AtTenant], 3, 1e5),
		of(s[AtGroup], 0, 1e4), of(s[AtGroup], 1, 1e5), of(s[AtGroup], 2, 20), of(s[AtGroup], 3, 1e5),
		of(s[AtKey], 0, 1e4), of(s[AtKey], 1, 1e5), of(s[AtKey], 2, 1e4), of(s[AtKey], 3, 7*1000),
	)
	var admitted, most, under atomic.Int64
	run := func(cancel bool) {
		admitted.Store(0)
		most.Store(0)
		var all sync.WaitGroup
		start := make(chan struct{})
		for range 1000 {
			all.Go(func() {
				<-start
				var r Reservation
				for range 5 {
					if w.reserve(&r, s, Estimate{Tokens: 10, Cost: 7}) != nil {
						continue
					}
					admitted.Add(1)
					n := under.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					under.Add(-1)
					if cancel {
						w.k.Cancel(&r)
						continue
					}
					var twice sync.WaitGroup
					for range 2 {
						twice.Go(func() { w.k.Settle(&r, Usage{Tokens: 10, Cost: 7}, w.now) })
					}
					twice.Wait()
				}
			})
		}
		close(start)
		all.Wait()
	}
	see := func(what string, want [places][4]int64) {
		t.Helper()
		for at := range places {
			for i := range 4 {
				if got := balance(w.purse(s[at], i)); got != want[at][i] {
					t.Errorf("%s: %s at %d: %d are left, want %d", what, s[at].limits[i].What, at, got, want[at][i])
				}
			}
			if n := s[at].wallet.Load().users.Load(); n != 0 {
				t.Errorf("%s: %d users", what, n)
			}
		}
	}
	run(true)
	see("cancelled", [places][4]int64{{137, 1e5, 1e4, 1e5}, {1e4, 1500, 1e4, 1e5}, {1e4, 1e5, 20, 1e5}, {1e4, 1e5, 1e4, 7000}})
	run(false)
	n := admitted.Load()
	if n == 0 || n > 137 {
		t.Errorf("%d were let in, of 137", n)
	}
	if most.Load() > 20 {
		t.Errorf("%d at once, of 20", most.Load())
	}
	see("settled", [places][4]int64{
		{137 - n, 1e5 - 10*n, 1e4, 1e5 - 7*n}, {1e4 - n, 1500 - 10*n, 1e4, 1e5 - 7*n},
		{1e4 - n, 1e5 - 10*n, 20, 1e5 - 7*n}, {1e4 - n, 1e5 - 10*n, 1e4, 7000 - 7*n},
	})
}

// TestTurnsUnderLoad: while windows turn and grants come, nobody spends more of a window than was lent for it.
func TestTurnsUnderLoad(t *testing.T) {
	w := newWorld(t)
	k := terms(Key, "k", Closed, Limit{What: Requests, Over: Minute, Amount: 1e6})
	w.open(k)
	const windows, each = 20, 100
	start := w.now
	w.lend(in(of(k, 0, each), 1, 0, minute))
	var clock, taken atomic.Int64
	var byWindow [windows + 2]atomic.Int64
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		all.Go(func() {
			var r Reservation
			for {
				select {
				case <-stop:
					return
				default:
				}
				if w.k.Reserve(&r, &Scopes{AtKey: k}, Estimate{}, start.Add(minute/10*duration(clock.Load()))) == nil {
					byWindow[r.panes[0].number.Load()].Add(1)
					taken.Add(1)
					w.k.Settle(&r, Usage{}, start)
				} else {
					runtime.Gosched()
				}
			}
		})
	}
	for n := int64(1); n <= windows; n++ {
		for byWindow[n].Load() == 0 {
			runtime.Gosched()
		}
		w.now = start.Add(minute/10*duration(10*(n-1)) + minute/2)
		w.k.Ask(w.now)
		w.answer(in(of(k, 0, each), n+1, minute/2, minute/2+minute))
		w.k.rates.Store(never) // the clock runs faster than leases are renewed
		clock.Store(10 * n)
	}
	close(stop)
	all.Wait()
	for n := range byWindow {
		if got := byWindow[n].Load(); got > each {
			t.Errorf("window %d: %d of %d", n, got, each)
		}
	}
	if taken.Load() == 0 {
		t.Error("nobody was let in")
	}
}
