package admin

import (
	"context"

	"fairway/controlplane/internal/model"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

type accountService struct{ *Service }

func (s accountService) CreateAccount(ctx context.Context, req *adminv1.CreateAccountRequest) (*adminv1.CreateAccountResponse, error) {
	r := req.GetAccount()
	if err := s.born(r); err != nil {
		return nil, err
	}
	revision, err := s.create(ctx, []model.Resource{r}, []string{"account"})
	if err != nil {
		return nil, err
	}
	if r, err = s.shown(ctx, r); err != nil {
		return nil, err
	}
	return &adminv1.CreateAccountResponse{Account: r, Revision: revision}, nil
}

func (s accountService) GetAccount(ctx context.Context, req *adminv1.GetAccountRequest) (*adminv1.GetAccountResponse, error) {
	r, err := get[*resourcev1.Account](ctx, s.Service, model.KindAccount, req.GetName())
	if err != nil {
		return nil, err
	}
	if r, err = s.shown(ctx, r); err != nil {
		return nil, err
	}
	return &adminv1.GetAccountResponse{Account: r}, nil
}

func (s accountService) ListAccounts(ctx context.Context, req *adminv1.ListAccountsRequest) (*adminv1.ListAccountsResponse, error) {
	p, err := list[*resourcev1.Account](ctx, s.Service, model.KindAccount, req)
	if err != nil {
		return nil, err
	}
	return &adminv1.ListAccountsResponse{Accounts: p.items, NextPageToken: p.next, TotalSize: p.total, Revision: p.revision}, nil
}

func (s accountService) UpdateAccount(ctx context.Context, req *adminv1.UpdateAccountRequest) (*adminv1.UpdateAccountResponse, error) {
	r, revision, err := update(ctx, s.Service, req.GetAccount(), req.GetUpdateMask(), nil)
	if err != nil {
		return nil, err
	}
	if r, err = s.shown(ctx, r); err != nil {
		return nil, err
	}
	return &adminv1.UpdateAccountResponse{Account: r, Revision: revision}, nil
}

func (s accountService) DeleteAccount(ctx context.Context, req *adminv1.DeleteAccountRequest) (*adminv1.DeleteAccountResponse, error) {
	revision, err := s.remove(ctx, model.KindAccount, req.GetName(), req.GetEtag(), false, s.unused(model.KindAccount))
	if err != nil {
		return nil, err
	}
	return &adminv1.DeleteAccountResponse{Revision: revision}, nil
}
