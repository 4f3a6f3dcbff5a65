package bank

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// session is one boot of a proxy.
type session struct {
	boot     string
	sequence uint64
	heard    time.Duration // by Mono, when the newest request that renewed was handled
	stale    bool          // what the bank knows of its rates and slots is void: it has to declare
	silent   bool          // not heard of for longer than rates and slots live
	gone     bool          // its process ended; only its records may still come
	mark     uint32        // of its newest declaration
	leases   map[*cell]*lease
	news     []*lease // of which the boot is to be told without asking

	pieces []*syncv1.Holding // of a declaration that is not complete
	inside bool              // of one
	full   bool              // that one says everything
}

// Handle takes a request of a boot and answers it; nil means that there is nothing to answer. Answers to long declarations
// are long: Split them. The request is not kept, but for its holdings when it is continued. It returns ErrDeposed when the boot has heard of a later leader.
func (b *Bank) Handle(boot string, r *syncv1.LeaseRequest, now Moment) (*syncv1.LeaseResponse, error) {
	b.tell(now)
	if r.GetTerm() > b.o.Term {
		return nil, ErrDeposed
	}
	s := b.sessions[boot]
	if s == nil {
		if !r.GetFull() {
			return b.declare(r), nil
		}
		s = &session{boot: boot, heard: b.clock.mono, stale: true, leases: map[*cell]*lease{}}
		b.sessions[boot] = s
	}
	if r.GetSequence() <= s.sequence || s.gone {
		return nil, nil
	}
	next := r.GetSequence() == s.sequence+1
	s.sequence = r.GetSequence()
	switch {
	case r.GetFull():
		s.pieces, s.inside, s.full = nil, true, true
	case !next:
		s.pieces, s.inside, s.stale = nil, false, true
		return b.declare(r), nil
	case !s.inside && s.stale:
		return b.declare(r), nil
	case !s.inside:
		s.inside, s.full = true, false
	}
	holdings := r.GetHoldings()
	if r.GetMore() || s.pieces != nil {
		if len(s.pieces)+len(holdings) > maxPieces {
			s.pieces, s.inside, s.stale = nil, false, true
			return nil, ErrTooMany
		}
		s.pieces = append(s.pieces, holdings...)
		if r.GetMore() {
			return nil, nil
		}
		holdings = s.pieces
	}
	full := s.full
	s.pieces, s.inside = nil, false
	answer := b.apply(s, holdings, full)
	answer.Sequence = r.GetSequence()
	if r.GetLeaving() {
		b.leave(s)
	}
	return answer, nil
}

// declare asks a boot for everything that it holds.
func (b *Bank) declare(r *syncv1.LeaseRequest) *syncv1.LeaseResponse {
	return &syncv1.LeaseResponse{Term: b.o.Term, Sequence: r.GetSequence(), Declare: true, Proxies: b.proxies()}
}

// proxies is how many boots have leases, as far as they are heard of.
func (b *Bank) proxies() uint32 { return uint32(len(b.sessions) - b.silent) }

// apply believes what a boot says, renews its leases, and grants.
func (b *Bank) apply(s *session, holdings []*syncv1.Holding, full bool) *syncv1.LeaseResponse {
	if s.silent {
		s.silent = false
		b.silent--
	}
	s.heard, s.stale = b.clock.mono, false
	if full {
		s.mark++
		b.adopt(holdings)
	}
	answer := &syncv1.LeaseResponse{
		Term: b.o.Term, Proxies: b.proxies(),
		Ttl: durationpb.New(b.o.TTL), BookedTtl: durationpb.New(b.o.BookedTTL),
		Grants: make([]*syncv1.Grant, 0, len(holdings)),
	}
	// All is believed before anything is granted: what is given back in one line may be wanted in the next.
	type asked struct {
		id    ID
		book  *book
		cell  *cell
		lease *lease
		grant *syncv1.Grant
	}
	lines := make([]asked, len(holdings))
	for i, h := range holdings {
		a := &lines[i]
		a.id = idOf(h.GetLimit())
		a.grant = &syncv1.Grant{Limit: h.GetLimit(), Window: h.GetWindow(), Granted: h.GetGranted()}
		l := b.find(a.id)
		if l == nil {
			a.grant.State = syncv1.GrantState_GRANT_STATE_UNKNOWN
			continue
		}
		a.book = b.use(a.id, l)
		a.cell, a.lease = b.believe(s, a.book, h, full)
		switch {
		case a.cell == nil:
			a.grant.State = syncv1.GrantState_GRANT_STATE_OVER
		case a.lease == nil:
			a.grant.Granted = 0
		}
	}
	if full {
		b.forget(s)
	}
	for i := range lines {
		if c := lines[i].cell; c != nil && len(c.waiting) > 0 {
			b.serve(lines[i].book, c)
		}
	}
	for i := range lines {
		a := &lines[i]
		answer.Grants = append(answer.Grants, a.grant)
		if a.cell == nil {
			continue
		}
		b.answer(a.grant, a.book, a.cell, a.lease)
		if g := b.ahead(s, a.book, a.cell, a.lease); g != nil {
			answer.Grants = append(answer.Grants, g)
		}
	}
	answer.Grants = append(answer.Grants, b.news(s)...)
	return answer
}

// believe brings a lease to what its boot says. Both results are nil when the window is over; the lease is when the boot
// has nothing and wants nothing.
func (b *Bank) believe(s *session, bk *book, h *syncv1.Holding, full bool) (*cell, *lease) {
	now := b.current(bk)
	window := h.GetWindow()
	if window == 0 {
		window = now
	}
	switch {
	case window < now && window >= now-bk.id.trail():
		// Its last word: what it used still counts.
		if c := bk.cell(window); c != nil && s.leases[c] != nil {
			s.leases[c].believe(h, full)
			s.leases[c].mark = s.mark
		}
		return nil, nil
	case window < now || window > now+2:
		return nil, nil
	}
	c := b.enter(bk, window)
	l := s.leases[c]
	switch {
	case l == nil && h.GetWant() <= 0 && h.GetGranted() <= 0 && h.GetUsed() <= 0:
		return c, nil
	case l == nil:
		l = b.lend(s, bk, c)
		l.believe(h, true)
	case h.GetWindow() == 0 && (!full || l.mark == s.mark):
		// It asks before it has heard of what it was granted; its counters say nothing.
		l.want, l.least = max(h.GetWant(), 0), max(h.GetLeast(), 1)
	default:
		l.believe(h, full)
	}
	l.mark = s.mark
	if l.want == 0 && l.held() == 0 && l.charge() == 0 {
		l.drop()
		return c, nil
	}
	return c, l
}

// lend makes a lease without credits.
func (b *Bank) lend(s *session, bk *book, c *cell) *lease {
	l := &lease{session: s, book: bk, cell: c, keep: all, mark: s.mark}
	s.leases[c] = l
	c.leases = append(c.leases, l)
	return l
}

// believe takes the counters of a holding. In a declaration, grants that the boot does not know are void: it ignores
// them should they still come.
func (l *lease) believe(h *syncv1.Holding, full bool) {
	if granted := max(h.GetGranted(), 0); full || granted > l.granted {
		l.granted = granted
	}
	returned := min(max(h.GetReturned(), 0), l.granted)
	if full {
		l.returned = returned
	}
	l.returned = max(l.returned, returned)
	l.used = max(h.GetUsed(), 0)
	if l.book.id.Booked() {
		l.booked = max(l.booked, h.GetBooked(), 0)
	}
	l.want, l.least = max(h.GetWant(), 0), max(h.GetLeast(), 1)
	l.yields = l.called() && l.mayStay() <= l.keep
	if l.yields {
		l.keep = all
	}
}

// forget drops the leases that a declaration did not name. Windows that are over were not to be named any more.
func (b *Bank) forget(s *session) {
	now := b.clock.steady.UnixNano()
	for c, l := range s.leases {
		if l.mark != s.mark && c.end > now {
			l.drop()
		}
	}
}

// adopt takes over the windows that proxies know from the leader before, so that none is cut short or comes twice where
// the clocks of two leaders differ. Until grants are made that is harmless.
func (b *Bank) adopt(holdings []*syncv1.Holding) {
	if b.clock.mono >= b.hold {
		return
	}
	for _, h := range holdings {
		id := idOf(h.GetLimit())
		l := b.find(id)
		if l == nil || h.GetEndsIn() == nil || h.GetEndsIn().CheckValid() != nil || h.GetWindow() <= 0 {
			continue
		}
		in := max(h.GetEndsIn().AsDuration(), 0)
		low, high := id.window(b.clock.steady.Add(-adoptable), l.zone), id.window(b.clock.steady.Add(adoptable), l.zone)
		if h.GetWindow() < low || h.GetWindow() > high {
			continue
		}
		t := time.Unix(0, id.end(h.GetWindow(), l.zone)).UTC().Add(-in)
		d := t.Sub(b.clock.steady)
		// A window that is over says only that it is: the time is that of its end or later.
		if d.Abs() > adoptable || d < 0 && (b.adopted || in == 0) {
			continue
		}
		if in == 0 {
			b.clock.steady = t
			continue
		}
		b.adopted = true
		b.clock.steady = t
	}
}
