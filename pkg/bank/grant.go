package bank

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// answer grants what can be granted, and says where the lease stands. Without a lease it says where the limit does.
func (b *Bank) answer(g *syncv1.Grant, bk *book, c *cell, l *lease) {
	g.State = syncv1.GrantState_GRANT_STATE_OPEN
	if !bk.opened {
		b.want(bk)
	}
	switch {
	case b.holding(bk.id.Kind) || !bk.opened:
		g.State = syncv1.GrantState_GRANT_STATE_WAIT
	case l != nil:
		b.grant(bk, c, l)
	}
	b.describe(g, bk, c, l)
}

// describe fills in where a lease stands.
func (b *Bank) describe(g *syncv1.Grant, bk *book, c *cell, l *lease) {
	now := b.clock.steady.UnixNano()
	g.Window = c.window
	if c.begin > now {
		g.StartsIn = durationpb.New(time.Duration(c.begin - now))
	}
	if c.end != math.MaxInt64 {
		g.EndsIn = durationpb.New(time.Duration(max(0, c.end-now)))
	}
	if bk.opened {
		g.Left = max(0, b.left(bk, c))
	}
	if l == nil {
		return
	}
	g.Granted = l.granted
	g.Coming = l.waits
	if l.called() {
		g.Keep = new(l.keep) // a copy: the message outlives this moment
	}
}

// grant gives a lease credits, by what its boot wants, what is left, and who else is there.
//
// While much is left everybody gets what it wants. Towards the end nobody gets more than a part of the rest by the number
// of boots, so that what is out shrinks with what is left, down to what serves one request. When not even that is left,
// credits that others do not use are called back.
func (b *Bank) grant(bk *book, c *cell, l *lease) {
	b.judge(bk, c)
	if d := l.debt(); d > 0 && bk.id.slots() {
		// These are called back, or a policy let more in: nothing is lent until so many have ended.
		c.served(l)
		return
	} else if d <= math.MaxInt64-l.granted {
		// What was spent beyond the credits counts already. To grant it costs nothing, and makes the counters agree.
		l.granted += d
	}
	held := l.held()
	useful := max(0, l.least-held) // less serves nothing
	need := max(l.want-held, useful)
	if l.want <= 0 || need <= 0 || l.called() || l.yields {
		return
	}
	left := max(b.left(bk, c), 0) - c.promised(l)
	if left > 0 && left >= useful {
		part := left / b.sharers(bk, c)
		if useful == 0 && part < l.least {
			return // It would serve nothing there, and be missing where it could.
		}
		g := min(need, max(part, useful, 1), math.MaxInt64-l.granted)
		l.granted += g
		if useful > 0 {
			l.until = b.clock.mono + patience
			if bk.id.slots() {
				l.until = b.clock.mono + fresh
			}
		}
		c.served(l)
		return
	}
	if useful == 0 {
		return
	}
	if b.canServe(bk, c, l) {
		c.wait(l)
		b.callBack(bk, c, l)
	} else {
		c.served(l)
	}
}

// sharers is among how many boots the rest of a cell is to be divided.
func (b *Bank) sharers(bk *book, c *cell) int64 {
	needy, all := c.sharers()
	if before := bk.cell(c.window - 1); before != nil {
		n, m := before.sharers()
		needy, all = max(needy, n), max(all, m)
	}
	if all <= 1 {
		// Who is alone with a limit is hardly so for long when there are others.
		return max(1, min(2, int64(b.proxies())))
	}
	return max(1, needy)
}

// sharers is how many boots want more of the cell than they hold, and how many have anything to do with it.
func (c *cell) sharers() (needy, all int64) {
	for _, l := range c.leases {
		switch {
		case l.session.silent:
			continue
		case l.want > l.held():
			needy++
		}
		all++
	}
	return needy, all
}

// callBack asks boots for credits that they have not spent: for one that has too few to serve a request, or, if that is
// nil, because more is out than there is. Nobody keeps more than an equal part, nor anything that serves nothing; and
// each call halves what is held at least, so that credits that lie idle soon get to where they are used.
func (b *Bank) callBack(bk *book, c *cell, needy *lease) {
	if needy != nil && bk.id.slots() {
		b.callSlots(bk, c, needy)
		return
	}
	left := b.left(bk, c)
	var held, n int64
	for _, l := range c.leases {
		if !l.session.silent && (l == needy || l.held() > 0) {
			held = add(held, l.held())
			n++
		}
	}
	if n == 0 {
		return
	}
	pool := held + min(left, 0)
	if left > 0 {
		pool = add(held, left)
	}
	fair := max(0, pool) / n
	for _, l := range c.leases {
		if l == needy || l.session.silent || needy != nil && !b.callable(l) {
			continue
		}
		keep := fair
		if needy != nil {
			if keep = min(fair, l.held()/2); keep < l.least {
				keep = 0
			}
		}
		if bk.id.slots() {
			keep = add(keep, l.used)
		}
		if l.mayStay() <= keep || l.keep <= keep {
			continue
		}
		l.keep = keep
		l.tell()
	}
}

// ahead grants credits of the next window to a boot that wants some of this one, shortly before it begins. From then on
// the boot asks for that window by itself.
func (b *Bank) ahead(s *session, bk *book, c *cell, l *lease) *syncv1.Grant {
	now := b.clock.steady.UnixNano()
	if l == nil || l.want <= 0 || c.begin > now || c.end == math.MaxInt64 || c.end-now > int64(b.o.Ahead) {
		return nil
	}
	next := b.enter(bk, c.window+1)
	if s.leases[next] != nil {
		return nil
	}
	n := b.lend(s, bk, next)
	n.want, n.least = l.want, l.least
	g := &syncv1.Grant{Limit: bk.id.ref()}
	b.answer(g, bk, next, n)
	return g
}

// tell notes that the boot is to be told of a lease.
func (l *lease) tell() {
	if !l.told {
		l.told = true
		l.session.news = append(l.session.news, l)
	}
}

// news is what a boot is to be told of leases that it did not ask about.
func (b *Bank) news(s *session) []*syncv1.Grant {
	var grants []*syncv1.Grant
	for _, l := range s.news {
		l.told = false
		if s.leases[l.cell] != l {
			continue
		}
		g := &syncv1.Grant{Limit: l.book.id.ref(), State: syncv1.GrantState_GRANT_STATE_OPEN}
		b.describe(g, l.book, l.cell, l)
		grants = append(grants, g)
	}
	s.news = nil
	return grants
}
