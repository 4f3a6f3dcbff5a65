package bank

import (
	"math"
	"time"
)

// Place says in which of a limit's windows something counts.
type Place struct {
	Window int64     // 0 = none that still counts
	Oldest int64     // that counts together with Last
	Last   int64     // that is now
	At     time.Time // when it was, or the bank's own time if that would be in its future: give Settled this one
}

// Place returns where Settled would count what was taken at a time; false when there is no such limit.
func (b *Bank) Place(id ID, at time.Time, now Moment) (Place, bool) {
	b.tell(now)
	l := b.find(id)
	if l == nil {
		return Place{}, false
	}
	p := Place{Last: b.last(id, l), At: at}
	p.Oldest = p.Last - id.trail()
	if at.Before(b.clock.steady) {
		p.Window = min(p.Last, id.window(at, l.zone))
	} else {
		p.Window, p.At = p.Last, b.clock.steady
	}
	if p.Window < p.Oldest {
		p.Window = 0
	}
	return p, true
}

// Now returns the window of a limit that is now; false when there is no such limit.
func (b *Bank) Now(id ID, now Moment) (Window, bool) {
	b.tell(now)
	l := b.find(id)
	if l == nil {
		return Window{}, false
	}
	w := Window{Number: b.last(id, l)}
	if end := id.end(w.Number, l.zone); end != math.MaxInt64 {
		w.From, w.To = time.Unix(0, id.begin(w.Number, l.zone)).UTC(), time.Unix(0, end).UTC()
	}
	return w, true
}

// last is the number of the window that is now, whether the limit is in use or not.
func (b *Bank) last(id ID, l *limit) int64 {
	if l.book != nil {
		return b.current(l.book)
	}
	return id.window(b.clock.steady, l.zone)
}
