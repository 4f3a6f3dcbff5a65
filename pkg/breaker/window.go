package breaker

import (
	"math"
	"time"
)

// slices of a window: what is older than the window by less than one of them still counts.
const slices = 10

// window counts attempts over the last Rules.Window. A clock that jumps, either way, empties it: less is known then, and
// what is not known opens nothing.
type window struct {
	head  int64 // number of the newest slice since 1970; slice n is at n % slices
	count [slices]tally
}

type tally struct{ ok, failed uint32 }

// add counts attempts now.
func (w *window) add(now time.Time, span time.Duration, ok, failed int) {
	w.turn(now, span)
	t := &w.count[w.head%slices]
	t.ok = plus(t.ok, ok)
	t.failed = plus(t.failed, failed)
}

// sums are what the window holds.
func (w *window) sums(now time.Time, span time.Duration) (ok, failed uint64) {
	w.turn(now, span)
	for _, t := range w.count {
		ok += uint64(t.ok)
		failed += uint64(t.failed)
	}
	return ok, failed
}

// turn makes the slice of now the newest.
func (w *window) turn(now time.Time, span time.Duration) {
	slice := max(int64(span/slices), 1)
	head := max(now.UnixNano()/slice, 0)
	switch passed := head - w.head; {
	case passed == 0:
	case passed < 0 || passed >= slices:
		w.count = [slices]tally{}
	default:
		for n := w.head + 1; n <= head; n++ {
			w.count[n%slices] = tally{}
		}
	}
	w.head = head
}

// plus adds what was counted elsewhere, which may be nonsense.
func plus(a uint32, n int) uint32 {
	return uint32(min(uint64(a)+uint64(max(n, 0)), math.MaxUint32)) //nolint:gosec // bounded in this line
}
