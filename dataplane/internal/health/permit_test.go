package health

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/breaker"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func (w *world) grant(p ...*syncv1.ProbePermit) {
	w.revision++
	w.k.Apply(&syncv1.HealthUpdate{Term: "t", Revision: uint64(w.revision), Permits: p}, w.now)
}

func (w *world) verdict(id string, v *syncv1.VerdictState) {
	w.account(id, func(s *syncv1.AccountState) { s.Verdict = v })
	w.publish()
}

func TestPermits(t *testing.T) {
	bad := dialect.Transport(false)
	for _, tc := range []struct {
		name string
		try  func(w *world, o *Outcome)
		want *syncv1.ProbeOutcome
	}{
		{"good", func(w *world, o *Outcome) { w.k.Ended(o) }, &syncv1.ProbeOutcome{Ok: true}},
		{"bad", func(w *world, o *Outcome) {
			o.Verdict, o.Asked = &bad, 7*time.Second
			w.k.Ended(o)
		}, &syncv1.ProbeOutcome{Failed: true, Reason: "connection", Asked: dur(7 * time.Second)}},
		{"the client's own", func(w *world, o *Outcome) {
			v := classify(400, "")
			o.Verdict = &v
			w.k.Ended(o)
		}, &syncv1.ProbeOutcome{Ok: true}},
		{"gone", func(w *world, o *Outcome) {
			o.Gone = true
			w.k.Ended(o)
		}, &syncv1.ProbeOutcome{}},
		{"returned", func(w *world, o *Outcome) { w.k.Return(o.Permit) }, &syncv1.ProbeOutcome{}},
		{"too late", func(w *world, o *Outcome) {
			w.tick(31 * time.Second)
			o.Now = w.now
			w.k.Ended(o)
		}, &syncv1.ProbeOutcome{Reason: "too_late"}},
		{"twice", func(w *world, o *Outcome) {
			w.k.Ended(o)
			o.Verdict = &bad
			w.k.Ended(o)
		}, &syncv1.ProbeOutcome{Ok: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, Options{}, "a", "b")
			w.verdict("a", &syncv1.VerdictState{State: int32(breaker.HalfOpen)})
			if c, id := w.k.Permit(w.pool(), w.now.UnixMilli()); c != nil {
				t.Fatalf("a permit from nowhere: %q", id)
			}
			w.grant(&syncv1.ProbePermit{Id: "p", AccountId: "a", Ttl: dur(30 * time.Second)})
			c, id := w.k.Permit(w.pool(), w.now.UnixMilli())
			if c == nil || c.Account.ID != "a" || id != "p" || w.k.PermitLeft(id, w.now) != 30*time.Second {
				t.Fatalf("permit %q for %v", id, c)
			}
			if again, _ := w.k.Permit(w.pool(), w.now.UnixMilli()); again != nil {
				t.Fatal("it can be taken twice")
			}
			w.k.Began(c, w.now.UnixMilli())
			tc.try(w, &Outcome{Candidate: c, Model: model, Permit: id, Now: w.now})
			probes := w.k.Report(w.now).GetProbes()
			if len(probes) != 1 {
				t.Fatalf("outcomes: %v", probes)
			}
			p := probes[0]
			if p.GetPermitId() != "p" || p.GetAccountId() != "a" || p.GetOk() != tc.want.GetOk() || p.GetFailed() != tc.want.GetFailed() ||
				p.GetReason() != tc.want.GetReason() || p.GetAsked().AsDuration() != tc.want.GetAsked().AsDuration() {
				t.Errorf("outcome %v, want %v", p, tc.want)
			}
			w.k.Tick(w.now)
			if w.k.permit("p") != nil {
				t.Error("the permit is still there")
			}
		})
	}
}

// TestPermitKeepsToOrders: a permit does not break what a provider ordered, and one for another pool's account stays.
func TestPermitKeepsToOrders(t *testing.T) {
	w := newWorld(t, Options{}, "a")
	w.grant(&syncv1.ProbePermit{Id: "p", AccountId: "a", Ttl: dur(30 * time.Second)}, &syncv1.ProbePermit{Id: "q", AccountId: "unknown", Ttl: dur(time.Minute)})
	w.candidate("a").Cell.Hold(w.now.Add(10 * time.Second).UnixMilli())
	if c, _ := w.k.Permit(w.pool(), w.now.UnixMilli()); c != nil {
		t.Fatal("the order is broken")
	}
	w.pass(11 * time.Second)
	if c, _ := w.k.Permit(w.pool(), w.now.UnixMilli()); c == nil {
		t.Fatal("the permit is lost")
	}
}

// TestActivePermits: permits that ask for it are tried at once, by Run, bounded by their end.
func TestActivePermits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := make(chan *syncv1.ProbePermit, 8)
		w := newWorld(t, Options{Now: time.Now, Probe: func(ctx context.Context, p *syncv1.ProbePermit) Outcome {
			asked <- p
			if p.GetId() == "slow" {
				<-ctx.Done()
				v := dialect.Transport(true)
				return Outcome{Verdict: &v}
			}
			if p.GetId() == "bad" {
				v := classify(401, "")
				return Outcome{Verdict: &v}
			}
			return Outcome{}
		}}, "a", "b", "d")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.k.Run(ctx) }()
		w.now = time.Now()
		for i, id := range []string{"good", "bad", "slow"} {
			w.grant(&syncv1.ProbePermit{Id: id, AccountId: []string{"a", "b", "d"}[i], Ttl: dur(30 * time.Second), Active: true, Model: model})
		}
		if c, _ := w.k.Permit(w.pool(), w.now.UnixMilli()); c != nil {
			t.Error("a request takes what is tried already")
		}
		time.Sleep(40 * time.Second)
		synctest.Wait()
		if len(asked) != 3 {
			t.Errorf("%d were tried", len(asked))
		}
		got := map[string]string{}
		for _, p := range w.k.Report(time.Now()).GetProbes() {
			got[p.GetPermitId()] = fmt.Sprintf("%v %v %s", p.GetOk(), p.GetFailed(), p.GetReason())
		}
		if got["good"] != "true false " || got["bad"] != "false true credential" || got["slow"] != "false false too_late" && got["slow"] != "false true no_first_byte" {
			t.Errorf("outcomes: %v", got)
		}
		if w.candidate("b").Cell.HeldUntil.Load() == 0 {
			t.Error("what the probe found has no consequence")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestWithoutALeader: in each window one of the proxies that were known last, and only one, may try an account whose rest
// is over; what it finds counts where it was found.
func TestWithoutALeader(t *testing.T) {
	ids := []string{"p1", "p2", "p3"}
	var worlds []*world
	for _, id := range ids {
		w := newWorld(t, Options{ID: func() string { return id }}, "a", "fine")
		w.proxies(ids...)
		w.verdict("a", &syncv1.VerdictState{State: int32(breaker.Open), Until: timestamppb.New(begin.Add(time.Minute))})
		worlds = append(worlds, w)
	}
	turns := map[string]int{}
	for window := range 200 {
		var who []string
		for i, w := range worlds {
			w.now = begin.Add(time.Duration(window)*30*time.Second + time.Second)
			w.k.Tick(w.now)
			if c, id := w.k.Permit(w.pool(), w.now.UnixMilli()); c != nil {
				if c.Account.ID != "a" || w.k.PermitLeft(id, w.now) > 29*time.Second {
					t.Fatalf("permit for %s, %v left", c.Account.ID, w.k.PermitLeft(id, w.now))
				}
				who = append(who, ids[i])
			}
		}
		if window < 2 {
			if len(who) != 0 {
				t.Errorf("window %d: %v try it, its rest is not over", window, who)
			}
			continue
		}
		if len(who) != 1 {
			t.Fatalf("window %d: %v", window, who)
		}
		turns[who[0]]++
	}
	for _, id := range ids {
		if turns[id] < 40 {
			t.Errorf("%s had %d turns of 198", id, turns[id])
		}
	}
}

// TestRecoveryWithoutALeader: an answer brings the account back here, slowly; a failure leaves it for another window.
func TestRecoveryWithoutALeader(t *testing.T) {
	w := newWorld(t, Options{}, "a")
	w.verdict("a", &syncv1.VerdictState{State: int32(breaker.HalfOpen)})
	w.pass(time.Hour)
	take := func() (*Outcome, bool) {
		w.k.Tick(w.now)
		c, id := w.k.Permit(w.pool(), w.now.UnixMilli())
		if c == nil {
			return nil, false
		}
		w.k.Began(c, w.now.UnixMilli())
		return &Outcome{Candidate: c, Model: model, Permit: id, Now: w.now}, true
	}
	o, ok := take()
	if !ok {
		t.Fatal("no permit")
	}
	v := dialect.Transport(false)
	o.Verdict = &v
	w.k.Ended(o)
	if _, ok := take(); ok {
		t.Fatal("two in a window")
	}
	w.pass(30 * time.Second)
	if o, ok = take(); !ok {
		t.Fatal("no permit in the next window")
	}
	w.k.Ended(o)
	w.k.Tick(w.now)
	if got := w.cooling("a"); got != 0 {
		t.Errorf("still rests for %v", got)
	}
	if got := w.numbers("a").vigor; got != 0.1 {
		t.Errorf("back with %v of its weight", got)
	}
	if probes := w.k.Report(w.now).GetProbes(); len(probes) != 0 {
		t.Errorf("a leader that granted nothing hears of %v", probes)
	}
	// A leader that is there grants by itself.
	w.verdict("a", &syncv1.VerdictState{State: int32(breaker.HalfOpen), Reason: "again"})
	w.pass(30 * time.Second)
	w.facts()
	if _, ok := take(); ok {
		t.Error("a permit beside the leader's")
	}
}
