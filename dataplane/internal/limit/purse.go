package limit

import (
	"math"
	"sync/atomic"
)

// never is a reading of the clock that does not come.
const never = math.MaxInt64

// maxAmount bounds what one request can take or settle, so that no sum of them leaves an int64.
const maxAmount = 1 << 60

// pane holds the credits of one window. It is what requests take from, and what they remember to have taken from.
type pane struct {
	balance atomic.Int64 // what may be taken; below 0 = requests used more than they took, which the next credits pay
	ends    atomic.Int64 // when the window does
	purse   *purse
	next    atomic.Pointer[pane] // nil = the window is not known to end
	number  atomic.Int64         // the leader's; 0 = it was not told yet
	settled atomic.Int64         // of limits with books: what requests that ended have used

	// Guarded by Keeper.mu.
	granted  int64 // so far
	returned int64 // so far
	booked   int64 // of what was settled, what is on the books
	mark     mark
	told     int64 // what was said to be used
}

// mark is how far the books must be for an amount to be on them.
type mark struct {
	set      bool
	settled  int64
	sequence uint64
}

// take takes n if it is there.
func (p *pane) take(n int64) bool {
	for {
		b := p.balance.Load()
		if b < n && n > 0 {
			return false
		}
		if p.balance.CompareAndSwap(b, b-n) {
			return true
		}
	}
}

// give adds n, which may be negative, and stops at the ends of what can be counted.
func (p *pane) give(n int64) {
	for {
		b := p.balance.Load()
		if p.balance.CompareAndSwap(b, plus(b, n)) {
			return
		}
	}
}

// drain takes what is there, n at most, and returns how much that was.
func (p *pane) drain(n int64) int64 {
	for {
		b := p.balance.Load()
		d := min(b, n)
		if d <= 0 {
			return 0
		}
		if p.balance.CompareAndSwap(b, b-d) {
			return d
		}
	}
}

// used is what requests took and did not give back. The caller holds Keeper.mu.
func (p *pane) used() int64 { return max(minus(p.granted-p.returned, p.balance.Load()), 0) }

// giveUp returns all that is not spent but keep, and says how much that was. The caller holds Keeper.mu.
func (p *pane) giveUp(keep int64) int64 {
	n := p.drain(p.balance.Load() - max(keep, 0))
	p.returned += n
	return n
}

// giveUpSlots returns all but so many slots, and says how many that were. What comes back of those in use pays for them. The
// caller holds Keeper.mu.
func (p *pane) giveUpSlots(keep int64) int64 {
	n := max(p.granted-p.returned-max(keep, 0), 0)
	p.give(-n)
	p.returned += n
	return n
}

// purse is one limit that is in use at this proxy.
type purse struct {
	what    What
	over    Span
	minutes uint32 // of Rolling
	long    bool   // it has books, so its leases are the long ones: all but slots, and what is per minute

	amount  atomic.Int64 // the limit's, as the terms say
	current atomic.Pointer[pane]
	dry     atomic.Int64 // the leader had nothing left; that is believed until then
	vague   atomic.Int64 // the leader cannot tell how much there is; that is believed until then
	quiet   atomic.Int64 // nobody waits for the leader until then: the last wait was in vain
	low     atomic.Int64 // below that, more is asked for
	missed  atomic.Int64 // what requests did not find since the last question
	need    atomic.Int64 // the most that one request wanted lately
	left    atomic.Int64 // that nobody held, as the leader said last; -1 = it did not

	aside pane          // what the policy lets through while the leader is away
	queue atomic.Int64  // requests that wait for a slot
	freed chan struct{} // says to one of them that a slot is free; nil = these are no slots

	asideAt atomic.Int64 // when its share was laid out; 0 = it is not
	laid    atomic.Int64 // how much that was

	// Guarded by Keeper.mu.
	state lending
}

// live is the pane of the window that is open.
func (p *purse) live(now int64) *pane {
	for {
		c := p.current.Load()
		if now < c.ends.Load() {
			return c
		}
		next := c.next.Load()
		if next == nil {
			return c
		}
		p.current.CompareAndSwap(c, next)
	}
}

// take takes n from the open window. Credits may be spent until the lease ends.
func (p *purse) take(n, now, until int64) *pane {
	c := p.live(now)
	if n > p.need.Load() {
		p.need.Store(n)
	}
	if now >= until || now >= c.ends.Load() || !c.take(n) {
		return nil
	}
	return c
}

// plus is a+b, as far as an int64 goes.
func plus(a, b int64) int64 {
	switch s := a + b; {
	case b > 0 && s < a:
		return math.MaxInt64
	case b < 0 && s > a:
		return math.MinInt64
	default:
		return s
	}
}

// minus is a-b, as far as an int64 goes.
func minus(a, b int64) int64 {
	if b == math.MinInt64 {
		return plus(plus(a, math.MaxInt64), 1)
	}
	return plus(a, -b)
}

// clamp makes an amount one that can be counted.
func clamp(n int64) int64 { return min(max(n, 0), maxAmount) }

// nudge says to a request that waits for a slot that one is free.
func (p *purse) nudge(c *pane) {
	if p.freed == nil || p.queue.Load() == 0 || c.balance.Load() <= 0 {
		return
	}
	select {
	case p.freed <- struct{}{}:
	default: // one is told already, and tells the next
	}
}

// waitable says whether a request may wait for a slot to come back here: the leader need not be asked for that. No more
// wait than there are slots, so that nobody waits for long where requests are short.
func (p *purse) waitable(now, until int64) bool {
	return p.freed != nil && now < until && p.live(now).number.Load() != 0 && p.queue.Load() <= p.amount.Load()
}
