package lease

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"fairway/pkg/bank"
	"fairway/pkg/fault"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	// perAnswer is how many grants one message carries.
	perAnswer = 5000
	// maxNotes is how many messages may wait for a slow proxy before notes are left out.
	maxNotes = 16
	// requestCost and holdingCost are about what they cost the leader, and credit is how much of that a proxy may have at
	// once; from then on its requests are taken at this pace.
	requestCost = 200 * time.Microsecond
	holdingCost = 5 * time.Microsecond
	credit      = 10 * time.Second
)

var errReplaced = fault.New(fault.Unavailable, "a newer stream of this boot has taken its place")

// stream is one of a proxy's.
type stream struct {
	proxy    string
	gone     chan struct{} // closed when it has ended
	replaced chan struct{} // closed when another stream speaks for the boot
	woken    chan struct{} // one place: there is something to send
	sent     chan struct{} // one place: something was sent

	id   string // of its boot; empty before the first request; like boot guarded by the term's mutex
	boot *boot

	mu    sync.Mutex
	queue []*syncv1.LeaseResponse
}

// Lease serves one stream of a proxy: it answers its requests, and tells it what it does not ask for, until receive or
// send fails, ctx ends, a newer stream of the same boot comes, or the leadership ends (NotLeaderError). It returns nil when
// the proxy has said all it wanted to (io.EOF from receive). receive and send are called from goroutines of their own, one
// for each, and may still be blocked when Lease returns; they must end soon after.
func (l *Leases) Lease(
	ctx context.Context, proxy string, receive func() (*syncv1.LeaseRequest, error), send func(*syncv1.LeaseResponse) error,
) error {
	t := l.current()
	if t == nil {
		return l.notLeader(ctx)
	}
	s := &stream{
		proxy: proxy, gone: make(chan struct{}), replaced: make(chan struct{}),
		woken: make(chan struct{}, 1), sent: make(chan struct{}, 1),
	}
	defer t.leave(s)
	ended := make(chan error, 2)
	go func() { ended <- t.take(ctx, s, receive) }()
	go func() { ended <- s.push(send) }()
	var err error
	select {
	case err = <-ended:
	case <-s.replaced:
		err = errReplaced
	case <-t.over:
		// This replica may still be known as the leader: better to know none than to come back here.
		err = &NotLeaderError{}
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func (t *term) leave(s *stream) {
	close(s.gone)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.boots.leave(s, t.l.o.Clock())
}

// take handles requests until there are no more. A proxy that does not take its answers, or asks for more than one can
// do, waits, and nobody else does.
func (t *term) take(ctx context.Context, s *stream, receive func() (*syncv1.LeaseRequest, error)) error {
	due := time.Now() // of the next request, at a steady pace
	for {
		r, err := receive()
		if err != nil {
			return err
		}
		err = t.handle(s, r)
		if errors.Is(err, bank.ErrDeposed) {
			err = t.doubt(ctx, s, r)
		}
		if err != nil {
			t.l.metrics.refused.Inc()
			return err
		}
		cost := requestCost + time.Duration(len(r.GetHoldings()))*holdingCost
		if due = due.Add(cost); time.Until(due) < 0 {
			due = time.Now() // what a quiet time did not use is lost
		}
		if !s.pause(time.Until(due) - credit) {
			return nil
		}
	}
}

// pause waits until the queue is short and some time has passed; false = the stream is over.
func (s *stream) pause(d time.Duration) bool {
	if d > 0 {
		select {
		case <-time.After(d):
		case <-s.gone:
			return false
		}
	}
	for !s.short() {
		select {
		case <-s.sent:
		case <-s.gone:
			return false
		}
	}
	return true
}

// handle answers a request.
func (t *term) handle(s *stream, r *syncv1.LeaseRequest) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return &NotLeaderError{}
	}
	now := t.l.o.Clock()
	if s.boot == nil {
		ended, err := t.boots.join(s, r.GetBootId(), now)
		if err != nil {
			return err
		}
		for _, id := range ended {
			t.bank.Gone(id, now)
		}
		t.l.log.Info("proxy leases", "proxy", s.proxy, "boot", s.id)
	}
	switch {
	case s.boot.stream != s:
		return errReplaced
	case r.GetBootId() != s.id:
		return fault.New(fault.Invalid, "one stream is one boot's")
	}
	if err := t.boots.hear(s.boot, r, now); err != nil {
		return err
	}
	answer, err := t.bank.Handle(s.id, r, now)
	switch {
	case errors.Is(err, bank.ErrTooMany):
		return fault.New(fault.TooLarge, "too many holdings in one declaration")
	case err != nil:
		return err
	case answer == nil:
		return nil
	}
	s.boot.left = r.GetLeaving() && !answer.GetDeclare()
	t.openBooks(now)
	if answer.GetDeclare() {
		t.l.metrics.declares.Inc()
	} else {
		t.l.metrics.answers.Inc()
	}
	s.answer(bank.Split(answer, perAnswer))
	t.tell(t.bank.Notes(now)) // what others have to give back, or may have now
	return nil
}

// doubt asks the store about the later leader that a proxy says it has heard of. If there is one, the leadership is over.
func (t *term) doubt(ctx context.Context, s *stream, r *syncv1.LeaseRequest) error {
	leads, err := t.l.store.Leads(ctx, t.fence)
	switch {
	case err != nil:
		return fault.New(fault.Unavailable, "it is not certain who leads").With(err)
	case leads:
		t.l.log.Warn("a proxy names a leader that never was", "proxy", s.proxy, "boot", r.GetBootId(), "term", r.GetTerm(), "ours", t.fence.Revision())
		return fault.New(fault.Invalid, "there is no later leader than %d", t.fence.Revision())
	}
	t.depose()
	return &NotLeaderError{}
}

// answer queues what a request is answered with.
func (s *stream) answer(pieces []*syncv1.LeaseResponse) {
	s.mu.Lock()
	s.queue = append(s.queue, pieces...)
	s.mu.Unlock()
	s.wake()
}

// offer queues a note, unless the proxy is slow.
func (s *stream) offer(n *syncv1.LeaseResponse) bool {
	s.mu.Lock()
	fits := len(s.queue) < maxNotes
	if fits {
		s.queue = append(s.queue, bank.Split(n, perAnswer)...)
	}
	s.mu.Unlock()
	s.wake()
	return fits
}

func (s *stream) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// short says whether little waits to be sent.
func (s *stream) short() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) < maxNotes
}

// push sends what is queued, in order, until the stream ends.
func (s *stream) push(send func(*syncv1.LeaseResponse) error) error {
	for {
		s.mu.Lock()
		queue := s.queue
		s.queue = nil
		s.mu.Unlock()
		for _, m := range queue {
			if err := send(m); err != nil {
				return err
			}
		}
		select {
		case s.sent <- struct{}{}:
		default:
		}
		select {
		case <-s.woken:
		case <-s.gone:
			return nil
		}
	}
}
