package publish

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	"fairway/pkg/bank"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/trust"
)

// Lender lends proxies shares of limits. Where another replica leads, both fail with an error that has the method
// LeaderSyncAddress() string; proxies are told.
type Lender interface {
	// Lease serves one stream of a proxy until that, its context or the leadership ends. It calls receive and send from
	// goroutines of its own and may return while they are blocked: both end soon after.
	Lease(
		ctx context.Context, proxyID string, receive func() (*syncv1.LeaseRequest, error), send func(*syncv1.LeaseResponse) error,
	) error
	// Status tells where the limits of a key, group or tenant stand.
	Status(ctx context.Context, scope bank.Scope, id string) ([]*adminv1.LimitStatus, error)
}

func errNoLender() error { return fault.New(fault.Unimplemented, "limits are not lent here") }

// Lease lends a proxy shares of limits.
func (h stateSync) Lease(stream grpc.BidiStreamingServer[syncv1.LeaseRequest, syncv1.LeaseResponse]) error {
	id, err := h.p.caller(stream.Context(), trust.RoleProxy)
	if err != nil {
		return statusOf(err)
	}
	if h.p.o.Lender == nil {
		return statusOf(errNoLender())
	}
	ctx, end, err := h.p.serving(stream.Context())
	if err != nil {
		return statusOf(err)
	}
	defer end(nil)
	receive := func() (*syncv1.LeaseRequest, error) {
		m, err := stream.Recv()
		if err == nil {
			err = h.p.check(m)
		}
		return m, err
	}
	// A proxy that does not take a message in time loses its stream, and nobody else waits for it.
	send := func(m *syncv1.LeaseResponse) error {
		late := time.AfterFunc(h.p.o.SendTimeout, func() { end(errSlow) })
		defer late.Stop()
		return stream.Send(m)
	}
	err = h.p.o.Lender.Lease(ctx, id.ID, receive, send)
	if err != nil {
		h.p.log.Info("proxy leases no more", "proxy", id.ID, "reason", err)
	}
	return statusOf(err)
}

// serving returns a context that ends when no streams are served any more; end must be called.
func (p *Publisher) serving(parent context.Context) (ctx context.Context, end context.CancelCauseFunc, err error) {
	if err := p.enter(1); err != nil {
		return nil, nil, err
	}
	ctx, end = context.WithCancelCause(parent)
	go func() {
		defer p.streams.Done()
		select {
		case <-p.draining:
		case <-p.stopped:
		case <-ctx.Done():
			return
		}
		end(errStopped)
	}()
	return ctx, end, nil
}

// GetLimits returns where limits stand if this replica leads.
func (h peerService) GetLimits(ctx context.Context, m *syncv1.GetLimitsRequest) (*syncv1.GetLimitsResponse, error) {
	if _, err := h.p.caller(ctx, trust.RoleReplica); err != nil {
		return nil, statusOf(err)
	}
	if err := h.p.check(m); err != nil {
		return nil, statusOf(err)
	}
	limits, err := h.p.limitsHere(ctx, m.GetScope(), m.GetId())
	if err != nil {
		return nil, statusOf(err)
	}
	return &syncv1.GetLimitsResponse{Limits: limits}, nil
}

func (p *Publisher) limitsHere(ctx context.Context, scope syncv1.LimitScope, id string) ([]*adminv1.LimitStatus, error) {
	if p.o.Lender == nil {
		return nil, errNoLender()
	}
	return p.o.Lender.Status(ctx, bank.Scope(scope), id)
}

// GetLimits returns where the limits of a key, group or tenant stand, as the leader knows it, wherever that is. It fails with Unavailable while nobody leads, or the leader does not answer.
func (p *Publisher) GetLimits(ctx context.Context, scope syncv1.LimitScope, id string) ([]*adminv1.LimitStatus, error) {
	limits, err := p.limitsHere(ctx, scope, id)
	if err != nil {
		err = p.askLeader(ctx, err, func(ctx context.Context, c syncv1.PeerServiceClient) error {
			got, err := c.GetLimits(ctx, &syncv1.GetLimitsRequest{Scope: scope, Id: id}, grpc.WaitForReady(true))
			limits = got.GetLimits()
			return err
		})
	}
	return limits, err
}

// askLeader asks the replica that an error of a question here says leads; any other error stays.
func (p *Publisher) askLeader(ctx context.Context, err error, ask func(context.Context, syncv1.PeerServiceClient) error) error {
	leader, elsewhere := errors.AsType[interface {
		error
		LeaderSyncAddress() string
	}](err)
	if !elsewhere {
		return err
	}
	if leader.LeaderSyncAddress() == "" {
		return fault.New(fault.Unavailable, "no control-plane replica leads now").With(err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.PeerTimeout)
	defer cancel()
	if err := p.peers.one(ctx, leader.LeaderSyncAddress(), ask); err != nil {
		return fault.New(fault.Unavailable, "the leading control-plane replica does not answer").With(err)
	}
	return nil
}
