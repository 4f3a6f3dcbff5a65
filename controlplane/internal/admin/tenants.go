package admin

import (
	"context"

	"fairway/controlplane/internal/model"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

type tenantService struct{ *Service }

func (s tenantService) CreateTenant(ctx context.Context, req *adminv1.CreateTenantRequest) (*adminv1.CreateTenantResponse, error) {
	r := req.GetTenant()
	if err := s.born(r); err != nil {
		return nil, err
	}
	revision, err := s.create(ctx, []model.Resource{r}, []string{"tenant"})
	if err != nil {
		return nil, err
	}
	return &adminv1.CreateTenantResponse{Tenant: r, Revision: revision}, nil
}

func (s tenantService) GetTenant(ctx context.Context, req *adminv1.GetTenantRequest) (*adminv1.GetTenantResponse, error) {
	r, err := get[*resourcev1.Tenant](ctx, s.Service, model.KindTenant, req.GetName())
	if err != nil {
		return nil, err
	}
	return &adminv1.GetTenantResponse{Tenant: r}, nil
}

func (s tenantService) ListTenants(ctx context.Context, req *adminv1.ListTenantsRequest) (*adminv1.ListTenantsResponse, error) {
	p, err := list[*resourcev1.Tenant](ctx, s.Service, model.KindTenant, req)
	if err != nil {
		return nil, err
	}
	return &adminv1.ListTenantsResponse{Tenants: p.items, NextPageToken: p.next, TotalSize: p.total, Revision: p.revision}, nil
}

func (s tenantService) UpdateTenant(ctx context.Context, req *adminv1.UpdateTenantRequest) (*adminv1.UpdateTenantResponse, error) {
	r, revision, err := update(ctx, s.Service, req.GetTenant(), req.GetUpdateMask(), nil)
	if err != nil {
		return nil, err
	}
	return &adminv1.UpdateTenantResponse{Tenant: r, Revision: revision}, nil
}

func (s tenantService) DeleteTenant(ctx context.Context, req *adminv1.DeleteTenantRequest) (*adminv1.DeleteTenantResponse, error) {
	revision, err := s.remove(ctx, model.KindTenant, req.GetName(), req.GetEtag(), false, s.unused(model.KindTenant))
	if err != nil {
		return nil, err
	}
	return &adminv1.DeleteTenantResponse{Revision: revision}, nil
}
