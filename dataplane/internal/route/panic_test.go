package route

import (
	"math"
	"testing"

	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/breaker"
)

// TestVerdictsSayWhenAccountsAreReady: what a verdict keeps out has no end that its cell knows.
func TestVerdictsSayWhenAccountsAreReady(t *testing.T) {
	tests := []struct {
		name    string
		verdict snapshot.Verdict
		held    int64
		want    int64
	}{
		{"open", snapshot.Verdict{State: breaker.Open, UntilMS: 500}, 0, 500},
		{"its provider asked for more", snapshot.Verdict{State: breaker.Open, UntilMS: 500}, 700, 700},
		{"half open", snapshot.Verdict{State: breaker.HalfOpen}, 0, 0},
		{"disabled", snapshot.Verdict{State: breaker.Disabled}, math.MaxInt64, math.MaxInt64},
		{"open without an end", snapshot.Verdict{State: breaker.Open}, 0, math.MaxInt64},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := pool(t, channel{0, 1, []uint32{1, 1}})
			c := find(t, p, "0.0")
			find(t, p, "0.1").Cell.Hold(math.MaxInt64)
			c.Account.Verdict = &tt.verdict
			c.Cell.Cool(math.MaxInt64)
			c.Cell.Hold(tt.held)
			if got := ReadyAt(p); got != tt.want {
				t.Errorf("ReadyAt = %d, want %d", got, tt.want)
			}
		})
	}
}

// TestPanicKnowsVerdicts: what verdicts keep out has no end that cells know, and the first of the list is not to have it all.
func TestPanicKnowsVerdicts(t *testing.T) {
	open := func(until int64) *snapshot.Verdict { return &snapshot.Verdict{State: breaker.Open, UntilMS: until} }
	tests := []struct {
		name     string
		verdicts [3]*snapshot.Verdict
		load     [3]int32
		want     snapshot.AccountID
	}{
		{"the one that ends first", [3]*snapshot.Verdict{open(900), open(500), open(700)}, [3]int32{}, "0.1"},
		{"the one with less to do", [3]*snapshot.Verdict{open(500), open(500), open(500)}, [3]int32{2, 1, 0}, "0.2"},
		{"one that is due", [3]*snapshot.Verdict{open(900), open(700), open(10)}, [3]int32{}, "0.2"},
		{"half open is being tried", [3]*snapshot.Verdict{{State: breaker.HalfOpen}, open(900), open(900)}, [3]int32{0, 5, 4}, "0.2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := pool(t, channel{0, 1, []uint32{1, 1, 1}})
			for i, id := range []snapshot.AccountID{"0.0", "0.1", "0.2"} {
				c := find(t, p, id)
				c.Account.Verdict = tt.verdicts[i]
				c.Cell.Cool(math.MaxInt64)
				c.Cell.InFlight.Store(tt.load[i])
			}
			rng := SeededRand(1)
			a := Ask{Group: &snapshot.Group{Strategy: int32(weighted)}, Settings: &snapshot.Settings{}, NowMS: 100}
			if c, reason := Pick(p, &a, &rng); c == nil || c.Account.ID != tt.want || reason != Panicked {
				t.Errorf("picked %v (%v), want %s", c, reason, tt.want)
			}
		})
	}
}
