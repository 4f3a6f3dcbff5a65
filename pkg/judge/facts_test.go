package judge

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	"fairway/pkg/breaker"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func near(got, want float64) bool { return math.Abs(got-want) <= 0.01*math.Abs(want)+1e-9 }

// clamp(1 + (share - actual) / share, 1/4, 4), of the tier's attempts.
func TestUseFactor(t *testing.T) {
	accounts := some(4)
	accounts[3].ChannelID, accounts[3].ChannelWeight = "c2", 200 // two thirds, alone
	accounts[0].Weight = 200                                     // half of the other third
	l := newLab(t, accounts...)
	for range 6 {
		l.deltas("p", ok("a0", 50), ok("a1", 100), ok("a2", 0))
		l.deltas("q", ok("a3", 50))
		l.pass(time.Second)
	}
	for id, want := range map[string]float64{
		"a0": 1 + (1./6-1./4)/(1./6), "a1": 0.25, "a2": 2, "a3": 1 + (2./3-1./4)/(2./3),
	} {
		if got := l.fact("p", id); got == nil && id == "a2" {
			continue // nothing was ever said of it; its factor is told with the first traffic
		} else if !near(got.GetUseFactor(), want) {
			t.Errorf("%s: %v, want %v", id, got.GetUseFactor(), want)
		}
	}
	for _, tt := range []struct{ share, actual, want float64 }{{0.5, 0.5, 1}, {0.5, 0, 2}, {0.1, 1, 0.25}, {0, 0, 1}, {1e-300, 1, 0.25}} {
		if got := factor(tt.share, tt.actual); float64(got) != tt.want {
			t.Errorf("factor(%v, %v) = %v, want %v", tt.share, tt.actual, got, tt.want)
		}
	}
}

// The fit finds the line that answers lie on, whatever the proxies' parts of them, and follows it when it moves.
func TestFit(t *testing.T) {
	l := newLab(t, some(1)...)
	answers := func(p string, base, slope float64, tokens ...float64) {
		s := &syncv1.LatencySums{Model: "m"}
		for _, x := range tokens {
			y := base + slope*x
			s.N, s.X, s.Y, s.Xx, s.Xy = s.N+1, s.X+x, s.Y+y, s.Xx+x*x, s.Xy+x*y
		}
		l.report(p, &syncv1.HealthReport{Latencies: []*syncv1.LatencySums{s}})
	}
	line := func() (float64, float64) {
		for _, m := range l.Update("p", 0, l.clock).GetLatencies() {
			return m.GetBaseMs(), m.GetMsPerToken()
		}
		return 0, 0
	}
	answers("p", 300, 0.02, 100, 200)
	l.pass(6 * time.Second)
	if a, b := line(); a != 0 || b != 0 {
		t.Errorf("from two answers: %v + %v", a, b)
	}
	for range 10 {
		answers("p", 300, 0.02, 10, 5000, 800)
		answers("q", 300, 0.02, 100000, 20000)
		l.pass(time.Second)
	}
	if a, b := line(); !near(a, 300) || !near(b, 0.02) {
		t.Errorf("line is %v + %v", a, b)
	}
	for range 3600 / 5 {
		answers("p", 600, 0.01, 10, 5000, 800, 100000)
		l.pass(5 * time.Second)
	}
	if a, b := line(); math.Abs(a-600) > 15 || math.Abs(b-0.01) > 0.0005 {
		t.Errorf("an hour after it moved, line is %v + %v", a, b)
	}

	for _, tt := range []struct {
		name       string
		m          model
		base, slow float64
	}{
		{"one length only", model{n: 10, x: 1000, y: 5000, xx: 100000, xy: 500000}, 500, 0},
		{"faster with more input", model{n: 2, x: 10, y: 300, xx: 100, xy: 1000}, 150, 0},
		{"nothing read", model{n: 5, y: 500}, 100, 0},
	} {
		if base, slope := tt.m.line(); !near(base, tt.base) || !near(slope, tt.slow) {
			t.Errorf("%s: %v + %v", tt.name, base, slope)
		}
	}
}

func TestPartsOfCaps(t *testing.T) {
	accounts := some(2)
	accounts[0].Capped = true
	l := newLab(t, accounts...)
	for _, p := range []string{"p", "q", "r", "s"} {
		l.Joined(p, l.clock)
	}
	parts := func() (all []float64) {
		for _, p := range []string{"p", "q", "r", "s"} {
			all = append(all, float64(l.fact(p, "a0").GetSharePpm())/1e6)
		}
		return all
	}
	l.deltas("p", ordered("a0", time.Minute)) // so that there are facts
	l.deltas("p", ok("a0", 75))
	l.deltas("q", ok("a0", 25))
	got := parts()
	for i, want := range []float64{0.75*76/101 + 0.0625, 0.75*25/101 + 0.0625, 0.0625, 0.0625} {
		if !near(got[i], want) {
			t.Errorf("parts are %v", got)
		}
	}
	l.pass(30*time.Minute, "p", "q", "r", "s")
	if got := parts(); !near(got[0], 0.25) || !near(got[3], 0.25) {
		t.Errorf("without traffic, parts are %v", got)
	}
	if f := l.fact("p", "a1"); f.GetSharePpm() != 0 {
		t.Errorf("of an account without caps: %v", f)
	}
}

func TestInFlightAndMeans(t *testing.T) {
	l := newLab(t, some(1)...)
	l.deltas("p", &syncv1.AccountDelta{
		AccountId: "a0", Ok: 2, InFlight: 3, DurationMsSum: 5000, DurationCount: 2, TtftRatioSum: 3, TtftRatioCount: 2,
		Headroom: proto.Float64(0.5), HeadroomReset: durationpb.New(20 * time.Second),
	})
	l.deltas("q", &syncv1.AccountDelta{AccountId: "a0", Ok: 1, InFlight: 4, Headroom: proto.Float64(0.25), HeadroomReset: durationpb.New(8 * time.Second)})
	l.pass(5 * time.Second)
	want := &syncv1.AccountFacts{
		AccountId: "a0", Ok: 3, TtftRatio: 1.5, InFlightOthers: 4, MeanDuration: durationpb.New(2500 * time.Millisecond),
		Headroom: proto.Float64(0.25), HeadroomReset: durationpb.New(3 * time.Second),
	}
	if diff := gocmp.Diff(want, l.fact("p", "a0"), protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	if f := l.fact("q", "a0"); f.GetInFlightOthers() != 3 {
		t.Errorf("for q: %v", f)
	}
	l.Gone("q", l.clock)
	l.pass(5 * time.Second)
	if f := l.fact("p", "a0"); f.GetInFlightOthers() != 0 || f.Headroom != nil {
		t.Errorf("later: %v", f)
	}
	// A process that started anew has nothing under way.
	l.Report("p", "another boot", "h", &syncv1.HealthReport{Sequence: 1}, l.clock)
	if n := l.accounts["a0"].inFlight(nil); n != 0 {
		t.Errorf("%d under way", n)
	}
}

func TestSessionWindow(t *testing.T) {
	accounts := some(1)
	accounts[0].Session = time.Hour
	l := newLab(t, accounts...)
	use := func(p string, n, tokens uint64, age time.Duration) {
		d := ok("a0", n)
		d.Tokens = tokens
		if age > 0 {
			d.SessionAge = durationpb.New(age)
		}
		l.deltas(p, d)
	}
	l.deltas("p", ordered("a0", time.Second)) // so that there are facts; it counts as an attempt
	l.pass(10*time.Minute, "p", "q")
	use("p", 9, 100, 0)
	use("q", 5, 50, 15*time.Minute) // q saw it open before p did
	f := l.fact("p", "a0")
	if f.GetSessionAge().AsDuration() != 15*time.Minute || f.GetSessionRequests() != 5 || f.GetSessionTokens() != 50 {
		t.Errorf("for p: %v", f)
	}
	if f := l.fact("q", "a0"); f.GetSessionRequests() != 10 || f.GetSessionTokens() != 100 {
		t.Errorf("for q: %v", f)
	}
	l.Gone("q", l.clock)
	if f := l.fact("p", "a0"); f.GetSessionRequests() != 5 || f.GetSessionTokens() != 50 {
		t.Errorf("when q is gone: %v", f)
	}
	l.pass(46*time.Minute, "p")
	if f := l.fact("p", "a0"); f.GetSessionAge() != nil || f.GetSessionRequests() != 0 {
		t.Errorf("after its end: %v", f)
	}
	use("p", 1, 7, 0)
	if f := l.fact("q", "a0"); f.GetSessionAge() == nil || f.GetSessionRequests() != 1 || f.GetSessionTokens() != 7 {
		t.Errorf("the next: %v", f)
	}
}

// follower is a proxy that applies updates.
type follower struct {
	since uint64
	facts map[string]*syncv1.AccountFacts
	list  []string
}

func (f *follower) apply(u *syncv1.HealthUpdate) {
	if u.GetFull() {
		f.facts, f.list = map[string]*syncv1.AccountFacts{}, nil
	}
	for _, a := range u.GetAccounts() {
		f.facts[a.GetAccountId()] = a
	}
	if u.GetProxiesChanged() {
		f.list = u.GetProxies()
	}
	f.since = u.GetRevision()
}

// Who follows knows what one who asks for everything is told, but for what counts down or is coarse.
func TestFollowing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &lab{t: t, Judge: New(Options{Now: start, FirstEver: true}), clock: start, sequence: map[string]uint64{}, keep: true}
		accounts := some(6)
		l.Configure(breaker.Defaults(), accounts, start)
		l.Joined("x", l.clock)
		var f follower
		catchUp := func(f *follower) {
			for {
				u := l.Update("x", f.since, l.clock)
				if u == nil {
					return
				}
				if f.since != 0 && u.GetFull() {
					t.Fatal("full again")
				}
				f.apply(u)
				if u.GetRevision() == l.revision && len(u.GetAccounts()) < maxFacts {
					return
				}
			}
		}
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			id := fmt.Sprintf("a%d", rapid.IntRange(0, 6).Draw(t, "account"))
			p := rapid.SampledFrom([]string{"p", "q"}).Draw(t, "proxy")
			n := uint64(rapid.IntRange(1, 9).Draw(t, "n"))
			switch rapid.SampledFrom([]string{"fail", "ok", "order", "reset", "gone", "pass", "follow", "configure"}).Draw(t, "step") {
			case "fail":
				l.deltas(p, failed(id, 0, n, uint32(n)))
			case "ok":
				l.deltas(p, ok(id, n))
			case "order":
				l.deltas(p, ordered(id, time.Duration(n*n)*5*time.Second))
			case "reset":
				l.Reset(id, l.clock)
			case "gone":
				l.Gone(p, l.clock)
			case "pass":
				l.pass(time.Duration(n) * time.Second)
			case "follow":
				catchUp(&f)
			case "configure":
				l.Configure(breaker.Defaults(), accounts[:rapid.IntRange(0, 6).Draw(t, "accounts")], l.clock)
			}
		}
		l.pass(6 * time.Second)
		catchUp(&f)
		fresh := follower{}
		catchUp(&fresh)
		if !slices.Equal(f.list, fresh.list) {
			t.Fatalf("proxies are %v, not %v", f.list, fresh.list)
		}
		for id, want := range fresh.facts {
			got := f.facts[id]
			if got == nil || got.GetRestOrdered() != want.GetRestOrdered() && want.GetRest() != nil || (want.GetRest() != nil) && got.GetRest() == nil ||
				(got.GetSlowStartAge() == nil) != (want.GetSlowStartAge() == nil) || got.GetInFlightOthers() != want.GetInFlightOthers() {
				t.Fatalf("%s: got %v, want %v", id, got, want)
			}
		}
	})
}

// A fleet of many accounts comes in parts, each of which names the revision from where to go on.
func TestUpdateIsBounded(t *testing.T) {
	accounts := some(2*maxFacts + 10)
	l := newLab(t, accounts...)
	for _, a := range accounts {
		l.deltas("p", ordered(a.ID, time.Minute))
	}
	var f follower
	for n := range 3 {
		u := l.Update("x", f.since, l.clock)
		if u.GetFull() != (n == 0) || len(u.GetAccounts()) > maxFacts {
			t.Fatalf("part %d has %d accounts, full is %v", n, len(u.GetAccounts()), u.GetFull())
		}
		if n == 0 {
			l.Joined("x", l.clock)
			l.deltas("p", ordered("a0", time.Hour)) // changes after it was told
		}
		f.apply(u)
	}
	if u := l.Update("x", f.since, l.clock); u != nil || len(f.facts) != len(accounts) {
		t.Errorf("%d of %d accounts, then %v", len(f.facts), len(accounts), u)
	}
	if f.facts["a0"].GetRest().AsDuration() != time.Hour {
		t.Errorf("a0: %v", f.facts["a0"])
	}
}

func TestView(t *testing.T) {
	accounts := some(3)
	accounts[0].Channel, accounts[1].Disabled = "z", true
	l := newLab(t, accounts...)
	h := make([]uint32, buckets)
	h[10], h[20] = 90, 10 // from 32 ms, from 1024 ms
	for n := range 12 {
		d := failed("a2", 9, 1, 0)
		d.TtftHistogram, d.InFlight = h, 2
		l.report("p", &syncv1.HealthReport{
			Accounts: []*syncv1.AccountDelta{d},
			Stats:    &syncv1.ProxyStats{Requests: uint64(100 * n), Failures: uint64(10 * n), Uptime: durationpb.New(time.Hour)},
		})
		l.pass(time.Second)
	}
	v := l.View(l.clock)
	if got := []string{v.GetAccounts()[0].GetId(), v.GetAccounts()[1].GetId(), v.GetAccounts()[2].GetId()}; !slices.Equal(got, []string{"a1", "a2", "a0"}) {
		t.Errorf("order is %v", got)
	}
	p := v.GetProxies()[0]
	if p.GetId() != "p" || p.GetHostname() != "host-p" || p.GetRequests() != 1100 || !near(p.GetRequestRate(), 100) || !near(p.GetFailureRate(), 10) ||
		p.GetAge().AsDuration() != time.Second || p.GetUptime().AsDuration() != time.Hour {
		t.Errorf("proxy: %v", p)
	}
	if h := v.GetAccounts()[0].GetHealth(); h.GetReason() != "operator" || h.GetState() != 4 {
		t.Errorf("disabled: %v", h)
	}
	a := v.GetAccounts()[1]
	p50, p95 := a.GetTtftP50().AsDuration(), a.GetTtftP95().AsDuration()
	if p50 < 32*time.Millisecond || p50 > 46*time.Millisecond || p95 < 1024*time.Millisecond || p95 > 1449*time.Millisecond {
		t.Errorf("quantiles are %v and %v", p50, p95)
	}
	if a.GetOk() != 108 || a.GetFailed() != 12 || a.GetInFlight() != 2 || !near(a.GetRequestRate(), 10) || a.GetFaults()["server_error"] != 12 {
		t.Errorf("account: %v", a)
	}
}
