package subscribe

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/dataplane/internal/snapshot"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	// accepted is how long a stream must stand after Hello to count as accepted without a word: a replica may have nothing
	// to add to what we hold.
	accepted = time.Second
	// moveEvery is the pause between two attempts to leave a draining replica, at most.
	moveEvery = time.Second
	minJitter = 10 * time.Millisecond
	// misfitsBeforeFull is how many transactions in a row may not fit before a full state is asked for.
	misfitsBeforeFull = 2
)

// follow applies what a stream brings until it ends. It ends with the stream that it moved to, if it moved.
func (s *Subscriber) follow(ctx context.Context, st *stream) error {
	f := &following{
		s: s, st: st, moves: make(chan *line), renewals: make(chan error),
		probed: make(chan *syncv1.ProbeResult), probing: make(chan struct{}, maxProbes),
	}
	ctx, f.cancel = context.WithCancel(ctx)
	defer f.end()
	s.replica.Abort()
	silence := time.NewTimer(accepted)
	defer silence.Stop()
	renew := time.NewTimer(time.Until(s.identity.Load().renewAt))
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-silence.C:
			f.confirm()
		case m := <-f.st.inbox:
			silence.Stop()
			if m.err != nil {
				return m.err
			}
			if err := f.handle(ctx, m); err != nil {
				return err
			}
		case l := <-f.moves:
			f.moving = false
			if err := f.move(ctx, l); err != nil {
				return err
			}
		case r := <-f.probed:
			if err := f.send(&syncv1.SyncRequest{Message: &syncv1.SyncRequest_ProbeResult{ProbeResult: r}}); err != nil {
				return err
			}
		case <-renew.C:
			conn := f.st.conn
			f.helpers.Go(func() {
				err := s.renew(ctx, conn)
				select {
				case f.renewals <- err:
				case <-ctx.Done():
				}
			})
		case err := <-f.renewals:
			wait := max(renewAgain, time.Until(s.identity.Load().renewAt))
			if err != nil {
				s.metrics.failures.WithLabelValues("renew").Inc()
				s.log.Warn("certificate not renewed", "error", err, "not_after", s.expiry())
				wait = renewAgain
			}
			renew.Reset(wait)
		}
	}
}

// following is one connection's time, over all streams that it moves through.
type following struct {
	s        *Subscriber
	st       *stream
	live     bool
	moving   bool
	moves    chan *line
	renewals chan error
	probed   chan *syncv1.ProbeResult
	probing  chan struct{} // one token per probe under way
	helpers  sync.WaitGroup
	cancel   context.CancelFunc
}

func (f *following) end() {
	f.cancel()
	f.helpers.Wait()
	f.st.close()
	f.s.replica.Abort()
	f.s.address.Store(nil)
	f.s.holder.SetConnected(false, time.Now())
}

// connected notes that a replica has accepted us.
func (f *following) connected() {
	if !f.live {
		f.live = true
		f.s.refusals, f.s.enrolled = 0, time.Time{}
		f.s.quiet.text = ""
		f.s.log.Info("control plane connected", "address", f.st.address, "revision", f.s.replica.Image().Revision())
	}
	f.s.address.Store(&f.st.address)
	f.s.holder.SetConnected(true, time.Now())
}

// confirm takes a replica's silence after Hello for "nothing to add". It means nothing where nothing is held: then a
// full state is due.
func (f *following) confirm() {
	if f.s.misfits > 0 || f.s.replica.Image().Revision() == 0 {
		return
	}
	f.connected()
	f.s.holder.Publish(f.s.replica.Snapshot(), time.Now())
}

// handle takes one message.
func (f *following) handle(ctx context.Context, m received) error {
	f.connected()
	switch msg := m.msg.GetMessage().(type) {
	case *syncv1.SyncResponse_Txn:
		return f.txn(msg.Txn, m.at)
	case *syncv1.SyncResponse_Progress:
		return f.progress(msg.Progress.GetRevision())
	case *syncv1.SyncResponse_Drain:
		f.drain(ctx, msg.Drain.GetGrace().AsDuration())
	case *syncv1.SyncResponse_Probe:
		f.probe(ctx, msg.Probe)
	case *syncv1.SyncResponse_Lookup:
		return f.lookUp(msg.Lookup)
	}
	return nil // also for messages of a newer control plane
}

func (f *following) txn(t *syncv1.Txn, at time.Time) error {
	s := f.s
	applied, err := s.replica.Receive(t)
	if err != nil {
		s.metrics.failures.WithLabelValues("apply").Inc()
		if !errors.Is(err, snapshot.ErrStale) {
			s.misfits++
		}
		return err
	}
	s.holder.Heard(t.GetRevision())
	if !applied {
		return nil
	}
	s.misfits = 0
	now := time.Now()
	s.holder.Publish(s.replica.Snapshot(), now)
	s.keeper.Offer(s.replica.Image())
	s.metrics.applies.Inc()
	s.metrics.applyTime.Observe(now.Sub(at).Seconds())
	s.noteRejects()
	return f.ack(now.Sub(at))
}

func (f *following) progress(revision int64) error {
	s := f.s
	if held := s.replica.Image().Revision(); held == 0 || revision < held {
		return nil // it lags behind us, or speaks of a state that we do not have
	}
	s.replica.Progress(revision)
	s.misfits = 0
	now := time.Now()
	s.holder.Publish(s.replica.Snapshot(), now)
	return f.ack(0)
}

func (f *following) ack(took time.Duration) error {
	a := f.s.replica.Ack()
	a.ApplyTime = durationpb.New(took)
	return f.send(&syncv1.SyncRequest{Message: &syncv1.SyncRequest_Ack{Ack: a}})
}

// send is called by follow's goroutine only.
func (f *following) send(m *syncv1.SyncRequest) error {
	err := f.st.rpc.Send(m)
	if errors.Is(err, io.EOF) {
		return nil // the stream has ended; the inbox knows why
	}
	return err
}

// maxProbes is how many probes are under way at once. What comes beyond that is not answered, and asked again.
const maxProbes = 16

// probe tries an account beside the stream, and has the result sent.
func (f *following) probe(ctx context.Context, p *syncv1.Probe) {
	if f.s.o.Probe == nil {
		return
	}
	select {
	case f.probing <- struct{}{}:
	default:
		return
	}
	f.helpers.Go(func() {
		defer func() { <-f.probing }()
		limited, cancel := context.WithTimeout(ctx, p.GetTimeout().AsDuration())
		defer cancel()
		r := f.s.o.Probe(limited, p)
		r.Id = p.GetId()
		select {
		case f.probed <- r:
		case <-ctx.Done():
		}
	})
}

// lookUp answers who asks for a request, also when it is not known.
func (f *following) lookUp(l *syncv1.Lookup) error {
	r := &syncv1.LookupResult{Id: l.GetId()}
	if f.s.o.Lookup != nil {
		r.Decision = f.s.o.Lookup(l.GetRequestId())
	}
	return f.send(&syncv1.SyncRequest{Message: &syncv1.SyncRequest_LookupResult{LookupResult: r}})
}

// drain looks for another replica while this stream goes on. It begins within a quarter of the grace, at a random time:
// the whole fleet is asked to move at once.
func (f *following) drain(ctx context.Context, grace time.Duration) {
	if f.moving {
		return
	}
	f.moving = true
	s, from, addresses := f.s, f.st.address, f.s.rotation.others(f.st.address)
	s.log.Info("control plane drains; moving", "address", from)
	f.helpers.Go(func() {
		for i := 0; sleep(ctx, jitter(min(moveEvery, max(minJitter, grace/4)))); i++ {
			if l, err := s.dial(addresses[i%len(addresses)]); err == nil {
				if l.ready(ctx) == nil {
					select {
					case f.moves <- l:
						return
					case <-ctx.Done():
					}
				}
				_ = l.conn.Close()
			}
		}
	})
}

// move says Hello over the new line and, when that is accepted, leaves the old stream. Until then nothing more is taken
// from the old one, so that what the new one sends fits what we hold.
func (f *following) move(ctx context.Context, l *line) error {
	next, err := f.s.open(ctx, l)
	if err != nil {
		f.drain(ctx, moveEvery)
		return nil
	}
	timer := time.NewTimer(accepted)
	defer timer.Stop()
	select {
	case m := <-next.inbox:
		if m.err != nil {
			break
		}
		f.replace(next)
		return f.handle(ctx, m)
	case <-timer.C:
		f.replace(next)
		f.confirm()
		return nil
	case <-ctx.Done():
	}
	next.close()
	f.drain(ctx, moveEvery)
	return nil
}

func (f *following) replace(next *stream) {
	old := f.st
	f.st = next
	f.s.replica.Abort()
	old.close()
	f.s.log.Info("control plane moved", "from", old.address, "to", next.address)
}

// noteRejects logs what is quarantined, once per version.
func (s *Subscriber) noteRejects() {
	rejects := s.replica.Ack().GetRejects()
	s.metrics.rejects.Set(float64(len(rejects)))
	now := make(map[string]int64, len(rejects))
	for _, r := range rejects {
		name := strings.ToLower(strings.TrimPrefix(r.GetKind().String(), "KIND_")) + "/" + r.GetId()
		now[name] = r.GetVersion()
		if v, ok := s.rejected[name]; !ok || v != r.GetVersion() {
			s.log.Error("resource quarantined; its last good version, if any, stays", "resource", name,
				"version", r.GetVersion(), "reason", r.GetReason())
		}
	}
	s.rejected = now
}
