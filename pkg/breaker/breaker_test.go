package breaker_test

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairway/pkg/breaker"
)

// start is on a boundary of slices of the window, so that tables can say when one ends.
var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func rules() *breaker.Rules {
	r := breaker.Defaults()
	return &r
}

func at(d time.Duration) time.Time { return start.Add(d) }

func rest(b *breaker.Breaker) time.Duration {
	_, _, since, until, _ := b.Health()
	return until.Sub(since)
}

func TestOpens(t *testing.T) {
	type counts struct {
		after      time.Duration
		ok, failed int
	}
	fail := func(n int) counts { return counts{failed: n} }
	ok := func(n int) counts { return counts{ok: n} }
	tests := []struct {
		name   string
		rules  func(*breaker.Rules)
		counts []counts
		want   breaker.State
		reason string
	}{
		{"nothing happened", nil, nil, breaker.Closed, ""},
		{"four in a row", nil, []counts{fail(4)}, breaker.Closed, ""},
		{"five in a row", nil, []counts{fail(5)}, breaker.Open, breaker.ReasonConsecutive},
		{"a success between", nil, []counts{fail(4), ok(1), fail(4)}, breaker.Closed, ""},
		{"five in a row, in an hour", nil, []counts{fail(1), {time.Hour, 0, 4}}, breaker.Open, breaker.ReasonConsecutive},
		{"one of twenty is five percent, and allowed", nil, []counts{ok(19), fail(1)}, breaker.Closed, ""},
		{"two of twenty", nil, []counts{ok(18), fail(2)}, breaker.Open, breaker.ReasonErrorRate},
		{"one of nineteen is more, but too few to say", nil, []counts{ok(18), fail(1)}, breaker.Closed, ""},
		{"successes of long ago do not help", nil, []counts{ok(1000), {2 * time.Minute, 16, 0}, fail(4)}, breaker.Open, breaker.ReasonErrorRate},
		{"failures of long ago do not hurt", nil, []counts{fail(4), {2 * time.Minute, 36, 0}, fail(1)}, breaker.Closed, ""},
		{"in the window still", nil, []counts{fail(4), {54 * time.Second, 15, 0}, fail(1)}, breaker.Open, breaker.ReasonErrorRate},
		{"rule of one in a row", func(r *breaker.Rules) { r.ConsecutiveFailures = 1 }, []counts{fail(1)}, breaker.Open, breaker.ReasonConsecutive},
		{"every rate is allowed", func(r *breaker.Rules) { r.MaxErrorRate = 1 }, []counts{ok(20), fail(4), ok(1), fail(4)}, breaker.Closed, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := rules()
			if tt.rules != nil {
				tt.rules(r)
			}
			var b breaker.Breaker
			now := start
			for _, c := range tt.counts {
				now = now.Add(c.after)
				for range c.ok {
					b.Success(now, r)
				}
				for n := range c.failed {
					if opened := b.Failure(now, "server_error", r); opened != (b.State() == breaker.Open && n == c.failed-1) {
						t.Fatalf("failure %d says opened = %v", n, opened)
					}
				}
			}
			state, reason, _, _, _ := b.Health()
			if state != tt.want || reason != tt.reason {
				t.Errorf("got %v %q, want %v %q", state, reason, tt.want, tt.reason)
			}
		})
	}
}

// What many proxies counted is judged by its rate, when time passes.
func TestMerged(t *testing.T) {
	r := rules()
	var b breaker.Breaker
	b.Add(start, 0, 19, r)
	if b.Tick(start, r) {
		t.Fatal("19 attempts opened")
	}
	b.Add(start, 1, 0, r)
	if !b.Tick(start, r) || b.State() != breaker.Open {
		t.Fatal("19 failures of 20 did not open")
	}
	b.Reset(start)
	b.Add(start, math.MinInt, math.MinInt, r)
	b.Add(start, math.MaxInt, math.MaxInt, r)
	b.Add(start, math.MaxInt, 0, r)
	if ok, failed := b.Counts(start, r); ok != math.MaxUint32 || failed != math.MaxUint32 {
		t.Errorf("counts are %d and %d", ok, failed)
	}
	if ok, failed := b.Counts(at(r.Window), r); ok+failed != 0 {
		t.Errorf("a window later they are %d and %d", ok, failed)
	}
}

// Each rest is twice as long as the one before, to the longest, within a tenth; an account that has served for as long
// as a first rest begins anew.
func TestDoubles(t *testing.T) {
	r := rules()
	b := breaker.Breaker{Seed: 7}
	now := start
	b.Open(now, "server_error", 0, r)
	for n, seconds := range []float64{300, 600, 1200, 2400, 3600, 3600, 3600} {
		want := time.Duration(seconds * float64(time.Second))
		got := rest(&b)
		if got < want*9/10 || got > want*11/10 || got > r.MaxOpen {
			t.Errorf("rest %d is %v, want %v", n+1, got, want)
		}
		if _, _, _, _, opens := b.Health(); opens != n+1 {
			t.Errorf("opens is %d, want %d", opens, n+1)
		}
		if b.Tick(now.Add(got-1), r) || b.State() != breaker.Open {
			t.Fatalf("rest %d ended before it was over", n+1)
		}
		now = now.Add(got)
		if !b.Tick(now, r) || b.State() != breaker.HalfOpen {
			t.Fatalf("rest %d does not end", n+1)
		}
		b.Probed(now, false, "server_error", 0, r)
	}
	now = now.Add(rest(&b))
	b.Tick(now, r)
	b.Probed(now, true, "", 0, r)
	b.Tick(now.Add(r.Open-1), r)
	if _, _, _, _, opens := b.Health(); opens != 8 {
		t.Errorf("a moment before a first rest, opens is %d", opens)
	}
	soon, later := b, b
	if soon.Open(now.Add(r.Open-1), "x", 0, r); rest(&soon) < r.MaxOpen*9/10 {
		t.Errorf("soon after, it rests for %v", rest(&soon))
	}
	if later.Open(now.Add(r.Open), "x", 0, r); rest(&later) > r.Open*11/10 {
		t.Errorf("long after, it rests for %v", rest(&later))
	}
}

// Accounts that fall together come back spread over the whole tenth either way; the same account in the same moment
// rests equally long.
func TestJitter(t *testing.T) {
	r := rules()
	shortest, longest := time.Duration(math.MaxInt64), time.Duration(0)
	for seed := range uint64(1000) {
		a, b := breaker.Breaker{Seed: seed}, breaker.Breaker{Seed: seed}
		a.Open(start, "x", 0, r)
		b.Open(start, "x", 0, r)
		if rest(&a) != rest(&b) {
			t.Fatalf("%v and %v", rest(&a), rest(&b))
		}
		shortest, longest = min(shortest, rest(&a)), max(longest, rest(&a))
	}
	if shortest < 270*time.Second || shortest > 273*time.Second || longest > 330*time.Second || longest < 327*time.Second {
		t.Errorf("from %v to %v", shortest, longest)
	}
}

func TestAsked(t *testing.T) {
	r := rules()
	for _, asked := range []time.Duration{time.Nanosecond, 2 * time.Second, 5 * time.Hour, breaker.MaxAsked} {
		var b breaker.Breaker
		b.Open(start, "rate_limit", asked, r)
		if rest(&b) != asked {
			t.Errorf("asked for %v, rests for %v", asked, rest(&b))
		}
	}
	var b breaker.Breaker
	b.Open(start, "rate_limit", math.MaxInt64, r)
	if rest(&b) != breaker.MaxAsked {
		t.Errorf("asked for centuries, rests for %v", rest(&b))
	}

	b = breaker.Breaker{}
	b.Open(start, "rate_limit", time.Minute, r)
	b.Open(at(time.Second), "other", 0, r)
	b.Open(at(time.Second), "other", time.Second, r)
	if state, reason, since, until, opens := b.Health(); state != breaker.Open || reason != "rate_limit" || since != start || until != at(time.Minute) || opens != 1 {
		t.Errorf("a shorter word changed it: %v %q %v %v %d", state, reason, since, until, opens)
	}
	b.Open(at(time.Second), "quota", time.Hour, r)
	if state, reason, since, until, opens := b.Health(); state != breaker.Open || reason != "quota" || since != start || until != at(time.Hour+time.Second) || opens != 1 {
		t.Errorf("a longer word: %v %q %v %v %d", state, reason, since, until, opens)
	}

	b = breaker.Breaker{}
	b.Open(start, "x", 0, r)
	b.Tick(at(time.Hour), r)
	b.Probed(at(time.Hour), false, "rate_limit", 7*time.Second, r)
	if _, reason, _, until, opens := b.Health(); reason != "rate_limit" || until != at(time.Hour+7*time.Second) || opens != 2 {
		t.Errorf("a probe that was told to wait: %q %v %d", reason, until, opens)
	}
}

func TestSlowStart(t *testing.T) {
	r := rules()
	recovered := breaker.Breaker{}
	recovered.Open(at(-time.Hour), "x", 0, r)
	recovered.Tick(start, r)
	recovered.Probed(start, true, "", 0, r)
	reset := breaker.Breaker{}
	reset.Disable(at(-time.Hour), "credential")
	reset.Reset(start)
	fresh := breaker.Breaker{}
	fresh.Begin(start)
	for name, b := range map[string]breaker.Breaker{"recovered": recovered, "reset": reset, "new": fresh} {
		t.Run(name, func(t *testing.T) {
			if _, reason, _, _, _ := b.Health(); reason != name {
				t.Errorf("reason is %q", reason)
			}
			for seconds, want := range map[int]float64{-5: 0.1, 0: 0.1, 15: 0.325, 30: 0.55, 45: 0.775, 60: 1, 61: 1, 100000: 1} {
				if got := b.Share(at(time.Duration(seconds)*time.Second), r); math.Abs(got-want) > 1e-9 {
					t.Errorf("after %d s its share is %v, want %v", seconds, got, want)
				}
			}
			if got := b.Share(start, &breaker.Rules{}); got != 1 {
				t.Errorf("without slow start its share is %v", got)
			}
		})
	}
	var b breaker.Breaker
	if got := b.Share(start, r); got != 1 {
		t.Errorf("share of the zero value is %v", got)
	}
	b.Open(start, "x", 0, r)
	if got := b.Share(start, r); got != 0 {
		t.Errorf("share of an open one is %v", got)
	}
}

// Nobody but a person brings a disabled account back.
func TestDisabled(t *testing.T) {
	r := rules()
	var b breaker.Breaker
	b.Disable(start, "credential")
	want := b
	b.Disable(at(time.Second), "quota")
	b.Open(at(time.Second), "x", time.Hour, r)
	b.Probed(at(time.Second), true, "", 0, r)
	b.Probed(at(time.Second), false, "x", 0, r)
	b.Tick(at(1000*time.Hour), r)
	if diff := cmp.Diff(health(&want), health(&b)); diff != "" {
		t.Error(diff)
	}
}

// A clock that is set by an hour, either way, opens nothing and keeps nothing out for longer than its rest.
func TestClockJumps(t *testing.T) {
	r := rules()
	for _, jump := range []time.Duration{-time.Hour, time.Hour} {
		var b breaker.Breaker
		b.Add(start, 0, 19, r)
		b.Add(at(jump), 0, 1, r)
		if b.Tick(at(jump), r) {
			t.Errorf("%v opened", jump)
		}
	}
	var b breaker.Breaker
	b.Open(start, "x", 0, r)
	whole := rest(&b)
	b.Tick(at(-time.Hour), r)
	if b.Tick(at(whole-time.Hour-1), r) || !b.Tick(at(whole-time.Hour), r) {
		t.Errorf("set back by an hour, it does not rest for %v", whole)
	}
	var c breaker.Breaker
	c.Begin(start)
	c.Tick(at(-time.Hour), r)
	if got := c.Share(at(-time.Hour+r.SlowStart), r); got != 1 {
		t.Errorf("set back by an hour, its share after the slow start is %v", got)
	}
}

// A rest is ordered by the provider as long as it asked for it, and by nobody else.
func TestOrdered(t *testing.T) {
	r := rules()
	var b breaker.Breaker
	for _, step := range []struct {
		name string
		do   func()
		want bool
	}{
		{"new", func() {}, false},
		{"it failed too often", func() { b.Open(start, "x", 0, r) }, false},
		{"its provider asks for less", func() { b.Open(start, "rate_limit", time.Second, r) }, false},
		{"its provider asks for more", func() { b.Open(start, "rate_limit", time.Hour, r) }, true},
		{"it fails on", func() { b.Open(start, "x", 0, r) }, true},
		{"it is due", func() { b.Tick(at(time.Hour), r) }, false},
		{"a probe is told to wait", func() { b.Probed(at(time.Hour), false, "rate_limit", time.Minute, r) }, true},
		{"an operator resets it", func() { b.Reset(at(time.Hour)) }, false},
		{"it is told to wait", func() { b.Open(at(time.Hour), "rate_limit", time.Minute, r) }, true},
		{"it is refused", func() { b.Disable(at(time.Hour), "credential") }, false},
	} {
		step.do()
		if got := b.Ordered(); got != step.want {
			t.Errorf("%s: ordered is %v, want %v", step.name, got, step.want)
		}
	}
}

// Health and Restore are each other's opposite, and Restore survives nonsense.
func TestRestore(t *testing.T) {
	r := rules()
	var open, half, closed, disabled breaker.Breaker
	open.Open(start, "rate_limit", time.Hour, r)
	half.Open(start, "x", 0, r)
	half.Tick(at(time.Hour), r)
	closed.Begin(start)
	disabled.Disable(start, "credential")
	for _, b := range []*breaker.Breaker{{}, &open, &half, &closed, &disabled} {
		var got breaker.Breaker
		state, reason, since, until, opens := b.Health()
		got.Restore(state, reason, since, until, opens, b.Ordered())
		if diff := cmp.Diff(health(b), health(&got)); diff != "" {
			t.Error(diff)
		}
	}
	var b breaker.Breaker
	b.Restore(99, "", at(time.Hour), at(time.Hour), -3, true)
	if got, want := health(&b), (words{Closed: true, Since: at(time.Hour)}); got != want {
		t.Errorf("got %+v", got)
	}
}

type words struct {
	Closed       bool
	State        string
	Reason       string
	Since, Until time.Time
	Opens        int
	Ordered      bool
}

func health(b *breaker.Breaker) words {
	state, reason, since, until, opens := b.Health()
	if state == breaker.Closed {
		return words{true, "", reason, since, until, opens, b.Ordered()}
	}
	return words{false, state.String(), reason, since, until, opens, b.Ordered()}
}
