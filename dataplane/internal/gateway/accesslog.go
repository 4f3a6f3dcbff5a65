package gateway

import (
	"bytes"
	"time"
	"unsafe"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/journal"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/sse"
)

// logged is what a request keeps on its way for those who write it down.
type logged struct {
	trace  journal.Trace   // the client's
	bodies *journal.Bodies // nil = not to be kept
	heard  bool            // the tap has the beginning of an answer of this request's
	id     [64]byte        // the upstream's, for the request
	idLen  int
}

// upstreamID keeps the upstream's id for the request: the memory that it is in does not last.
func (l *logged) upstreamID(id []byte) { l.idLen = copy(l.id[:], id) }

// keepTrace reads the client's trace, while the head is there. It goes upstream as it came; two are none.
func (x *exchange) keepTrace() {
	if !x.logged.trace.Valid() && (x.g.access.On() || x.g.otlp.On()) && x.in.Count("traceparent") == 1 {
		x.logged.trace = journal.ParseTrace(x.in.Get("traceparent"))
	}
}

// keepBodies keeps what the client said, and has what it is answered kept, where the operator wants that.
func (x *exchange) keepBodies() {
	b := x.g.access.Bodies()
	if b == nil {
		return
	}
	b.AddRequest(x.body.bytes())
	x.logged.bodies = b
	x.out.Keep(b)
}

// logAccess gives a request that has ended to the access log and to the OTLP exporter, if they want it.
func (x *exchange) logAccess(ended time.Time) {
	failed := x.failed || x.status >= 400 || x.gone.Load()
	wanted, exported := x.g.access.Wants(failed, x.rng.Uint64()), x.g.otlp.On()
	if !wanted {
		x.logged.bodies.Release()
		if !exported {
			return
		}
	}
	x.keepTrace()
	e := journal.Entry{
		Time:              x.start,
		RequestID:         x.requestID(),
		ClientRequestID:   x.clientRequestID(),
		UpstreamRequestID: x.upstreamRequestID(),
		RemoteIP:          x.in.RemoteIP(),
		Method:            x.op.Facts().Method,
		Operation:         x.op.String(),
		Model:             x.model,
		ResponseModel:     x.responseModel(),
		Stream:            x.peek.Stream,
		Status:            x.status,
		Attempts:          x.attempt,
		Retried:           x.attempt > 1,
		ClientGone:        x.gone.Load(),
		TTFT:              x.ttft,
		Duration:          ended.Sub(x.start),
		BytesIn:           x.size,
		BytesOut:          x.sent,
		Tokens:            x.usage.Tokens,
		Estimated:         x.usage.Estimated,
		CostNanoUSD:       x.cost,
		PriceVersion:      x.record.PriceVersion,
		Unpriced:          x.record.Unpriced,
		Error:             x.whatFailed(),
		Trace:             x.logged.trace,
	}
	if x.key != nil {
		e.KeyID, e.KeyName = string(x.key.ID), x.key.Name
		if t, ok := x.snap.Tenant(x.key.TenantID); ok {
			e.Tenant = t.Name
		}
	}
	if x.group != nil {
		e.Group = x.group.Name
	}
	if x.served != nil {
		e.Channel, e.Account, e.UpstreamModel = x.served.Channel.Name, x.served.Name, x.served.Channel.UpstreamModel(x.model)
	}
	var trail [journal.MaxTrail]journal.Attempt
	e.Trail = trail[:x.fillTrail(&trail)]
	if exported {
		x.g.otlp.Record(&e)
	}
	if wanted {
		e.Bodies = x.logged.bodies
		x.g.access.Record(&e)
	}
}

// fillTrail copies the attempts, the first ones and the last, and returns how many.
func (x *exchange) fillTrail(to *[journal.MaxTrail]journal.Attempt) int {
	n := min(len(x.trail), len(to))
	for i := range n {
		s := &x.trail[i]
		if i == len(to)-1 {
			s = &x.trail[len(x.trail)-1]
		}
		to[i] = journal.Attempt{
			Channel: s.channel, Account: s.account, Verdict: s.verdict, Status: s.status,
			After: s.began.Sub(x.start), Took: s.took,
		}
		if s.with != nil && s.with.Channel != nil {
			ch := s.with.Channel
			to[i].Provider, to[i].Host, to[i].Model = providerWord(ch.Provider), ch.BaseURL.Name, ch.UpstreamModel(x.model)
		}
	}
	return n
}

// upstreamRequestID is what the upstream that answered called the request, or the last one that refused it.
func (x *exchange) upstreamRequestID() string {
	switch n := x.logged.idLen; {
	case n > 0:
		return unsafe.String(&x.logged.id[0], n) // until end, which is as long as anybody looks
	case x.failed && x.last.answer != nil:
		return x.last.answer.requestID
	}
	return ""
}

// responseModel is what the upstream says that the model is, if it says so at the beginning; "" = it does not. It is a view.
func (x *exchange) responseModel() string {
	head := x.tap.Head()
	if !x.logged.heard || len(head) == 0 {
		return ""
	}
	if x.sse {
		first, _, _ := bytes.Cut(head, []byte("\n\n"))
		head = sse.Data(first)
	}
	text := unsafe.String(unsafe.SliceData(head), len(head))
	// Members of the answer itself: the model's own words, with whatever members they have, are further inside.
	for _, path := range [...]string{"model", "response.model", "message.model", "modelVersion"} {
		if r := gjson.Get(text, path); r.Type == gjson.String && len(r.Str) <= maxModelName {
			return r.Str
		}
	}
	return ""
}

// providerWord names a provider, in constant words.
func providerWord(p int32) string {
	switch resourcev1.Provider(p) {
	case resourcev1.Provider_PROVIDER_OPENAI:
		return "openai"
	case resourcev1.Provider_PROVIDER_ANTHROPIC:
		return "anthropic"
	case resourcev1.Provider_PROVIDER_GEMINI:
		return "gemini"
	case resourcev1.Provider_PROVIDER_AZURE_OPENAI:
		return "azure_openai"
	case resourcev1.Provider_PROVIDER_BEDROCK:
		return "bedrock"
	case resourcev1.Provider_PROVIDER_VERTEX:
		return "vertex"
	case resourcev1.Provider_PROVIDER_OPENAI_COMPATIBLE:
		return "openai_compatible"
	default:
		return "unknown"
	}
}

// whatFailed is a short reason, in our words.
func (x *exchange) whatFailed() string {
	switch {
	case x.gone.Load():
		return "client_gone"
	case x.noRoom.Cause != 0:
		return x.noRoom.String()
	case x.refused != nil && x.refused.Code != "":
		return x.refused.Code
	case x.refused != nil:
		return x.refused.Kind.String()
	case !x.failed:
		return ""
	case len(x.trail) > 0 && x.trail[len(x.trail)-1].verdict != "":
		return x.trail[len(x.trail)-1].verdict
	}
	return x.last.verdict.Reason
}
