package judge

import (
	"fmt"
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/pkg/breaker"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// hostile are reports that no proxy of ours sends.
func hostile() []*syncv1.HealthReport {
	nan, inf := math.NaN(), math.Inf(1)
	huge := &durationpb.Duration{Seconds: math.MaxInt64, Nanos: math.MaxInt32}
	return []*syncv1.HealthReport{
		{Sequence: 1, Accounts: []*syncv1.AccountDelta{ok("a0", 3), failed("a1", 1, 9, 9), ordered("a2", time.Hour)}},
		{Sequence: 1, Accounts: []*syncv1.AccountDelta{
			{AccountId: "a0", Ok: math.MaxUint64, FailuresInRow: math.MaxUint32, InFlight: math.MaxUint32, TtftRatioSum: nan, TtftRatioCount: math.MaxUint64,
				DurationMsSum: math.MaxUint64, DurationCount: 1, Headroom: &nan, HeadroomReset: huge, Tokens: math.MaxUint64, Rest: huge, RestOrdered: true, RestReason: "\xff", SessionAge: huge,
				TtftHistogram: []uint32{math.MaxUint32, math.MaxUint32}, Families: []*syncv1.FamilyRest{{Family: "\xff", Rest: huge}, {}, {Family: "x", Rest: &durationpb.Duration{Seconds: -9}}},
				Faults: []*syncv1.FaultCount{{Reason: "\xff", Count: math.MaxUint64, Unhealthy: true}, {Count: math.MaxUint64}}},
			{AccountId: "a1", TtftRatioSum: inf, TtftRatioCount: 1, Headroom: &inf, Disabled: true, Organization: true},
			{AccountId: "unknown", Ok: 1}, nil, {},
		}},
		{Sequence: math.MaxUint64, Latencies: []*syncv1.LatencySums{{Model: "m", N: nan}, {Model: "m", N: 1, X: inf, Y: 1, Xx: 1, Xy: 1}, {Model: "m", N: 100, X: 1e5, Y: 1e5, Xx: 1e8, Xy: 1e8}, {Model: "m", N: 1e300, X: -1}, nil}},
		{Sequence: 1, Probes: []*syncv1.ProbeOutcome{{PermitId: "1-1", AccountId: "a0", Ok: true, Failed: true, Asked: huge}, nil}},
		{Sequence: 1, Stats: &syncv1.ProxyStats{Requests: math.MaxUint64, Uptime: huge}},
	}
}

// Whatever a proxy sends, what the judge says stays within what its messages allow.
func TestHostile(t *testing.T) {
	for i := range hostile() {
		for _, step := range []time.Duration{0, time.Second, time.Hour, -time.Hour, math.MaxInt64, math.MinInt64} {
			survive(t, hostile()[i], step)
		}
	}
}

func FuzzReport(f *testing.F) {
	for _, r := range hostile() {
		if b, err := proto.Marshal(r); err == nil { // what is no UTF-8 cannot be sent
			f.Add(b, int64(time.Second))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, step int64) {
		var r syncv1.HealthReport
		if proto.Unmarshal(b, &r) != nil {
			t.Skip()
		}
		survive(t, &r, time.Duration(step))
	})
}

// survive lets three proxies send the report, over time, and looks at all that comes of it.
func survive(t *testing.T, r *syncv1.HealthReport, step time.Duration) {
	accounts := some(5)
	for i := range accounts {
		accounts[i].Organization, accounts[i].Capped, accounts[i].Session = "o", true, time.Hour
	}
	l := newLab(t, accounts...)
	for n := range uint64(6) {
		r.Sequence += n
		l.Report(fmt.Sprint(n%3), "b", "h", r, l.clock)
		l.clock = l.clock.Add(step)
		l.tick()
		l.pass(time.Second)
		sane(t, l)
	}
	l.pass(6 * time.Second)
	sane(t, l)
}

func sane(t *testing.T, l *lab) {
	t.Helper()
	u := l.Update("0", 0, l.clock)
	v := l.View(l.clock)
	for _, m := range []proto.Message{u, v} {
		if _, err := proto.Marshal(m); err != nil {
			t.Fatalf("%v: %v", err, m)
		}
	}
	number := func(name string, v, low, high float64) {
		if !(v >= low && v <= high) {
			t.Fatalf("%s is %v", name, v)
		}
	}
	span := func(name string, d *durationpb.Duration, high time.Duration) {
		if d != nil && (d.CheckValid() != nil || d.AsDuration() < 0 || d.AsDuration() > high) {
			t.Fatalf("%s is %v", name, d)
		}
	}
	for _, f := range u.GetAccounts() {
		number("ratio", f.GetTtftRatio(), 0, 1000)
		number("use", f.GetUseFactor(), 0, 4)
		number("headroom", f.GetHeadroom(), 0, 1)
		number("share", float64(f.GetSharePpm()), 0, 1e6)
		span("rest", f.GetRest(), breaker.MaxAsked)
		span("mean", f.GetMeanDuration(), 24*time.Hour)
		span("session", f.GetSessionAge(), time.Hour)
		span("reset", f.GetHeadroomReset(), breaker.MaxAsked)
		span("slow start", f.GetSlowStartAge(), time.Minute)
		number("families", float64(len(f.GetFamilies())), 0, maxFamilies)
	}
	for _, m := range u.GetLatencies() {
		number("base", m.GetBaseMs(), 1, maxMS)
		number("slope", m.GetMsPerToken(), 0, maxMS)
	}
	for _, a := range v.GetAccounts() {
		span("p50", a.GetTtftP50(), time.Hour)
		span("p95", a.GetTtftP95(), time.Hour)
		number("rate", a.GetRequestRate(), 0, 1e12)
		number("faults", float64(len(a.GetFaults())), 0, 2*maxFaults)
	}
	for _, p := range v.GetProxies() {
		number("requests", p.GetRequestRate(), 0, math.MaxFloat64)
		number("failures", p.GetFailureRate(), 0, math.MaxFloat64)
	}
	for _, d := range l.kept {
		if d.Health.GetUntil() != nil && d.Health.GetUntil().CheckValid() != nil {
			t.Fatalf("decision %v", d)
		}
	}
}

// A report is counted once, in order, and of one boot at a time.
func TestSequence(t *testing.T) {
	l := newLab(t, some(1)...)
	count := func() uint64 { return l.View(l.clock).GetAccounts()[0].GetOk() }
	for _, step := range []struct {
		boot     string
		sequence uint64
		want     uint64
	}{{"b", 1, 1}, {"b", 1, 1}, {"b", 5, 2}, {"b", 4, 2}, {"b", 0, 2}, {"c", 1, 3}, {"c", 1, 3}, {"c", 2, 4}} {
		l.Report("p", step.boot, "h", &syncv1.HealthReport{Sequence: step.sequence, Accounts: []*syncv1.AccountDelta{ok("a0", 1)}}, l.clock)
		if got := count(); got != step.want {
			t.Fatalf("boot %s, sequence %d: %d, want %d", step.boot, step.sequence, got, step.want)
		}
	}
}

// Nothing that proxies name makes the judge remember more and more.
func TestMemoryIsBounded(t *testing.T) {
	l := newLab(t, some(3)...)
	for n := range 300 {
		r := &syncv1.HealthReport{}
		d := ok("a0", 1)
		for i := range 64 {
			name := fmt.Sprintf("%d-%d", n, i)
			d.Faults = append(d.Faults, &syncv1.FaultCount{Reason: name, Count: 1})
			d.Families = append(d.Families, &syncv1.FamilyRest{Family: name, Rest: durationpb.New(time.Hour)})
			r.Latencies = append(r.Latencies, &syncv1.LatencySums{Model: name, N: 1, X: 1, Y: 1, Xx: 1, Xy: 1})
			r.Accounts = append(r.Accounts, ok("unknown"+name, 1))
		}
		r.Accounts = append(r.Accounts, d)
		l.report("p", r)
	}
	a := l.accounts["a0"]
	if len(l.reasons) > maxReasons || len(l.models) > maxModels || len(a.families) > maxFamilies || len(a.traffic.halves[0].faults) > maxFaults || len(l.accounts) != 3 {
		t.Errorf("%d reasons, %d models, %d families, %d faults", len(l.reasons), len(l.models), len(a.families), len(a.traffic.halves[0].faults))
	}
	l.pass(2 * time.Hour)
	if len(a.families) != 0 || a.traffic != nil || len(a.seats) != 0 || len(l.models) != 0 {
		t.Errorf("hours later: %d families, %v, %d seats, %d models", len(a.families), a.traffic, len(a.seats), len(l.models))
	}
	l.Gone("p", l.clock)
	l.pass(2 * time.Hour)
	if len(l.proxies) != 0 {
		t.Errorf("%d proxies are known", len(l.proxies))
	}
}
