package admin

import (
	"context"
	"time"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

const (
	defaultWait     = 10 * time.Second
	defaultTokenTTL = time.Hour
)

type fleetService struct{ *Service }

// GetStatus shows what this replica knows, and what the others tell it of their proxies.
func (s fleetService) GetStatus(ctx context.Context, _ *adminv1.GetStatusRequest) (*adminv1.GetStatusResponse, error) {
	st, err := s.state()
	if err != nil {
		return nil, err
	}
	replicas, err := s.store.Replicas(ctx)
	if err != nil {
		return nil, err
	}
	proxies, unreachable, err := s.fleet.Status(ctx)
	if err != nil {
		return nil, err
	}
	return &adminv1.GetStatusResponse{
		Lineage: st.Lineage(), Revision: st.Revision(),
		Replicas: replicas, Proxies: proxies, UnreachableReplicas: unreachable,
	}, nil
}

// WaitForRevision waits at most as long as the request says; the time that is left of the call bounds it too.
func (s fleetService) WaitForRevision(ctx context.Context, req *adminv1.WaitForRevisionRequest) (*adminv1.WaitForRevisionResponse, error) {
	timeout := defaultWait
	if t := req.GetTimeout(); t != nil {
		timeout = min(max(t.AsDuration(), 0), longestWait)
	}
	return s.fleet.WaitForRevision(ctx, req.GetRevision(), timeout)
}

// CreateJoinToken returns a token this once.
func (s fleetService) CreateJoinToken(ctx context.Context, req *adminv1.CreateJoinTokenRequest) (*adminv1.CreateJoinTokenResponse, error) {
	ttl := defaultTokenTTL
	if t := req.GetTtl(); t != nil {
		ttl = t.AsDuration()
	}
	uses := int32(1)
	if n := req.GetMaxUses(); n > 0 {
		uses = n
	}
	record, token, err := s.tokens.Create(ctx, ttl, uses, actor(ctx))
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, fault.New(fault.Internal, "internal error")
	}
	return &adminv1.CreateJoinTokenResponse{JoinToken: record, Token: token}, nil
}

func (s fleetService) ListJoinTokens(ctx context.Context, _ *adminv1.ListJoinTokensRequest) (*adminv1.ListJoinTokensResponse, error) {
	tokens, err := s.tokens.List(ctx)
	if err != nil {
		return nil, err
	}
	return &adminv1.ListJoinTokensResponse{JoinTokens: tokens}, nil
}

func (s fleetService) DeleteJoinToken(ctx context.Context, req *adminv1.DeleteJoinTokenRequest) (*adminv1.DeleteJoinTokenResponse, error) {
	if err := s.tokens.Delete(ctx, req.GetId(), actor(ctx)); err != nil {
		return nil, err
	}
	return &adminv1.DeleteJoinTokenResponse{}, nil
}
