package gateway

import (
	"errors"
	"io"
	"mime"
	"strings"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/anthropic"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/dataplane/internal/snapshot"
	"fairway/dataplane/internal/upstream"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/operation"
	"fairway/pkg/sse"
)

// maxWhole is how much of a plain response is held before its head goes to the client: nearly all fit, and until then
// everything can still be tried again elsewhere.
const maxWhole = 64 << 10

// maxOpening is how much of a stream is held to see its first event.
const maxOpening = 64 << 10

// maxConverted is how much of a plain response is held to be said in another dialect.
const maxConverted = 64 << 20

var errTooLarge = errors.New("the response is too large to be converted")

// try makes one attempt with the picked candidate. When it returns nil, x.response is an answer that is worth sending,
// and x.first holds what was read of it.
func (x *exchange) try() *failure {
	if x.op == operation.Realtime {
		return x.tryUpgrade()
	}
	if f := x.send(); f != nil {
		return f
	}
	response, err := x.await()
	x.now = x.g.now()
	if err != nil {
		return x.brokenBy(err)
	}
	x.response = response
	x.waited = x.now.Sub(x.began)
	x.hears()
	if f := x.refusedBy(response); f != nil {
		return f
	}
	x.sse = x.upStream && isEventStream(response.Get("content-type"))
	if x.unframe = nil; x.upStream {
		x.unframe = x.candidate.Account.Channel.Adapter.Unframe(x.plan)
		x.sse = x.sse || x.unframe != nil
	}
	x.g.slabs.put(x.first)
	x.first = x.g.slabs.get(pieceSize)
	x.left, x.large = false, false
	if x.sse {
		err = x.readOpening()
	} else {
		err = x.readWhole()
	}
	if err != nil {
		return x.brokenBy(err)
	}
	x.ttft = x.now.Sub(x.start)
	if f := x.errorInside(); f != nil {
		return f
	}
	if f := x.understand(); f != nil {
		return f
	}
	x.praise()
	return nil
}

// planFor decides how the candidate's upstream is asked.
func (x *exchange) planFor(ch *snapshot.Channel) {
	x.plan, _ = ch.Adapter.Plan(x.op, ch.UpstreamModel(x.model))
	facts := x.op.Facts()
	x.upStream = x.peek.Stream
	if facts.Talk {
		switch resourcev1.StreamFormat(ch.StreamFormat) {
		case resourcev1.StreamFormat_STREAM_FORMAT_ALWAYS:
			x.upStream = true
		case resourcev1.StreamFormat_STREAM_FORMAT_NEVER:
			x.upStream = false
		default:
		}
		x.plan = x.plan.Streaming(x.upStream)
	}
	x.converted = x.plan != x.op || x.upStream != x.peek.Stream
	x.retold = x.converted || x.foreign()
	x.heard = answersOf(x.plan)
}

// foreign says whether the request carries what another dialect's provider signed, so that its own cannot be shown it as it
// is.
func (x *exchange) foreign() bool {
	switch x.op {
	case operation.Messages, operation.Responses, operation.Generate, operation.StreamGenerate:
		return neutral.HasWrapped(x.body.bytes())
	}
	return false
}

// send prepares the upstream request for the candidate. A failure is one that cannot be put to it.
func (x *exchange) send() *failure {
	a := x.candidate.Account
	x.planFor(a.Channel)
	body, f := x.wireBody(a.Channel)
	if f != nil {
		// What this upstream cannot be asked, another one perhaps can.
		return &failure{refusal: f, verdict: dialect.Verdict{Reason: "not_convertible", Retry: true, Pass: true}}
	}
	x.buildHead(a, body)
	x.request = upstream.Request{Target: targetOf(a, x.group), Head: x.head, Body: body}
	if x.permit != "" {
		// What comes of it later is void.
		x.request.Target.FirstByte = tighter(x.request.Target.FirstByte, x.g.health.PermitLeft(x.permit, x.now))
	}
	x.depart(a)
	return nil
}

// brokenBy is an attempt that ended without a whole answer.
func (x *exchange) brokenBy(err error) *failure {
	switch {
	case x.gone.Load():
		return &failure{gone: true}
	case x.total.passed():
		return x.overdue(err)
	case x.limit.passed():
		return &failure{verdict: dialect.Transport(true), timeout: true, cause: err}
	}
	var e *upstream.Error
	if !errors.As(err, &e) {
		return &failure{verdict: dialect.Transport(false), cause: err}
	}
	return &failure{verdict: dialect.Transport(e.Timeout), timeout: e.Timeout, cause: err}
}

// refusedBy is an answer whose status is no success, or that cannot be passed on.
func (x *exchange) refusedBy(r *upstream.Response) *failure {
	if coding := r.Get("content-encoding"); len(coding) > 0 && !strings.EqualFold(string(coding), "identity") {
		return &failure{
			verdict: dialect.Classify(&dialect.UpstreamError{}), status: 502,
			cause: errors.New("the upstream encodes its content though it was asked not to"),
		}
	}
	if r.Status >= 200 && r.Status < 300 {
		return nil
	}
	body, err := x.readError(r)
	if err != nil && x.gone.Load() {
		return &failure{gone: true}
	}
	e := x.heard.Error(r.Status, body)
	return x.refusal(&e, body)
}

// readError reads an error's body, as much as is worth reading. One that breaks off still has its status.
func (x *exchange) readError(r *upstream.Response) ([]byte, error) {
	var body []byte
	buf := make([]byte, 4<<10)
	for len(body) < x.g.options.MaxErrorBody {
		n, err := r.Read(buf)
		body = append(body, buf[:n]...)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return body, err
		}
	}
	x.mask(body)
	return body, nil
}

// refusal is an error that the upstream put into words. body is masked.
func (x *exchange) refusal(e *dialect.UpstreamError, body []byte) *failure {
	header := func(lower string) string { return string(x.response.Get(lower)) }
	f := &failure{
		verdict: dialect.Classify(e),
		status:  e.Status,
		asked:   x.heard.RetryAfter(header, body, x.g.now()),
		detail:  clip(e.Code+" "+e.Message, 200),
		answer: &answered{
			body:        body,
			contentType: header("content-type"),
			requestID:   upstreamID(header),
		},
	}
	if x.converted || x.target.Dialect == operation.Anthropic && !anthropic.IsError(body) {
		f.answer.body = nil // another dialect's words, or those of the cloud that has the model
	}
	f.said = *e
	for name, value := range x.response.Fields {
		if isRateLimit(name) {
			f.answer.headers = append(f.answer.headers, [2]string{string(name), string(value)})
		}
	}
	return f
}

func upstreamID(header func(string) string) string {
	if id := header("x-request-id"); id != "" {
		return id
	}
	return header("request-id")
}

// readOpening reads a stream up to the end of its first event.
func (x *exchange) readOpening() error {
	var scan sse.Scanner
	scanned := 0
	for {
		if scanned > 0 {
			x.now = x.g.now()
		}
		err := x.readEvents(maxOpening)
		if scan.Feed(x.first.b[scanned:]) >= 0 {
			x.left = errors.Is(err, io.EOF)
			return nil
		}
		scanned = len(x.first.b)
		switch {
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF // not one event
		case err != nil:
			return err
		case scanned >= maxOpening:
			return nil // comments or one huge event: nothing that an error would look like
		}
	}
}

// readWhole reads a plain response to its end, or until it proves to be large. One that must be converted or changed is
// held whole, and sound goes to the client as it comes.
func (x *exchange) readWhole() error {
	most, whole := maxWhole, x.converted || x.batchInside()
	if whole {
		most = maxConverted
	}
	for {
		err := x.readMore(most)
		if len(x.first.b) > pieceSize {
			x.now = x.g.now()
		}
		switch {
		case errors.Is(err, io.EOF):
			x.left = true
			return nil
		case err != nil:
			return err
		case whole && len(x.first.b) >= most:
			return errTooLarge
		case len(x.first.b) >= most || x.op == operation.Speech && len(x.first.b) > 0:
			x.large = true
			return nil
		}
	}
}

// readEvents reads once, into x.first, which grows up to most bytes; what the provider frames in its own way is taken out
// of its frames.
func (x *exchange) readEvents(most int) error {
	if x.unframe == nil {
		return x.readMore(most)
	}
	buf := x.g.slabs.get(pieceSize)
	defer x.g.slabs.put(buf)
	n, err := x.response.Read(buf.b[:cap(buf.b)])
	framed, broken := x.unframe.Feed(x.first.b, buf.b[:n])
	x.first.b = framed
	if broken != nil {
		return broken
	}
	return err
}

// readMore reads once, into x.first, which grows up to most bytes.
func (x *exchange) readMore(most int) error {
	if len(x.first.b) == cap(x.first.b) {
		x.first = x.g.slabs.grow(x.first, most)
	}
	b := x.first.b
	n, err := x.response.Read(b[len(b):cap(b)])
	x.first.b = b[:len(b)+n]
	return err
}

// errorInside is an error that comes with status 200: as the first event of a stream, or as a body.
func (x *exchange) errorInside() *failure {
	if x.large {
		return nil
	}
	x.mask(x.first.b)
	var e dialect.UpstreamError
	var found bool
	if x.sse {
		e, found = x.heard.ErrorEvent(x.first.b)
	} else {
		e, found = x.heard.ErrorBody(x.first.b)
	}
	if !found {
		return nil
	}
	body := append([]byte(nil), x.first.b...)
	if x.sse {
		body = append([]byte(nil), sse.Data(x.first.b)...)
	}
	f := x.refusal(&e, body)
	f.answer.contentType = "application/json"
	return f
}

func isEventStream(contentType []byte) bool {
	const want = "text/event-stream"
	if string(contentType) == want {
		return true
	}
	media, _, err := mime.ParseMediaType(string(contentType))
	return err == nil && media == want
}

func clip(s string, most int) string { return s[:min(len(s), most)] }
