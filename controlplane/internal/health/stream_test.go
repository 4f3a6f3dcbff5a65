package health

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func TestNotLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		wantNotLeader := func(what string, err error, address string) {
			t.Helper()
			nl, ok := errors.AsType[*NotLeaderError](err)
			if !ok || nl.LeaderSyncAddress() != address || fault.KindOf(err) != fault.Stale {
				t.Errorf("%s: %v, want a NotLeaderError that names %q", what, err, address)
			}
		}
		_, err := r.health.View(t.Context())
		wantNotLeader("view", err, "10.0.0.1:8082")
		wantNotLeader("serve", <-r.connect("p1", "b", 0).ended, "10.0.0.1:8082")
		if got := r.gauge("fairway_health_leader"); got != 0 {
			t.Errorf("leader = %v, want 0", got)
		}
		r.lead()
		if got := r.gauge("fairway_health_leader"); got != 1 {
			t.Errorf("leader = %v, want 1", got)
		}
		if err := r.health.Lead(t.Context(), store.Fence{}); err == nil {
			t.Error("it led twice at once")
		}
		fast, slow := r.connect("p1", "b", 100), r.connect("p2", "b", 0)
		r.stop()
		// This replica may still be named as the leader; they must not come back for that.
		wantNotLeader("stream", <-fast.ended, "")
		wantNotLeader("stream that does not read", <-slow.ended, "")
		_, err = r.health.View(t.Context())
		wantNotLeader("view", err, "10.0.0.1:8082")
	})
}

func TestStreamsEnd(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		said := r.connect("p1", "b", 100)
		close(said.reports)
		if err := <-said.ended; err != nil {
			t.Errorf("end of stream: %v", err)
		}
		cut := r.connect("p1", "b", 100)
		cut.end()
		if err := <-cut.ended; !errors.Is(err, context.Canceled) && !errors.Is(err, errGone) {
			t.Errorf("cut stream: %v", err)
		}
		r.pass(time.Second)
		if n := r.health.current().size(); n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}

func TestNewestStreamSpeaksForItsProxy(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for _, boot := range []string{"b", "c"} {
			old := r.connect("p1", "b", 100)
			p := r.connect("p1", boot, 100)
			if err := <-old.ended; !errors.Is(err, errReplaced) {
				t.Errorf("the old stream: %v", err)
			}
			p.report()
			r.pass(time.Second)
			p.named("a")
			other := r.connect("p2", "of "+boot, 100)
			name := map[string]string{"b": "a", "c": "b"}[boot]
			other.report(refused(name))
			r.pass(time.Second)
			if !p.named(name) {
				t.Error("the new stream is not served")
			}
			if n := r.health.current().size(); n != 2 {
				t.Errorf("%d streams, want 2", n)
			}
			p.end()
			other.end()
			r.pass(time.Second)
		}
	})
}

func TestSlowProxyCostsNobodyElse(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		slow, fast := r.connect("p1", "b", 0), r.connect("p2", "b", 100)
		r.pass(time.Second)
		fast.named("a")
		fast.report(refused("a"))
		r.pass(time.Minute)
		if !fast.named("a") {
			t.Error("the fast one heard nothing")
		}
		// What the slow one finds when it reads again is one full update from before, and one of all since.
		<-slow.updates
		synctest.Wait()
		found := false
		for _, a := range (<-slow.updates).GetAccounts() {
			found = found || a.GetAccountId() == "id-a"
		}
		if !found {
			t.Error("the slow one missed what came meanwhile")
		}
	})
}

func TestReportsArePaced(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := r.connect("p1", "b", 1000)
		for range 200 {
			p.report()
		}
		r.pass(time.Second)
		left := len(p.reports)
		if taken := 200 - left; taken < reportBurst || taken > reportBurst+int(time.Second/reportEvery)+2 {
			t.Errorf("%d reports were taken in a second", taken)
		}
		r.pass(time.Minute)
		if len(p.reports) != 0 {
			t.Errorf("%d reports were never taken", len(p.reports))
		}
	})
}

// TestHostileReports: what no proxy should say changes nothing, and nothing breaks.
func TestHostileReports(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p, good := r.connect("evil", "b", 10000), r.connect("good", "b", 10000)
		odd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 0, math.MaxFloat64, 1e-300}
		pick := func() float64 { return odd[rand.IntN(len(odd))] }
		span := func() *durationpb.Duration {
			return &durationpb.Duration{Seconds: rand.Int64() - math.MaxInt64/2, Nanos: rand.Int32() - math.MaxInt32/2}
		}
		for i := range 300 {
			d := &syncv1.AccountDelta{
				AccountId: []string{"id-unknown", "id-b", ""}[i%3], Ok: rand.Uint64(), FailuresInRow: 0, InFlight: rand.Uint32(),
				TtftHistogram: make([]uint32, 40), TtftRatioSum: pick(), TtftRatioCount: rand.Uint64(), DurationMsSum: rand.Uint64(),
				DurationCount: rand.Uint64(), Tokens: rand.Uint64(), SessionAge: span(), HeadroomReset: span(),
				Families: []*syncv1.FamilyRest{{Family: "f", Rest: span()}, nil},
			}
			h := pick()
			d.Headroom = &h
			p.reports <- &syncv1.HealthReport{
				Sequence: rand.Uint64(), Accounts: []*syncv1.AccountDelta{d, nil, d},
				Probes:    []*syncv1.ProbeOutcome{{PermitId: "0-1", AccountId: "id-b", Ok: true, Asked: span()}, nil},
				Latencies: []*syncv1.LatencySums{{Model: "m", N: pick(), X: pick(), Y: pick(), Xx: pick(), Xy: pick()}, nil},
				Stats:     &syncv1.ProxyStats{Requests: rand.Uint64(), Uptime: span()},
			}
			if i%10 == 0 {
				p.reports <- nil
			}
			r.pass(reportEvery)
		}
		good.report(refused("a"))
		r.pass(2 * time.Minute)
		if got := r.state("a"); got != disabled {
			t.Errorf("a good proxy is not heard any more: %v", got)
		}
		for _, put := range r.books.stored() {
			if put != "id-a disabled" {
				t.Errorf("decided %q on hostile reports", put)
			}
		}
	})
}
