package judge

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"fairway/pkg/breaker"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// halfOpen is n accounts of which the first is due to be tried at once.
func halfOpen(n int) []Account {
	all := some(n)
	all[0].Verdict = &resourcev1.AccountHealth{
		State: resourcev1.HealthState_HEALTH_STATE_OPEN, Reason: "consecutive_failures", Opens: 1,
		Since: timestamppb.New(start.Add(-5 * time.Minute)), Until: timestamppb.New(start.Add(-time.Second)),
	}
	return all
}

func (l *lab) given(p string) []*syncv1.ProbePermit { return l.Update(p, 0, l.clock).GetPermits() }

// givenFor are those of one account.
func (l *lab) givenFor(p, id string) (all []*syncv1.ProbePermit) {
	for _, o := range l.given(p) {
		if o.GetAccountId() == id {
			all = append(all, o)
		}
	}
	return all
}

func (l *lab) outcome(p string, o *syncv1.ProbePermit, ok, failed bool) {
	l.report(p, &syncv1.HealthReport{Probes: []*syncv1.ProbeOutcome{{PermitId: o.GetId(), AccountId: o.GetAccountId(), Ok: ok, Failed: failed, Reason: "server_error"}}})
}

// The one with traffic to the channel tries it with a request; a fleet without traffic tries it at once.
func TestWhoTries(t *testing.T) {
	l := newLab(t, halfOpen(3)...)
	l.want("a0", breaker.HalfOpen, breaker.ReasonDue)
	l.deltas("p", ok("a1", 1))
	l.deltas("q", ok("a1", 50))
	l.report("r", &syncv1.HealthReport{})
	l.pass(250*time.Millisecond, "p", "q", "r")
	if n := len(l.givenFor("p", "a0")) + len(l.givenFor("r", "a0")); n != 0 {
		t.Fatalf("%d permits for others", n)
	}
	got := l.givenFor("q", "a0")
	if len(got) != 1 || got[0].GetAccountId() != "a0" || got[0].GetActive() || got[0].GetTtl().AsDuration() > PermitTTL-margin {
		t.Fatalf("permits: %v", got)
	}
	// Nobody else's word counts, nor one of another account.
	l.outcome("p", got[0], true, false)
	l.outcome("q", &syncv1.ProbePermit{Id: got[0].GetId(), AccountId: "a1"}, true, false)
	l.want("a0", breaker.HalfOpen, breaker.ReasonDue)
	l.outcome("q", got[0], false, true)
	l.want("a0", breaker.Open, "server_error")
	if _, _, since, until, opens := l.accounts["a0"].breaker.Health(); opens != 2 || until.Sub(since) < 540*time.Second {
		t.Errorf("rests for %v after %d", until.Sub(since), opens)
	}
	// The one that failed is not next.
	for l.state("a0") == breaker.Open {
		l.deltas("q", ok("a1", 50))
		l.deltas("p", ok("a1", 1))
		l.pass(time.Second, "p", "q")
	}
	got = l.givenFor("p", "a0")
	if len(got) != 1 || got[0].GetActive() {
		t.Fatalf("permits: %v, and for q %v", got, l.givenFor("q", "a0"))
	}
	// Where traffic did not come by, it is tried at once, whatever traffic there is.
	l.outcome("p", got[0], false, false)
	for range 3 {
		l.deltas("p", ok("a1", 50))
		l.pass(time.Second, "p")
	}
	if got = append(l.givenFor("p", "a0"), l.givenFor("q", "a0")...); len(got) != 1 || !got[0].GetActive() {
		t.Errorf("permits: %v", got)
	}

	l = newLab(t, halfOpen(1)...)
	l.pass(250*time.Millisecond, "p")
	got = l.givenFor("p", "a0")
	if len(got) != 1 || !got[0].GetActive() || got[0].GetModel() != "m" || got[0].GetCheck() != int32(breaker.CheckModels) {
		t.Errorf("without traffic: %v", got)
	}

	// Traffic of the model elsewhere is as good.
	l = newLab(t, halfOpen(1)...)
	l.report("q", &syncv1.HealthReport{})
	l.report("p", &syncv1.HealthReport{Latencies: []*syncv1.LatencySums{{Model: "m", N: 5, X: 5, Y: 50, Xx: 5, Xy: 50}}})
	l.tick()
	if got := l.givenFor("p", "a0"); len(got) != 1 || got[0].GetActive() {
		t.Errorf("with the model's traffic: %v", got)
	}
}

// A permit that is never heard of again blocks nothing for longer than its time, and the next is for another proxy.
func TestLostPermit(t *testing.T) {
	l := newLab(t, halfOpen(2)...)
	l.deltas("p", ok("a1", 1))
	l.report("q", &syncv1.HealthReport{})
	l.tick()
	lost := l.givenFor("p", "a0")
	if len(lost) != 1 {
		t.Fatalf("permits: %v", lost)
	}
	l.Gone("p", l.clock)
	for waited := time.Duration(0); waited < PermitTTL-time.Second; waited += time.Second {
		l.pass(time.Second, "q")
		if got := l.givenFor("q", "a0"); len(got) != 0 {
			t.Fatalf("after %v: %v", waited, got)
		}
	}
	l.pass(2*time.Second, "q")
	got := l.givenFor("q", "a0")
	if len(got) != 1 || !got[0].GetActive() || got[0].GetId() == lost[0].GetId() {
		t.Fatalf("permits: %v", got)
	}
	l.outcome("q", lost[0], true, false)
	l.want("a0", breaker.HalfOpen, breaker.ReasonDue)
	// One that ended unused is followed by one that tries at once.
	l.outcome("q", got[0], false, false)
	l.pass(1500*time.Millisecond, "q")
	if next := l.givenFor("q", "a0"); len(next) != 1 || !next[0].GetActive() || next[0].GetId() == got[0].GetId() {
		t.Fatalf("next: %v", next)
	}
}

// The story of an account that dies and comes back.
func TestRecovery(t *testing.T) {
	l := newLab(t, some(2)...)
	l.deltas("p", failed("a0", 0, 5, 5), ok("a1", 5))
	l.pass(340*time.Second, "p")
	for range 20 { // until it is granted with the traffic there is
		l.deltas("p", ok("a1", 5))
		l.pass(time.Second, "p")
	}
	if f := l.fact("p", "a0"); f.GetRest().AsDuration() < factsEvery || f.GetRestOrdered() {
		t.Errorf("facts while it is half open: %v", f)
	}
	got := l.givenFor("p", "a0")
	if len(got) != 1 {
		t.Fatalf("permits: %v", got)
	}
	l.outcome("p", got[0], true, false)
	l.want("a0", breaker.Closed, breaker.ReasonRecovered)
	if f := l.fact("p", "a0"); f.GetRest() != nil || f.GetSlowStartAge() == nil || f.GetSlowStartAge().AsDuration() != 0 {
		t.Errorf("facts: %v", f)
	}
	if v := l.View(l.clock).GetAccounts()[0]; v.GetSlowStart() != 0.1 {
		t.Errorf("view: %v", v)
	}
	since := l.Update("p", 0, l.clock).GetRevision()
	l.pass(66*time.Second, "p")
	if share := l.accounts["a0"].breaker.Share(l.time(l.now), &l.rules); share != 1 {
		t.Errorf("share is %v", share)
	}
	told := false
	for _, f := range l.Update("p", since, l.clock).GetAccounts() {
		told = told || f.GetAccountId() == "a0" && f.GetSlowStartAge() == nil
	}
	if !told {
		t.Error("nobody is told that it is back")
	}
	var states []string
	for _, d := range l.kept {
		states = append(states, d.Health.GetState().String()[len("HEALTH_STATE_"):]+" "+d.Health.GetReason())
	}
	if diff := cmp.Diff([]string{"OPEN consecutive_failures", "HALF_OPEN due", "CLOSED recovered"}, states); diff != "" {
		t.Error(diff)
	}
}

// Accounts without traffic are looked after, each once in an interval, by one proxy.
func TestIdleChecks(t *testing.T) {
	r := breaker.Defaults()
	l := newLabWith(t, Options{Now: start, FirstEver: true}, r, some(300))
	granted := map[string]int{}
	byProxy := map[string]int{}
	for range 480 { // two minutes
		l.clock = l.clock.Add(250 * time.Millisecond)
		l.deltas("p", ok("a0", 1))
		l.report("q", &syncv1.HealthReport{})
		l.tick()
		for _, p := range []string{"p", "q"} {
			for _, o := range l.given(p) {
				if !o.GetActive() {
					t.Fatalf("permit: %v", o)
				}
				granted[o.GetAccountId()]++
				byProxy[p]++
				l.outcome(p, o, true, false)
			}
		}
	}
	if granted["a0"] != 0 || len(granted) != 299 {
		t.Errorf("%d accounts were checked, a0 %d times", len(granted), granted["a0"])
	}
	for id, n := range granted {
		if n < 3 || n > 4 {
			t.Errorf("%s was checked %d times", id, n)
		}
	}
	if byProxy["p"] < 300 || byProxy["q"] < 300 {
		t.Errorf("checks by proxy: %v", byProxy)
	}
	if len(l.kept) != 0 {
		t.Errorf("decisions: %v", l.kept)
	}

	// Five that fail in a row open it.
	l = newLabWith(t, Options{Now: start, FirstEver: true}, r, some(2))
	checks := 0
	for l.state("a1") == breaker.Closed && checks < 20 {
		l.deltas("p", ok("a0", 1))
		l.pass(time.Second, "p")
		for _, o := range l.given("p") {
			checks++
			l.outcome("p", o, false, true)
		}
	}
	l.want("a1", breaker.Open, breaker.ReasonConsecutive)
	if checks != 5 {
		t.Errorf("after %d checks", checks)
	}

	r.Check = breaker.CheckOff
	l = newLabWith(t, Options{Now: start, FirstEver: true}, r, halfOpen(3))
	l.pass(2*time.Minute, "p")
	if n := l.permitted; n == 0 || n > 5 {
		t.Errorf("without checks %d permits", n)
	}
	if got := l.given("p"); len(got) == 1 && got[0].GetActive() {
		t.Errorf("without checks: %v", got)
	}
}

func TestChecksAreBounded(t *testing.T) {
	l := newLabWith(t, Options{Now: start, FirstEver: true, ChecksPerSecond: 40}, breaker.Defaults(), some(5000))
	for second := range 30 {
		before := l.permitted
		l.pass(time.Second, "p", "q", "r")
		for _, p := range []string{"p", "q", "r"} {
			for _, o := range l.given(p) {
				l.outcome(p, o, true, false)
			}
		}
		if n := l.permitted - before; n > 40 && second > 0 {
			t.Fatalf("%d permits in second %d", n, second)
		}
	}
	if l.permitted < 1000 {
		t.Errorf("%d permits in half a minute", l.permitted)
	}
}

// holder is a proxy as the property sees it: it may use a permit from when it comes until it is void or told.
type holder struct {
	id, account string
	from, to    time.Time
}

// However updates are delayed or lost, proxies come and go, and leaders change: no two proxies may try one account in the
// same moment.
func TestNeverTwoPermits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		accounts := halfOpen(3)
		for i := range accounts {
			accounts[i].Verdict = accounts[0].Verdict
		}
		r := breaker.Defaults()
		r.Open = 5 * time.Second
		term := 1
		l := &lab{t: t, Judge: New(Options{Term: "1", Now: start, FirstEver: true}), clock: start, sequence: map[string]uint64{}, keep: true}
		l.Configure(r, accounts, start)
		proxies := []string{"p", "q", "r"}
		var held []holder
		hear := map[string]uint64{}
		for range rapid.IntRange(100, 250).Draw(t, "steps") {
			l.clock = l.clock.Add(time.Duration(rapid.OneOf(rapid.IntRange(50, 500), rapid.IntRange(50, 6000)).Draw(t, "ms")) * time.Millisecond)
			p := rapid.SampledFrom(proxies).Draw(t, "proxy")
			switch rapid.SampledFrom([]string{"update", "update", "update", "report", "report", "gone", "outcome", "lead"}).Draw(t, "step") {
			case "report":
				for _, p := range proxies {
					l.deltas(p, ok("a1", uint64(rapid.IntRange(0, 3).Draw(t, "ok"))))
				}
			case "gone":
				l.Gone(p, l.clock)
			case "update":
				for _, p := range proxies {
					since := hear[p]
					if rapid.IntRange(0, 4).Draw(t, "again") == 0 {
						since = 0
					}
					u := l.Update(p, since, l.clock)
					if u == nil {
						continue
					}
					hear[p] = u.GetRevision()
					if rapid.IntRange(0, 4).Draw(t, "lost") == 0 {
						continue
					}
					delay := rapid.SampledFrom([]time.Duration{0, 0, time.Second, margin - 1}).Draw(t, "delay")
					for _, o := range u.GetPermits() {
						came := l.clock.Add(delay)
						held = append(held, holder{o.GetId(), o.GetAccountId(), came, came.Add(o.GetTtl().AsDuration())})
					}
				}
			case "outcome":
				for i := range held {
					if h := &held[i]; !h.from.After(l.clock) && h.to.After(l.clock) && rapid.IntRange(0, 3).Draw(t, "tell") == 0 {
						for j := range held { // the same one, redelivered
							if held[j].id == h.id {
								held[j].to = l.clock
							}
						}
						for _, p := range proxies {
							l.report(p, &syncv1.HealthReport{Probes: []*syncv1.ProbeOutcome{{PermitId: h.id, AccountId: h.account, Failed: rapid.Bool().Draw(t, "failed")}}})
						}
						break
					}
				}
			case "lead":
				if rapid.IntRange(0, 9).Draw(t, "dies") > 0 {
					break
				}
				term++
				for i := range accounts {
					accounts[i].Verdict = l.health(l.accounts[accounts[i].ID].verdict())
				}
				l = &lab{t: t, Judge: New(Options{Term: fmt.Sprint(term), Now: l.clock}), clock: l.clock, sequence: map[string]uint64{}, keep: true}
				l.Configure(r, accounts, l.clock)
				clear(hear)
			}
			l.tick()
			for i, a := range held {
				for _, b := range held[i+1:] {
					if a.account == b.account && a.id != b.id && a.from.Before(b.to) && b.from.Before(a.to) {
						t.Fatalf("%v and %v", a, b)
					}
				}
			}
		}
	})
}

// Whatever went before, an account whose provider answers again serves fully in the end.
func TestHeals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := breaker.Defaults()
		r.Open, r.MaxOpen = time.Second, 8*time.Second
		l := &lab{t: t, Judge: New(Options{Now: start, FirstEver: true}), clock: start, sequence: map[string]uint64{}, keep: true}
		l.Configure(r, some(4), start)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			p := rapid.SampledFrom([]string{"p", "q"}).Draw(t, "proxy")
			id := rapid.SampledFrom([]string{"a0", "a1", "a2", "a3"}).Draw(t, "account")
			n := uint64(rapid.IntRange(0, 30).Draw(t, "n"))
			switch rapid.SampledFrom([]string{"fail", "ok", "order", "family", "permit", "gone", "pass"}).Draw(t, "step") {
			case "fail":
				l.deltas(p, failed(id, n/4, n, uint32(n)))
			case "ok":
				l.deltas(p, ok(id, n))
			case "order":
				l.deltas(p, ordered(id, time.Duration(n)*time.Second))
			case "family":
				l.deltas(p, &syncv1.AccountDelta{AccountId: id, Families: []*syncv1.FamilyRest{{Family: "f", Rest: durationpb.New(time.Duration(n) * time.Second)}}})
			case "permit":
				for _, o := range l.given(p) {
					l.outcome(p, o, false, n > 3)
				}
			case "gone":
				l.Gone(p, l.clock)
			case "pass":
				l.pass(time.Duration(n)*time.Second, "p")
			}
		}
		for range 180 {
			l.pass(time.Second, "p")
			for _, o := range l.given("p") {
				l.outcome("p", o, true, false)
			}
		}
		for _, a := range l.list {
			if share := a.breaker.Share(l.time(l.now), &l.rules); share != 1 {
				state, reason, _, _, _ := a.breaker.Health()
				t.Fatalf("%s is %v because of %q, its share is %v", a.ID, state, reason, share)
			}
			if f := l.fact("p", a.ID); f.GetRest() != nil || len(f.GetFamilies()) != 0 || f.GetSlowStartAge() != nil {
				t.Fatalf("facts: %v", f)
			}
		}
		l.pass(2 * time.Second)
		last := map[string]resourcev1.HealthState{}
		for _, d := range l.kept {
			last[d.AccountID] = d.Health.GetState()
		}
		for id, s := range last {
			if s != resourcev1.HealthState_HEALTH_STATE_CLOSED {
				t.Fatalf("what is kept of %s last is %v", id, s)
			}
		}
	})
}
