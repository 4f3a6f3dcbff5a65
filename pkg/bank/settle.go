package bank

import (
	"time"
)

// Wanted is a limit whose balance the bank has to know before it grants anything.
type Wanted struct {
	ID
	Windows []Window // all that count
}

// Window is a stretch of the bank's calendar.
type Window struct {
	Number   int64
	From, To time.Time // zero = since ever, and forever
}

// want notes that a balance is to be read.
func (b *Bank) want(bk *book) {
	if !bk.asked {
		bk.asked = true
		b.wanted = append(b.wanted, bk)
	}
}

// Wanted returns at most n limits whose balances are to be read and given to Open. Those that are not opened are wanted
// again when the next boot asks for them.
func (b *Bank) Wanted(n int, now Moment) []Wanted {
	b.tell(now)
	var list []Wanted
	for len(b.wanted) > 0 && len(list) < n {
		bk := b.wanted[0]
		b.wanted = b.wanted[1:]
		bk.asked = false
		if bk.place < 0 || bk.opened {
			continue
		}
		w := Wanted{ID: bk.id}
		last := b.current(bk)
		for i := max(last-bk.id.trail(), 0); i <= last; i++ {
			v := Window{Number: i}
			if bk.id.Period != Total {
				v.From = time.Unix(0, bk.id.begin(i, bk.zone)).UTC()
				v.To = time.Unix(0, bk.id.end(i, bk.zone)).UTC()
			}
			w.Windows = append(w.Windows, v)
		}
		list = append(list, w)
	}
	return list
}

// Open tells what is on the books of a limit, by window; what is not named is 0. The balances must hold exactly what
// Settled was told before and will not be told again: read them where no records are committed meanwhile. It may be
// called at any time, to put right what differs.
func (b *Bank) Open(id ID, balances map[int64]int64, now Moment) {
	b.tell(now)
	limit := b.find(id)
	if limit == nil || !id.Booked() {
		return
	}
	bk := b.use(id, limit)
	bk.opened = true
	for n := range balances {
		if last := b.current(bk); n >= last-id.trail() && n <= last {
			b.enter(bk, n)
		}
	}
	for _, c := range bk.cells {
		c.booked = max(balances[c.window], 0)
	}
	if b.holding(id.Kind) {
		return
	}
	// Who waited for this hears of it at once.
	for _, c := range bk.cells {
		for _, l := range c.leases {
			if l.want > 0 && l.held() < l.least && !l.session.silent {
				b.grant(bk, c, l)
				l.tell()
			}
		}
	}
}

// Settled tells that a record of a boot is on the books: amount is what it adds to a limit, at is when its credits were
// taken, which is when the request began. It must be told before the boot's records are acknowledged, for from then on
// the boot counts them as booked. Amounts below 0 count as 0.
func (b *Bank) Settled(boot string, id ID, at time.Time, amount int64, now Moment) {
	b.tell(now)
	limit := b.find(id)
	if limit == nil || limit.book == nil || !id.Booked() || amount <= 0 {
		return // Its balance is read when somebody wants it.
	}
	bk := limit.book
	last := b.current(bk)
	n := last
	if at.Before(b.clock.steady) {
		n = min(last, id.window(at, bk.zone))
	}
	if n < last-id.trail() {
		return
	}
	c := b.enter(bk, n)
	c.booked = add(c.booked, amount)
	if s := b.sessions[boot]; s != nil {
		if l := s.leases[c]; l != nil {
			l.booked = add(l.booked, amount)
			return
		}
	}
	c.reclaimed = max(0, c.reclaimed-amount)
}
