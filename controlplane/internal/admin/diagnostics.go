package admin

import (
	"context"

	"fairway/controlplane/internal/model"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

type diagnosticsService struct{ *Service }

// Explain answers from this replica's copy.
func (s diagnosticsService) Explain(_ context.Context, req *adminv1.ExplainRequest) (*adminv1.ExplainResponse, error) {
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
	return Explain(st, key, req.GetModel(), s.now()), nil
}
