package bank

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// book is what is going on at one limit.
type book struct {
	id      ID
	amount  int64
	zone    *time.Location
	opened  bool    // the balances are known, and kept up since
	asked   bool    // they are to be read
	cells   []*cell // by window
	place   int     // in the bank's list; -1 = none
	touched time.Duration
}

// cell is one window of a limit.
type cell struct {
	window     int64
	begin, end int64 // nanoseconds of the bank's calendar
	booked     int64 // on the books
	ended      int64 // used by boots that are gone, where there are no books; or taken as used
	reclaimed  int64 // what boots that are gone may still put on the books
	judged     bool
	leases     []*lease
	waiting    []*lease // that have too little to serve a request, in the order in which they are to get it
}

// lease is what one boot has of a cell.
type lease struct {
	session *session
	book    *book
	cell    *cell

	granted, returned, used, booked int64
	want, least                     int64

	keep   int64         // what may stay, of what is unspent or of all slots
	mark   uint32        // of the declaration that named it last
	yields bool          // it has just given back what was called: that is for others, even if it wants more
	waits  bool          // it is among those of its cell that wait
	told   bool          // it is in its session's news
	until  time.Duration // what it was given for a request is not called back before
}

// charge is what the lease may cost its limit beyond the books. Of what is booked, only that counts which the boot has
// told to be used: the rest was taken from another window's credits.
func (l *lease) charge() int64 {
	return max(l.granted-l.returned, l.used) - min(l.booked, l.used)
}

// held is what may be spent; debt is what was spent beyond.
func (l *lease) held() int64 { return max(0, l.granted-l.returned-l.used) }
func (l *lease) debt() int64 { return max(0, l.used-(l.granted-l.returned)) }

// mayStay is what a call counts: all slots, in use or not; of everything else, what is unspent.
func (l *lease) mayStay() int64 {
	if l.book.id.slots() {
		return l.granted - l.returned
	}
	return l.held()
}

// called tells whether credits are called back that have not come yet.
func (l *lease) called() bool { return l.keep != all }

// current is the window of the book that is now.
func (b *Bank) current(bk *book) int64 {
	now := b.clock.steady.UnixNano()
	for _, c := range bk.cells {
		if c.begin <= now && now < c.end {
			return c.window
		}
	}
	return bk.id.window(b.clock.steady, bk.zone)
}

// cell returns a window of the book, or nil.
func (bk *book) cell(window int64) *cell {
	for _, c := range bk.cells {
		if c.window == window {
			return c
		}
	}
	return nil
}

// enter returns a window of the book, made if need be.
func (b *Bank) enter(bk *book, window int64) *cell {
	if c := bk.cell(window); c != nil {
		return c
	}
	c := &cell{window: window, begin: bk.id.begin(window, bk.zone), end: bk.id.end(window, bk.zone)}
	i, _ := slices.BinarySearchFunc(bk.cells, window, func(c *cell, w int64) int { return int(min(max(c.window-w, -1), 1)) })
	bk.cells = slices.Insert(bk.cells, i, c)
	return c
}

// sum is what the windows from one to another cost their limit together.
func (bk *book) sum(from, to int64) int64 {
	var s int64
	for _, c := range bk.cells {
		if c.window < from || c.window > to {
			continue
		}
		s = add(s, add(c.booked, c.ended))
		for _, l := range c.leases {
			s = add(s, l.charge())
		}
	}
	return s
}

// left is what nobody holds of a cell; below 0 = so much too much is out.
func (b *Bank) left(bk *book, c *cell) int64 {
	trail := bk.id.trail()
	left := bk.amount - bk.sum(c.window-trail, c.window)
	if trail > 0 {
		// The next window's reach has this one in it, and what is out of the next already.
		left = min(left, bk.amount-bk.sum(c.window+1-trail, c.window+1))
	}
	return left
}

// judge decides, once, what a cell that began before this leader might grant has seen that nobody told of: boots that
// ended with the leader before, and those that are cut off. It goes by an even use of the limit until then.
func (b *Bank) judge(bk *book, c *cell) {
	if c.judged {
		return
	}
	c.judged = true
	if bk.id.Booked() || bk.id.slots() || b.hold == math.MinInt64 {
		return
	}
	free := b.clock.at(b.hold).UnixNano()
	if c.begin >= free {
		return
	}
	presumed := bk.amount
	if length := c.end - c.begin; !b.o.Strict && free < c.end {
		hi, lo := bits.Mul64(uint64(bk.amount), uint64(free-c.begin))
		q, _ := bits.Div64(hi, lo, uint64(length)) // free-begin < length, so it fits
		presumed = int64(q)
	}
	if unknown := presumed - bk.sum(c.window, c.window); unknown > 0 {
		c.ended = add(c.ended, unknown)
	}
}

// drop takes a lease out of the bank. What it used is dealt with before.
func (l *lease) drop() {
	delete(l.session.leases, l.cell)
	if i := slices.Index(l.cell.leases, l); i >= 0 {
		l.cell.leases = slices.Delete(l.cell.leases, i, i+1)
	}
	l.cell.served(l)
}

// end closes a lease whose boot will not be heard of again, or has given everything back.
func (l *lease) end() {
	switch k := l.book.id.Kind; {
	case k.slots():
		// The requests ended with the process.
	case k.Booked():
		l.cell.reclaimed = add(l.cell.reclaimed, l.charge())
	default:
		l.cell.ended = add(l.cell.ended, l.charge())
	}
	l.drop()
}

// sweep forgets what is over: windows, leases in them, and balances that nobody wants. It looks at some books a call.
func (b *Bank) sweep() {
	now := b.clock.steady.UnixNano()
	for range min(sweepEvery, len(b.live)) {
		if b.cursor >= len(b.live) {
			b.cursor = 0
		}
		if len(b.live) == 0 {
			return
		}
		bk := b.live[b.cursor]
		oldest := b.current(bk) - bk.id.trail()
		leases := 0
		bk.cells = slices.DeleteFunc(bk.cells, func(c *cell) bool {
			if c.window < oldest && c.end <= now {
				for _, l := range c.leases {
					delete(l.session.leases, c)
				}
				return true
			}
			leases += len(c.leases)
			return false
		})
		idle := leases == 0 && b.clock.mono-bk.touched >= idleAfter
		if empty := len(bk.cells) == 0 && !bk.id.Booked(); empty || idle {
			if l := b.find(bk.id); l != nil {
				l.book = nil
			}
			b.close(bk) // The last book of the list is in its place now.
			continue
		}
		b.cursor++
	}
}
