package publish

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/pkg/fault"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/trust"
)

// enrolments is how many Enroll calls are served at once: they need no certificate, so anybody can make them.
const enrolments = 16

// ServerOptions are what the sync listener's server must be made with, besides its TLS credentials (trust.ServerTLS).
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		// A report of 10,000 records is about 2 MiB.
		grpc.MaxRecvMsgSize(4 << 20),
		grpc.MaxConcurrentStreams(64),
		grpc.MaxHeaderListSize(16 << 10),
		grpc.ConnectionTimeout(10 * time.Second),
		// A proxy whose host vanished is noticed in 20s.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 10 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 4 * time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
	}
}

// Register adds the services to a server that was made with ServerOptions.
func (p *Publisher) Register(s *grpc.Server) {
	syncv1.RegisterStateSyncServiceServer(s, stateSync{p: p})
	syncv1.RegisterEnrollServiceServer(s, enrolment{p: p, slots: make(chan struct{}, enrolments)})
	syncv1.RegisterPeerServiceServer(s, peerService{p: p})
}

// caller returns the verified identity of the other side, which must be of this lineage and have the role.
func (p *Publisher) caller(ctx context.Context, role trust.Role) (trust.Identity, error) {
	refused := fault.New(fault.Unauthenticated, "a %s's certificate of this control plane is required", role)
	from, ok := peer.FromContext(ctx)
	if !ok {
		return trust.Identity{}, refused
	}
	tls, ok := from.AuthInfo.(credentials.TLSInfo)
	if !ok || len(tls.State.VerifiedChains) == 0 || len(tls.State.PeerCertificates) == 0 {
		return trust.Identity{}, refused
	}
	leaf := tls.State.PeerCertificates[0]
	id, err := trust.IdentityOf(leaf)
	if err != nil || id.Role != role || id.Lineage != p.o.Lineage {
		return trust.Identity{}, refused.With(err)
	}
	if time.Now().After(leaf.NotAfter) {
		return trust.Identity{}, fault.New(fault.Unauthenticated, "the certificate has expired")
	}
	return id, nil
}

// Report takes usage, or what a proxy saw of the accounts' health: the first message says which, for the whole stream.
func (h stateSync) Report(stream reportStream) error {
	id, err := h.p.caller(stream.Context(), trust.RoleProxy)
	if err != nil {
		return statusOf(err)
	}
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := h.p.check(first); err != nil {
		return statusOf(err)
	}
	if first.GetHealth() != nil {
		return statusOf(h.p.reportHealth(stream, id.ID, first))
	}
	return statusOf(h.p.reportUsage(stream, id.ID, first))
}

// enrolment serves EnrollService.
type enrolment struct {
	syncv1.UnimplementedEnrollServiceServer
	p     *Publisher
	slots chan struct{}
}

// Enroll needs no certificate; the token speaks for the caller.
func (h enrolment) Enroll(ctx context.Context, m *syncv1.EnrollRequest) (*syncv1.EnrollResponse, error) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	default:
		return nil, statusOf(fault.New(fault.Exhausted, "too many proxies enrol at once").WithRetryAfter(jitter(5 * time.Second)))
	}
	if err := h.p.check(m); err != nil {
		return nil, statusOf(err)
	}
	cert, err := h.p.o.Enroller.Enroll(ctx, m.GetToken(), m.GetCsr(), m.GetHostname())
	if err != nil {
		h.p.log.Warn("enrolment refused", "remote", remoteOf(ctx), "hostname", m.GetHostname(), "error", err)
		return nil, statusOf(err)
	}
	h.p.log.Info("proxy enrolled", "proxy", cert.GetProxyId(), "remote", remoteOf(ctx), "hostname", m.GetHostname())
	return &syncv1.EnrollResponse{Certificate: cert}, nil
}

// Renew gives the calling proxy a new certificate.
func (h enrolment) Renew(ctx context.Context, m *syncv1.RenewRequest) (*syncv1.RenewResponse, error) {
	id, err := h.p.caller(ctx, trust.RoleProxy)
	if err != nil {
		return nil, statusOf(err)
	}
	if err := h.p.check(m); err != nil {
		return nil, statusOf(err)
	}
	cert, err := h.p.o.Enroller.Renew(ctx, id, m.GetCsr())
	if err != nil {
		h.p.log.Warn("renewal refused", "proxy", id.ID, "remote", remoteOf(ctx), "error", err)
		return nil, statusOf(err)
	}
	return &syncv1.RenewResponse{Certificate: cert}, nil
}

// peerService serves PeerService to other replicas.
type peerService struct {
	syncv1.UnimplementedPeerServiceServer
	p *Publisher
}

// ListProxies returns the proxies of this replica.
func (h peerService) ListProxies(ctx context.Context, _ *syncv1.ListProxiesRequest) (*syncv1.ListProxiesResponse, error) {
	if _, err := h.p.caller(ctx, trust.RoleReplica); err != nil {
		return nil, statusOf(err)
	}
	answer := &syncv1.ListProxiesResponse{Proxies: h.p.local()}
	if s := h.p.ring.current(); s != nil {
		answer.Revision = s.revision
	}
	return answer, nil
}

// GetFleetHealth returns what this replica knows if it leads.
func (h peerService) GetFleetHealth(ctx context.Context, _ *syncv1.GetFleetHealthRequest) (*syncv1.GetFleetHealthResponse, error) {
	if _, err := h.p.caller(ctx, trust.RoleReplica); err != nil {
		return nil, statusOf(err)
	}
	if h.p.o.Health == nil {
		return nil, statusOf(errNoHealth())
	}
	view, err := h.p.o.Health.View(ctx)
	if err != nil {
		return nil, statusOf(err)
	}
	return &syncv1.GetFleetHealthResponse{Health: view}, nil
}

// FindDecision asks the proxies of this replica.
func (h peerService) FindDecision(ctx context.Context, m *syncv1.FindDecisionRequest) (*syncv1.FindDecisionResponse, error) {
	if _, err := h.p.caller(ctx, trust.RoleReplica); err != nil {
		return nil, statusOf(err)
	}
	if err := h.p.check(m); err != nil {
		return nil, statusOf(err)
	}
	d, err := h.p.lookUp(ctx, m.GetRequestId())
	if err != nil {
		return nil, statusOf(err)
	}
	return &syncv1.FindDecisionResponse{Decision: d}, nil
}

// statusOf turns an error into what the other side may know of it. Errors that are statuses already, from gRPC itself,
// stay.
func statusOf(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); !ok {
		if _, ok := status.FromError(err); ok {
			return err
		}
	}
	f := fault.From(err)
	s := status.New(codes.Code(fault.KindOf(err).RPCCode()), fault.Public(err))
	var details []protoadapt.MessageV1
	if leader, ok := errors.AsType[interface {
		error
		LeaderSyncAddress() string
	}](err); ok {
		s = status.New(codes.FailedPrecondition, fault.Public(err))
		details = append(details, protoadapt.MessageV1Of(&syncv1.NotLeader{LeaderSyncAddress: leader.LeaderSyncAddress()}))
	}
	if f.RetryAfter > 0 {
		details = append(details, protoadapt.MessageV1Of(&errdetails.RetryInfo{RetryDelay: durationpb.New(f.RetryAfter)}))
	}
	if len(details) > 0 {
		if with, err := s.WithDetails(details...); err == nil {
			s = with
		}
	}
	return s.Err()
}
