package snapshot

import (
	"math"
	"sync/atomic"

	"fairway/pkg/breaker"
)

// Cell is the live state of one account in this process. It is keyed by account id, sits beside the snapshots and
// survives their swaps; it ends with the account. A new credential or a new endpoint starts with a fresh one, so that
// a late failure of the old credential is not held against the new. Every field may be used by any goroutine.
//
// It fills 128 bytes (two cache lines, which is what prefetchers fetch), so that neighbours do not contend. All that a
// draw reads is in the first of the two.
type Cell struct {
	InFlight      atomic.Int32
	Full          atomic.Int32 // attempts under way here at which the account takes no more; 0 = no cap
	CooldownUntil atomic.Int64 // unix ms; leave the account alone until then if there is any other
	HeldUntil     atomic.Int64 // unix ms; as ordered by the provider, or refused by it: not even a panic pick uses it

	// What the health room keeps.
	Vigor       Factor // 0 to 1: what health, headroom and slow start leave of the weight
	Performance Factor // 0 to 1: a term of the score of "balanced"
	Reliability Factor // 0 to 1: likewise
	Use         Factor // 1/4 to 4: how much less than its share the fleet gave it lately

	_ [64 - 2*4 - 2*8 - 4*4]byte

	LatencyEWMA atomic.Uint64 // math.Float64bits of milliseconds to the first byte
	LastUsed    atomic.Int64  // unix ms
	Failures    atomic.Int32  // in a row

	// Side is what the health room keeps besides; only that looks at it. Nil until the account is first used.
	Side atomic.Value

	_ [64 - 2*8 - 8 - 16]byte
}

// Factor is a number that many read and one keeps. Its zero value is 1.
type Factor struct{ bits atomic.Uint32 }

// Load returns the factor.
func (f *Factor) Load() float32 {
	if b := f.bits.Load(); b != 0 {
		return math.Float32frombits(b)
	}
	return 1
}

// Store sets the factor, which must not be negative; 0 becomes the smallest number above it.
func (f *Factor) Store(v float32) { f.bits.Store(max(math.Float32bits(v), 1)) }

// Cool leaves the account alone until the given time (unix ms) as long as others can serve. It never shortens.
func (c *Cell) Cool(untilMS int64) { raise(&c.CooldownUntil, untilMS) }

// Hold leaves the account alone until the given time (unix ms) whatever happens: its provider said so. It never
// shortens.
func (c *Cell) Hold(untilMS int64) { raise(&c.HeldUntil, untilMS) }

// ReadyAt is the time (unix ms) from which nothing keeps requests from the account; 0 or past = now.
func (c *Cell) ReadyAt() int64 { return max(c.CooldownUntil.Load(), c.HeldUntil.Load()) }

// judge puts the account where a verdict says, whatever was held against it before; only what its provider asked for stands as
// long as the account is not well.
func (c *Cell) judge(v *Verdict) {
	switch {
	case v == nil || v.State == breaker.Closed:
		c.forgive()
	case v.State == breaker.Disabled:
		c.forgive()
		c.Hold(math.MaxInt64)
	default:
		c.Failures.Store(0)
		c.HeldUntil.CompareAndSwap(math.MaxInt64, 0) // it was disabled
		if v.Ordered {
			c.Hold(v.UntilMS)
		}
		// Not until the verdict's end: from then on one probe at a time tries it, and the next verdict says how that went.
		c.Cool(math.MaxInt64)
	}
}

// forgive forgets failures and cooldowns: an operator says that the account is to be tried again.
func (c *Cell) forgive() {
	c.Failures.Store(0)
	c.CooldownUntil.Store(0)
	c.HeldUntil.Store(0)
}

func raise(v *atomic.Int64, to int64) {
	for {
		old := v.Load()
		if old >= to || v.CompareAndSwap(old, to) {
			return
		}
	}
}

// GroupCell is the live state of one group in this process; it survives swaps as a Cell does. It feeds the retry
// budget.
type GroupCell struct {
	Active  atomic.Int64 // requests under way
	Retries atomic.Int64 // of these, in a second or later attempt
	hedges  atomic.Pointer[Hedges]

	_ [128 - 3*8]byte
}
