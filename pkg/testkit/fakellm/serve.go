package fakellm

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answer is what a decoded request will get.
type answer struct {
	model  string
	stream bool
	usage  usage
	// whole renders the response of a plain request. withUsage false leaves usage out.
	whole func(s stamp, withUsage bool) []byte
	// events renders a stream's events, each with its "data: " and blank line, the last one not included.
	events func(s stamp, withUsage bool, yield func(event []byte) bool)
	// media is the content type of a plain response; "" = application/json.
	media string
	// cut is how the stream is framed; nil = server-sent events that [DONE] ends.
	cut *framing
}

// stamp is what makes two answers to the same request differ.
type stamp struct {
	sequence uint64
	created  int64
}

// exchange is one request on its way through.
type exchange struct {
	p         *Provider
	w         http.ResponseWriter
	r         *http.Request
	behaviour Behaviour
	request   Request
	// deployment is the model that the path names, whatever the body says; "" = the body names it.
	deployment string
	// form is how errors are written; nil = as OpenAI does.
	form errorForm
}

func (p *Provider) serveHTTP(w http.ResponseWriter, r *http.Request) {
	sequence := p.sequence.Add(1)
	v := voiceFor(r)
	w = &voiced{ResponseWriter: w, voice: v}
	w.Header().Set(v.requestIDHeader(), fmt.Sprintf("req_fake%d", sequence))
	if found := p.inspectHead(r); len(found) > 0 {
		for _, f := range found {
			p.violate("%s %s: %s", r.Method, safePath(r), f.message)
		}
		found[0].write(w, 0)
		return
	}
	if p.serveCloud(w, r, sequence) {
		return
	}
	credential, fault := v.credential(r)
	if fault != nil {
		p.refuse(w, r, fault)
		return
	}
	credential = p.grants.account(grantRefresh, credential, p.now())
	behaviour, known := p.take(credential)
	if !known {
		p.refuse(w, r, v.unknownCredential())
		return
	}
	x := &exchange{p: p, w: w, r: r, behaviour: behaviour, request: Request{
		Sequence: sequence, Path: r.URL.Path, Credential: credential,
	}}
	if serve := x.operation(r.URL.Path); serve != nil {
		serve()
		return
	}
	switch route := r.Method + " " + r.URL.Path; {
	case v == byAnthropic:
		x.serveAnthropic(route)
	case v == byGoogle:
		x.serveGemini()
	case v == byGoogleAsOpenAI:
		x.serveGeminiAsOpenAI(route)
	case route == "POST /v1/chat/completions":
		x.serve(decodeChat)
	case route == "POST /v1/completions":
		x.serve(decodeCompletion)
	case route == "POST /v1/embeddings":
		x.serve(decodeEmbedding)
	case route == "GET "+realtimePath:
		x.serveRealtime(r.Context())
	case route == "GET /v1/models":
		x.serveModels()
	case strings.HasPrefix(route, "GET /v1/models/"):
		x.serveModel(strings.TrimPrefix(r.URL.Path, "/v1/models/"))
	default:
		p.refuse(w, r, &apiError{
			status: http.StatusNotFound, kind: "invalid_request_error", code: "unknown_url",
			message: fmt.Sprintf("Unknown request URL: %s %s.", r.Method, r.URL.Path),
		})
	}
}

// refuse answers with the error and keeps it as a violation: it is not the client's fault that it came.
func (p *Provider) refuse(w http.ResponseWriter, r *http.Request, fault *apiError) {
	p.violate("%s %s: %s", r.Method, safePath(r), fault.message)
	fault.write(w, 0)
}

// write answers with an error in the API's own form.
func (x *exchange) write(fault *apiError, retryAfter time.Duration) {
	fault.form = x.form
	fault.write(x.w, retryAfter)
}

// refuse is write for what a gateway should not have let through.
func (x *exchange) refuse(fault *apiError) {
	fault.form = x.form
	x.p.refuse(x.w, x.r, fault)
}

// safePath is the request's path, unless a key is in it.
func safePath(r *http.Request) string {
	if strings.Contains(r.URL.Path, clientKeyMark) {
		return "(path with a client key)"
	}
	return r.URL.Path
}

// serve reads, checks and answers a POST of JSON.
func (x *exchange) serve(decode func(body []byte) (answer, *apiError)) {
	x.serveBody(inspectBody, decode)
}

// serveBody reads, checks and answers a POST.
func (x *exchange) serveBody(inspect func(body []byte) *apiError, decode func(body []byte) (answer, *apiError)) {
	if x.behaviour.Early {
		x.answerEarly()
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, x.p.maxBody))
	if err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			e := badRequest("request_too_large", "", "the body has more than %d bytes", tooLarge.Limit)
			e.status = http.StatusRequestEntityTooLarge
			x.write(e, 0)
			return
		}
		x.p.noteCanceled(x.request)
		abort(x.w, FIN)
		return
	}
	x.request.BodyBytes = len(body)
	if fault := inspect(body); fault != nil {
		x.refuse(fault)
		return
	}
	a, fault := decode(body)
	if fault != nil {
		// The client's own mistake.
		x.write(fault, 0)
		return
	}
	if !x.p.serves(a.model) {
		x.refuse(unknownModel(a.model))
		return
	}
	x.request.Model, x.request.Stream = a.model, a.stream
	x.p.books.start(x.request)
	x.answer(a)
}

// answerEarly answers while the body is still coming in, and does not read it.
func (x *exchange) answerEarly() {
	// Without this, the server reads the body before it writes.
	_ = http.NewResponseController(x.w).EnableFullDuplex()
	status := x.behaviour.StatusCode
	if status == 0 {
		status = http.StatusBadRequest
	}
	x.w.Header().Set("Connection", "close")
	x.write(faultOf(status, x.behaviour.ErrorCode), x.behaviour.RetryAfter)
}

// answer does what the behaviour says.
func (x *exchange) answer(a answer) {
	b := x.behaviour
	if !x.pause(b.Delay) {
		return
	}
	if b.Hold != nil && (b.HoldEvents == 0 || !a.stream) && !x.hold() {
		return
	}
	switch {
	case b.CloseBeforeBytes:
		abort(x.w, FIN)
		return
	case b.StatusCode != 0:
		x.write(faultOf(b.StatusCode, b.ErrorCode), b.RetryAfter)
		return
	case b.ErrorEvent && !a.stream:
		x.write(faultOf(http.StatusInternalServerError, b.ErrorCode), b.RetryAfter)
		return
	}
	connectionOf(x.r).stale.Store(uint32(b.Stale))
	voiceOf(x.w).decorate(x.w.Header(), x.p.now())
	s := stamp{sequence: x.request.Sequence, created: x.p.now().Unix()}
	if a.stream {
		x.stream(a, s)
		return
	}
	x.whole(a, s)
}

// whole writes a response in one piece.
func (x *exchange) whole(a answer, s stamp) {
	body := a.whole(s, !x.behaviour.NoUsage)
	h := x.w.Header()
	h.Set("Content-Type", cmp.Or(a.media, "application/json"))
	h.Set("Content-Length", strconv.Itoa(len(body)))
	control := http.NewResponseController(x.w)
	if x.behaviour.Death == RST || x.behaviour.Death == FIN {
		_, _ = x.w.Write(body[:len(body)/2])
		_ = control.Flush()
		abort(x.w, x.behaviour.Death)
		return
	}
	x.p.books.finish(x.request, a.usage)
	_, err := x.w.Write(body)
	if err == nil {
		err = control.Flush()
	}
	if err != nil {
		x.p.books.unfinish(x.request, a.usage)
		x.p.noteCanceled(x.request)
	}
}

// hold stops at the gate; false = the client left.
func (x *exchange) hold() bool {
	if x.behaviour.Hold.wait(x.request, x.r.Context().Done()) {
		return true
	}
	x.p.noteCanceled(x.request)
	return false
}

// pause waits; false = the client left.
func (x *exchange) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-x.r.Context().Done():
		x.p.noteCanceled(x.request)
		return false
	}
}

func unknownModel(model string) *apiError {
	return &apiError{
		status: http.StatusNotFound, kind: "invalid_request_error", code: "model_not_found", param: "model",
		message: fmt.Sprintf("The model `%s` does not exist or you do not have access to it.", model),
	}
}

// decodeInto decodes a body whose syntax was checked.
func decodeInto(body []byte, into any) *apiError {
	if err := json.Unmarshal(body, into); err != nil {
		if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
			return badRequest("invalid_type", wrong.Field, "Invalid type for '%s': got %s.", wrong.Field, wrong.Value)
		}
		return badRequest("invalid_value", "", "the body cannot be decoded")
	}
	return nil
}
