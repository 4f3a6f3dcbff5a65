package gateway

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/edit"
	"fairway/dataplane/internal/ingress"
	"fairway/dataplane/internal/provider"
	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/fault"
	"fairway/pkg/operation"
)

// firstRoom is how much memory a body gets by its promise alone, in bytes.
const firstRoom = 256 << 10

// readBody reads the request's body: within the limit of one, and within the budget of all. Memory and budget grow with
// what has come in, so that a promise of many bytes costs nothing.
func (x *exchange) readBody() *fault.Error {
	if f := typed(x.in, x.op.Facts().Body); f != nil {
		return f
	}
	promised := x.in.ContentLength()
	if promised > x.g.options.MaxBody {
		return x.tooLarge()
	}
	if promised == 0 {
		return nil // PeekBody will say what is missing
	}
	b := x.g.slabs.get(int(min(max(promised, 1), firstRoom)))
	x.body = b
	if f := x.hold(int64(cap(b.b))); f != nil {
		return f
	}
	for {
		if len(b.b) == cap(b.b) {
			if promised >= 0 && int64(len(b.b)) == promised {
				break
			}
			most := promised
			if promised < 0 {
				// One byte more than the limit tells that it was passed.
				most = min(4*int64(cap(b.b)), x.g.options.MaxBody+1)
			}
			b = x.g.slabs.grow(b, int(most))
			x.body = b
			if f := x.hold(int64(cap(b.b)) - x.taken.bytes); f != nil {
				return f
			}
		}
		n, err := x.in.Read(b.b[len(b.b):cap(b.b)])
		b.b = b.b[:len(b.b)+n]
		if int64(len(b.b)) > x.g.options.MaxBody {
			return x.tooLarge()
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return x.bodyBroke(err)
		}
	}
	if promised >= 0 && int64(len(b.b)) < promised {
		return x.bodyBroke(io.ErrUnexpectedEOF)
	}
	if x.size = int64(len(b.b)); x.size > pieceSize {
		x.now = x.g.now() // it may have taken a while
	}
	return nil
}

func (x *exchange) tooLarge() *fault.Error {
	return fault.New(fault.TooLarge, "the request body has more than %d bytes", x.g.options.MaxBody).
		WithCode("request_too_large")
}

// bodyBroke is a body that did not arrive, or not in the framing that it promised.
func (x *exchange) bodyBroke(err error) *fault.Error {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fault.New(fault.Deadline, "the request body took too long to arrive").
			WithStatus(http.StatusRequestTimeout).With(err)
	}
	var op *net.OpError
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) {
		// The client left during its upload.
		if !x.gone.Swap(true) {
			x.g.meters.hangUps.Inc()
		}
	}
	return fault.New(fault.Invalid, "the request body is incomplete or malformed").With(err)
}

// typed refuses bodies that are not of the operation's type, or that are coded in a way that hides it. A body without a
// type is taken for JSON.
func typed(in *ingress.Request, want operation.Body) *fault.Error {
	media, _, _ := bytes.Cut(in.Get("content-type"), []byte{';'})
	media = bytes.TrimSpace(media)
	expected := "application/json"
	if want == operation.Multipart {
		expected = "multipart/form-data"
	}
	if (len(media) > 0 || want == operation.Multipart) && !bytes.EqualFold(media, []byte(expected)) {
		return fault.New(fault.Invalid, "the Content-Type must be %s", expected).
			WithStatus(http.StatusUnsupportedMediaType).WithCode("unsupported_media_type")
	}
	if coding := in.Get("content-encoding"); len(coding) > 0 && !bytes.EqualFold(coding, []byte("identity")) {
		return fault.New(fault.Invalid, "a Content-Encoding of the request is not supported").
			WithStatus(http.StatusUnsupportedMediaType).WithCode("unsupported_content_encoding")
	}
	return nil
}

// peekBody finds out what the body asks for.
func (x *exchange) peekBody() *fault.Error {
	var raw []byte
	if x.body != nil {
		raw = x.body.b
	}
	p, f := peek(x.op, &x.target, raw, x.in.Get("content-type"))
	if f != nil {
		return f
	}
	x.peek = p
	x.setModel(p.Model)
	if x.op == operation.StreamGenerate && !eventsAsked(x.target.Query) {
		return fault.New(fault.Invalid, "streams are served as server-sent events: ask with ?alt=sse").WithParam("alt").WithCode("not_supported")
	}
	return nil
}

// wiring says what the bytes that go upstream were made for.
type wiring struct {
	made     bool
	used     bool // by the last attempt
	model    string
	plan     operation.Operation
	upStream bool
	channel  *snapshot.Channel // whose rules were applied; nil = none were
}

// wantsUsage says whether the upstream must be told to count what the client did not ask to see.
func (x *exchange) wantsUsage() bool {
	return x.peek.Stream && !x.peek.UsageAsked && (x.op == operation.Chat || x.op == operation.Completions)
}

// wireBody returns what the upstream of the candidate gets: the client's very bytes unless something must be spliced,
// changed by a rule, or said in another dialect.
func (x *exchange) wireBody(ch *snapshot.Channel) ([]byte, *fault.Error) {
	if x.body == nil {
		return nil, nil
	}
	want := wiring{made: true, used: true, model: ch.UpstreamModel(x.model), plan: x.plan, upStream: x.upStream}
	rules := ch.Edits(x.plan)
	betas := x.betas(ch)
	changes := x.op.Facts().Body == operation.JSON &&
		(!rules.Empty() || ch.SystemPrompt != "" || betas != nil || ch.SystemOnly && x.plan == operation.Chat)
	if changes {
		want.channel = ch
	}
	if x.peek.Form {
		if want.model != string(x.peek.Model) {
			x.body.b = dialect.SpliceForm(x.body.b, &x.peek, want.model)
			x.peek.Model = []byte(want.model)
		}
		return x.body.b, nil
	}
	if !x.retold && !changes && !x.splices(want.model) {
		x.wired.used = false
		return x.body.b, nil
	}
	if x.wired.used = true; x.wired == want {
		return x.wire.b, nil
	}
	x.g.slabs.put(x.wire)
	x.wire, x.wired = nil, wiring{}
	switch {
	case x.retold:
		b, f := x.retell(want.model)
		if f != nil {
			return nil, f
		}
		x.wire = loose(b)
	case x.splices(want.model):
		const room = 128 // for what is put in
		x.wire = x.g.slabs.get(len(x.body.b) + len(want.model) + room)
		x.wire.b = dialect.Rewrite(x.wire.b, x.body.b, &x.peek, want.model, x.wantsUsage())
	default:
		x.wire = loose(x.body.b)
	}
	if changes {
		b := x.wire.b
		if ch.SystemPrompt != "" {
			b = edit.AppendSystem(nil, b, x.plan, ch.SystemPrompt)
		}
		if ch.SystemOnly && x.plan == operation.Chat {
			b = provider.AppendSystemRoles(nil, b)
		}
		if betas != nil {
			b = edit.Put(b, ch.BetaPath, betas)
		}
		b = rules.Append(nil, b)
		x.g.slabs.put(x.wire)
		x.wire = loose(b)
	}
	x.wired = want
	return x.wire.b, nil
}

// betas are the features that a client of Anthropic's asks for in a header, as JSON, for an upstream that wants them in the
// body; nil = there are none, or they pass as they are.
func (x *exchange) betas(ch *snapshot.Channel) []byte {
	if ch.BetaPath == "" || x.converted || x.plan != operation.Messages {
		return nil
	}
	var list []byte
	for name, value := range x.in.Fields {
		if !isName(name, "anthropic-beta") {
			continue
		}
		for item := range bytes.SplitSeq(value, []byte{','}) {
			if item = bytes.TrimSpace(item); len(item) == 0 {
				continue
			}
			if list = append(list, ','); len(list) == 1 {
				list[0] = '['
			}
			list = dialect.AppendQuoted(list, string(item))
		}
	}
	if list == nil {
		return nil
	}
	return append(list, ']')
}

// splices says whether the client's own bytes need a splice for an upstream that knows the model under a name.
func (x *exchange) splices(model string) bool {
	return x.wantsUsage() || model != x.model && x.op.Facts().Model == operation.InBody
}

// loose is memory that nobody takes back.
func loose(b []byte) *slab { return &slab{b: b, class: len(slabSizes)} }
