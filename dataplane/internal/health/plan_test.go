package health

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"fairway/dataplane/internal/snapshot"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// TestNoMinuteHasMore: however requests come, no minute lets more through than the plan allows, and a steady stream gets
// most of it.
func TestNoMinuteHasMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 500).Draw(t, "limit")
		gaps := rapid.SliceOfN(rapid.IntRange(0, 3000), 50, 400).Draw(t, "gaps")
		var g gcra
		now := int64(1_700_000_000_000)
		var passed []int64
		for _, gap := range gaps {
			now += int64(gap)
			for !g.spent(float64(limit), 0, now*1e6) {
				g.pay(float64(limit), 1, now*1e6)
				passed = append(passed, now)
			}
		}
		for i := range passed {
			if j := i + limit; j < len(passed) && passed[j]-passed[i] < 60_000-1 {
				t.Fatalf("limit %d: %d requests within %d ms", limit, limit+1, passed[j]-passed[i])
			}
		}
	})
	var g gcra
	passed := 0
	for now := int64(0); now < 600_000; now += 10 {
		if !g.spent(60, 0, (1e12+now)*1e6) {
			g.pay(60, 1, (1e12+now)*1e6)
			passed++
		}
	}
	if passed < 10*60*80/100 {
		t.Errorf("%d requests in ten minutes of 60 each", passed)
	}
}

func TestRequestsPerMinute(t *testing.T) {
	w := newWorld(t, Options{})
	w.account("a", func(s *syncv1.AccountState) { s.Rpm = 80 })
	w.publish()
	let := func(d time.Duration) (n int) {
		for end := w.now.Add(d); w.now.Before(end); w.pass(100 * time.Millisecond) {
			for w.refuses("a") == 0 {
				w.ok("a")
				n++
			}
		}
		return n
	}
	if n := let(time.Minute); n < 76 || n > 80 {
		t.Errorf("%d requests in the first minute, want nearly 80", n)
	}
	for w.refuses("a") == 0 {
		w.ok("a")
	}
	if got := w.refuses("a"); got != RequestsSpent {
		t.Errorf("refuses: %v", got)
	}
	w.proxies("me", "x", "y", "z")
	w.k.Tick(w.now)
	w.pass(time.Minute)
	if n := let(time.Minute); n < 17 || n > 20 {
		t.Errorf("%d requests as one of four, want nearly 20", n)
	}
	w.facts(&syncv1.AccountFacts{AccountId: "a", SharePpm: 500_000})
	w.k.Tick(w.now)
	w.pass(time.Minute)
	if n := let(time.Minute); n < 36 || n > 40 {
		t.Errorf("%d requests with half of it, want nearly 40", n)
	}
}

func TestTokensPerMinute(t *testing.T) {
	w := newWorld(t, Options{})
	w.account("a", func(s *syncv1.AccountState) { s.Tpm = 8000 })
	w.publish()
	a := w.candidate("a").Account
	used := int64(0)
	for end := w.now.Add(10 * time.Minute); w.now.Before(end); w.pass(100 * time.Millisecond) {
		if w.refuses("a") == 0 {
			w.ok("a")
			w.k.Spent(a, 700)
			used += 700
		}
	}
	if used < 60_000 || used > 80_000 {
		t.Errorf("%d tokens in ten minutes of 8000 each", used)
	}
	if w.k.ward(a).meanTokens() != 700 {
		t.Errorf("mean %v", w.k.ward(a).meanTokens())
	}
	// With many under way, theirs count before they are known.
	w.pass(time.Minute)
	for range 3 {
		w.k.Began(w.candidate("a"), w.now.UnixMilli())
	}
	if got := w.refuses("a"); got != TokensSpent {
		t.Errorf("three under way: %v", got)
	}
}

func TestSessionWindow(t *testing.T) {
	w := newWorld(t, Options{})
	w.account("a", func(s *syncv1.AccountState) { s.SessionLength, s.SessionRequests = dur(5*time.Hour), 4 })
	w.publish()
	w.tick(time.Second)
	for range 3 {
		w.ok("a")
	}
	w.pass(time.Hour)
	if got := w.refuses("a"); got != 0 {
		t.Fatalf("three of four: %v", got)
	}
	if age := w.delta("a").GetSessionAge().AsDuration(); age != time.Hour {
		t.Errorf("reports an age of %v", age)
	}
	// Another proxy was first, and has had one.
	w.facts(&syncv1.AccountFacts{AccountId: "a", SessionAge: dur(2 * time.Hour), SessionRequests: 1})
	if got := w.refuses("a"); got != SessionSpent {
		t.Fatalf("four of four: %v", got)
	}
	w.k.Tick(w.now)
	if got := w.cooling("a"); got != 3*time.Hour {
		t.Errorf("draws leave it alone for %v, want 3h", got)
	}
	w.pass(3 * time.Hour)
	if got := w.refuses("a"); got != 0 {
		t.Errorf("after the window: %v", got)
	}
	w.ok("a")
	if got := w.k.ward(w.candidate("a").Account).capped().used.Load(); got != 1 {
		t.Errorf("the new window has %d", got)
	}
}

// TestConcurrencyParts: whatever the cap and the fleet, equal parts come to the cap.
func TestConcurrencyParts(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 20} {
		for _, limit := range []int{1, 2, 5, 10, 100} {
			for _, id := range []string{"a", "b", "some-account"} {
				total := 0
				for place := range n {
					w := &ward{id: snapshot.AccountID(id), cell: &snapshot.Cell{}}
					total += int(max(w.allot(limit, n, place, 0), 0))
				}
				if total != limit {
					t.Errorf("cap %d, %d proxies: %d in all", limit, n, total)
				}
			}
		}
	}
}

func TestConcurrency(t *testing.T) {
	w := newWorld(t, Options{})
	w.account("a", func(s *syncv1.AccountState) { s.Concurrency = 10 })
	w.publish()
	c := w.candidate("a")
	begun := func() (n int) {
		for w.refuses("a") == 0 {
			w.k.Began(c, w.now.UnixMilli())
			n++
		}
		return n
	}
	end := func(n int) {
		for range n {
			w.k.Ended(&Outcome{Candidate: c, Model: model, Now: w.now})
		}
	}
	n := begun()
	if n != 10 || w.refuses("a") != Busy {
		t.Fatalf("alone: %d under way", n)
	}
	end(n)
	w.proxies("me", "other")
	w.k.Tick(w.now)
	if n = begun(); n != 5 || c.Cell.Full.Load() != 5 {
		t.Fatalf("one of two: %d under way, full at %d", n, c.Cell.Full.Load())
	}
	// Nothing is under way elsewhere, and that is news: half of what is free is this proxy's as well.
	w.facts(&syncv1.AccountFacts{AccountId: "a", MeanDuration: dur(8 * time.Second)})
	w.k.Tick(w.now)
	if more := begun(); more != 2 {
		t.Errorf("of 5 that are free it takes %d, want 2", more)
	}
	// Others have all but three.
	w.facts(&syncv1.AccountFacts{AccountId: "a", MeanDuration: dur(8 * time.Second), InFlightOthers: 7})
	w.k.Tick(w.now)
	if got := c.Cell.Full.Load(); got != 3 {
		t.Errorf("full at %d, want 3", got)
	}
	w.pass(1100 * time.Millisecond) // more than an eighth of eight seconds
	w.k.Tick(w.now)
	if got := c.Cell.Full.Load(); got != 5 {
		t.Errorf("full at %d when the news is old, want 5", got)
	}
}
