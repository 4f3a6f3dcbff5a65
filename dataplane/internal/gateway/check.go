package gateway

import (
	"context"
	"errors"
	"net/http"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/health"
	"fairway/dataplane/internal/provider"
	"fairway/dataplane/internal/snapshot"
	"fairway/dataplane/internal/upstream"
	"fairway/pkg/breaker"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/operation"
)

// Check finds out whether an account is well that no client's request tries: by its provider's list of models, which costs
// nothing, or by the smallest answer where the permit asks for that, or the provider has no list. It is on nobody's books.
func (g *Gateway) Check(ctx context.Context, p *syncv1.ProbePermit) health.Outcome {
	a, ok := g.snapshots.Current().Account(snapshot.AccountID(p.GetAccountId()))
	if !ok || a.Channel == nil || a.Secret.Empty() {
		return untried()
	}
	o := health.Outcome{Candidate: &snapshot.Candidate{Account: a, Cell: a.Cell, Scale: 1, Weight: a.Weight}, Model: p.GetModel()}
	began := g.now()
	t := g.check(ctx, a, p)
	if errors.Is(t.err, errNothingSmall) {
		return untried()
	}
	o.Now = g.now()
	o.Took, o.TTFT, o.Asked = o.Now.Sub(began), t.waited, t.asked
	o.Verdict = t.verdict()
	result := "ok"
	if o.Verdict != nil {
		result = o.Verdict.Reason
	}
	g.meters.checks.WithLabelValues(result).Inc()
	return o
}

// untried is where nothing can be said of an account from here.
func untried() health.Outcome {
	return health.Outcome{Gone: true, Verdict: &dialect.Verdict{Reason: "not_convertible", Retry: true, Healthy: true}}
}

func (g *Gateway) check(ctx context.Context, a *snapshot.Account, p *syncv1.ProbePermit) tried {
	lister, lists := a.Channel.Adapter.(provider.Lister)
	if lists && breaker.Check(p.GetCheck()) != breaker.CheckAnswer {
		t := g.tryOut(ctx, a, "", lister.Lists(), nil)
		if !t.refused || t.status != http.StatusNotFound && t.status != http.StatusMethodNotAllowed {
			return t
		}
		// Not every service that speaks OpenAI's dialect has that list.
	}
	model := a.Channel.UpstreamModel(p.GetModel())
	op, body := smallest(a.Channel, p.GetModel(), model)
	if op == operation.Unknown {
		return tried{err: errNothingSmall}
	}
	t := g.tryOut(ctx, a, model, op, body)
	if plan, ok := a.Channel.Adapter.Plan(operation.Embeddings, model); t.refused && ok && plan == operation.Embeddings && op != plan &&
		(t.status == http.StatusBadRequest || t.status == http.StatusNotFound) {
		return g.tryOut(ctx, a, model, plan, embedding(model)) // a model that does not talk
	}
	return t
}

var errNothingSmall = errors.New("the provider serves no operation for the model that can be tried with a small request")

// verdict says what it means for the account; nil = it is well.
func (t *tried) verdict() *dialect.Verdict {
	var v dialect.Verdict
	var e *upstream.Error
	switch {
	case errors.As(t.err, &e):
		v = dialect.Transport(e.Timeout || e.Aborted)
	case t.err != nil:
		v = dialect.Transport(false)
	case t.refused:
		v = dialect.Classify(&t.said)
	default:
		return nil
	}
	return &v
}
