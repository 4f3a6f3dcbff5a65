package admin

import (
	"context"

	"google.golang.org/protobuf/proto"

	"fairway/controlplane/internal/model"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

type modelService struct{ *Service }

func (s modelService) CreateModel(ctx context.Context, req *adminv1.CreateModelRequest) (*adminv1.CreateModelResponse, error) {
	r := req.GetModel()
	if err := s.born(r); err != nil {
		return nil, err
	}
	revision, err := s.create(ctx, []model.Resource{r}, []string{"model"})
	if err != nil {
		return nil, err
	}
	return &adminv1.CreateModelResponse{Model: r, Revision: revision}, nil
}

func (s modelService) GetModel(ctx context.Context, req *adminv1.GetModelRequest) (*adminv1.GetModelResponse, error) {
	r, err := get[*resourcev1.Model](ctx, s.Service, model.KindModel, req.GetName())
	if err != nil {
		return nil, err
	}
	return &adminv1.GetModelResponse{Model: r}, nil
}

func (s modelService) ListModels(ctx context.Context, req *adminv1.ListModelsRequest) (*adminv1.ListModelsResponse, error) {
	p, err := list[*resourcev1.Model](ctx, s.Service, model.KindModel, req)
	if err != nil {
		return nil, err
	}
	return &adminv1.ListModelsResponse{Models: p.items, NextPageToken: p.next, TotalSize: p.total, Revision: p.revision}, nil
}

func (s modelService) UpdateModel(ctx context.Context, req *adminv1.UpdateModelRequest) (*adminv1.UpdateModelResponse, error) {
	r, revision, err := update(ctx, s.Service, req.GetModel(), req.GetUpdateMask(), nil)
	if err != nil {
		return nil, err
	}
	return &adminv1.UpdateModelResponse{Model: r, Revision: revision}, nil
}

func (s modelService) DeleteModel(ctx context.Context, req *adminv1.DeleteModelRequest) (*adminv1.DeleteModelResponse, error) {
	revision, err := s.remove(ctx, model.KindModel, req.GetName(), req.GetEtag(), false, s.unused(model.KindModel))
	if err != nil {
		return nil, err
	}
	return &adminv1.DeleteModelResponse{Revision: revision}, nil
}

func (s modelService) GetBuiltInPrices(context.Context, *adminv1.GetBuiltInPricesRequest) (*adminv1.GetBuiltInPricesResponse, error) {
	if s.prices == nil {
		return &adminv1.GetBuiltInPricesResponse{}, nil
	}
	// Replies are redacted in place.
	return proto.CloneOf(s.prices), nil
}
