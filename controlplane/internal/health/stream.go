package health

import (
	"context"
	"errors"
	"io"
	"time"

	"fairway/pkg/fault"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	// reportBurst and reportEvery are how fast a stream's reports are taken: a proxy sends one a second, and more when
	// something cannot wait. Beyond that it waits, and nobody else does.
	reportBurst = 10
	reportEvery = 200 * time.Millisecond
	// manyAccounts is how many accounts make an update one that may be of several.
	manyAccounts = 1000
)

var errReplaced = fault.New(fault.Unavailable, "a newer stream of this proxy has taken its place")

// stream is one proxy's.
type stream struct {
	proxyID, bootID string
	woken           chan struct{} // one place: there may be something to send
	gone            chan struct{} // closed when it has ended
	replaced        chan struct{} // closed when another stream speaks for the proxy
}

func (s *stream) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// Serve serves one proxy: it takes its reports and sends it updates, the first one full, until recv or send fails, ctx
// ends, a newer stream of the same proxy comes, or the leadership ends (NotLeaderError). It returns nil when the proxy has
// said all it wanted to (io.EOF from recv). recv and send are called from goroutines of their own, one for each, and may
// still be blocked when Serve returns; they must end soon after.
func (h *Health) Serve(
	ctx context.Context, proxyID, bootID string, recv func() (*syncv1.HealthReport, error), send func(*syncv1.HealthUpdate) error,
) error {
	t := h.current()
	if t == nil {
		return h.notLeader(ctx)
	}
	s := t.join(proxyID, bootID)
	if s == nil {
		return &NotLeaderError{}
	}
	defer t.leave(s)
	h.log.Info("proxy reports health", "proxy", proxyID, "boot", bootID)
	ended := make(chan error, 2)
	go func() { ended <- t.receive(s, recv) }()
	go func() { ended <- t.push(s, send) }()
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
		err = nil
	}
	h.log.Info("proxy reports health no more", "proxy", proxyID, "boot", bootID, "reason", err)
	return err
}

// join makes a stream the one that speaks for its proxy; nil when the leadership has ended. Two streams of one proxy are
// most often a dead one and its successor. Were both served, one of them could take a permit that nobody uses.
func (t *term) join(proxyID, bootID string) *stream {
	s := &stream{
		proxyID: proxyID, bootID: bootID,
		woken: make(chan struct{}, 1), gone: make(chan struct{}), replaced: make(chan struct{}),
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return nil
	}
	if old := t.streams[proxyID]; old != nil {
		close(old.replaced)
	}
	t.streams[proxyID] = s
	t.judge.Joined(proxyID, t.h.now())
	return s
}

func (t *term) leave(s *stream) {
	close(s.gone)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.speaks(s) { // at the end of a term the judge goes too
		delete(t.streams, s.proxyID)
		t.judge.Gone(s.proxyID, t.h.now())
	}
}

// speaks says whether the stream is its proxy's, and the leadership ours. t.mu is held.
func (t *term) speaks(s *stream) bool { return !t.ended && t.streams[s.proxyID] == s }

// receive takes reports until there are no more. A proxy that sends too fast is slowed down.
func (t *term) receive(s *stream, recv func() (*syncv1.HealthReport, error)) error {
	every := t.h.reportEvery
	due := time.Now() // of the next report, at a steady pace
	for {
		r, err := recv()
		if err != nil {
			return err
		}
		if !t.report(s, r) {
			return nil
		}
		if due = due.Add(every); time.Until(due) < 0 {
			due = time.Now() // what a quiet time did not use is lost
		}
		if wait := time.Until(due) - reportBurst*every; wait > 0 {
			select {
			case <-time.After(wait):
			case <-s.gone:
				return nil
			}
		}
	}
}

// report hands a report to the judge; false = the stream is over.
func (t *term) report(s *stream, r *syncv1.HealthReport) bool {
	t.mu.Lock()
	ok := t.speaks(s)
	if ok {
		t.judge.Report(s.proxyID, s.bootID, "", r, t.h.now())
	}
	t.mu.Unlock()
	if !ok {
		return false
	}
	t.h.metrics.reported(r)
	if pressing(r) {
		select {
		case t.hurry <- struct{}{}:
		default:
		}
	}
	return true
}

// pressing says whether the rest of the fleet should hear of a report at once.
func pressing(r *syncv1.HealthReport) bool {
	if len(r.GetProbes()) > 0 {
		return true
	}
	for _, a := range r.GetAccounts() {
		if a.GetDisabled() || a.GetRest() != nil || len(a.GetFamilies()) > 0 {
			return true
		}
	}
	return false
}

// push sends what is new for the proxy whenever there is something. Nothing waits for it: what changes while it sends is
// in the next update.
func (t *term) push(s *stream, send func(*syncv1.HealthUpdate) error) error {
	var since uint64
	for {
		if u := t.update(s, since); u != nil {
			t.h.metrics.granted.Add(float64(len(u.GetPermits())))
			if err := send(u); err != nil {
				return err
			}
			since = u.GetRevision()
			if len(u.GetAccounts()) >= manyAccounts {
				continue // the rest is in the next one
			}
		}
		select {
		case <-s.woken:
		case <-s.gone:
			return nil
		}
	}
}

// update returns what changed for the proxy since a revision; nil = nothing, or it is not the stream's to hear. Full
// updates are made one at a time: after a change of leader every proxy wants one, and reports must not wait for all.
func (t *term) update(s *stream, since uint64) *syncv1.HealthUpdate {
	if since == 0 {
		t.fulls <- struct{}{}
		defer func() { <-t.fulls }()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.speaks(s) {
		return nil
	}
	return t.judge.Update(s.proxyID, since, t.h.now())
}
