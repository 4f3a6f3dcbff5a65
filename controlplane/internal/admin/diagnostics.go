package admin

import (
	"context"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Lookups finds how single requests were decided.
type Lookups interface {
	// FindDecision asks the proxies of the fleet; NotFound when none knows the request. It returns when ctx ends at the
	// latest.
	FindDecision(ctx context.Context, requestID string) (*adminv1.Decision, error)
}

type diagnosticsService struct{ *Service }

// Explain answers from this replica's copy and the leader's view, or of one request from the proxy that walked it.
func (s diagnosticsService) Explain(ctx context.Context, req *adminv1.ExplainRequest) (*adminv1.ExplainResponse, error) {
	if req.GetRequestId() != "" {
		return s.decision(ctx, req.GetRequestId())
	}
	st, err := s.state()
	if err != nil {
		return nil, err
	}
	r, ok := st.Find(model.KindKey, req.GetKey())
	if !ok {
		return nil, missing(model.KindKey, req.GetKey())
	}
	key, err := as[*resourcev1.Key](r)
	if err != nil {
		return nil, err
	}
	return explain(st, key, req.GetModel(), s.now(), s.views.get(ctx)), nil
}

func (s diagnosticsService) decision(ctx context.Context, requestID string) (*adminv1.ExplainResponse, error) {
	if s.lookups == nil {
		return nil, fault.New(fault.Unavailable, "this control plane has no way to ask proxies for a request")
	}
	d, err := s.lookups.FindDecision(ctx, requestID)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, fault.New(fault.NotFound, "no proxy knows a request %q", requestID)
	}
	return &adminv1.ExplainResponse{Decision: d}, nil
}
