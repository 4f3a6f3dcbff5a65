package publish

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/pkg/digest"
	"fairway/pkg/fault"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/trust"
)

const fieldResponseDrain = 3

type syncStream = grpc.BidiStreamingServer[syncv1.SyncRequest, syncv1.SyncResponse]

// stateSync serves StateSyncService.
type stateSync struct {
	syncv1.UnimplementedStateSyncServiceServer
	p *Publisher
}

// Sync streams state to one proxy until either side ends it.
func (h stateSync) Sync(stream syncStream) error {
	id, err := h.p.caller(stream.Context(), trust.RoleProxy)
	if err != nil {
		return statusOf(err)
	}
	return statusOf(h.p.subscribe(stream, id.ID))
}

// subscribe waits for whatever ends the stream first. Receiving and sending go on in goroutines of their own: both may
// be blocked inside gRPC, and end when the handler has returned.
func (p *Publisher) subscribe(stream syncStream, proxyID string) error {
	ctx, end := context.WithCancelCause(stream.Context())
	defer end(nil)
	if err := p.enter(1); err != nil {
		return err
	}
	s := &subscriber{
		p:       p,
		send:    func(f frame) error { return stream.SendMsg(f) },
		end:     end,
		proxyID: proxyID,
		remote:  remoteOf(ctx),
		joined:  time.Now(),
		poke:    make(chan struct{}, 1),
		extra:   make(chan frame),
		left:    make(chan struct{}),
	}
	defer close(s.left)
	greeted := make(chan *syncv1.Hello, 1)
	go func() {
		defer p.streams.Done()
		end(p.receive(stream, s, greeted))
	}()
	select {
	case s.hello = <-greeted:
	case <-time.After(p.o.HelloTimeout):
		return fault.New(fault.Deadline, "no hello")
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-p.stopped:
		return errStopped
	}
	s.held = p.claim(s.hello)
	if err := p.enter(1); err != nil {
		return err
	}
	p.fleet.join(s)
	defer p.fleet.leave(s)
	log := p.log.With("proxy", proxyID, "boot", s.hello.GetBootId(), "remote", s.remote)
	log.Info("proxy connected", "version", s.hello.GetVersion(), "revision", s.held.revision)
	go func() {
		defer p.streams.Done()
		end(s.run(ctx))
	}()
	select {
	case <-ctx.Done():
	case <-p.stopped:
		end(errStopped)
	}
	err := context.Cause(ctx)
	log.Info("proxy disconnected", "reason", err)
	if errors.Is(err, io.EOF) {
		return nil // the proxy has said all it wanted to
	}
	return err
}

// receive handles what a proxy sends until the stream ends, and returns why it did.
func (p *Publisher) receive(stream syncStream, s *subscriber, greeted chan<- *syncv1.Hello) error {
	for first := true; ; first = false {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		now := time.Now()
		if err := p.check(m); err != nil {
			return err
		}
		switch m := m.GetMessage().(type) {
		case *syncv1.SyncRequest_Hello:
			if !first {
				return fault.New(fault.Invalid, "a second hello")
			}
			if n := len(m.Hello.GetBucketDigests()); n != 0 && n != digest.Buckets {
				return fault.New(fault.Invalid, "want %d bucket digests or none, got %d", digest.Buckets, n)
			}
			greeted <- m.Hello
		case *syncv1.SyncRequest_Ack:
			if first {
				return fault.New(fault.Invalid, "the first message must be a hello")
			}
			if err := s.ack(m.Ack, now); err != nil {
				return err
			}
		case *syncv1.SyncRequest_ProbeResult:
			p.probes.answered(s.proxyID, m.ProbeResult)
		case *syncv1.SyncRequest_LookupResult:
			p.seeks.answered(s, m.LookupResult)
		}
	}
}

// claim is what a proxy says it holds, as far as it can be built upon.
func (p *Publisher) claim(h *syncv1.Hello) held {
	if h.GetLineage() != p.o.Lineage || h.GetRevision() == 0 || len(h.GetBucketDigests()) != digest.Buckets {
		return held{}
	}
	sums := digest.Sums(h.GetBucketDigests())
	return held{lineage: h.GetLineage(), revision: h.GetRevision(), sums: &sums}
}

// applied is called for each Ack that is right.
func (p *Publisher) applied(m sent, a *syncv1.Ack, now time.Time) {
	if m.txn {
		p.metrics.lag.Observe(now.Sub(m.at).Seconds())
		if !m.observed.IsZero() {
			p.metrics.reach.Observe(now.Sub(m.observed).Seconds())
		}
		if a.GetApplyTime() != nil {
			p.metrics.apply.Observe(a.GetApplyTime().AsDuration().Seconds())
		}
	}
	p.fleet.moved()
}

// differs is called when a proxy turns out to hold something else than it should.
func (p *Publisher) differs(s *subscriber, m sent, a *syncv1.Ack, again bool) {
	p.metrics.mismatches.Inc()
	if !again {
		p.metrics.resends.Inc()
	}
	p.log.Error("a proxy's digest is not that of the revision",
		"proxy", s.proxyID, "revision", m.revision, "want", m.root, "got", a.GetDigest(), "resend", !again)
	p.fleet.moved()
}

func (p *Publisher) drainFrame() frame {
	p.lifecycle.Lock()
	grace := p.grace
	p.lifecycle.Unlock()
	return marshalDrain(grace)
}

// marshalDrain writes SyncResponse{drain: {grace}} like the other frames: without asking generated code, which could
// fail.
func marshalDrain(grace time.Duration) frame {
	d := durationpb.New(grace)
	var seconds, inner []byte
	if d.GetSeconds() != 0 {
		seconds = protowire.AppendTag(seconds, 1, protowire.VarintType)
		seconds = protowire.AppendVarint(seconds, uint64(d.GetSeconds()))
	}
	if d.GetNanos() != 0 {
		seconds = protowire.AppendTag(seconds, 2, protowire.VarintType)
		seconds = protowire.AppendVarint(seconds, uint64(d.GetNanos()))
	}
	inner = protowire.AppendTag(inner, 1, protowire.BytesType)
	inner = protowire.AppendBytes(inner, seconds)
	f := protowire.AppendTag(nil, fieldResponseDrain, protowire.BytesType)
	return protowire.AppendBytes(f, inner)
}

// check applies the rules of the proto files.
func (p *Publisher) check(m proto.Message) error {
	if err := p.validate.Validate(m); err != nil {
		return fault.New(fault.Invalid, "the message breaks the rules of its schema").With(err)
	}
	return nil
}

func remoteOf(ctx context.Context) string {
	if from, ok := peer.FromContext(ctx); ok && from.Addr != nil {
		return from.Addr.String()
	}
	return ""
}

// jitter returns a random time up to the limit.
func jitter(limit time.Duration) time.Duration {
	return rand.N(limit) + time.Millisecond
}
