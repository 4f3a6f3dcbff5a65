package admin

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

const (
	// viewAge is how old a view may be by which accounts are shown; so long also counts that there was none.
	viewAge = time.Second
	// viewWait bounds how long a reply waits for one. Without it the reply shows what is stored.
	viewWait = 300 * time.Millisecond
)

// Health knows how accounts and proxies are, beyond what is stored.
type Health interface {
	// FleetHealth is the leader's view; Unavailable while nobody leads. It returns when ctx ends at the latest. It may be
	// called by several goroutines; nobody writes to what it returns.
	FleetHealth(ctx context.Context) (*adminv1.FleetHealth, error)
}

// GetFleetHealth shows the leader's view as it is.
func (s fleetService) GetFleetHealth(ctx context.Context, _ *adminv1.GetFleetHealthRequest) (*adminv1.GetFleetHealthResponse, error) {
	if s.views.health == nil {
		return nil, fault.New(fault.Unavailable, "this control plane does not watch the fleet's health")
	}
	h, err := s.views.health.FleetHealth(ctx)
	if err != nil {
		return nil, err
	}
	return &adminv1.GetFleetHealthResponse{Health: h}, nil
}

// view is the leader's view of single accounts. The nil view knows none.
type view struct {
	time     time.Time
	accounts map[string]*adminv1.AccountHealthView // by id
}

func newView(h *adminv1.FleetHealth, now time.Time) *view {
	v := &view{time: now, accounts: make(map[string]*adminv1.AccountHealthView, len(h.GetAccounts()))}
	if t := h.GetTime(); t != nil {
		v.time = t.AsTime()
	}
	for _, a := range h.GetAccounts() {
		v.accounts[a.GetId()] = a
	}
	return v
}

// of is what the view knows of an account; nil = nothing, or nothing that is newer than the verdict.
func (v *view) of(id string, decided *resourcev1.Verdict) *adminv1.AccountHealthView {
	if v == nil {
		return nil
	}
	if since := decided.GetHealth().GetSince(); since != nil && !v.time.After(since.AsTime()) {
		return nil
	}
	return v.accounts[id]
}

// healthOf is how an account is: as is stored where that keeps it out, else as the leader sees it, else as is stored.
func healthOf(s *model.State, a *resourcev1.Account, v *view, now time.Time) *resourcev1.AccountHealth {
	stored := model.Health(s, a, now)
	if stored.GetState() != resourcev1.HealthState_HEALTH_STATE_CLOSED {
		return stored
	}
	soft := v.of(a.GetMetadata().GetId(), model.VerdictOf(s, a)).GetHealth()
	switch soft.GetState() {
	case resourcev1.HealthState_HEALTH_STATE_UNSPECIFIED, resourcev1.HealthState_HEALTH_STATE_CLOSED:
		return stored
	case resourcev1.HealthState_HEALTH_STATE_OPEN:
		if soft.GetUntil() != nil && !now.Before(soft.GetUntil().AsTime()) {
			return stored // it has ended since the leader looked
		}
	default:
	}
	return soft
}

// shown is an account as callers see it: a copy with its health.
func (s *Service) shown(ctx context.Context, a *resourcev1.Account) (*resourcev1.Account, error) {
	st, err := s.state()
	if err != nil {
		return nil, err
	}
	return dressed(st, a, s.views.get(ctx), s.now())
}

func dressed(st *model.State, a *resourcev1.Account, v *view, now time.Time) (*resourcev1.Account, error) {
	out, err := copyOf(a)
	if err != nil {
		return nil, err
	}
	out.Health = healthOf(st, a, v, now)
	return out, nil
}

// dress returns how a list shows its resources; nil = as they are stored.
func (s *Service) dress(ctx context.Context, st *model.State, kind model.Kind) func(model.Resource) (model.Resource, error) {
	if kind != model.KindAccount {
		return nil
	}
	v, now := s.views.get(ctx), s.now()
	return func(r model.Resource) (model.Resource, error) {
		a, err := as[*resourcev1.Account](r)
		if err != nil {
			return nil, err
		}
		return dressed(st, a, v, now)
	}
}

// views asks for the leader's view and keeps it for a moment. It is safe for concurrent use; of several callers at once
// one asks, and the others wait for it.
type views struct {
	health Health // nil = there is none to ask
	now    func() time.Time
	log    *slog.Logger

	mu     sync.Mutex
	at     time.Time     // when the last answer came; zero = ask
	last   *view         // nil = there was no answer
	asking chan struct{} // closed when the question under way is answered; nil = none is
}

// get returns the view, nil when there is none in time.
func (v *views) get(ctx context.Context) *view {
	if v.health == nil {
		return nil
	}
	v.mu.Lock()
	if age := v.now().Sub(v.at); !v.at.IsZero() && age >= 0 && age < viewAge {
		defer v.mu.Unlock()
		return v.last
	}
	asking := v.asking
	if asking == nil {
		v.asking = make(chan struct{})
		v.mu.Unlock()
		return v.ask(ctx)
	}
	v.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, viewWait)
	defer cancel()
	select {
	case <-asking:
	case <-ctx.Done():
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.last
}

// ask asks for all who wait; so it goes on when its own caller has gone.
func (v *views) ask(ctx context.Context) (got *view) {
	defer func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.at, v.last = v.now(), got
		close(v.asking)
		v.asking = nil
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), viewWait)
	defer cancel()
	h, err := v.health.FleetHealth(ctx)
	if err != nil {
		v.log.LogAttrs(ctx, slog.LevelDebug, "accounts are shown without the leader's view", slog.Any("error", err))
		return nil
	}
	return newView(h, v.now())
}

// forget makes the next caller ask: something was decided that an earlier answer does not know.
func (v *views) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.at = time.Time{}
}
