package gateway

import (
	"errors"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/dataplane/internal/dialect/openai"
	"fairway/pkg/fault"
	"fairway/pkg/operation"
	"fairway/pkg/sse"
)

// conversation is what the conversions of one request need.
type conversation struct {
	client    codec
	request   *neutral.Request // as the client asked
	answering neutral.Answering
	losses    neutral.Losses // of the attempt under way

	response *neutral.Response // a plain answer, read

	// Of a stream.
	reader neutral.EventReader
	writer neutral.EventWriter
	scan   sse.Scanner
	held   []byte // an unfinished event
	out    []byte // what the events of a piece became
	ended  bool   // End or Failed was emitted
	failed *dialect.UpstreamError
	study  study
}

// converse reads the client's request into the neutral form, once.
func (x *exchange) converse() (*conversation, *fault.Error) {
	if x.talk != nil {
		return x.talk, nil
	}
	c := codecOf(x.op)
	if c == nil {
		return nil, fault.New(fault.Invalid, "%s is not served by the provider of the model %q", x.op, x.model).WithCode("not_supported")
	}
	r, f := c.ReadRequest(x.body.b, x.model, x.peek.Stream)
	if f != nil {
		return nil, f
	}
	if x.remembers() {
		x.g.memory.restore(x.key.ID, r)
	}
	x.talk = &conversation{
		client: c, request: r,
		answering: neutral.Answering{
			Model: x.model, ID: x.requestID(), Created: x.start.Unix(), WantUsage: x.peek.UsageAsked, Request: r,
		},
	}
	return x.talk, nil
}

// remembers says whether the client's dialect lacks a place for some signature, so that the proxy keeps it. Gemini's has one
// for all of them.
func (x *exchange) remembers() bool { return x.op.Facts().Dialect != operation.Gemini }

// retell says the client's request in the words of the picked upstream, which knows the model under a name.
func (x *exchange) retell(model string) ([]byte, *fault.Error) {
	if counts(x.op) {
		return x.retellCount(model)
	}
	t, f := x.converse()
	if f != nil {
		return nil, f
	}
	asker := askerOf(x.plan)
	if x.plan == operation.Chat && x.candidate.Account.Channel.Reasoning {
		asker = openai.ReasoningCodec{}
	}
	if asker == nil {
		return nil, fault.New(fault.Invalid, "%s is not served by the provider of the model %q", x.op, x.model).WithCode("not_supported")
	}
	r := *t.request // the losses are of this upstream alone
	r.Stream = x.upStream
	b, f := asker.AppendRequest(nil, &r, model)
	if f != nil {
		return nil, f
	}
	if t.losses = r.Losses; t.losses != 0 && (x.key.Strict || x.group.Strict) {
		return nil, fault.New(fault.Invalid, "the provider of the model cannot be told all of the request; what would be lost: %s", t.losses).
			WithCode("conversion_lossy")
	}
	return b, nil
}

// understand reads a plain answer that must be converted. One that makes no sense is a failure like any other: somebody
// else may do better.
func (x *exchange) understand() *failure {
	if !x.converted || x.sse {
		return nil
	}
	if counts(x.op) {
		n, ok := x.readCount()
		if !ok {
			return &failure{verdict: dialect.Classify(&dialect.UpstreamError{}), status: 502, cause: errNoCount}
		}
		x.first.b = append(x.first.b[:0], x.appendCount(n)...)
		return nil
	}
	response, err := hearerOf(x.plan.Streaming(false)).ReadResponse(x.first.b)
	if err != nil {
		return &failure{verdict: dialect.Classify(&dialect.UpstreamError{}), status: 502, cause: err}
	}
	x.talk.response = response
	x.talk.losses |= response.Losses
	return nil
}

var errNoCount = errors.New("the upstream's answer has no count")

// lossHeaders tells the client what it lost.
func (x *exchange) lossHeaders() {
	if x.talk == nil || !x.retold {
		return
	}
	if x.converted {
		x.g.meters.converted(x.op, x.plan)
	}
	if x.talk.losses != 0 {
		x.out.Set("X-Fairway-Lossy", x.talk.losses.String())
		x.countLosses(x.talk.losses)
	}
}

func (x *exchange) countLosses(all neutral.Losses) {
	for l := range all.All {
		x.g.meters.losses.WithLabelValues(l.String()).Inc()
	}
}
