package admin

import (
	"cmp"
	"context"

	"google.golang.org/protobuf/proto"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Limits knows where limits stand.
type Limits interface {
	// GetLimits asks the leader about one key, group or tenant, by its id; Unavailable while nobody leads. It returns when
	// ctx ends at the latest. It may be called by several goroutines; nobody writes to what it returns.
	GetLimits(ctx context.Context, scope syncv1.LimitScope, id string) ([]*adminv1.LimitStatus, error)
}

type limitService struct{ *Service }

// limited is who has limits.
type limited interface {
	model.Resource
	GetLimits() *resourcev1.Limits
}

// GetLimits asks the leader about each that has limits; where nothing is limited, there is nothing to ask.
func (s limitService) GetLimits(ctx context.Context, req *adminv1.GetLimitsRequest) (*adminv1.GetLimitsResponse, error) {
	st, err := s.state()
	if err != nil {
		return nil, err
	}
	kind := model.Kind(req.GetScope()) // the scopes are called as the kinds are
	sc := scopeFor(ctx)
	r, ok := sc.find(st, kind, req.GetName())
	if !ok {
		return nil, missing(kind, req.GetName())
	}
	above := []model.Resource{r}
	if key, ok := r.(*resourcev1.Key); ok {
		above = append(above, aboveKey(st, key)...)
	}
	res := &adminv1.GetLimitsResponse{}
	for _, r := range above {
		l, ok := r.(limited)
		if !ok || !sc.sees(st, r) || !model.Limited(l.GetLimits()) {
			continue
		}
		limits, err := s.limitsOf(ctx, l)
		if err != nil {
			return nil, err
		}
		res.Limits = append(res.Limits, limits...)
	}
	return res, nil
}

// aboveKey returns whose limits a key's requests stand under besides its own: its group, its tenant, and what that is a
// part of.
func aboveKey(st *model.State, key *resourcev1.Key) []model.Resource {
	var above []model.Resource
	if group, ok := st.ByName(model.KindGroup, cmp.Or(key.GetGroup(), model.DefaultGroup)); ok {
		above = append(above, group)
	}
	for _, t := range model.TenantsOf(st, key.GetTenant()) {
		above = append(above, t)
	}
	return above
}

func (s limitService) limitsOf(ctx context.Context, r limited) ([]*adminv1.LimitStatus, error) {
	if s.limits == nil {
		return nil, fault.New(fault.Unavailable, "this control plane does not keep account of limits")
	}
	kind, m := model.KindOf(r), r.GetMetadata()
	shared, err := s.limits.GetLimits(ctx, scopeOf(kind), m.GetId())
	if err != nil {
		return nil, err
	}
	limits := make([]*adminv1.LimitStatus, 0, len(shared))
	for _, l := range shared {
		own := proto.CloneOf(l)
		own.Scope, own.Name = string(kind), m.GetName()
		limits = append(limits, own)
	}
	return limits, nil
}

func scopeOf(k model.Kind) syncv1.LimitScope {
	switch k {
	case model.KindGroup:
		return syncv1.LimitScope_LIMIT_SCOPE_GROUP
	case model.KindTenant:
		return syncv1.LimitScope_LIMIT_SCOPE_TENANT
	default:
		return syncv1.LimitScope_LIMIT_SCOPE_KEY
	}
}
