package bank

// callSlots asks for as many slots as are lacking, and for no more: those that lie idle now will be wanted soon. They come
// from who has most of them idle. When none is, who has more than an equal part gives those up that come back to it next,
// until who waits has such a part.
func (b *Bank) callSlots(bk *book, c *cell, needy *lease) {
	boots, coming := int64(0), max(b.left(bk, c), 0)
	for _, l := range c.leases {
		if l.session.silent {
			continue
		}
		if l.want > 0 || l.slots() > 0 {
			boots++
		}
		coming = add(coming, l.owes())
	}
	lacking := add(c.promised(needy), needy.lacks())
	coming = add(coming, c.call(lacking-coming, b.spare))
	if fair := bk.amount / max(boots, 1); needy.slots() < fair {
		c.call(min(lacking-coming, fair-needy.slots()), func(l *lease) int64 { return l.slots() - l.owes() - fair })
	}
	c.call(needy.want-needy.held(), b.spare)
}

// call asks for n slots, of which leases have so many to give, and says how many that were.
func (c *cell) call(n int64, of func(*lease) int64) (called int64) {
	for called < n {
		from := c.most(of)
		if from == nil {
			break
		}
		some := min(n-called, (of(from)+1)/2) // who has most gives first, and nobody all of it before others gave
		from.keep = min(from.keep, from.granted-from.returned) - some
		from.tell()
		if from.held() < from.least {
			c.served(from) // it waits itself, and has more than others
		}
		called += some
	}
	return called
}

// most is the lease of which there is most of something, and more than nothing.
func (c *cell) most(of func(*lease) int64) *lease {
	var from *lease
	for _, l := range c.leases {
		if n := of(l); n > 0 && !l.session.silent && (from == nil || n > of(from)) {
			from = l
		}
	}
	return from
}

// spare is how many slots lie idle for all that is known, but for those that have just been given.
func (b *Bank) spare(l *lease) int64 {
	if b.clock.mono < l.until {
		return 0
	}
	return l.held() - l.owes()
}

// slots is how many a boot has, in use or not.
func (l *lease) slots() int64 { return max(l.granted-l.returned, l.used) }

// owes is how many slots are to come back.
func (l *lease) owes() int64 { return max(0, l.slots()-min(l.keep, l.granted-l.returned)) }
