package admin

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// maxNotifiers bounds what the leader keeps queues for.
const maxNotifiers = 100

// Notifiers sends tests.
type Notifiers interface {
	// Test sends the notifier of that name a test, once. The error says in a line for people what is wrong; neither it nor
	// the detail holds a secret.
	Test(ctx context.Context, name string) (detail string, took time.Duration, err error)
}

type notifierService struct{ *Service }

func (s notifierService) CreateNotifier(ctx context.Context, req *adminv1.CreateNotifierRequest) (*adminv1.CreateNotifierResponse, error) {
	st, err := s.state()
	if err != nil {
		return nil, err
	}
	if st.Len(model.KindNotifier) >= maxNotifiers {
		return nil, fault.New(fault.Exhausted, "there are %d notifiers, which is the limit", maxNotifiers)
	}
	r := req.GetNotifier()
	if key := r.GetWebhook().GetSecret(); key != nil && key.GetValue() == "" {
		return nil, fault.New(fault.Invalid, "notifier.webhook.secret.value: is empty; without a secret, leave secret out").
			WithParam("notifier.webhook.secret.value")
	}
	if err := s.born(r); err != nil {
		return nil, err
	}
	revision, err := s.create(ctx, []model.Resource{r}, []string{"notifier"})
	if err != nil {
		return nil, err
	}
	return &adminv1.CreateNotifierResponse{Notifier: r, Revision: revision}, nil
}

func (s notifierService) GetNotifier(ctx context.Context, req *adminv1.GetNotifierRequest) (*adminv1.GetNotifierResponse, error) {
	r, err := get[*resourcev1.Notifier](ctx, s.Service, model.KindNotifier, req.GetName())
	if err != nil {
		return nil, err
	}
	return &adminv1.GetNotifierResponse{Notifier: r}, nil
}

func (s notifierService) ListNotifiers(ctx context.Context, req *adminv1.ListNotifiersRequest) (*adminv1.ListNotifiersResponse, error) {
	p, err := list[*resourcev1.Notifier](ctx, s.Service, model.KindNotifier, req)
	if err != nil {
		return nil, err
	}
	return &adminv1.ListNotifiersResponse{Notifiers: p.items, NextPageToken: p.next, TotalSize: p.total, Revision: p.revision}, nil
}

func (s notifierService) UpdateNotifier(ctx context.Context, req *adminv1.UpdateNotifierRequest) (*adminv1.UpdateNotifierResponse, error) {
	r, revision, err := update(ctx, s.Service, req.GetNotifier(), req.GetUpdateMask(), keepPassword)
	if err != nil {
		return nil, err
	}
	return &adminv1.UpdateNotifierResponse{Notifier: r, Revision: revision}, nil
}

// keepPassword keeps a mail server's password from another server: nobody is shown it, so nobody is sent it either.
func keepPassword(_ context.Context, before, after model.Resource) ([]store.Put, error) {
	old, now := smtpOf(before), smtpOf(after)
	if old.GetPassword().GetSealed() == nil || !proto.Equal(old.GetPassword(), now.GetPassword()) || old.GetAddress() == now.GetAddress() {
		return nil, nil
	}
	return nil, fault.New(fault.Invalid, "notifier.smtp.password.value: is to be given again, because smtp.address is another").
		WithParam("notifier.smtp.password.value")
}

func smtpOf(r model.Resource) *resourcev1.Smtp {
	n, _ := r.(*resourcev1.Notifier)
	return n.GetSmtp()
}

func (s notifierService) DeleteNotifier(ctx context.Context, req *adminv1.DeleteNotifierRequest) (*adminv1.DeleteNotifierResponse, error) {
	revision, err := s.remove(ctx, model.KindNotifier, req.GetName(), req.GetEtag(), false, s.unused(model.KindNotifier))
	if err != nil {
		return nil, err
	}
	return &adminv1.DeleteNotifierResponse{Revision: revision}, nil
}

// TestNotifier succeeds whatever comes of the test: the reply says.
func (s notifierService) TestNotifier(ctx context.Context, req *adminv1.TestNotifierRequest) (*adminv1.TestNotifierResponse, error) {
	if s.notifiers == nil {
		return nil, fault.New(fault.Unimplemented, "this control plane tells nobody")
	}
	r, err := get[*resourcev1.Notifier](ctx, s.Service, model.KindNotifier, req.GetName())
	if err != nil {
		return nil, err
	}
	detail, took, err := s.notifiers.Test(ctx, r.GetMetadata().GetId())
	if err != nil {
		detail = err.Error()
	}
	return &adminv1.TestNotifierResponse{Ok: err == nil, Detail: detail, Took: durationpb.New(took)}, nil
}
