package admin

import (
	"context"

	"fairway/controlplane/internal/model"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

type groupService struct{ *Service }

func (s groupService) CreateGroup(ctx context.Context, req *adminv1.CreateGroupRequest) (*adminv1.CreateGroupResponse, error) {
	r := req.GetGroup()
	if err := s.born(r); err != nil {
		return nil, err
	}
	revision, err := s.create(ctx, []model.Resource{r}, []string{"group"})
	if err != nil {
		return nil, err
	}
	return &adminv1.CreateGroupResponse{Group: r, Revision: revision}, nil
}

func (s groupService) GetGroup(ctx context.Context, req *adminv1.GetGroupRequest) (*adminv1.GetGroupResponse, error) {
	r, err := get[*resourcev1.Group](ctx, s.Service, model.KindGroup, req.GetName())
	if err != nil {
		return nil, err
	}
	return &adminv1.GetGroupResponse{Group: r}, nil
}

func (s groupService) ListGroups(ctx context.Context, req *adminv1.ListGroupsRequest) (*adminv1.ListGroupsResponse, error) {
	p, err := list[*resourcev1.Group](ctx, s.Service, model.KindGroup, req)
	if err != nil {
		return nil, err
	}
	return &adminv1.ListGroupsResponse{Groups: p.items, NextPageToken: p.next, TotalSize: p.total, Revision: p.revision}, nil
}

func (s groupService) UpdateGroup(ctx context.Context, req *adminv1.UpdateGroupRequest) (*adminv1.UpdateGroupResponse, error) {
	r, revision, err := update(ctx, s.Service, req.GetGroup(), req.GetUpdateMask(), nil)
	if err != nil {
		return nil, err
	}
	return &adminv1.UpdateGroupResponse{Group: r, Revision: revision}, nil
}

func (s groupService) DeleteGroup(ctx context.Context, req *adminv1.DeleteGroupRequest) (*adminv1.DeleteGroupResponse, error) {
	revision, err := s.remove(ctx, model.KindGroup, req.GetName(), req.GetEtag(), false, s.unused(model.KindGroup))
	if err != nil {
		return nil, err
	}
	return &adminv1.DeleteGroupResponse{Revision: revision}, nil
}
