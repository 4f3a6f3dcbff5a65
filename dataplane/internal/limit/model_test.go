package limit

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// leader is the other side, in one line of thought: what it granted, and in which window.
type leader struct {
	limit   int64
	window  int64
	starts  time.Time
	granted map[int64]int64 // by window
}

// promise is one request that the model believes to be under way.
type promise struct {
	r      *Reservation
	tokens int64
	window int64
}

// TestModel: whatever comes in whatever order (grants that are repeated, late or lost, requests, ends of requests, callbacks,
// lost leaders), what requests took in a window is what the model says, never more than was granted, and what is told to the
// leader adds up.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Now()
		k := New(Options{BootID: "me", Now: func() time.Time { return now }})
		terms := terms(Key, "k", Closed, Limit{What: Tokens, Over: Minute, Amount: 1000})
		name := ref(&wallet{scope: Key, id: "k"}, newPurse(terms.limits[0]))
		l := &leader{limit: 1000, window: 1, starts: now, granted: map[int64]int64{}}
		term := int64(1)
		var open []promise
		used := map[int64]int64{} // by window, as the model has it
		leaseEnds := now
		var waiting *syncv1.LeaseRequest
		var asked time.Time
		var repeat *syncv1.LeaseResponse

		turn := func() {
			for now.Sub(l.starts) >= time.Minute {
				l.window++
				l.starts = l.starts.Add(time.Minute)
			}
		}
		grantNow := func() *syncv1.Grant {
			if more := rapid.Int64Range(0, 200).Draw(t, "grant"); l.granted[l.window]+more <= l.limit {
				l.granted[l.window] += more
			}
			g := in(of(terms, 0, l.granted[l.window]), l.window, 0, time.Minute-now.Sub(l.starts))
			g.Limit, g.Left = name, l.limit-l.granted[l.window]
			return g
		}
		t.Repeat(map[string]func(*rapid.T){
			"pass": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, 4000).Draw(t, "ms")) * time.Millisecond)
				turn()
				k.Tick(now)
			},
			"ask": func(*rapid.T) {
				if qs := k.Ask(now); len(qs) > 0 {
					waiting, asked = qs[len(qs)-1], now
					for _, h := range waiting.GetHoldings() {
						if h.GetGranted() > l.granted[h.GetWindow()] {
							t.Fatalf("says to hold what nobody granted: %v", h)
						}
						if h.GetWindow() != 0 && h.GetUsed() != used[h.GetWindow()] {
							t.Fatalf("says %d of window %d, the model %d", h.GetUsed(), h.GetWindow(), used[h.GetWindow()])
						}
					}
				}
			},
			"answer": func(*rapid.T) {
				if waiting == nil {
					return
				}
				m := &syncv1.LeaseResponse{
					Term: term, Sequence: waiting.GetSequence(), Ttl: durationpb.New(10 * time.Second), BookedTtl: durationpb.New(time.Minute),
					Grants: []*syncv1.Grant{grantNow()},
				}
				if k.Apply(m, now) {
					leaseEnds = asked.Add(10 * time.Second)
				}
				waiting, repeat = nil, m
			},
			"repeat": func(*rapid.T) {
				if repeat != nil {
					k.Apply(repeat, now)
				}
			},
			"lose": func(t *rapid.T) {
				k.Lost(now)
				k.Connect()
				waiting = nil
				if rapid.Bool().Draw(t, "new leader") {
					term++
				}
			},
			"call back": func(t *rapid.T) {
				g := grantNow()
				keep := rapid.Int64Range(0, 100).Draw(t, "keep")
				g.Keep = &keep
				k.Apply(&syncv1.LeaseResponse{Term: term, Sequence: k.talk.sequence, Grants: []*syncv1.Grant{g}}, now)
			},
			"request": func(t *rapid.T) {
				p := promise{r: new(Reservation), tokens: rapid.Int64Range(0, 60).Draw(t, "tokens")}
				f := k.Reserve(p.r, &Scopes{AtKey: terms}, Estimate{Tokens: p.tokens}, now)
				if f != nil {
					return
				}
				if p.tokens > 0 && !now.Before(leaseEnds) {
					t.Fatal("let in after the lease's end")
				}
				if p.window = p.r.panes[0].number.Load(); p.window > l.window {
					t.Fatal("a window that has not begun was spent")
				}
				used[p.window] += p.tokens
				if used[p.window] > l.granted[p.window] {
					t.Fatalf("%d were spent of %d", used[p.window], l.granted[p.window])
				}
				open = append(open, p)
			},
			"end": func(t *rapid.T) {
				if len(open) == 0 {
					return
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				p := open[i]
				open = append(open[:i], open[i+1:]...)
				if rapid.Bool().Draw(t, "cancelled") {
					k.Cancel(p.r)
					used[p.window] -= p.tokens
				} else {
					k.Settle(p.r, Usage{Tokens: p.tokens}, now)
				}
				k.Settle(p.r, Usage{Tokens: 1 << 40}, now)
			},
			"": func(t *rapid.T) {
				w := terms.wallet.Load()
				if w == nil {
					return
				}
				if n := w.users.Load(); n != int64(len(open)) {
					t.Fatalf("%d users, %d requests", n, len(open))
				}
				k.mu.Lock()
				defer k.mu.Unlock()
				for _, c := range (*w.purses.Load())[0].state.panes {
					if c.balance.Load() < 0 || c.granted-c.returned-c.used() != c.balance.Load() {
						t.Fatalf("window %d: %d granted, %d returned, %d used, %d left", c.number.Load(), c.granted, c.returned, c.used(), c.balance.Load())
					}
				}
			},
		})
	})
}

// TestSlotsModel: slots that are called back while they are in use come back as their requests end, whatever else is granted,
// called and repeated meanwhile: no more requests are under way than the leader counts.
func TestSlotsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Now()
		k := New(Options{BootID: "me", Now: func() time.Time { return now }})
		terms := terms(Key, "k", Closed, Limit{What: Concurrency, Amount: 50})
		name := ref(&wallet{scope: Key, id: "k"}, newPurse(terms.limits[0]))
		var granted, returned, used int64 // as the leader knows
		var open []*Reservation
		var note *syncv1.LeaseResponse
		say := func(keep *int64) {
			g := of(terms, 0, granted)
			g.Limit, g.Left, g.Keep = name, rapid.Int64Range(0, 2).Draw(t, "left"), keep
			note = &syncv1.LeaseResponse{
				Term: 1, Sequence: k.talk.sequence, Ttl: durationpb.New(10 * time.Second), BookedTtl: durationpb.New(time.Minute),
				Grants: []*syncv1.Grant{g},
			}
			k.Apply(note, now)
		}
		ask := func() {
			k.Tick(now)
			for _, r := range k.Ask(now) {
				for _, h := range r.GetHoldings() {
					if h.GetReturned() < returned || h.GetReturned() > h.GetGranted() {
						t.Fatalf("%d were returned: %v", returned, h)
					}
					returned, used = h.GetReturned(), h.GetUsed()
				}
			}
		}
		k.enter(terms, k.reading(now)).users.Add(-1)
		ask()
		say(nil)
		t.Repeat(map[string]func(*rapid.T){
			"pass": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(1, 1500).Draw(t, "ms")) * time.Millisecond)
				ask()
				say(nil)
			},
			"grant": func(t *rapid.T) {
				if free := 50 - max(granted-returned, used); used <= granted-returned && free > 0 {
					granted += rapid.Int64Range(0, free).Draw(t, "slots")
				}
				say(nil)
			},
			"call": func(t *rapid.T) {
				keep := rapid.Int64Range(0, 50).Draw(t, "keep")
				say(&keep)
				if keep < granted-returned && k.talk.later == nil {
					now = now.Add(time.Second)
					ask()
					if granted-returned > keep {
						t.Fatalf("%d slots are kept, %d may be", granted-returned, keep)
					}
				}
			},
			"repeat": func(*rapid.T) { k.Apply(note, now) },
			"begin": func(*rapid.T) {
				r := new(Reservation)
				if k.Reserve(r, &Scopes{AtKey: terms}, Estimate{}, now) == nil {
					open = append(open, r)
				}
			},
			"end": func(t *rapid.T) {
				if len(open) == 0 {
					return
				}
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				if rapid.Bool().Draw(t, "cancelled") {
					k.Cancel(open[i])
				} else {
					k.Settle(open[i], Usage{}, now)
				}
				open = append(open[:i], open[i+1:]...)
			},
			"": func(t *rapid.T) {
				if n := int64(len(open)); n > max(granted-returned, used) || n > 50 {
					t.Fatalf("%d are under way, of %d granted, %d returned and %d told", n, granted, returned, used)
				}
			},
		})
		for _, r := range open {
			k.Settle(r, Usage{}, now)
		}
		now = now.Add(2 * time.Second)
		if ask(); used != 0 {
			t.Fatalf("%d are in use at the end", used)
		}
	})
}
