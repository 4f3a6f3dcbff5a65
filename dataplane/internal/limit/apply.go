package limit

import (
	"slices"
	"sync/atomic"
	"time"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	// gap is how much earlier than it might this process stops spending: a request may have read the clock a moment ago.
	gap = int64(100 * time.Millisecond)
	// drySpell is how long it is believed that the leader has nothing left, and vagueness that it cannot tell.
	drySpell  = int64(time.Second)
	vagueness = int64(time.Second)
	// maxPanes bounds the windows of one purse.
	maxPanes = 8
)

// Apply takes in what the leader says, and reports whether it is to be believed.
func (k *Keeper) Apply(m *syncv1.LeaseResponse, now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, at := &k.talk, k.reading(now)
	if seq := m.GetSequence(); m.GetTerm() < t.term || seq < t.full || seq > t.sequence {
		return false // of a leader that is none any more, or of what was before all was said anew
	}
	t.term = m.GetTerm()
	k.lost.Store(0)
	// What answers says how long leases last, or demands a declaration; other words are the leader's own idea.
	answers := m.GetSequence() == t.pending && (m.GetTtl() != nil || m.GetDeclare())
	if answers {
		t.pending = 0
	}
	if m.GetDeclare() {
		t.whole = true
		return true
	}
	if answers {
		t.ttl = int64(m.GetTtl().AsDuration())
		t.lapsed = [2]bool{}
		raise(&k.rates, t.sent+t.ttl-gap)
		raise(&k.books, t.sent+int64(m.GetBookedTtl().AsDuration())-gap)
	}
	if n := m.GetProxies(); n > 0 {
		k.proxies.Store(int64(n))
	}
	// Windows that are open come before those that are not: a window is only known to follow another.
	for _, ahead := range [...]bool{false, true} {
		for _, g := range m.GetGrants() {
			if p := k.purses[name(g.GetLimit())]; p != nil && ahead == (g.GetStartsIn().AsDuration() > 0) {
				k.grant(p, g, at)
			}
		}
	}
	return true
}

// raise never lowers.
func raise(v *atomic.Int64, to int64) { v.Store(max(v.Load(), to)) }

// grant takes in what the leader says of one limit in one window.
func (k *Keeper) grant(p *purse, g *syncv1.Grant, at int64) {
	switch g.GetState() {
	case syncv1.GrantState_GRANT_STATE_WAIT, syncv1.GrantState_GRANT_STATE_UNKNOWN:
		p.vague.Store(at + vagueness)
		if p.state.wallet.waiters > 0 {
			k.ask(p.state.wallet) // it may be able to, in a moment
		}
		return
	case syncv1.GrantState_GRANT_STATE_OVER:
		k.forget(p, g.GetWindow(), at)
		return
	}
	p.vague.Store(0)
	defer p.state.wallet.tell()
	c := k.window(p, g, at)
	if c == nil {
		return
	}
	if g.GetGranted() == 0 && c.granted > 0 {
		c.restart()
		return
	}
	if more := g.GetGranted() - c.granted; more > 0 {
		c.granted = g.GetGranted()
		c.give(more)
	}
	if g.GetStartsIn().AsDuration() <= 0 {
		p.reckon(at)
		p.left.Store(max(g.GetLeft(), 0))
	}
	if g.Keep != nil && c.yield(g.GetKeep()) > 0 {
		k.ask(p.state.wallet) // others wait for it
	}
	if c != p.live(at) {
		return
	}
	have := c.balance.Load()
	p.low.Store(min(max(have, 0), p.state.want) / 2)
	if plus(have, max(g.GetLeft(), 0)) < p.least() && !g.GetComing() {
		p.dry.Store(min(at+drySpell, c.ends.Load()))
	} else {
		p.dry.Store(0)
	}
}

// yield gives back what is called for.
func (p *pane) yield(keep int64) int64 {
	if p.purse.what == Concurrency {
		return p.giveUpSlots(keep)
	}
	return p.giveUp(keep)
}

// restart begins the counters anew, when the leader has forgotten the boot's holding: nothing was held, and what was used is
// on the books.
func (p *pane) restart() {
	if p.balance.Load() != 0 || p.used() != p.booked || p.purse.state.want != 0 {
		return // it was said before something was used, or wanted
	}
	p.give(p.returned - p.granted + p.booked)
	p.settled.Add(-p.booked)
	p.granted, p.returned, p.booked, p.told, p.mark = 0, 0, 0, 0, mark{}
}

// window finds the pane of the window that a grant is of, or makes it.
func (k *Keeper) window(p *purse, g *syncv1.Grant, at int64) *pane {
	s := &p.state
	ends := int64(never)
	if g.GetEndsIn() != nil {
		ends = plus(at, int64(g.GetEndsIn().AsDuration()))
	}
	for _, c := range s.panes {
		if c.number.Load() == g.GetWindow() {
			c.ends.Store(ends)
			return c
		}
	}
	starts := at + int64(max(g.GetStartsIn().AsDuration(), 0))
	last := p.current.Load()
	for n := last.next.Load(); n != nil; n = last.next.Load() {
		last = n
	}
	switch number := last.number.Load(); {
	case number == 0 && starts <= at:
		// What was spent before it was known which window is open counts in it.
		last.ends.Store(ends)
		last.number.Store(g.GetWindow())
	case g.GetWindow() < number:
		return nil // over long ago
	default:
		c := &pane{purse: p}
		c.ends.Store(ends)
		c.number.Store(g.GetWindow())
		last.ends.Store(min(last.ends.Load(), starts))
		last.next.Store(c)
		last = c
	}
	if s.panes = append(s.panes, last); len(s.panes) > maxPanes {
		s.panes = slices.Delete(s.panes, 0, 1)
	}
	return last
}

// forget drops the window that the leader says is over.
func (k *Keeper) forget(p *purse, number, at int64) {
	s := &p.state
	for i, c := range s.panes {
		if c.number.Load() != number {
			continue
		}
		if p.long && k.o.Acked != nil && c.booked < min(c.settled.Load(), c.used()) {
			return // its books are not complete
		}
		c.ends.Store(min(c.ends.Load(), at))
		if c.next.Load() == nil {
			c.next.Store(newPane(p))
		}
		s.panes = slices.Delete(s.panes, i, i+1)
		return
	}
}
