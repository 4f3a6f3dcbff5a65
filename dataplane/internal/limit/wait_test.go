package limit

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

type duration = time.Duration

const minute = time.Minute

// keep answers what the keeper asks after a delay, with as much as lend says; it ends with ctx.
func keep(ctx context.Context, k *Keeper, delay time.Duration, lend func(h *syncv1.Holding) int64) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.Wake():
		case <-time.After(50 * time.Millisecond):
			k.Tick(time.Now())
		}
		for _, r := range k.Ask(time.Now()) {
			time.Sleep(delay)
			m := &syncv1.LeaseResponse{Term: 1, Sequence: r.GetSequence(), Ttl: durationpb.New(10 * time.Second), BookedTtl: durationpb.New(minute), Proxies: 1}
			for _, h := range r.GetHoldings() {
				granted := lend(h)
				m.Grants = append(m.Grants, &syncv1.Grant{
					Limit: h.GetLimit(), Window: 1, State: syncv1.GrantState_GRANT_STATE_OPEN, Granted: granted, EndsIn: durationpb.New(time.Hour),
				})
			}
			k.Apply(m, time.Now())
		}
	}
}

// TestFirstUse: a thousand requests for a limit that was never used here wait for one answer together; exactly as many are
// let in as it allows, and the others are refused for what it is.
func TestFirstUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		k := New(Options{BootID: "me"})
		var leader sync.WaitGroup
		leader.Go(func() { keep(ctx, k, 10*time.Millisecond, func(*syncv1.Holding) int64 { return 10 }) })
		budget := terms(Key, "k", Closed, Limit{What: Cost, Over: Always, Amount: 10})
		var in, spent atomic.Int64
		var all sync.WaitGroup
		began := time.Now()
		for range 1000 {
			all.Go(func() {
				var r Reservation
				switch f := k.Admit(ctx, &r, &Scopes{AtKey: budget}, Estimate{Cost: 1}); {
				case f == nil:
					in.Add(1)
					k.Settle(&r, Usage{Cost: 1}, time.Now())
				case f.Cause == Spent:
					spent.Add(1)
				default:
					t.Errorf("refused: %+v", f)
				}
			})
		}
		all.Wait()
		if in.Load() != 10 || spent.Load() != 990 {
			t.Errorf("%d were let in and %d told that it is spent, of 1000 with a budget for 10", in.Load(), spent.Load())
		}
		if took := time.Since(began); took > 100*time.Millisecond {
			t.Errorf("they waited for %v, which is more than a few answers", took)
		}
		cancel()
		leader.Wait()
	})
}

// TestNoAnswer: requests wait for 250 ms at most, together, and not again for a while; then the policy holds.
func TestNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := New(Options{BootID: "me"})
		k.lost.Store(0) // the leader is there, and says nothing
		limit := terms(Key, "k", Closed, Limit{What: Requests, Over: Minute, Amount: 10})
		try := func() (*Refusal, time.Duration) {
			var r Reservation
			began := time.Now()
			f := k.Admit(t.Context(), &r, &Scopes{AtKey: limit}, Estimate{})
			return f, time.Since(began)
		}
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if f, took := try(); f == nil || f.Cause != Away || took != 250*time.Millisecond {
					t.Errorf("%+v after %v", f, took)
				}
			})
			all.Go(func() {
				time.Sleep(200 * time.Millisecond)
				if f, took := try(); f == nil || f.Cause != Away || took != 50*time.Millisecond {
					t.Errorf("a later one: %+v after %v", f, took)
				}
			})
		}
		all.Wait()
		if f, took := try(); f == nil || f.Cause != Away || took != 0 {
			t.Errorf("one after the wait: %+v after %v", f, took)
		}
		time.Sleep(time.Second)
		if f, took := try(); f == nil || took != 250*time.Millisecond {
			t.Errorf("one a second later: %+v after %v", f, took)
		}
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		var r Reservation
		if k.Admit(ctx, &r, &Scopes{AtKey: limit}, Estimate{}) == nil {
			t.Error("let in after the client left")
		}
		if w := limit.wallet.Load(); w.waiters != 0 || w.users.Load() != 0 {
			t.Errorf("%d waiters and %d users are left", w.waiters, w.users.Load())
		}
	})
}

// TestNeverWait: with a negative Wait the first request is answered at once, by the policy.
func TestNeverWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := New(Options{BootID: "me", Wait: -1})
		k.lost.Store(0)
		began := time.Now()
		for policy, want := range map[Policy]bool{Closed: false, Safe: true, Open: true} {
			var r Reservation
			s := Scopes{AtKey: terms(Key, string(rune('a'+policy)), policy, Limit{What: Requests, Over: Minute, Amount: 10})}
			if f := k.Admit(t.Context(), &r, &s, Estimate{}); (f == nil) != want || r.Unmetered != want {
				t.Errorf("policy %d: %+v", policy, f)
			}
		}
		if time.Since(began) != 0 {
			t.Error("it waited")
		}
	})
}

// TestSlotComesBack: a request that finds no slot waits for one that another gives back here, in the order in which they
// came, and those that wait when it is over are told that there is none. Nobody waits beyond as many as there are slots.
func TestSlotComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.k.o.Now = time.Now
		three := terms(Key, "k", Closed, Limit{What: Concurrency, Amount: 3})
		w.open(three)
		g := of(three, 0, 3)
		g.Left = 0
		w.lend(g)
		var held [3]Reservation
		for i := range held {
			if f := w.reserve(&held[i], Scopes{AtKey: three}, Estimate{}); f != nil {
				t.Fatalf("%d: %+v", i, f)
			}
		}
		w.push(g) // and there are no more
		var all sync.WaitGroup
		began := time.Now()
		for i, want := range []time.Duration{100 * time.Millisecond, 180 * time.Millisecond, 250 * time.Millisecond, 0} {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				var r Reservation
				f := w.k.Admit(t.Context(), &r, &Scopes{AtKey: three}, Estimate{})
				took := time.Since(began) - time.Duration(i)*time.Millisecond
				switch {
				case i < 2 && (f != nil || time.Since(began) != want):
					t.Errorf("%d: %+v after %v", i, f, took)
				case i >= 2 && (f == nil || f.Cause != Spent || took != want):
					t.Errorf("%d: %+v after %v", i, f, took)
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		w.k.Settle(&held[0], Usage{}, time.Now())
		time.Sleep(80 * time.Millisecond)
		w.k.Cancel(&held[1])
		all.Wait()
		if p := w.purse(three, 0); p.queue.Load() != 0 {
			t.Errorf("%d still wait", p.queue.Load())
		}
	})
}
