package health

import (
	"math"
	"testing"
	"time"

	"fairway/dataplane/internal/dialect"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// numbers are what draws read of an account.
type numbers struct{ vigor, performance, reliability, use float32 }

func (w *world) numbers(id string) numbers {
	c := w.candidate(id).Cell
	round := func(v float32) float32 { return float32(math.Round(float64(v)*100) / 100) }
	return numbers{round(c.Vigor.Load()), round(c.Performance.Load()), round(c.Reliability.Load()), round(c.Use.Load())}
}

// TestFactsFade: what the leader says counts for half a minute, and has faded to what is known here after a minute.
func TestFactsFade(t *testing.T) {
	w := newWorld(t, Options{}, "a")
	w.k.Tick(w.now)
	w.facts(&syncv1.AccountFacts{AccountId: "a", Ok: 8, Failed: 0, TtftRatio: 3, UseFactor: 0.5})
	for _, tc := range []struct {
		after time.Duration
		want  numbers
	}{
		{0, numbers{1, 0.25, 0.9, 0.5}},
		{30 * time.Second, numbers{1, 0.25, 0.9, 0.5}},
		{15 * time.Second, numbers{1, 0.5, 0.95, 0.75}},
		{15 * time.Second, numbers{1, 0.75, 1, 1}},
		{time.Hour, numbers{1, 0.75, 1, 1}},
	} {
		w.pass(tc.after)
		w.k.Tick(w.now)
		if got := w.numbers("a"); got != tc.want {
			t.Errorf("%v later: %+v, want %+v", tc.after, got, tc.want)
		}
	}
}

// TestFailingFalls: an account that fails always falls to next to nothing before its breaker opens, and one answer brings
// it back.
func TestFailingFalls(t *testing.T) {
	w := newWorld(t, Options{}, "a", "b")
	for range 4 {
		w.fail("a", dialect.Transport(false), 0)
		w.ok("b")
	}
	w.k.Tick(w.now)
	a, b := w.numbers("a"), w.numbers("b")
	if a.vigor > 0.07 || a.reliability > 0.2 || b.vigor != 1 || b.reliability < 0.8 {
		t.Errorf("failing: %+v, good: %+v", a, b)
	}
	w.ok("a")
	w.k.Tick(w.now)
	if got := w.numbers("a"); got.vigor != 1 {
		t.Errorf("after an answer: %+v", got)
	}
}

// TestLatency: times are held against the model's fit, by tokens that were not cached.
func TestLatency(t *testing.T) {
	w := newWorld(t, Options{}, "a", "b")
	w.revision++
	w.k.Apply(&syncv1.HealthUpdate{Term: "t", Revision: 1, Latencies: []*syncv1.ModelLatency{{Model: model, BaseMs: 100, MsPerToken: 1}}}, w.now)
	answer := func(id string, ttft time.Duration, tokens int64) {
		w.outcome(id, func(o *Outcome) { o.TTFT, o.UncachedInput, o.Took = ttft, tokens, 2*ttft })
	}
	for range 10 {
		answer("a", time.Second, 900) // as expected, though slow
		answer("b", time.Second, 150) // four times slower
	}
	w.k.Tick(w.now)
	if a, b := w.numbers("a"), w.numbers("b"); a.performance != 0.75 || b.performance != 0.19 {
		t.Errorf("performance %v and %v, want 0.75 and 0.19", a.performance, b.performance)
	}
	if got := latency(w.candidate("a").Cell); got != 1000 {
		t.Errorf("mean time %v", got)
	}
	r := w.k.Report(w.now)
	if len(r.GetLatencies()) != 1 {
		t.Fatalf("sums: %v", r.GetLatencies())
	}
	if s := r.GetLatencies()[0]; s.GetN() != 20 || s.GetX() != 10500 || s.GetY() != 20000 || s.GetXx() != 8325000 || s.GetXy() != 10500000 {
		t.Errorf("sums: %v", s)
	}
	for _, d := range r.GetAccounts() {
		if want := map[string]float64{"a": 10, "b": 40}[d.GetAccountId()]; d.GetTtftRatioSum() != want || d.GetTtftRatioCount() != 10 {
			t.Errorf("%s: ratios %v of %d, want %v", d.GetAccountId(), d.GetTtftRatioSum(), d.GetTtftRatioCount(), want)
		}
		if h := d.GetTtftHistogram(); len(h) != 20 || h[19] != 10 {
			t.Errorf("%s: histogram %v", d.GetAccountId(), h)
		}
	}
}

func TestBuckets(t *testing.T) {
	for _, us := range []int64{0, 1, 999, 1000, 1414, 1415, 1999, 2000, 2828, 2829, 90_000, 1_000_000, 741_000_000, 742_000_000, 1 << 50} {
		want := 0
		if f := float64(us) / 1000; f >= 1 {
			want = min(int(math.Floor(2*math.Log2(f))), buckets-1)
		}
		if got := bucket(time.Duration(us) * time.Microsecond); got != want {
			t.Errorf("%d µs: bucket %d, want %d", us, got, want)
		}
	}
}

// TestModelsAreBounded: a client that asks for ever new models does not fill the memory.
func TestModelsAreBounded(t *testing.T) {
	b := newBook[sums](maxModels)
	kept := 0
	for i := range 100_000 {
		name := []byte("model-" + string(rune('a'+i%26)) + time.Duration(i).String())
		if b.at("", string(name)) != nil {
			kept++
		}
	}
	if kept > maxModels || kept < maxModels*9/10 || !b.crowded() {
		t.Errorf("%d models are kept, want nearly %d at most", kept, maxModels)
	}
	if b.at("c", "m") != nil {
		t.Error("a full book takes more")
	}
}

// TestFactsOfTheLeader: rests are laid at once and end when the leader says so; a full update forgets what it does not name.
func TestFactsOfTheLeader(t *testing.T) {
	w := newWorld(t, Options{}, "a", "b", "d")
	w.k.Tick(w.now)
	w.k.Apply(&syncv1.HealthUpdate{Term: "t", Revision: 1, Full: true, Accounts: []*syncv1.AccountFacts{
		{AccountId: "a", Rest: dur(time.Minute), RestOrdered: true},
		{AccountId: "b", Rest: dur(time.Minute), Families: []*syncv1.FamilyRest{{Family: "claude-3-5-sonnet", Rest: dur(time.Second)}}},
		{AccountId: "late", Rest: dur(time.Minute)},
		{AccountId: "d", SlowStartAge: dur(30 * time.Second)},
	}}, w.now)
	if w.held("a") != time.Minute || w.cooling("b") != time.Minute || w.refuses("b") != FamilyResting {
		t.Errorf("a held for %v, b cools for %v and %v", w.held("a"), w.cooling("b"), w.refuses("b"))
	}
	if got := w.numbers("d").vigor; got != 0.55 {
		t.Errorf("half way back: %v", got)
	}
	w.account("late", nil)
	w.publish()
	w.tick(time.Second)
	if got := w.cooling("late"); got != 59*time.Second {
		t.Errorf("an account that came later cools for %v", got)
	}
	w.k.Apply(&syncv1.HealthUpdate{Term: "t", Revision: 0, Accounts: []*syncv1.AccountFacts{{AccountId: "a"}}}, w.now)
	if w.held("a") == 0 {
		t.Error("an old update counts")
	}
	w.k.Apply(&syncv1.HealthUpdate{Term: "u", Revision: 1, Full: true, Accounts: []*syncv1.AccountFacts{{AccountId: "b"}}}, w.now)
	if w.held("a") != 0 || w.cooling("b") != 0 {
		t.Errorf("what the leader forgot stays: %v, %v", w.held("a"), w.cooling("b"))
	}
}

// TestOwnRestOutlastsTheLeaders: what this proxy laid itself does not end with the leader's word.
func TestOwnRestOutlastsTheLeaders(t *testing.T) {
	w := newWorld(t, Options{}, "a")
	w.k.Tick(w.now)
	w.facts(&syncv1.AccountFacts{AccountId: "a", Rest: dur(time.Minute), RestOrdered: true})
	w.fail("a", classify(429, ""), 2*time.Minute)
	w.facts(&syncv1.AccountFacts{AccountId: "a"})
	if got := w.held("a"); got != 2*time.Minute {
		t.Errorf("held for %v", got)
	}
}

// TestThrottle: a channel that fails nearly always is asked about twice as often as it accepts.
func TestThrottle(t *testing.T) {
	w := newWorld(t, Options{}, "a", "b")
	w.channel("other", nil)
	w.account("x", func(s *syncv1.AccountState) { s.ChannelId = "other" })
	w.publish()
	refused := func(id string) (n int) {
		for range 1000 {
			if w.refuses(id) == Throttled {
				n++
			}
		}
		return n
	}
	for range 19 {
		w.fail("a", classify(503, ""), 0)
	}
	w.k.Tick(w.now)
	if n := refused("a"); n != 0 {
		t.Errorf("%d of 1000 are refused after 19", n)
	}
	for range 81 {
		w.fail("a", classify(503, ""), 0)
	}
	for range 10 {
		w.ok("b")
		w.fail("b", classify(429, ""), 0) // one account's limit is not the model's
	}
	w.k.Tick(w.now)
	// 120 asked, 20 accepted: (120-40)/121.
	if n := refused("b"); n < 550 || n > 770 {
		t.Errorf("%d of 1000 are refused, want about 661", n)
	}
	if n := refused("x"); n != 0 {
		t.Errorf("%d of 1000 at another channel", n)
	}
	if got := w.k.Refuses(w.candidate("b").Account, "other", w.now.UnixMilli()); got != 0 {
		t.Errorf("another model: %v", got)
	}
	if n := w.k.Report(w.now).GetStats().GetThrottled(); n < 500 {
		t.Errorf("%d counted", n)
	}
	w.tick(3 * time.Minute)
	if n := refused("b"); n != 0 {
		t.Errorf("%d of 1000 three minutes later", n)
	}
}
