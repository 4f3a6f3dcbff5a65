package judge

import (
	"errors"
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/pkg/breaker"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func TestFailuresInARow(t *testing.T) {
	type step struct {
		after time.Duration
		proxy string
		delta *syncv1.AccountDelta
	}
	tests := []struct {
		name  string
		steps []step
		then  time.Duration
		open  bool
	}{
		{"four", []step{{0, "p", failed("a0", 0, 4, 4)}}, 10 * time.Second, false},
		{"five at one proxy", []step{{0, "p", failed("a0", 0, 5, 5)}}, 0, true},
		{"five over two reports", []step{{0, "p", failed("a0", 0, 2, 2)}, {time.Second, "p", failed("a0", 0, 3, 5)}}, 0, true},
		{"five over the fleet", []step{{0, "p", failed("a0", 0, 3, 3)}, {0, "q", failed("a0", 0, 2, 2)}}, 0, true},
		{"one well between", []step{{0, "p", failed("a0", 0, 4, 4)}, {time.Second, "p", failed("a0", 1, 4, 4)}}, 10 * time.Second, false},
		{"one well at another proxy between", []step{{0, "p", failed("a0", 0, 4, 4)}, {0, "q", ok("a0", 1)}, {time.Second, "p", failed("a0", 0, 1, 5)}}, 1500 * time.Millisecond, false},
		{"five after one well", []step{{0, "p", failed("a0", 1, 5, 5)}}, 0, true},
		{"told by a proxy that knows more than a new leader", []step{{0, "p", failed("a0", 0, 1, 5)}}, 0, true},
		{"only one proxy fails, and another is answered", []step{
			{0, "q", ok("a0", 200)},
			{time.Second, "p", failed("a0", 0, 5, 5)}, {0, "q", ok("a0", 200)},
			{time.Second, "p", failed("a0", 0, 1, 6)}, {0, "q", ok("a0", 200)},
			{time.Second, "p", failed("a0", 0, 1, 7)}, {0, "q", ok("a0", 200)},
			{time.Second, "p", failed("a0", 0, 1, 8)}, {0, "q", ok("a0", 200)},
		}, 0, false},
		{"another was answered before, and says nothing more", []step{{0, "q", ok("a0", 200)}, {time.Second, "p", failed("a0", 0, 5, 5)}}, 3 * time.Second, true},
		{"faults of clients", []step{{0, "p", &syncv1.AccountDelta{AccountId: "a0", Faults: []*syncv1.FaultCount{{Reason: "client", Count: 50}}}}}, 10 * time.Second, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, some(4)...)
			for _, s := range tt.steps {
				l.pass(s.after)
				l.deltas(s.proxy, s.delta)
			}
			l.pass(tt.then)
			l.tick()
			if !tt.open {
				l.want("a0", breaker.Closed, "")
				if len(l.kept) > 0 {
					t.Errorf("decisions: %v", l.kept)
				}
				return
			}
			l.want("a0", breaker.Open, breaker.ReasonConsecutive)
			if len(l.kept) != 1 || l.kept[0].Health.GetState() != resourcev1.HealthState_HEALTH_STATE_OPEN {
				t.Errorf("decisions: %v", l.kept)
			}
			f := l.fact("p", "a0")
			if d := f.GetRest().AsDuration(); d < 260*time.Second || f.GetRestOrdered() {
				t.Errorf("facts: %v", f)
			}
		})
	}
}

// Rates take out the worst, and never more than a share of the tier.
func TestRates(t *testing.T) {
	all := some(10)
	l := newLab(t, all...)
	for i := range 10 {
		// a0 fails 2 of 20, a9 11 of 20; never two in a row.
		l.deltas("p", failed(all[i].ID, uint64(18-i), uint64(2+i), 0))
	}
	l.pass(2 * time.Second)
	for i, a := range all {
		if i < 5 {
			l.want(a.ID, breaker.Closed, "")
		} else {
			l.want(a.ID, breaker.Open, breaker.ReasonErrorRate)
		}
	}
	// Those that are dead fall nevertheless.
	l.deltas("p", failed("a0", 0, 5, 5), failed("a1", 0, 5, 5))
	l.want("a0", breaker.Open, breaker.ReasonConsecutive)
	l.want("a1", breaker.Open, breaker.ReasonConsecutive)
	l.pass(30 * time.Second)
	l.want("a2", breaker.Closed, "")

	alone := newLab(t, some(1)...)
	alone.deltas("p", failed("a0", 50, 50, 0))
	alone.pass(5 * time.Second)
	alone.want("a0", breaker.Closed, "")
}

// A provider that fails everything half of the time disables nothing, and leaves half of a tier.
func TestOutage(t *testing.T) {
	all := some(100)
	l := newLab(t, all...)
	for range 30 {
		for i := range 100 {
			l.deltas("p", failed(all[i].ID, 10, 10, 1))
		}
		l.pass(time.Second)
	}
	out := 0
	for _, a := range l.list {
		switch a.breaker.State() {
		case breaker.Closed:
		case breaker.Open:
			out++
		default:
			t.Fatalf("%s is %v", a.ID, a.breaker.State())
		}
	}
	if out != 50 {
		t.Errorf("%d of 100 are out, want 50", out)
	}
}

func TestSlow(t *testing.T) {
	for _, tt := range []struct {
		ratio float64
		slow  bool
	}{{4.9, false}, {5.1, true}, {math.NaN(), false}, {math.Inf(1), true}} {
		l := newLab(t, some(4)...)
		l.clock = l.clock.Add(30 * time.Second) // on a boundary of halves
		for n := range 70 {
			l.deltas("p", &syncv1.AccountDelta{AccountId: "a0", Ok: 2, TtftRatioSum: 2 * tt.ratio, TtftRatioCount: 2}, ok("a1", 2))
			l.pass(time.Second)
			if l.state("a0") == breaker.Open {
				if n < 45 {
					t.Errorf("ratio %v: slow for %d s only", tt.ratio, n)
				}
				break
			}
		}
		if tt.slow {
			l.want("a0", breaker.Open, breaker.ReasonSlow)
		} else {
			l.want("a0", breaker.Closed, "")
		}
		l.want("a1", breaker.Closed, "")
	}
}

func TestOrderedRests(t *testing.T) {
	l := newLab(t, some(3)...)
	l.Joined("q", l.clock)
	since := l.Update("q", 0, l.clock).GetRevision()

	l.deltas("p", ordered("a0", 20*time.Second))
	u := l.Update("q", since, l.clock)
	if len(u.GetAccounts()) != 1 || u.GetAccounts()[0].GetRest().AsDuration() != 20*time.Second || !u.GetAccounts()[0].GetRestOrdered() || u.GetAccounts()[0].GetRestReason() != "rate_limit" {
		t.Fatalf("told at once: %v", u)
	}
	l.pass(time.Second)
	if len(l.kept) > 0 {
		t.Errorf("a short rest is kept: %v", l.kept)
	}
	if h := l.View(l.clock).GetAccounts()[0].GetHealth(); h.GetState() != resourcev1.HealthState_HEALTH_STATE_OPEN || h.GetReason() != "rate_limit" || !h.GetUntil().AsTime().Equal(start.Add(20*time.Second)) {
		t.Errorf("view: %v", h)
	}
	// What proxies were told comes back as theirs, a little late each time: it must not grow.
	for range 18 {
		left := l.fact("q", "a0").GetRest()
		l.clock = l.clock.Add(200 * time.Millisecond)
		l.deltas("q", &syncv1.AccountDelta{AccountId: "a0", Rest: left, RestOrdered: true, RestReason: "rate_limit"})
		l.clock = l.clock.Add(800 * time.Millisecond)
		l.tick()
	}
	l.clock = l.clock.Add(time.Second)
	if f := l.fact("q", "a0"); f.GetRest() != nil {
		t.Errorf("after its time: %v", f)
	}

	l.deltas("p", ordered("a1", 5*time.Hour))
	l.deltas("q", ordered("a1", time.Hour))
	l.tick()
	l.want("a1", breaker.Open, "rate_limit")
	if len(l.kept) != 1 || l.kept[0].Health.GetUntil().AsTime().Sub(l.clock) != 5*time.Hour {
		t.Fatalf("a long order: %v", l.kept)
	}
	l.clock = l.clock.Add(5*time.Hour - time.Second)
	l.pass(500 * time.Millisecond)
	l.want("a1", breaker.Open, "rate_limit")
	l.pass(2 * time.Second)
	l.want("a1", breaker.HalfOpen, breaker.ReasonDue)
}

// A new leader is told by proxies what their providers asked for: it knows, and keeps nothing anew.
func TestOrdersAfterLeaderChange(t *testing.T) {
	old := newLab(t, some(1)...)
	old.deltas("p", ordered("a0", 5*time.Hour))
	old.tick()
	accounts := some(1)
	accounts[0].Verdict = old.kept[0].Health
	l := newLabWith(t, Options{Term: "2", Now: start.Add(time.Minute)}, breaker.Defaults(), accounts)
	l.clock = l.clock.Add(300 * time.Millisecond)
	l.deltas("p", &syncv1.AccountDelta{AccountId: "a0", Rest: durationpb.New(5*time.Hour - time.Minute), RestOrdered: true, RestReason: "rate_limit"})
	l.pass(time.Minute)
	if len(l.kept) != 0 {
		t.Errorf("decisions: %v", l.kept)
	}
	if f := l.fact("p", "a0"); !f.GetRestOrdered() || f.GetRest().AsDuration() < 4*time.Hour {
		t.Errorf("facts: %v", f)
	}
}

// A new leader knows what a provider ordered by the verdict alone: no proxy that was told may be left, and panics keep to it.
// That an account rests for another reason orders nothing.
func TestOrdersAreKept(t *testing.T) {
	old := newLab(t, some(2)...)
	old.deltas("p", ordered("a0", 5*time.Hour), failed("a1", 0, 5, 5))
	old.tick()
	old.want("a1", breaker.Open, breaker.ReasonConsecutive)
	accounts := some(2)
	for _, d := range old.kept {
		accounts[d.AccountID[1]-'0'].Verdict = d.Health
	}
	l := newLabWith(t, Options{Term: "2", Now: start.Add(time.Minute)}, breaker.Defaults(), accounts)
	l.pass(time.Second, "q")
	if f := l.fact("q", "a0"); !f.GetRestOrdered() || f.GetRest().AsDuration() < 4*time.Hour || f.GetRestReason() != "rate_limit" {
		t.Errorf("a0: %v", f)
	}
	if f := l.fact("q", "a1"); f.GetRestOrdered() || f.GetRest() == nil {
		t.Errorf("a1: %v", f)
	}
	for i, want := range []bool{true, false} {
		if h := l.View(l.clock).GetAccounts()[i].GetHealth(); h.GetState() != resourcev1.HealthState_HEALTH_STATE_OPEN || h.GetOrdered() != want {
			t.Errorf("view of a%d: %v", i, h)
		}
	}
	if len(l.kept) != 0 {
		t.Errorf("decisions: %v", l.kept)
	}
}

// A proxy that says nothing any more has no say, as if it were gone.
func TestSilence(t *testing.T) {
	l := newLab(t, some(2)...)
	l.deltas("p", &syncv1.AccountDelta{AccountId: "a0", Ok: 1, InFlight: 5})
	l.pass(2*time.Minute, "q")
	if n := l.accounts["a0"].inFlight(nil); n != 0 {
		t.Errorf("%d under way", n)
	}
	if v := l.View(l.clock); len(v.GetProxies()) != 1 || v.GetProxies()[0].GetId() != "q" {
		t.Errorf("proxies: %v", v.GetProxies())
	}
	l.pass(time.Second, "p")
	if got := l.Update("p", 0, l.clock).GetProxies(); len(got) != 2 {
		t.Errorf("when it speaks again: %v", got)
	}
}

// A rest of a proxy's own is everybody's, unless another proxy is answered there.
func TestSoftRests(t *testing.T) {
	l := newLab(t, some(2)...)
	soft := func(id string) *syncv1.AccountDelta {
		d := failed(id, 0, 3, 3)
		d.Rest, d.RestReason = durationpb.New(5*time.Second), "server_error"
		return d
	}
	l.deltas("q", ok("a1", 10))
	l.deltas("p", soft("a0"), soft("a1"))
	if f := l.fact("q", "a0"); f.GetRest().AsDuration() != 5*time.Second || f.GetRestOrdered() {
		t.Errorf("a0: %v", f)
	}
	if f := l.fact("q", "a1"); f.GetRest() != nil {
		t.Errorf("a1: %v", f)
	}
}

func TestRefused(t *testing.T) {
	accounts := some(6)
	for i := range accounts {
		accounts[i].Organization, accounts[i].Provider = "o", 1
	}
	accounts[2].Organization = "other"
	accounts[3].Provider = 2
	accounts[4].Disabled = true
	accounts[5].Organization, accounts[5].ID = "", "lonely"
	l := newLab(t, accounts...)
	d := &syncv1.AccountDelta{AccountId: "a0", Disabled: true, Organization: true, RestReason: "organization_limit", Faults: []*syncv1.FaultCount{{Reason: "organization_limit", Count: 1}}}
	l.deltas("p", d, d)
	l.want("a0", breaker.Disabled, "organization_limit")
	l.want("a1", breaker.Disabled, "organization_limit")
	for _, id := range []string{"a2", "a3", "a4", "lonely"} {
		l.want(id, breaker.Closed, "")
	}
	if all := l.tick(); len(all) != 2 || !all[0].Alert {
		t.Errorf("decisions: %v", all)
	}
	if f := l.fact("p", "a1"); !f.GetRestOrdered() || f.GetRest().AsDuration() < 24*time.Hour {
		t.Errorf("facts: %v", f)
	}
	l.deltas("p", &syncv1.AccountDelta{AccountId: "lonely", Disabled: true, Organization: true, Faults: []*syncv1.FaultCount{{Reason: "credential", Count: 1}}})
	l.want("lonely", breaker.Disabled, "credential")
	l.want("a2", breaker.Closed, "")

	// An operator's word brings it back; what proxies still say of before does not count, a new refusal does.
	l.Reset("a0", l.clock)
	l.deltas("q", &syncv1.AccountDelta{AccountId: "a0", Disabled: true, RestReason: "credential"})
	l.want("a0", breaker.Closed, breaker.ReasonReset)
	if all := l.tick(); len(all) != 1 || all[0].AccountID != "lonely" {
		t.Errorf("decisions: %v", all)
	}
	l.deltas("q", d)
	l.want("a0", breaker.Disabled, "organization_limit")
	// So does what a check finds, though nothing was counted.
	l.Reset("a0", l.clock)
	l.accounts["a0"].checkAt = l.now
	l.accounts["a0"].last = 0
	l.tick()
	var check *syncv1.ProbePermit
	for _, p := range []string{"p", "q"} {
		for _, o := range l.givenFor(p, "a0") {
			check = o
			l.report(p, &syncv1.HealthReport{
				Probes:   []*syncv1.ProbeOutcome{{PermitId: o.GetId(), AccountId: "a0", Failed: true, Reason: "credential"}},
				Accounts: []*syncv1.AccountDelta{{AccountId: "a0", Disabled: true, RestReason: "credential"}},
			})
		}
	}
	if check == nil {
		t.Fatal("no check")
	}
	l.want("a0", breaker.Disabled, "credential")

	// So does a new credential.
	accounts[0].Credential = "y"
	l.Configure(breaker.Defaults(), accounts, l.clock)
	l.want("a0", breaker.Closed, "new_credential")
	l.tick() // the refusal before was never asked for
	if last := l.kept[len(l.kept)-1]; last.Health.GetState() != resourcev1.HealthState_HEALTH_STATE_CLOSED || last.AccountID != "a0" {
		t.Errorf("decision: %v", last)
	}
}

func TestFamilies(t *testing.T) {
	l := newLab(t, some(1)...)
	rest := func(p string, d time.Duration) {
		l.deltas(p, &syncv1.AccountDelta{AccountId: "a0", Families: []*syncv1.FamilyRest{{Family: "claude", Rest: durationpb.New(d), Reason: "overloaded"}}})
	}
	rest("p", 10*time.Second)
	rest("q", 30*time.Second)
	rest("p", 5*time.Second)
	f := l.fact("r", "a0")
	if len(f.GetFamilies()) != 1 || f.GetFamilies()[0].GetRest().AsDuration() != 30*time.Second || f.GetFamilies()[0].GetFamily() != "claude" {
		t.Errorf("facts: %v", f)
	}
	if v := l.View(l.clock).GetAccounts()[0]; v.GetRestingFamilies()["claude"].AsDuration() != 30*time.Second || v.GetHealth().GetState() != resourcev1.HealthState_HEALTH_STATE_CLOSED {
		t.Errorf("view: %v", v)
	}
	l.pass(31 * time.Second)
	if f := l.fact("r", "a0"); len(f.GetFamilies()) != 0 {
		t.Errorf("after its time: %v", f)
	}
}

// An outage of many accounts is kept a little at a time, disabled ones first, and nothing is lost: not even what the
// store refuses.
func TestDecisionsAreBounded(t *testing.T) {
	accounts := some(1000)
	l := newLabWith(t, Options{Now: start, DecisionsPerSecond: 50}, breaker.Defaults(), accounts)
	l.keep = false
	for i := range 1000 {
		id := accounts[i].ID
		if i%100 == 99 {
			l.deltas("p", &syncv1.AccountDelta{AccountId: id, Disabled: true, Faults: []*syncv1.FaultCount{{Reason: "credential", Count: 1}}})
		} else {
			l.deltas("p", failed(id, 0, 5, 5))
		}
	}
	kept := map[string]resourcev1.HealthState{}
	refused := 0
	for second := range 30 {
		n := 0
		for range 4 {
			l.clock = l.clock.Add(250 * time.Millisecond)
			for i, d := range l.tick() {
				if second == 0 && n < 10 && d.Health.GetState() != resourcev1.HealthState_HEALTH_STATE_DISABLED {
					t.Fatalf("decision %d is %v", n, d)
				}
				n++
				if i%5 == 0 && second < 5 {
					refused++
					l.Persisted(d, errors.New("the store is away"))
					continue
				}
				if _, twice := kept[d.AccountID]; twice {
					t.Fatalf("%s is kept twice", d.AccountID)
				}
				kept[d.AccountID] = d.Health.GetState()
				l.Persisted(d, nil)
			}
		}
		if limit := 50; n > limit && second > 0 || n > 2*limit {
			t.Fatalf("%d decisions in second %d", n, second)
		}
	}
	if len(kept) != 1000 || refused == 0 {
		t.Errorf("kept %d of 1000, refused %d", len(kept), refused)
	}
}

// What changes while it is being kept is kept next, and only one write of an account is under way.
func TestDecisionThatChanges(t *testing.T) {
	l := newLab(t, some(1)...)
	l.keep = false
	l.deltas("p", failed("a0", 0, 5, 5))
	first := l.tick()
	l.deltas("p", &syncv1.AccountDelta{AccountId: "a0", Disabled: true, RestReason: "credential"})
	l.pass(time.Second)
	if len(first) != 1 || len(l.kept) != 1 {
		t.Fatalf("decisions: %v", l.kept)
	}
	l.Persisted(first[0], nil)
	l.Persisted(first[0], errors.New("said twice"))
	next := l.tick()
	if len(next) != 1 || next[0].Health.GetReason() != "credential" {
		t.Fatalf("next: %v", next)
	}
	// An operator, whose word is kept already, makes it void.
	l.Reset("a0", l.clock)
	l.Persisted(next[0], nil)
	l.pass(5 * time.Second)
	if len(l.kept) != 2 {
		t.Errorf("decisions: %v", l.kept)
	}
	l.deltas("p", failed("a0", 0, 5, 5))
	if all := l.tick(); len(all) != 1 || all[0].Health.GetState() != resourcev1.HealthState_HEALTH_STATE_OPEN {
		t.Errorf("after the reset: %v", all)
	}
}

// A clock that is set while the leader runs opens nothing, and keeps nothing out for longer than its rest.
func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{-time.Hour, time.Hour} {
		l := newLab(t, some(20)...)
		l.deltas("p", failed("a0", 0, 5, 5), ordered("a1", time.Minute))
		for i := range 18 {
			l.deltas("p", ok(some(20)[i+2].ID, 100))
		}
		l.pass(time.Second)
		l.clock = l.clock.Add(jump)
		l.pass(10*time.Second, "p")
		for i := range 18 {
			l.want(some(20)[i+2].ID, breaker.Closed, "")
		}
		l.pass(60*time.Second, "p")
		if f := l.fact("p", "a1"); f.GetRest() != nil {
			t.Errorf("%v: %v", jump, f)
		}
		l.pass(330*time.Second, "p")
		if l.state("a0") == breaker.Open {
			t.Errorf("%v: still open", jump)
		}
	}
}
