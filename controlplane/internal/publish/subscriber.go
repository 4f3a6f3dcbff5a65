package publish

import (
	"context"
	"iter"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/pkg/digest"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// mode is how a Txn was made, for metrics.
type mode string

const (
	modeDelta mode = "delta" // from the ring
	modeDiff  mode = "diff"  // the buckets that differ
	modeFull  mode = "full"  // everything
)

var (
	errBehind  = fault.New(fault.Unavailable, "this replica has not seen the revision that the proxy holds")
	errDigest  = fault.New(fault.Stale, "the digest differs again after a full state")
	errSlow    = fault.New(fault.Deadline, "the proxy does not read")
	errStopped = fault.New(fault.Unavailable, "this replica stops")
)

// held is what a proxy is known to hold after everything that was sent to it. sums is nil when nothing is known.
type held struct {
	lineage  string
	revision int64
	sums     *digest.Sums
	// next is the number of the entry that leads on; only valid when placed.
	next   uint64
	placed bool
}

// subscriber is one Sync stream. Its sender runs in one goroutine and is only a cursor into the ring; what comes back
// from the proxy is handled in another. Nothing that one subscriber does makes another wait.
type subscriber struct {
	p    *Publisher
	send func(frame) error // blocks by flow control
	end  func(error)       // ends the stream from anywhere
	held held              // sender only

	proxyID  string
	hello    *syncv1.Hello
	remote   string
	joined   time.Time
	sequence uint64 // of connections; the higher the newer

	poke  chan struct{} // one slot: stale was set
	extra chan frame    // what is sent beside the state
	left  chan struct{} // closed when the stream has ended

	mu       sync.Mutex
	unacked  outstanding
	stale    bool  // the proxy must get a full state next
	resent   bool  // it was told so once
	applied  int64 // newest revision whose digest was right
	lag      time.Duration
	rejected []*syncv1.Reject
}

// run sends until the stream ends, and returns why. It is the loop of a cursor: each turn looks at the current state
// and does the one thing that comes next.
func (s *subscriber) run(ctx context.Context) error {
	draining := s.p.draining
	var behind <-chan time.Time
	for {
		select {
		case <-draining:
			draining = nil
			if err := s.transmit(s.p.drainFrame()); err != nil {
				return err
			}
		default:
		}
		s.forget()
		v := s.p.ring.view(s.held.next)
		switch {
		case v.state == nil:
			// Nothing is loaded yet; an empty state is never published in its place.
		case s.held.sums == nil || s.held.lineage != v.state.lineage:
			if err := s.sendFull(ctx); err != nil {
				return err
			}
			continue
		case s.held.revision > v.state.revision:
			// The proxy has heard more than this replica: never take it back.
			if behind == nil && *s.held.sums != *v.state.sums {
				behind = time.After(s.p.o.BehindTimeout)
			}
		case !s.held.placed:
			next, ok := s.p.ring.locate(s.held.revision, s.held.sums)
			if !ok {
				if err := s.sendDiff(ctx, v.state); err != nil {
					return err
				}
				continue
			}
			s.held.next, s.held.placed = next, true
			s.verified(s.held.revision)
			if s.held.revision == v.state.revision {
				// Nothing will follow; say so, or the proxy cannot tell this from a slow network.
				if err := s.sendProgress(progressFrame(v.state.revision), v.state.revision); err != nil {
					return err
				}
			}
			continue
		case s.held.next < v.state.next:
			var err error
			if e := v.entry; e != nil && e.base >= s.held.revision {
				err = s.sendEntry(v.state, e)
			} else {
				err = s.sendDiff(ctx, v.state)
			}
			if err != nil {
				return err
			}
			continue
		case s.held.revision < v.state.revision:
			if err := s.sendProgress(progressFrame(v.state.revision), v.state.revision); err != nil {
				return err
			}
			continue
		}
		if v.state != nil && s.held.revision <= v.state.revision {
			behind = nil
		}
		select {
		case <-v.wake:
		case <-s.poke:
		case f := <-s.extra:
			if err := s.transmit(f); err != nil {
				return err
			}
		case <-draining:
			draining = nil
			if err := s.transmit(s.p.drainFrame()); err != nil {
				return err
			}
		case <-behind:
			return errBehind
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// sendEntry sends what leads from the proxy's content to the next.
func (s *subscriber) sendEntry(st *state, e *entry) error {
	if s.held.revision < e.base {
		if err := s.sendProgress(e.progress, e.base); err != nil {
			return err
		}
	}
	m := sent{revision: e.revision, root: e.root, observed: e.observed, txn: true}
	err := s.sendTxn(modeDelta, m, func(yield func(frame) bool) {
		for _, f := range e.frames {
			if !yield(f) {
				return
			}
		}
	})
	s.held = held{lineage: st.lineage, revision: e.revision, sums: e.after, next: s.held.next + 1, placed: true}
	return err
}

// sendDiff sends the buckets in which the proxy differs from st.
func (s *subscriber) sendDiff(ctx context.Context, st *state) error {
	mask := st.sums.Differ(s.held.sums)
	if mask == allBuckets {
		return s.sendFull(ctx)
	}
	base := s.held.revision
	var err error
	switch {
	case mask == 0 && base < st.revision:
		err = s.sendProgress(progressFrame(st.revision), st.revision)
	case mask != 0:
		m := sent{revision: st.revision, root: st.sums.Root(), txn: true}
		err = s.sendTxn(modeDiff, m, st.replace(base, mask))
	}
	s.hold(st)
	return err
}

// sendFull sends everything, when there is room for another full state under way.
func (s *subscriber) sendFull(ctx context.Context) error {
	release, err := s.p.admit(ctx)
	if err != nil {
		return err
	}
	defer release()
	st := s.p.ring.current() // the newest there is by now
	m := sent{revision: st.revision, root: st.sums.Root(), txn: true}
	err = s.sendTxn(modeFull, m, st.replace(0, allBuckets))
	s.hold(st)
	return err
}

func (s *subscriber) hold(st *state) {
	s.held = held{lineage: st.lineage, revision: st.revision, sums: st.sums, next: st.next, placed: true}
}

func (s *subscriber) sendProgress(f frame, revision int64) error {
	s.expect(sent{revision: revision, root: s.held.sums.Root()})
	s.held.revision = revision
	return s.transmit(f)
}

func (s *subscriber) sendTxn(by mode, m sent, frames iter.Seq[frame]) error {
	s.expect(m)
	s.p.metrics.txns.WithLabelValues(string(by)).Inc()
	for f := range frames {
		if err := s.transmit(f); err != nil {
			return err
		}
	}
	return nil
}

// expect notes a message before it is sent: its Ack may be quicker than the return of the sending call.
func (s *subscriber) expect(m sent) {
	m.at = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	m.void = s.stale
	s.unacked.add(m)
}

// forget starts over from nothing when the proxy turned out to hold something else than it should.
func (s *subscriber) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stale {
		s.stale = false
		s.held = held{}
	}
}

// verified notes that the proxy holds what it should at a revision.
func (s *subscriber) verified(revision int64) {
	s.mu.Lock()
	s.applied = max(s.applied, revision)
	s.mu.Unlock()
	s.p.fleet.moved()
}

func (s *subscriber) transmit(f frame) error {
	s.p.metrics.bytes.Add(float64(len(f)))
	late := time.AfterFunc(s.p.o.SendTimeout, func() { s.end(errSlow) })
	defer late.Stop()
	return s.send(f)
}

// ack takes in an Ack. An error ends the stream.
func (s *subscriber) ack(a *syncv1.Ack, now time.Time) error {
	s.mu.Lock()
	s.rejected = a.GetRejects()
	m, v := s.unacked.ack(a)
	switch v {
	case ackIgnored:
	case ackApplied:
		s.applied = max(s.applied, m.revision)
		if m.txn {
			s.lag = now.Sub(m.at)
		}
	case ackDiffers:
		s.applied = 0
		if s.resent {
			s.mu.Unlock()
			s.p.differs(s, m, a, true)
			return errDigest
		}
		s.resent, s.stale = true, true
		s.unacked.void()
	}
	s.mu.Unlock()

	switch v {
	case ackIgnored:
	case ackApplied:
		s.p.applied(m, a, now)
	case ackDiffers:
		s.p.differs(s, m, a, false)
		select {
		case s.poke <- struct{}{}:
		default:
		}
	}
	return nil
}

// verifiedRevision returns the newest revision that the proxy holds for certain.
func (s *subscriber) verifiedRevision() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied
}

// proxy returns what Fleet shows; the caller turns rejected ids into names.
func (s *subscriber) proxy() (*adminv1.Proxy, []*syncv1.Reject) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &adminv1.Proxy{
		Id:            s.proxyID,
		BootId:        s.hello.GetBootId(),
		Hostname:      s.hello.GetHostname(),
		Version:       s.hello.GetVersion(),
		RemoteAddress: s.remote,
		ConnectTime:   timestamppb.New(s.joined),
		Revision:      s.applied,
	}
	if s.lag > 0 {
		p.ApplyLag = durationpb.New(s.lag)
	}
	return p, s.rejected
}
