package limit

import (
	"testing"
	"time"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// TestAway: what is held is spent, then the policy holds, and what it let through is charged when the leader is back.
func TestAway(t *testing.T) {
	tests := []struct {
		name   string
		policy Policy
		limit  Limit
		first  int // requests that are let in after the lease
		minute int // and a minute later
	}{
		{"closed", Closed, Limit{What: Requests, Over: Minute, Amount: 60}, 0, 0},
		// A quarter of the limit, for five proxies.
		{"safe", Safe, Limit{What: Requests, Over: Minute, Amount: 60}, 3, 3},
		{"safe with little", Safe, Limit{What: Requests, Over: Minute, Amount: 5}, 1, 1},
		{"safe cost", Safe, Limit{What: Cost, Over: Day, Amount: 80}, 4, 0},
		{"open", Open, Limit{What: Requests, Over: Minute, Amount: 60}, 18, 20},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			k := terms(Key, "k", tt.policy, tt.limit)
			w.open(k)
			w.lend(of(k, 0, 2))
			w.k.Lost(w.now)
			let := func() (n, marked int) {
				for range 20 {
					var r Reservation
					if w.reserve(&r, Scopes{AtKey: k}, Estimate{Cost: 1}) == nil {
						n++
						if r.Unmetered {
							marked++
						}
						w.k.Settle(&r, Usage{Cost: 1}, w.now)
					}
				}
				return n, marked
			}
			w.pass(time.Second) // long enough to be away, and the lease has not ended
			if n, marked := let(); n != 2+tt.first || marked != tt.first {
				t.Errorf("%d were let in and %d marked, want %d and %d", n, marked, 2+tt.first, tt.first)
			}
			w.pass(minute + time.Second)
			if n, marked := let(); n != tt.minute || marked != tt.minute {
				t.Errorf("a minute later: %d and %d, want %d", n, marked, tt.minute)
			}
			w.k.Connect()
			w.ask()
			w.answer(of(k, 0, 2))
			w.pass(10 * time.Millisecond)
			charged := int64(tt.first)
			if tt.minute > 0 {
				charged = int64(tt.minute) // of minutes that are over nobody wants to know
			}
			if tt.policy == Open {
				charged = int64(tt.first + tt.minute)
			}
			w.k.ask(k.wallet.Load())
			if h := holding(t, only(t, w.ask())); h.GetUsed() != 2+charged {
				t.Errorf("said to be used: %d, want %d", h.GetUsed(), 2+charged)
			}
			if p := w.purse(k, 0); p.outside() != 0 {
				t.Errorf("%d are still outside", p.outside())
			}
		})
	}
}

// TestSlotsAway: slots of a policy come back, and are told as long as they are in use.
func TestSlotsAway(t *testing.T) {
	w := newWorld(t)
	k := terms(Key, "k", Safe, Limit{What: Concurrency, Amount: 40})
	w.open(k)
	w.lend(of(k, 0, 1))
	var r [4]Reservation
	if f := w.reserve(&r[0], Scopes{AtKey: k}, Estimate{}); f != nil {
		t.Fatalf("%+v", f)
	}
	w.k.Lost(w.now)
	w.pass(20 * time.Second)
	for i := 1; i <= 2; i++ {
		if f := w.reserve(&r[i], Scopes{AtKey: k}, Estimate{}); f != nil {
			t.Fatalf("%d: %+v", i, f)
		}
	}
	if f := w.reserve(&r[3], Scopes{AtKey: k}, Estimate{}); f == nil || f.Cause != Away {
		t.Fatalf("a third: %+v", f)
	}
	w.k.Settle(&r[1], Usage{}, w.now)
	if f := w.reserve(&r[3], Scopes{AtKey: k}, Estimate{}); f != nil {
		t.Fatalf("after one came back: %+v", f)
	}
	w.k.Connect()
	if h := holding(t, only(t, w.ask())); h.GetUsed() != 3 || h.GetGranted()-h.GetReturned() != 1 {
		t.Errorf("said: %v", h)
	}
	w.answer(of(k, 0, 1))
	for i := range r {
		w.k.Settle(&r[i], Usage{}, w.now)
	}
	w.pass(10 * time.Millisecond)
	w.k.ask(k.wallet.Load())
	if h := holding(t, only(t, w.ask())); h.GetUsed() != 0 {
		t.Errorf("at the end: %v", h)
	}
}

// TestVague: while the leader cannot tell, requests wait for a moment, in which it is asked again; then the policy holds,
// not the limit.
func TestVague(t *testing.T) {
	for _, state := range []syncv1.GrantState{syncv1.GrantState_GRANT_STATE_WAIT, syncv1.GrantState_GRANT_STATE_UNKNOWN} {
		w := newWorld(t)
		closed := terms(Key, "c", Closed, Limit{What: Requests, Over: Minute, Amount: 60})
		open := terms(Key, "o", Open, Limit{What: Requests, Over: Minute, Amount: 60})
		w.open(closed, open)
		a, b := of(closed, 0, 0), of(open, 0, 0)
		a.State, b.State = state, state
		news := w.k.join(closed.wallet.Load(), w.purse(closed, 0))
		w.lend(a, b)
		select {
		case <-news:
			t.Error("no news was told as news")
		default:
		}
		w.pass(50 * time.Millisecond)
		if len(w.ask()) != 1 {
			t.Error("the leader is not asked again")
		}
		w.answer()
		w.k.part(closed.wallet.Load(), w.purse(closed, 0))
		var r Reservation
		if f := w.reserve(&r, Scopes{AtKey: closed}, Estimate{}); f == nil || f.Cause != Pending {
			t.Errorf("%v: at first: %+v", state, f)
		}
		at := w.k.reading(w.now)
		if f := w.k.reserve(&r, &Scopes{AtKey: closed}, Estimate{}, at, true); f == nil || f.Cause != Away {
			t.Errorf("%v: closed: %+v", state, f)
		}
		if f := w.k.reserve(&r, &Scopes{AtKey: open}, Estimate{}, at, true); f != nil || !r.Unmetered {
			t.Errorf("%v: open: %+v", state, f)
		}
		if w.push(of(closed, 0, 1)); w.reserve(&r, Scopes{AtKey: closed}, Estimate{}) != nil {
			t.Errorf("%v: refused when it could tell", state)
		}
	}
}
