package gateway

import (
	"fairway/dataplane/internal/health"
	"fairway/dataplane/internal/route"
	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/fault"
)

// findPool finds who can serve the model for the caller's group. What is not there gets the bounded catch-up, once; the
// answer after that is final.
func (x *exchange) findPool() *fault.Error {
	x.choosing = true
	if !x.key.AllowsModel(x.model) {
		return fault.New(fault.Denied, "the API key may not use the model %q", x.model).
			WithCode("model_not_allowed").WithParam("model")
	}
	pool := poolOf(x.snap, x.group, x.model, x.key)
	if pool == nil {
		x.awaitPool()
		if pool = poolOf(x.snap, x.group, x.model, x.key); pool == nil {
			return x.noPool()
		}
	}
	if x.pool = pool.Serving(x.op, x.canServe); x.pool == nil {
		if counts(x.op) {
			return nil // what nobody counts is estimated
		}
		return x.notServed()
	}
	if f := x.refuseUnpriced(); f != nil {
		return f
	}
	x.budget = route.BudgetOf(x.group, x.snap.Settings())
	return nil
}

// poolOf is all that may serve the model for the key; nil = nobody.
func poolOf(s *snapshot.Snapshot, g *snapshot.Group, model string, k *snapshot.Key) *snapshot.Pool {
	pool, ok := s.Pool(g, model)
	if !ok {
		return nil
	}
	return s.Bound(pool, k)
}

// canServe says whether a channel can be asked for the operation, be it by another one.
func (x *exchange) canServe(ch *snapshot.Channel) bool {
	plan, ok := ch.Adapter.Plan(x.op, ch.UpstreamModel(x.model))
	if !ok || plan == x.op {
		return ok
	}
	return codecOf(x.op) != nil && askerOf(plan) != nil || counts(x.op) && counts(plan)
}

// notServed is for a model that is there, at providers that do not have the operation.
func (x *exchange) notServed() *fault.Error {
	return fault.New(fault.Invalid, "%s is not served for the model %q by any of its providers", x.op, x.model).
		WithCode("operation_not_supported").WithParam("model")
}

func (x *exchange) awaitPool() {
	id, model, key := x.group.ID, x.model, x.key
	cause := "pool/" + string(id) + "/" + model
	if key.Accounts() != nil {
		cause = "bound/" + string(key.ID) + "/" + string(id) + "/" + model
	}
	x.catchUp(cause, func(s *snapshot.Snapshot) bool {
		g, ok := s.Group(id)
		return ok && poolOf(s, g, model, key) != nil
	})
	// The group, too, is the newer snapshot's.
	if g, ok := x.snap.Group(id); ok {
		x.group = g
	}
}

// noPool says why nobody serves the model: it is not served at all, or not now.
func (x *exchange) noPool() *fault.Error {
	if x.snap.Listed(x.group, x.model) {
		x.g.meters.unavailable.WithLabelValues("no_account_available").Inc()
		x.g.health.Count(health.Unavailable, 1)
		if _, ok := x.snap.Pool(x.group, x.model); ok {
			return fault.New(fault.Unavailable, "none of the accounts that the API key is bound to serves the model %q", x.model).
				WithCode("no_account_available").WithParam("model")
		}
		return fault.New(fault.Unavailable, "no account is enabled for the model %q", x.model).
			WithCode("no_account_available").WithParam("model")
	}
	return notFound(x.model)
}

func notFound(model string) *fault.Error {
	const most = 256
	return fault.New(fault.NotFound, "the model %q does not exist or you do not have access to it", model[:min(len(model), most)]).
		WithCode("model_not_found").WithParam("model")
}

// listModels answers with the models that the key may use.
func (x *exchange) listModels() *fault.Error {
	x.answerJSON(appendModels(nil, x.target.Dialect, x.snap.ModelsFor(x.group, x.key)))
	return nil
}

// describeModel answers with one model, if the key may use it and somebody serves it.
func (x *exchange) describeModel(model string) *fault.Error {
	if len(model) > maxModelName {
		return notFound(model)
	}
	x.setModel([]byte(model))
	if !x.key.AllowsModel(model) {
		return notFound(model)
	}
	if poolOf(x.snap, x.group, model, x.key) == nil {
		x.awaitPool()
		if poolOf(x.snap, x.group, model, x.key) == nil {
			return notFound(model)
		}
	}
	x.answerJSON(appendModel(nil, x.target.Dialect, model))
	return nil
}

// answerJSON answers with a body of our own.
func (x *exchange) answerJSON(body []byte) {
	x.status = 200
	x.out.Set("Content-Type", "application/json")
	_ = x.out.Send(body)
}
