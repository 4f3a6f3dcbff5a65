package health

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/metrictest"
)

func TestRefusedCredentialIsDecidedOnceAndToldToAll(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p1, p2 := r.connect("p1", "b", 100), r.connect("p2", "b", 100)
		r.pass(time.Second)
		if u := <-p2.updates; !u.GetFull() || u.GetTerm() == "" {
			t.Errorf("the first update is %v, want a full one", u)
		}
		p2.named("a")
		p1.report(refused("a"))
		r.pass(2 * hurryAfter)
		if !p2.named("a") {
			t.Error("another proxy did not hear of it at once")
		}
		p1.report(refused("a"))
		p2.report(refused("a"))
		r.pass(time.Minute)
		if d := cmp.Diff([]string{"id-a disabled"}, r.books.stored()); d != "" {
			t.Error(d)
		}
		if !r.books.actors[store.Actor{Operator: "system", Procedure: procedure}] || len(r.books.actors) != 1 {
			t.Errorf("written by %v", r.books.actors)
		}
		if got := r.log.with("level=WARN", "channel=main", "account=a", "reason=credential"); len(got) != 1 {
			t.Errorf("%d warnings, want one: %q", len(got), got)
		}
		if got := r.state("a"); got != disabled {
			t.Errorf("state = %v", got)
		}
		for name, want := range map[string]float64{"closed": 1, "disabled": 1, "open": 0, "half_open": 0} {
			if got := r.gauge("fairway_accounts", name); got != want {
				t.Errorf("fairway_accounts{state=%q} = %v, want %v", name, got, want)
			}
		}
		if got := testutil.ToFloat64(r.health.metrics.decisions.WithLabelValues("disabled", "credential")); got != 1 {
			t.Errorf("decisions = %v, want 1", got)
		}
		if got := r.gauge("fairway_health_proxies"); got != 2 {
			t.Errorf("proxies = %v, want 2", got)
		}
	})
}

// gauge reads a metric by the values of its labels.
func (r *rig) gauge(name string, labels ...string) float64 {
	r.t.Helper()
	return metrictest.Value(r.t, r.registry, name, labels...)
}

func TestWritesThatFail(t *testing.T) {
	away := fault.New(fault.Unavailable, "the data store is unavailable")
	tests := []struct {
		name          string
		before, after []error
		attempts      int
	}{
		{"request lost", []error{away, away, away}, nil, 4},
		{"answer lost", nil, []error{away}, 1},
		{"both", []error{away}, []error{away}, 2},
		{"a foreign error", []error{errors.New("boom")}, nil, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				r.books.before, r.books.after = tt.before, tt.after
				p := r.connect("p1", "b", 100)
				p.report(refused("a"))
				r.pass(5 * time.Minute)
				if d := cmp.Diff([]string{"id-a disabled"}, r.books.stored()); d != "" {
					t.Error(d)
				}
				if r.books.attempts != tt.attempts {
					t.Errorf("%d attempts, want %d", r.books.attempts, tt.attempts)
				}
				if got := r.log.with("level=WARN", "account=a"); len(got) != 1 {
					t.Errorf("%d warnings, want one", len(got))
				}
				// It is over: what comes next is written on top.
				r.books.write(reset("a"))
				r.pass(10 * time.Second)
				p.report(refused("a"))
				r.pass(5 * time.Minute)
				if d := cmp.Diff([]string{"id-a disabled", "id-a disabled"}, r.books.stored()); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

// TestLostAnswerBeforeItsNews: the write has happened, its answer is lost, and this replica has not heard of it yet.
func TestLostAnswerBeforeItsNews(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.books.after = []error{fault.New(fault.Deadline, "deadline exceeded")}
		r.books.deaf = true
		p := r.connect("p1", "b", 100)
		p.report(refused("a"))
		r.pass(10 * time.Second)
		r.books.hear(true)
		r.pass(time.Minute)
		if d := cmp.Diff([]string{"id-a disabled"}, r.books.stored()); d != "" {
			t.Error(d)
		}
		if got := r.state("a"); got != disabled {
			t.Errorf("our own verdict was taken for an operator's: %v", got)
		}
		if got := append(r.log.with("somebody else"), r.log.with("was reset")...); len(got) != 0 {
			t.Errorf("our own verdict was taken for another's: %q", got)
		}
	})
}

func TestLostLeadershipWritesNothingMore(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.books.before = []error{fault.New(fault.Stale, "the leadership was lost").WithCode(store.CodeNotLeader)}
		p := r.connect("p1", "b", 100)
		p.report(refused("a"))
		r.pass(time.Minute)
		p.report(refused("b"))
		r.pass(time.Minute)
		if r.books.attempts != 1 {
			t.Errorf("%d attempts, want 1", r.books.attempts)
		}
	})
}

func TestOperatorsWord(t *testing.T) {
	for name, speak := range map[string]func(r *rig){
		"reset":    func(r *rig) { r.books.write(reset("a")) },
		"deletion": func(r *rig) { r.books.remove(model.KindVerdict, "id-a") },
		"new secret": func(r *rig) {
			a := account("a")
			a.Secret.Fingerprint = "another"
			r.books.write(a)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				p := r.connect("p1", "b", 1000)
				p.report(refused("a"))
				r.pass(time.Second)
				if got := r.state("a"); got != disabled {
					t.Fatalf("state = %v, want disabled", got)
				}
				p.named("a")
				speak(r)
				r.pass(2 * time.Second)
				if !p.named("a") {
					t.Error("proxies did not hear of it")
				}
				if got := r.state("a"); got != closed {
					t.Errorf("state = %v, want closed", got)
				}
				r.pass(time.Minute)
				want := []string{"id-a disabled"}
				if name == "new secret" {
					want = append(want, "id-a closed")
				}
				if d := cmp.Diff(want, r.books.stored()); d != "" {
					t.Error(d)
				}
			})
		})
	}
}

// TestOperatorIsFaster: the operator resets an account while the leader's decision is on its way.
func TestOperatorIsFaster(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.books.hold = make(chan struct{})
		p := r.connect("p1", "b", 100)
		p.report(refused("a"))
		r.pass(time.Second) // the write waits in the store
		r.books.write(reset("a"))
		close(r.books.hold)
		r.pass(time.Minute)
		if d := cmp.Diff([]string(nil), r.books.stored()); d != "" {
			t.Errorf("the operator was overruled: %s", d)
		}
		if got := r.state("a"); got != closed {
			t.Errorf("state = %v, want closed", got)
		}
	})
}

// TestOperatorIsFasterAndUnheard: as above, and the news of it comes late.
func TestOperatorIsFasterAndUnheard(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.books.hear(false)
		r.books.write(reset("a"))
		p := r.connect("p1", "b", 100)
		p.report(refused("a"))
		r.pass(5 * time.Second)
		if d := cmp.Diff([]string(nil), r.books.stored()); d != "" {
			t.Errorf("an unseen verdict was overwritten: %s", d)
		}
		r.books.hear(true)
		r.pass(time.Minute)
		if got := r.state("a"); got != closed {
			t.Errorf("state = %v, want closed", got)
		}
	})
}

func TestAccountIsDeletedMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.books.hold = make(chan struct{})
		p := r.connect("p1", "b", 100)
		p.report(refused("a"), refused("b"))
		r.pass(time.Second)
		r.books.remove(model.KindAccount, "id-a")
		close(r.books.hold)
		r.pass(time.Minute)
		if d := cmp.Diff([]string{"id-b disabled"}, r.books.stored()); d != "" {
			t.Error(d)
		}
		if r.books.attempts > 4 {
			t.Errorf("%d attempts", r.books.attempts)
		}
	})
}

func TestManyDecisions(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		var deltas []*syncv1.AccountDelta
		var want []string
		for i := range 500 {
			name := "x" + string(rune('a'+i/100)) + string(rune('a'+i/10%10)) + string(rune('a'+i%10))
			r.books.write(account(name))
			deltas = append(deltas, refused(name))
			want = append(want, "id-"+name+" disabled")
		}
		r.pass(2 * time.Second)
		p := r.connect("p1", "b", 100)
		p.report(deltas...)
		r.pass(2 * time.Minute)
		got := r.books.stored()
		slices.Sort(got)
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}

// TestAccountsAreReadOnceASecond: a flood of changes costs one look a second, and the last is seen.
func TestAccountsAreReadOnceASecond(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.pass(2 * time.Second)
		term := r.health.current()
		configured := func() time.Time {
			term.mu.Lock()
			defer term.mu.Unlock()
			return term.configured
		}
		reads, last := 0, configured()
		for i := range 300 {
			a := account("c")
			a.Weight = uint32(i + 1)
			r.books.write(a)
			r.pass(10 * time.Millisecond)
			if at := configured(); at != last {
				reads, last = reads+1, at
			}
		}
		if reads < 2 || reads > 4 {
			t.Errorf("accounts were read %d times in 3 s", reads)
		}
		r.pass(2 * time.Second)
		if got := term.roster.made["id-c"].judged.Weight; got != 300 {
			t.Errorf("weight = %v, want the last", got)
		}
	})
}

func TestFirstEver(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		if !r.health.current().firstEver {
			t.Error("the first term does not know that it is")
		}
		r.stop()
		r.lead()
		r.stop()
		other := New(r.books, Options{ReplicaID: "r2"})
		if other.firstEver(t.Context(), "0") {
			t.Error("a later term takes itself for the first")
		}
	})
}

// What a provider ordered is stored as ordered, and a leader that comes later tells it on to a proxy that was told by nobody.
func TestOrderOutlivesItsLeader(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.connect("p1", "b", 100).report(&syncv1.AccountDelta{
			AccountId: "id-a", Rest: durationpb.New(5 * time.Hour), RestOrdered: true, RestReason: "rate_limit",
			Faults: []*syncv1.FaultCount{{Reason: "rate_limit", Count: 1}},
		})
		r.pass(time.Minute)
		if d := cmp.Diff([]string{"id-a open"}, r.books.stored()); d != "" || !r.books.puts[0].GetHealth().GetOrdered() {
			t.Fatalf("stored: %v %v", d, r.books.puts)
		}
		r.stop()
		r.lead()
		u := <-r.connect("p2", "b", 100).updates
		if !slices.ContainsFunc(u.GetAccounts(), func(a *syncv1.AccountFacts) bool {
			return a.GetAccountId() == "id-a" && a.GetRestOrdered() && a.GetRest().AsDuration() > 4*time.Hour
		}) {
			t.Errorf("the new leader says %v", u)
		}
	})
}

func TestMetricReasonsAreBounded(t *testing.T) {
	m := newMetrics(&Health{}, nil)
	for _, reason := range []string{"", "With Space", "x\ny", "a-very-long-reason-that-nobody-has-ever-heard-of-before"} {
		if got := m.reason(reason); got != otherReason {
			t.Errorf("reason %q has a series of its own", reason)
		}
	}
	for i := range 1000 {
		m.reason("r" + string(rune('a'+i%26)) + string(rune('a'+i/26)))
	}
	if len(m.reasons) != maxReasons || m.reason("ra"+"a") != "raa" {
		t.Errorf("%d reasons", len(m.reasons))
	}
}
