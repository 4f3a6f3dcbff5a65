package bank

// View is where a limit stands.
type View struct {
	Window int64
	Amount int64
	Booked int64 // on the books
	Held   int64 // lent to proxies, and not spent as far as they have told
	Spent  int64 // by proxies, and not on the books; slots: in use
	// Ended is what proxies that are gone used of a minute, or may have.
	Ended int64
	Left  int64 // what can be lent; 0 when more is out than there is
	// Excess is how far the limit is exceeded now: by requests that were dearer than estimated, by records of proxies that
	// were taken for gone, or because the limit was lowered.
	Excess int64
	// Late is what proxies that are gone may still put on the books: by so much at most, the limit may yet be exceeded
	// beyond that.
	Late    int64
	Proxies int  // that have leases
	Waiting bool // nothing is lent yet: the leader is new, or the balance is being read
}

// Outstanding returns where a limit stands in the window that is now; false when there is no such limit. One that nobody
// uses shows nothing but its amount.
func (b *Bank) Outstanding(id ID, now Moment) (View, bool) {
	b.tell(now)
	limit := b.find(id)
	if limit == nil {
		return View{}, false
	}
	v := View{Amount: limit.amount, Left: limit.amount, Waiting: b.holding(id.Kind)}
	bk := limit.book
	if bk == nil {
		v.Window = id.window(b.clock.steady, limit.zone)
		return v, true
	}
	v.Window = b.current(bk)
	v.Waiting = v.Waiting || !bk.opened
	for _, c := range bk.cells {
		if c.window < v.Window-id.trail() || c.window > v.Window {
			continue
		}
		v.Booked = add(v.Booked, c.booked)
		v.Ended = add(v.Ended, c.ended)
		v.Late = add(v.Late, c.reclaimed)
		for _, l := range c.leases {
			v.Held = add(v.Held, l.held())
			v.Spent = add(v.Spent, l.charge()-min(l.charge(), l.held()))
			if c.window == v.Window {
				v.Proxies++
			}
		}
	}
	used := bk.sum(v.Window-id.trail(), v.Window)
	v.Left = max(0, bk.amount-used)
	v.Excess = max(0, used-bk.amount)
	return v, true
}

// Stats are sizes, for metrics.
type Stats struct {
	Owners  int // with limits
	Live    int // limits that are in use
	Leases  int
	Proxies int // that are heard of
	Wanted  int // balances to be read
}

// Stats returns them.
func (b *Bank) Stats() Stats {
	st := Stats{Owners: len(b.owners), Live: len(b.live), Proxies: int(b.proxies()), Wanted: len(b.wanted)}
	for _, s := range b.sessions {
		st.Leases += len(s.leases)
	}
	return st
}
