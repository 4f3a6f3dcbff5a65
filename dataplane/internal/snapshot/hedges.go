package snapshot

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	waitBuckets  = 68        // four per octave: from 1 ms to about two minutes
	waitsEnough  = 64        // below which a percentile says nothing
	waitsMost    = 4096      // from which the older half is forgotten
	hedgeCost    = 1_000_000 // of one second attempt, in the millionths that each request brings
	hedgesAtMost = 16        // second attempts that a quiet time saves up
)

// Hedges is what a group that hedges its requests must know: how long they waited for the first byte lately, and how many
// second attempts they have paid for. Every method may be called by any goroutine; none takes a lock. Counts that race are
// off by a few, which is of no matter.
type Hedges struct {
	waits  [waitBuckets]atomic.Uint32
	seen   atomic.Int64
	credit atomic.Int64
}

// Hedges is the group's; made when it is first asked for.
func (c *GroupCell) Hedges() *Hedges {
	if h := c.hedges.Load(); h != nil {
		return h
	}
	c.hedges.CompareAndSwap(nil, new(Hedges))
	return c.hedges.Load()
}

// Asked counts a request, which brings ppm millionths of a second attempt.
func (h *Hedges) Asked(ppm int) {
	if n := h.credit.Add(int64(ppm)); n > hedgesAtMost*hedgeCost {
		h.credit.Add(hedgesAtMost*hedgeCost - n)
	}
}

// Take takes a second attempt, if one is paid for.
func (h *Hedges) Take() bool {
	for {
		n := h.credit.Load()
		if n < hedgeCost {
			return false
		}
		if h.credit.CompareAndSwap(n, n-hedgeCost) {
			return true
		}
	}
}

// Return gives back one that was taken and not made.
func (h *Hedges) Return() { h.credit.Add(hedgeCost) }

// Waited notes how long a request waited for its first byte, or had waited when it was given up.
func (h *Hedges) Waited(d time.Duration) {
	h.waits[waitBucket(d)].Add(1)
	if h.seen.Add(1) < waitsMost {
		return
	}
	var left int64
	for i := range h.waits {
		half := h.waits[i].Load() / 2
		h.waits[i].Store(half)
		left += int64(half)
	}
	h.seen.Store(left)
}

// Slow is the 95th percentile of the waits, rounded up to the next of four steps per octave; false while too few are known.
func (h *Hedges) Slow() (time.Duration, bool) {
	var counts [waitBuckets]uint32
	var sum uint64
	for i := range h.waits {
		counts[i] = h.waits[i].Load()
		sum += uint64(counts[i])
	}
	if sum < waitsEnough {
		return 0, false
	}
	above := sum / 20 // that may be slower
	for i := waitBuckets - 1; i >= 0; i-- {
		if n := uint64(counts[i]); n <= above {
			above -= n
			continue
		}
		return waitOf(i + 1), true
	}
	return 0, false
}

// waitBucket is the step that d falls into: the two bits behind the highest one of its milliseconds, times 4 to keep them.
func waitBucket(d time.Duration) int {
	quarters := uint64(max(d, time.Millisecond)) * 4 / uint64(time.Millisecond)
	octave := bits.Len64(quarters) - 3
	return min(octave*4+int(quarters>>octave)-4, waitBuckets-1)
}

// waitOf is where step i begins.
func waitOf(i int) time.Duration {
	return time.Duration(math.Ldexp(float64(4+i%4), i/4-2) * float64(time.Millisecond))
}
