package bank

import "slices"

// wait puts a lease among those that are to get what others give back.
func (c *cell) wait(l *lease) {
	if !l.waits {
		l.waits = true
		c.waiting = append(c.waiting, l)
	}
}

// served takes it from there.
func (c *cell) served(l *lease) {
	if l.waits {
		l.waits = false
		c.waiting = slices.DeleteFunc(c.waiting, func(w *lease) bool { return w == l })
	}
}

// promised is what those lack who wait before a lease: what is left is first theirs, or everybody would have a part of the
// last request's credits, and nobody enough.
func (c *cell) promised(l *lease) int64 {
	var n int64
	for _, w := range c.waiting {
		if w == l {
			break
		}
		n = add(n, w.lacks())
	}
	return n
}

// lacks is how much more serves a request.
func (l *lease) lacks() int64 { return max(0, l.least-l.held()) }

// canServe tells whether what boots hold unspent would be enough for a lease, after those that wait before it. Slots always
// come back.
func (b *Bank) canServe(bk *book, c *cell, l *lease) bool {
	if bk.id.slots() {
		return true
	}
	var pool int64
	for _, o := range c.leases {
		if o != l && b.callable(o) {
			pool = add(pool, o.held())
		}
	}
	if left := b.left(bk, c); left < 0 {
		pool += left
	} else {
		pool = add(pool, left)
	}
	return pool >= add(c.promised(l), l.lacks())
}

// callable tells whether credits may be called from a lease for another: it does not wait for some itself, and what it got
// after a wait it has had the time to use.
func (b *Bank) callable(l *lease) bool {
	return !l.session.silent && b.clock.mono >= l.until && !l.waits
}

// serve gives what came back to those that wait for it.
func (b *Bank) serve(bk *book, c *cell) {
	if b.holding(bk.id.Kind) || !bk.opened {
		return
	}
	for _, l := range slices.Clone(c.waiting) {
		if l.session.silent || l.want <= 0 || l.lacks() == 0 {
			c.served(l)
			continue
		}
		before := l.granted
		b.grant(bk, c, l)
		if l.granted == before {
			return // What is left is not enough for this one, and those behind it come later.
		}
		l.tell()
	}
}
