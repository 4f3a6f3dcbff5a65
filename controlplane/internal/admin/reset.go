package admin

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// ResetAccount decides, over the leader's head, that an account serves. It writes also where nothing was decided, or
// this very thing: proxies end the rests that they gave the account on their own when a new verdict reaches them.
func (s accountService) ResetAccount(ctx context.Context, req *adminv1.ResetAccountRequest) (*adminv1.ResetAccountResponse, error) {
	var (
		account  *resourcev1.Account
		verdict  *resourcev1.Verdict
		revision int64
	)
	err := s.rounds(ctx, func() error {
		r, err := s.current(ctx, model.KindAccount, req.GetName())
		if err != nil {
			return err
		}
		if account, err = as[*resourcev1.Account](r); err != nil {
			return err
		}
		var put store.Put
		if verdict, put, err = s.acquittal(ctx, account); err != nil {
			return err
		}
		w := store.Write{Puts: []store.Put{put}}
		if req.GetEnable() && account.GetDisabled() {
			if account, err = s.enabled(account); err != nil {
				return err
			}
			w.Puts = append(w.Puts, store.Put{Resource: account, Old: r, ChangedFields: []string{"disabled"}})
		}
		revision, err = s.commit(ctx, w)
		return race(err)
	})
	if err != nil {
		return nil, err
	}
	s.views.forget()
	st, err := s.state()
	if err != nil {
		return nil, err
	}
	// The copy may lag, and what others decide from now on is not this call's answer.
	st = st.Apply(st.Revision(), []model.Change{{Kind: model.KindVerdict, ID: account.GetMetadata().GetId(), New: verdict}})
	if account, err = dressed(st, account, nil, s.now()); err != nil {
		return nil, err
	}
	return &adminv1.ResetAccountResponse{Account: account, Revision: revision}, nil
}

// acquittal is the verdict that an account serves, and how it takes the place of the one that is stored.
func (s *Service) acquittal(ctx context.Context, a *resourcev1.Account) (*resourcev1.Verdict, store.Put, error) {
	id, now := a.GetMetadata().GetId(), timestamppb.New(s.now())
	verdict := &resourcev1.Verdict{
		Metadata: &resourcev1.Metadata{Id: id, Name: id, CreateTime: now, UpdateTime: now},
		Health: &resourcev1.AccountHealth{
			State: resourcev1.HealthState_HEALTH_STATE_CLOSED, Reason: model.ReasonReset, Since: now,
		},
	}
	put := store.Put{Resource: verdict, ChangedFields: []string{"health"}}
	old, err := s.store.Read(ctx, model.KindVerdict, id)
	switch {
	case fault.KindOf(err) == fault.NotFound:
	case err != nil:
		return nil, put, err
	default:
		put.Old, verdict.Metadata.CreateTime = old, old.GetMetadata().GetCreateTime()
	}
	return verdict, put, nil
}

// enabled is the account without its operator's veto, checked as an update is.
func (s *Service) enabled(a *resourcev1.Account) (*resourcev1.Account, error) {
	out, err := copyOf(a)
	if err != nil {
		return nil, err
	}
	out.Disabled, out.Metadata.UpdateTime = false, timestamppb.New(s.now())
	st, err := s.state()
	if err != nil {
		return nil, err
	}
	return out, s.finish(st, out, string(model.KindAccount))
}
