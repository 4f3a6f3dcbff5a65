package snapshot

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A step holds what falls into it, and steps are in order and at most a quarter wide.
func TestWaitSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(100*time.Second)).Draw(t, "wait"))
		i := waitBucket(d)
		from, to := waitOf(i), waitOf(i+1)
		if d < from-time.Microsecond || d >= to+time.Microsecond {
			t.Fatalf("%v is in step %d, from %v to %v", d, i, from, to)
		}
		if to > from*5/4+time.Microsecond {
			t.Fatalf("step %d is from %v to %v", i, from, to)
		}
	})
	for _, d := range []time.Duration{-time.Second, 0, 1, 24 * time.Hour} {
		if i := waitBucket(d); i < 0 || i >= waitBuckets {
			t.Errorf("%v is in step %d", d, i)
		}
	}
}

func TestSlow(t *testing.T) {
	for _, tc := range []struct {
		name     string
		fast     int
		slow     int
		from, to time.Duration // 0 = not known
	}{
		{"nothing is known", 0, 0, 0, 0},
		{"too little is known", waitsEnough - 1, 0, 0, 0},
		{"all fast", 100, 0, 10 * time.Millisecond, 13 * time.Millisecond},
		{"a few slow ones", 96, 4, 10 * time.Millisecond, 13 * time.Millisecond},
		{"a tenth is slow", 90, 10, time.Second, 1250 * time.Millisecond},
		{"what was long ago is half forgotten", 2 * waitsMost, waitsMost, time.Second, 1250 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var h Hedges
			for range tc.fast {
				h.Waited(10 * time.Millisecond)
			}
			for range tc.slow {
				h.Waited(time.Second)
			}
			got, ok := h.Slow()
			if ok != (tc.to > 0) || got < tc.from || got > tc.to {
				t.Errorf("Slow() = %v, %v; want from %v to %v", got, ok, tc.from, tc.to)
			}
		})
	}
}

// However requests come, second attempts are no more than their share of them.
func TestHedgeCredit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h Hedges
		ppm := rapid.IntRange(5_000, 200_000).Draw(t, "ppm")
		asked, taken := 0, 0
		for range rapid.IntRange(1, 40).Draw(t, "rounds") {
			n := rapid.IntRange(0, 500).Draw(t, "requests")
			for range n {
				h.Asked(ppm)
			}
			asked += n
			for range rapid.IntRange(0, 100).Draw(t, "tries") {
				if h.Take() {
					taken++
				}
			}
			if taken*hedgeCost > asked*ppm {
				t.Fatalf("%d second attempts for %d requests at %d ppm", taken, asked, ppm)
			}
		}
		for range 2*hedgesAtMost*hedgeCost/ppm + 1 {
			h.Asked(ppm)
		}
		for range hedgesAtMost {
			if !h.Take() {
				t.Fatal("what was saved up cannot be taken")
			}
		}
		if h.Take() {
			t.Fatal("a quiet time saves up more than it may")
		}
	})
}
