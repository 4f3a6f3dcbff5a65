package admin

import (
	"context"

	"fairway/controlplane/internal/model"
	"fairway/pkg/clientkey"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

type keyService struct{ *Service }

// CreateKey makes the secret, stores its MAC, and returns it this once. A reply that is lost is a key that is lost:
// delete it and create another.
func (s keyService) CreateKey(ctx context.Context, req *adminv1.CreateKeyRequest) (*adminv1.CreateKeyResponse, error) {
	r := req.GetKey()
	if err := s.born(r); err != nil {
		return nil, err
	}
	shown := clientkey.New()
	mac := s.hasher.Sum([]byte(shown.Reveal()))
	r.Mac = mac[:]
	revision, err := s.create(ctx, []model.Resource{r}, []string{"key"})
	if err != nil {
		return nil, err
	}
	return &adminv1.CreateKeyResponse{Key: r, Revision: revision, Secret: shown.Reveal()}, nil
}

func (s keyService) GetKey(ctx context.Context, req *adminv1.GetKeyRequest) (*adminv1.GetKeyResponse, error) {
	r, err := get[*resourcev1.Key](ctx, s.Service, model.KindKey, req.GetName())
	if err != nil {
		return nil, err
	}
	return &adminv1.GetKeyResponse{Key: r}, nil
}

func (s keyService) ListKeys(ctx context.Context, req *adminv1.ListKeysRequest) (*adminv1.ListKeysResponse, error) {
	p, err := list[*resourcev1.Key](ctx, s.Service, model.KindKey, req)
	if err != nil {
		return nil, err
	}
	return &adminv1.ListKeysResponse{Keys: p.items, NextPageToken: p.next, TotalSize: p.total, Revision: p.revision}, nil
}

func (s keyService) UpdateKey(ctx context.Context, req *adminv1.UpdateKeyRequest) (*adminv1.UpdateKeyResponse, error) {
	r, revision, err := update(ctx, s.Service, req.GetKey(), req.GetUpdateMask(), nil)
	if err != nil {
		return nil, err
	}
	return &adminv1.UpdateKeyResponse{Key: r, Revision: revision}, nil
}

func (s keyService) DeleteKey(ctx context.Context, req *adminv1.DeleteKeyRequest) (*adminv1.DeleteKeyResponse, error) {
	revision, err := s.remove(ctx, model.KindKey, req.GetName(), req.GetEtag(), false, s.unused(model.KindKey))
	if err != nil {
		return nil, err
	}
	return &adminv1.DeleteKeyResponse{Revision: revision}, nil
}
