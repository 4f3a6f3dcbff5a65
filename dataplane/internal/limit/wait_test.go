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
