package admin

import (
	"context"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/operator"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// maxOperators bounds what each call's authentication looks through.
const maxOperators = 1000

type operatorService struct{ *Service }

// CreateOperator makes the token, stores its hash, and returns it this once.
func (s operatorService) CreateOperator(ctx context.Context, req *adminv1.CreateOperatorRequest) (*adminv1.CreateOperatorResponse, error) {
	st, err := s.state()
	if err != nil {
		return nil, err
	}
	if st.Len(model.KindOperator) >= maxOperators {
		return nil, fault.New(fault.Exhausted, "there are %d operators, which is the limit", maxOperators)
	}
	r := req.GetOperator()
	if err := s.born(r); err != nil {
		return nil, err
	}
	token := operator.NewToken()
	r.TokenHash = operator.HashToken(token)
	revision, err := s.create(ctx, []model.Resource{r}, []string{"operator"})
	if err != nil {
		return nil, err
	}
	return &adminv1.CreateOperatorResponse{Operator: r, Revision: revision, Token: token.Reveal()}, nil
}

func (s operatorService) GetOperator(ctx context.Context, req *adminv1.GetOperatorRequest) (*adminv1.GetOperatorResponse, error) {
	r, err := get[*resourcev1.Operator](ctx, s.Service, model.KindOperator, req.GetName())
	if err != nil {
		return nil, err
	}
	return &adminv1.GetOperatorResponse{Operator: r}, nil
}

func (s operatorService) ListOperators(ctx context.Context, req *adminv1.ListOperatorsRequest) (*adminv1.ListOperatorsResponse, error) {
	p, err := list[*resourcev1.Operator](ctx, s.Service, model.KindOperator, req)
	if err != nil {
		return nil, err
	}
	return &adminv1.ListOperatorsResponse{Operators: p.items, NextPageToken: p.next, TotalSize: p.total, Revision: p.revision}, nil
}

func (s operatorService) UpdateOperator(ctx context.Context, req *adminv1.UpdateOperatorRequest) (*adminv1.UpdateOperatorResponse, error) {
	r, revision, err := update(ctx, s.Service, req.GetOperator(), req.GetUpdateMask(), s.keepOwner)
	if err != nil {
		return nil, err
	}
	return &adminv1.UpdateOperatorResponse{Operator: r, Revision: revision}, nil
}

// DeleteOperator deletes an operator, but never the last owner who can sign in.
func (s operatorService) DeleteOperator(ctx context.Context, req *adminv1.DeleteOperatorRequest) (*adminv1.DeleteOperatorResponse, error) {
	revision, err := s.remove(ctx, model.KindOperator, req.GetName(), req.GetEtag(), false,
		func(ctx context.Context, r model.Resource) (store.Write, error) {
			puts, err := s.keepOwner(ctx, r, nil)
			return store.Write{Puts: puts}, err
		})
	if err != nil {
		return nil, err
	}
	return &adminv1.DeleteOperatorResponse{Revision: revision}, nil
}

// keepOwner sees to it that a write which takes away an owner leaves another one, whatever happens at the same moment.
// It names a witness: another owner, read now, whom the transaction writes back unchanged on the condition that he is
// still as he was read. So of two owners who remove each other at once only one succeeds, because the second one's
// witness has changed or is gone. after is nil for a deletion.
func (s operatorService) keepOwner(ctx context.Context, before, after model.Resource) ([]store.Put, error) {
	if !isOwner(before) || isOwner(after) {
		return nil, nil
	}
	st, err := s.state()
	if err != nil {
		return nil, err
	}
	for r := range st.All(model.KindOperator) {
		id := r.GetMetadata().GetId()
		if id == before.GetMetadata().GetId() || !isOwner(r) {
			continue
		}
		witness, err := s.store.Read(ctx, model.KindOperator, id)
		if fault.KindOf(err) == fault.NotFound {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !isOwner(witness) {
			continue
		}
		same, err := copyOf(witness)
		if err != nil {
			return nil, err
		}
		return []store.Put{{Resource: same, Old: witness}}, nil
	}
	return nil, fault.New(fault.Stale, "operator %q is the last owner that is not disabled",
		before.GetMetadata().GetName()).WithCode(model.CodeProtected)
}

// isOwner says whether r is an owner who can sign in; nobody is not.
func isOwner(r model.Resource) bool {
	o, ok := r.(*resourcev1.Operator)
	return ok && o.GetRole() == resourcev1.Role_ROLE_OWNER && !o.GetDisabled()
}
