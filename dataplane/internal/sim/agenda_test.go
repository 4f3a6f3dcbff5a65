package sim

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestAgendaIsInOrder: what is noted happens at its time, in the order of noting where that is the same, also when it is noted
// while others happen.
func TestAgendaIsInOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		type happened struct {
			at    time.Duration
			order int
		}
		var a agenda
		var got []happened
		noted := 0
		var note func(after time.Duration, follow []int)
		note = func(after time.Duration, follow []int) {
			order, at := noted, a.now+after
			noted++
			a.after(after, func() {
				if a.now != at {
					rt.Fatalf("it is %v, want %v", a.now, at)
				}
				got = append(got, happened{at, order})
				for _, d := range follow {
					note(time.Duration(d), nil)
				}
			})
		}
		for range rapid.IntRange(0, 50).Draw(rt, "notes") {
			note(time.Duration(rapid.IntRange(0, 20).Draw(rt, "after")), rapid.SliceOfN(rapid.IntRange(0, 5), 0, 3).Draw(rt, "follow"))
		}
		a.run(100)
		if len(got) != noted || len(a.heap) != 0 {
			rt.Errorf("%d of %d happened, %d are left", len(got), noted, len(a.heap))
		}
		if !slices.IsSortedFunc(got, func(x, y happened) int {
			if x.at != y.at {
				return int(x.at - y.at)
			}
			return x.order - y.order
		}) {
			rt.Errorf("out of order: %v", got)
		}
	})
}

// TestAgendaStops: what is due later stays.
func TestAgendaStops(t *testing.T) {
	var a agenda
	ticks := 0
	a.every(2, 3, func() { ticks++ })
	a.run(9)
	if ticks != 3 || a.now != 9 || len(a.heap) != 1 {
		t.Errorf("%d ticks, now %d, %d left", ticks, a.now, len(a.heap))
	}
}
