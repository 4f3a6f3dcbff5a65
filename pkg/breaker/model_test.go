package breaker_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"fairway/pkg/breaker"
)

// model is a breaker as one would explain it: it remembers every attempt.
type model struct {
	r        *breaker.Rules
	state    breaker.State
	row      int
	opens    int
	since    time.Time
	attempts []attempt // since the state began
}

type attempt struct {
	slice int64
	ok    bool
	n     int
}

func (m *model) count(now time.Time, ok bool, n int) {
	m.attempts = append(m.attempts, attempt{now.UnixNano() / int64(m.r.Window/10), ok, n})
}

func (m *model) failing(now time.Time) bool {
	var all, failed int
	for _, a := range m.attempts {
		if a.slice > now.UnixNano()/int64(m.r.Window/10)-10 {
			all += a.n
			if !a.ok {
				failed += a.n
			}
		}
	}
	return all >= m.r.MinRequests && all > 0 && float64(failed) > m.r.MaxErrorRate*float64(all)
}

func (m *model) enter(now time.Time, s breaker.State) {
	if s == breaker.Open {
		if m.state == breaker.Closed && (m.since.IsZero() || now.Sub(m.since) >= max(m.r.Open, m.r.SlowStart)) {
			m.opens = 0
		}
		m.opens++
	}
	m.state, m.since, m.row, m.attempts = s, now, 0, nil
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := breaker.Defaults()
		r.ConsecutiveFailures = rapid.IntRange(0, 8).Draw(t, "row")
		r.MinRequests = rapid.IntRange(0, 30).Draw(t, "volume")
		r.MaxErrorRate = rapid.Float64Range(0, 1).Draw(t, "rate")
		r.Open = time.Duration(rapid.IntRange(1, 400).Draw(t, "open")) * time.Second
		r.MaxOpen = r.Open * time.Duration(rapid.IntRange(1, 9).Draw(t, "longest"))
		b := breaker.Breaker{Seed: rapid.Uint64().Draw(t, "seed")}
		m := model{r: &r, state: breaker.Closed}
		now := start
		opened := func(asked time.Duration) {
			got := rest(&b)
			if asked > 0 {
				if got != asked {
					t.Fatalf("asked for %v, rests for %v", asked, got)
				}
				return
			}
			want := r.MaxOpen
			if m.opens <= 5 { // 9 is below 2^4
				want = min(want, r.Open<<(m.opens-1))
			}
			if got < want*9/10 || got > want*11/10 || got > r.MaxOpen {
				t.Fatalf("opening %d rests for %v, want %v", m.opens, got, want)
			}
		}
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.OneOf(rapid.Just(0), rapid.IntRange(0, 9000), rapid.IntRange(0, 900000)).Draw(t, "ms")) * time.Millisecond)
			asked := time.Duration(rapid.OneOf(rapid.Just(0), rapid.IntRange(0, 10000)).Draw(t, "asked")) * time.Second
			switch rapid.SampledFrom([]string{"ok", "failed", "failed", "add", "tick", "tick", "open", "probed", "reset"}).Draw(t, "step") {
			case "ok":
				b.Success(now, &r)
				m.count(now, true, 1)
				m.row = 0
			case "failed":
				m.count(now, false, 1)
				open := false
				if m.state == breaker.Closed {
					m.row++
					if open = r.ConsecutiveFailures > 0 && m.row >= r.ConsecutiveFailures || m.failing(now); open {
						m.enter(now, breaker.Open)
					}
				}
				if got := b.Failure(now, "x", &r); got != open {
					t.Fatalf("opened is %v, want %v", got, open)
				}
				if open {
					opened(0)
				}
			case "add":
				ok, failed := rapid.IntRange(0, 40).Draw(t, "ok"), rapid.IntRange(0, 40).Draw(t, "failed")
				b.Add(now, ok, failed, &r)
				m.count(now, true, ok)
				m.count(now, false, failed)
			case "tick":
				_, _, _, until, _ := b.Health()
				changed := false
				switch {
				case m.state == breaker.Open && !now.Before(until):
					m.enter(now, breaker.HalfOpen)
					changed = true
				case m.state == breaker.Closed && m.failing(now):
					m.enter(now, breaker.Open)
					changed = true
				}
				if got := b.Tick(now, &r); got != changed {
					t.Fatalf("changed is %v, want %v", got, changed)
				}
				if m.state == breaker.Open && changed {
					opened(0)
				}
			case "open":
				_, _, _, before, _ := b.Health()
				b.Open(now, "asked", asked, &r)
				if m.state != breaker.Open {
					m.enter(now, breaker.Open)
					opened(asked)
				} else if _, _, _, until, _ := b.Health(); until.Before(before) || asked > 0 && until.Before(now.Add(asked)) {
					t.Fatalf("undershot: rests until %v", until)
				}
			case "probed":
				ok := rapid.Bool().Draw(t, "well")
				b.Probed(now, ok, "x", asked, &r)
				if m.state == breaker.HalfOpen {
					if ok {
						m.enter(now, breaker.Closed)
					} else {
						m.enter(now, breaker.Open)
						opened(asked)
					}
				}
			case "reset":
				b.Reset(now)
				m.enter(now, breaker.Closed)
				m.opens = 0
			}
			if b.State() != m.state {
				t.Fatalf("state is %v, want %v", b.State(), m.state)
			}
			if share := b.Share(now, &r); (share > 0) != (m.state == breaker.Closed) || share > 1 || share > 0 && share < 0.1 {
				t.Fatalf("share of a %v one is %v", m.state, share)
			}
		}
	})
}
