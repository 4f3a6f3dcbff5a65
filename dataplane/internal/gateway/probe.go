package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/dataplane/internal/provider"
	"fairway/dataplane/internal/snapshot"
	"fairway/dataplane/internal/upstream"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/operation"
)

// Probe tries an account at its upstream with the smallest request that it serves for a model, and says in one line what
// is wrong. It costs a few tokens, which are on nobody's books. Disabled accounts are tried as well; nothing is concluded
// for requests.
func (g *Gateway) Probe(ctx context.Context, p *syncv1.Probe) *syncv1.ProbeResult {
	began := g.now()
	r := g.probe(ctx, p)
	result := r.GetWhat()
	if r.GetOk() {
		result = "ok"
	}
	g.meters.probes.WithLabelValues(result).Inc()
	r.Took = durationpb.New(max(g.now().Sub(began), 0))
	return r
}

func (g *Gateway) probe(ctx context.Context, p *syncv1.Probe) *syncv1.ProbeResult {
	a, ok := g.snapshots.Current().Account(snapshot.AccountID(p.GetAccountId()))
	switch {
	case !ok || a.Channel == nil:
		return &syncv1.ProbeResult{What: "account", Detail: "the proxy does not know the account (yet)"}
	case a.Secret.Empty() && a.Exchanged:
		return &syncv1.ProbeResult{What: "credential", Detail: "the account's credential has not been exchanged yet"}
	}
	model := a.Channel.UpstreamModel(p.GetModel())
	op, body := smallest(a.Channel, p.GetModel(), model)
	if op == operation.Unknown {
		return &syncv1.ProbeResult{What: "model", Detail: "the provider serves no operation for the model that can be tried with a small request"}
	}
	r := g.probeWith(ctx, a, model, op, body)
	if r.GetOk() || r.GetStatus() != http.StatusBadRequest && r.GetStatus() != http.StatusNotFound {
		return r
	}
	// A model that does not talk may embed.
	if plan, ok := a.Channel.Adapter.Plan(operation.Embeddings, model); ok && plan == operation.Embeddings && op != plan {
		if again := g.probeWith(ctx, a, model, plan, embedding(model)); again.GetOk() {
			return again
		}
	}
	return r
}

// smallest is the smallest request that a channel serves for a model; Unknown if there is none.
func smallest(ch *snapshot.Channel, asked, model string) (operation.Operation, []byte) {
	if plan, ok := ch.Adapter.Plan(operation.Chat, model); ok {
		if asker := askerOf(plan); asker != nil {
			body, f := asker.AppendRequest(nil, &neutral.Request{
				Model: asked, MaxTokens: "16",
				Turns: []neutral.Turn{{Role: neutral.User, Parts: []neutral.Part{{Kind: neutral.Text, Text: "ping"}}}},
			}, model)
			if f == nil {
				return plan, body
			}
		}
	}
	if plan, ok := ch.Adapter.Plan(operation.Embeddings, model); ok && plan == operation.Embeddings {
		return plan, embedding(model)
	}
	return operation.Unknown, nil
}

func embedding(model string) []byte {
	return append(dialect.AppendQuoted([]byte(`{"input":"ping","model":`), model), '}')
}

// probeWith sends one request and judges the answer.
func (g *Gateway) probeWith(ctx context.Context, a *snapshot.Account, model string, op operation.Operation, body []byte) *syncv1.ProbeResult {
	t := g.tryOut(ctx, a, model, op, body)
	return t.result()
}

// tryOut sends a request of our own with an account's credential.
func (g *Gateway) tryOut(ctx context.Context, a *snapshot.Account, model string, op operation.Operation, body []byte) tried {
	ch := a.Channel
	if rules := ch.Edits(op); !rules.Empty() {
		body = rules.Append(nil, body)
	}
	ask := provider.Request{Op: op, Model: model, Body: body, Now: g.now(), Project: a.Project}
	head := append([]byte(nil), op.Facts().Method...)
	head = ch.Adapter.AppendTarget(append(head, ' '), &ask)
	head = append(append(append(head, " HTTP/1.1\r\nHost: "...), ch.BaseURL.Host...), "\r\n"...)
	credential := credentialOf(a)
	head, secret := ch.Adapter.AppendHeaders(head, &ask, &credential)
	head = append(head, "Accept-Encoding: identity\r\n"...)
	if op.Facts().Method == http.MethodPost {
		head = append(head, "Content-Type: application/json\r\nContent-Length: "...)
		head = append(strconv.AppendInt(head, int64(len(body)), 10), "\r\n"...)
	}
	for _, h := range append(ch.Defaults[:len(ch.Defaults):len(ch.Defaults)], ch.Headers...) {
		head = appendHeader(head, h.Name, h.Value)
	}
	head = append(head, "\r\n"...)
	response, err := g.upstream.Do(ctx, nil, &upstream.Request{Target: targetOf(a, nil), Head: head, Body: body})
	if err != nil {
		return tried{err: err}
	}
	defer func() { _ = response.Close() }()
	t := tried{status: response.Status, waited: g.now().Sub(ask.Now)}
	read, err := io.ReadAll(io.LimitReader(response, int64(g.options.MaxErrorBody)))
	if err != nil && len(read) == 0 {
		return tried{err: err}
	}
	maskSecret(read, head[secret.Start:secret.End])
	answers := answersOf(op)
	if t.status >= 200 && t.status < 300 {
		if t.said, t.refused = answers.ErrorBody(read); !t.refused {
			return t
		}
	} else {
		t.said, t.refused = answers.Error(t.status, read), true
	}
	t.status = t.said.Status
	t.asked = answers.RetryAfter(func(lower string) string { return string(response.Get(lower)) }, read, g.now())
	return t
}

// tried is what came of a request of our own.
type tried struct {
	err     error // nothing of use came
	status  int
	refused bool
	said    dialect.UpstreamError // when it was refused
	asked   time.Duration         // how long the provider wants to be left alone; 0 = it did not say
	waited  time.Duration         // for the head of the answer
}

// result is what it says to people.
func (t *tried) result() *syncv1.ProbeResult {
	switch {
	case t.err != nil:
		return unreached(t.err)
	case t.refused:
		return &syncv1.ProbeResult{What: whatIsWrong(&t.said), Status: int32(t.status), Detail: oneLine(&t.said)}
	}
	return &syncv1.ProbeResult{Ok: true, Status: int32(t.status)}
}

// unreached is a probe that got no answer.
func unreached(err error) *syncv1.ProbeResult {
	what := "url"
	var u *upstream.Error
	if errors.As(err, &u) {
		switch {
		case u.Timeout || u.Aborted:
			what = "timeout"
		case u.Phase >= upstream.PhaseFirstByte:
			what = "upstream"
		}
	}
	return &syncv1.ProbeResult{What: what, Detail: clip(err.Error(), 500)}
}

// whatIsWrong puts an upstream's error into one word.
func whatIsWrong(e *dialect.UpstreamError) string {
	switch v := dialect.Classify(e); v.Reason {
	case "credential", "forbidden":
		return "credential"
	case "quota", "organization_limit", "project_limit":
		return "quota"
	case "rate_limit":
		return "rate_limit"
	case "model_not_found":
		return "model"
	case "not_found":
		return "url"
	case "client":
		return "request"
	}
	return "upstream"
}

// oneLine is what an upstream says, for people.
func oneLine(e *dialect.UpstreamError) string {
	text := e.Message
	if text == "" {
		text = "status " + strconv.Itoa(e.Status)
	}
	line := make([]rune, 0, 300)
	for _, c := range text {
		if c < ' ' {
			c = ' '
		}
		if line = append(line, c); len(line) == 300 {
			break
		}
	}
	return string(line)
}

// credentialOf is what makes requests an account's.
func credentialOf(a *snapshot.Account) provider.Credential {
	return provider.Credential{
		Secret: a.Secret.Reveal(), KeyID: a.KeyID, Session: a.Session.Reveal(), Organization: a.Organization,
	}
}
