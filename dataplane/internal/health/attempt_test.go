package health

import (
	"math"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/breaker"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// TestRests is what one failure, or several, of an account come to.
func TestRests(t *testing.T) {
	var month = time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC).Sub(begin)
	for _, tc := range []struct {
		name    string
		status  int
		code    string
		times   int
		asked   time.Duration
		cooling time.Duration
		held    time.Duration
		others  time.Duration // another account of the organisation is held
		refusal Refusal
	}{
		{name: "rate limit", status: 429, times: 1, cooling: 2 * time.Second},
		{name: "rate limit again", status: 429, times: 3, cooling: 8 * time.Second},
		{name: "rate limit with its end", status: 429, times: 1, asked: 7 * time.Second, held: 7 * time.Second},
		{name: "rate limit with a fraction", status: 429, times: 1, asked: 1500*time.Microsecond + 1, held: 2 * time.Millisecond},
		{name: "rate limits open no breaker", status: 429, times: 9, asked: time.Second, held: time.Second},
		{name: "credential", status: 401, times: 1, held: 5 * time.Minute},
		{name: "no money", status: 429, code: "insufficient_quota", times: 1, held: 5 * time.Minute, others: 5 * time.Minute},
		{name: "project", status: 429, code: "project_spend_limit_exceeded", times: 1, held: 5 * time.Minute},
		{name: "month", status: 400, code: "enforced_spend_limit_reached", times: 1, held: month, others: month},
		{name: "two server errors", status: 500, times: 2},
		{name: "three server errors", status: 500, times: 3, cooling: 5 * time.Second},
		{name: "five not found open no breaker", status: 404, times: 9},
		{name: "the client's own", status: 400, times: 9},
		{name: "model not found", status: 404, code: "model_not_found", times: 1, refusal: ModelExcluded},
		{name: "no quota for the model", status: 429, code: "limit0", times: 1, refusal: ModelExcluded},
		{name: "crowded", status: 529, times: 1, refusal: FamilyResting},
		{name: "crowded opens no breaker", status: 529, times: 9, refusal: FamilyResting},
		{name: "quota of the day", status: 429, code: "PerDay", times: 1, refusal: FamilyResting},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, Options{})
			for _, id := range []string{"a", "b"} {
				w.account(id, func(s *syncv1.AccountState) { s.Organization = "org" })
			}
			w.account("stranger", func(s *syncv1.AccountState) { s.Organization = "else" })
			w.publish()
			for range tc.times {
				w.fail("a", classify(tc.status, tc.code), tc.asked)
			}
			if got := w.cooling("a"); got != tc.cooling {
				t.Errorf("cools for %v, want %v", got, tc.cooling)
			}
			if got := w.held("a"); got != tc.held {
				t.Errorf("held for %v, want %v", got, tc.held)
			}
			if got := w.held("b"); got != tc.others {
				t.Errorf("another of the organisation is held for %v, want %v", got, tc.others)
			}
			if got := w.held("stranger"); got != 0 {
				t.Errorf("another organisation is held for %v", got)
			}
			if got := w.refuses("a"); got != tc.refusal {
				t.Errorf("refuses: %v, want %v", got, tc.refusal)
			}
			if got := w.candidate("a").Cell.InFlight.Load(); got != 0 {
				t.Errorf("%d attempts under way", got)
			}
		})
	}
}

func TestFamilyRestIsOfTheFamily(t *testing.T) {
	w := newWorld(t, Options{}, "a", "b")
	w.fail("a", classify(529, ""), 0)
	a, at := w.candidate("a").Account, w.now.UnixMilli()
	for name, want := range map[string]Refusal{
		model: FamilyResting, "claude-3-5-sonnet-latest": FamilyResting, "claude-3-5-haiku-20241022": 0,
	} {
		if got := w.k.Refuses(a, name, at); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if got := w.refuses("b"); got != 0 {
		t.Errorf("another account: %v", got)
	}
	w.tick(5 * time.Second)
	if got := w.refuses("a"); got != 0 {
		t.Errorf("after its rest: %v", got)
	}
	if w.k.bars.Load() != nil {
		t.Error("requests still look for bars")
	}
	w.fail("a", classify(529, ""), 0)
	w.pass(9 * time.Second)
	if got := w.refuses("a"); got != FamilyResting {
		t.Errorf("the second rest is no longer than the first")
	}
}

// TestExclusionEnds: after its time, or when an operator has changed the channel.
func TestExclusionEnds(t *testing.T) {
	w := newWorld(t, Options{}, "a", "b")
	w.fail("a", classify(404, "model_not_found"), 0)
	if got := w.refuses("b"); got != ModelExcluded {
		t.Fatalf("another account of the channel: %v", got)
	}
	w.tick(10*time.Minute - time.Second)
	if w.refuses("a") != ModelExcluded {
		t.Error("ended early")
	}
	w.tick(2 * time.Second)
	if got := w.refuses("a"); got != 0 {
		t.Errorf("after its time: %v", got)
	}
	w.fail("a", classify(404, "model_not_found"), 0)
	w.channel("c", func(s *syncv1.ChannelState) { s.Weight = 50 })
	w.publish()
	if got := w.refuses("a"); got != 0 {
		t.Errorf("after a change: %v", got)
	}
}

// TestLocalBreaker: five failures in a row open it, twice as long each time; an answer ends the row.
func TestLocalBreaker(t *testing.T) {
	w := newWorld(t, Options{}, "a")
	fail := func(n int) {
		for range n {
			w.fail("a", dialect.Transport(false), 0)
		}
	}
	fail(4)
	w.ok("a")
	fail(4)
	if got := w.cooling("a"); got > 5*time.Second {
		t.Fatalf("four in a row: rests for %v", got)
	}
	fail(1)
	first := w.cooling("a")
	if first < 270*time.Second || first > 330*time.Second {
		t.Fatalf("first rest %v, want 300s and a tenth at most either way", first)
	}
	d := w.delta("a")
	if d.GetRestReason() != "consecutive_failures" || d.GetRestOrdered() || d.GetFailuresInRow() != 5 {
		t.Errorf("reported: %v", d)
	}
	fail(5)
	if got := w.cooling("a"); got != first {
		t.Errorf("late failures moved the rest from %v to %v", first, got)
	}
	if d := w.delta("a"); len(d.GetFaults()) != 1 || d.GetRest() != nil {
		t.Errorf("a rest is reported twice: %v", d)
	}
	w.tick(first + time.Second)
	fail(1)
	second := w.cooling("a")
	if second < 540*time.Second || second > 660*time.Second {
		t.Fatalf("second rest %v, want 600s and a tenth", second)
	}
	w.tick(second + time.Second)
	w.ok("a")
	w.k.Tick(w.now)
	cell := w.candidate("a").Cell
	if got := cell.Vigor.Load(); got < 0.09 || got > 0.12 {
		t.Errorf("comes back with %v of its weight, want 0.1", got)
	}
	w.tick(30 * time.Second)
	if got := cell.Vigor.Load(); got < 0.5 || got > 0.6 {
		t.Errorf("half way back: %v", got)
	}
	w.tick(31 * time.Second)
	if got := cell.Vigor.Load(); got != 1 {
		t.Errorf("back: %v", got)
	}
}

// TestPanicEndsARest: when everybody rests, an answer ends the rest of the one that was tried, and its provider's order
// stays.
func TestPanicEndsARest(t *testing.T) {
	w := newWorld(t, Options{}, "a")
	for range 5 {
		w.fail("a", dialect.Transport(true), 0)
	}
	w.ok("a")
	if w.cooling("a") == 0 {
		t.Fatal("an answer of an attempt that began before ended the rest")
	}
	w.outcome("a", func(o *Outcome) { o.Panicked = true })
	if got := w.cooling("a"); got != 0 {
		t.Errorf("still rests for %v", got)
	}
	w.k.Tick(w.now)
	if got := w.candidate("a").Cell.Vigor.Load(); got > 0.12 {
		t.Errorf("back at once with %v", got)
	}
}

// TestVerdictWins: what a new verdict says counts, whatever was held against the account here.
func TestVerdictWins(t *testing.T) {
	w := newWorld(t, Options{}, "a")
	for range 5 {
		w.fail("a", dialect.Transport(false), 0)
	}
	w.fail("a", classify(529, ""), 0)
	w.k.Tick(w.now)
	verdict := func(state breaker.State) {
		w.account("a", func(s *syncv1.AccountState) {
			s.Verdict = &syncv1.VerdictState{State: int32(state), Since: timestamppb.New(w.now)}
		})
		w.publish()
		w.k.Tick(w.now)
	}
	w.pass(time.Second)
	verdict(breaker.Closed)
	if got := w.cooling("a"); got != 0 {
		t.Errorf("after a reset it rests for %v", got)
	}
	if got := w.refuses("a"); got != 0 {
		t.Errorf("after a reset: %v", got)
	}
	if got := w.numbers("a").vigor; got != 1 {
		t.Errorf("after a reset it has %v of its weight", got)
	}
	if d := w.delta("a"); d.GetRest() != nil {
		t.Errorf("the leader hears of a rest that it ended: %v", d)
	}
	w.fail("a", dialect.Transport(false), 0)
	if got := w.cooling("a"); got != 0 {
		t.Errorf("one failure after a reset: rests for %v", got)
	}
	w.pass(time.Second)
	verdict(breaker.Disabled)
	if got := w.candidate("a").Cell.HeldUntil.Load(); got != math.MaxInt64 {
		t.Errorf("disabled: held until %d", got)
	}
}

// TestNoFirstByteIsSlow: what never came counts as late as it was waited for.
func TestNoFirstByteIsSlow(t *testing.T) {
	w := newWorld(t, Options{}, "a")
	v := dialect.Transport(true)
	w.outcome("a", func(o *Outcome) { o.Verdict, o.Took = &v, 30*time.Second })
	if got := latency(w.candidate("a").Cell); got != 30_000 {
		t.Errorf("mean time %v ms", got)
	}
}

// TestLeadersRestIsNotTripped: while a verdict keeps the account out, failures of probes open nothing here.
func TestLeadersRestIsNotTripped(t *testing.T) {
	w := newWorld(t, Options{}, "a")
	w.verdict("a", &syncv1.VerdictState{State: int32(breaker.HalfOpen)})
	for range 9 {
		w.fail("a", dialect.Transport(false), 0)
	}
	if w.k.ward(w.candidate("a").Account).trouble.Load() != nil {
		t.Error("a local breaker beside the verdict")
	}
}

// TestStreamsThatEndAreNoAnswers: what an account still finishes does not hide that it answers nobody any more.
func TestStreamsThatEndAreNoAnswers(t *testing.T) {
	w := newWorld(t, Options{}, "a")
	c := w.candidate("a")
	w.k.Began(c, w.now.UnixMilli())
	stream := &Outcome{Candidate: c, Model: model, TTFT: 100 * time.Millisecond, Now: w.now}
	w.k.Answered(stream)
	w.delta("a")
	w.fail("a", classify(500, ""), 0)
	w.k.Ended(stream)
	if d := w.delta("a"); d.GetOk() != 0 || d.GetFailuresInRow() != 1 {
		t.Errorf("reported: %v", d)
	}
}

// TestGoneSaysNothing: a client that left is nobody's failure.
func TestGoneSaysNothing(t *testing.T) {
	w := newWorld(t, Options{}, "a")
	v := dialect.Transport(false)
	for range 9 {
		w.outcome("a", func(o *Outcome) { o.Verdict, o.Gone = &v, true })
	}
	cell := w.candidate("a").Cell
	if cell.Failures.Load() != 0 || cell.InFlight.Load() != 0 || w.cooling("a") != 0 {
		t.Errorf("failures %d, under way %d, rests %v", cell.Failures.Load(), cell.InFlight.Load(), w.cooling("a"))
	}
}

// TestAnsweredOnce: an answer that was noted early, and whose end comes later, is one answer, counted when it begins; one that
// breaks off is a failure as well.
func TestAnsweredOnce(t *testing.T) {
	w := newWorld(t, Options{}, "a")
	c := w.candidate("a")
	for _, broken := range []bool{false, true} {
		w.k.Began(c, w.now.UnixMilli())
		o := &Outcome{Candidate: c, Model: model, TTFT: 100 * time.Millisecond, Now: w.now}
		w.k.Answered(o)
		if broken {
			v := dialect.Transport(false)
			o.Verdict, o.Delivered = &v, true
		}
		o.Took = time.Second
		w.k.Ended(o)
	}
	d := w.delta("a")
	if d.GetOk() != 2 || len(d.GetFaults()) != 1 || d.GetFailuresInRow() != 1 || d.GetDurationCount() != 2 || d.GetInFlight() != 0 {
		t.Errorf("reported: %v", d)
	}
	var answers uint32
	for _, n := range d.GetTtftHistogram() {
		answers += n
	}
	if answers != 2 {
		t.Errorf("%d times to the first byte, want 2", answers)
	}
}

// TestClockJumps: rests last as long as before when the clock is set an hour back or ahead.
func TestClockJumps(t *testing.T) {
	for name, by := range map[string]time.Duration{"back": -time.Hour, "ahead": time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{}, "a", "b", "c1")
			w.fail("a", classify(429, ""), 10*time.Minute)
			for range 5 {
				w.fail("b", dialect.Transport(false), 0)
			}
			w.fail("c1", classify(529, ""), 20*time.Second)
			w.k.Tick(w.now)
			b := w.cooling("b")
			if by < 0 {
				w.pass(by)
				w.k.Tick(w.now)
			} else {
				// Times of these tests have no monotonic reading, which is what tells a clock that is set from time that passes.
				w.pass(by)
				w.k.mu.Lock()
				w.k.last = w.now
				w.k.shift(by.Milliseconds())
				w.k.mu.Unlock()
				w.k.Tick(w.now)
			}
			if got := w.held("a"); got != 10*time.Minute {
				t.Errorf("held for %v, want 10m", got)
			}
			if got := w.cooling("b"); got != b {
				t.Errorf("cools for %v, want %v", got, b)
			}
			if w.refuses("c1") != FamilyResting {
				t.Error("the family's rest is over")
			}
			w.tick(21 * time.Second)
			if got := w.refuses("c1"); got != 0 {
				t.Errorf("the family rests on: %v", got)
			}
		})
	}
}
