package gateway

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"

	"fairway/dataplane/internal/dialect/openai"
	"fairway/dataplane/internal/ingress"
	"fairway/pkg/fault"
)

// firstRoom is how much memory a body gets by its promise alone, in bytes.
const firstRoom = 256 << 10

// readBody reads the request's body: within the limit of one, and within the budget of all. Memory and budget grow with
// what has come in, so that a promise of many bytes costs nothing.
func (x *exchange) readBody() *fault.Error {
	if f := jsonOnly(x.in); f != nil {
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

// jsonOnly refuses bodies that are not JSON, or that are coded in a way that hides it. A body without a type is taken
// for JSON.
func jsonOnly(in *ingress.Request) *fault.Error {
	media, _, _ := bytes.Cut(in.Get("content-type"), []byte{';'})
	media = bytes.TrimSpace(media)
	if len(media) > 0 && !bytes.EqualFold(media, []byte("application/json")) {
		return fault.New(fault.Invalid, "the Content-Type must be application/json").
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
	p, f := openai.PeekBody(raw)
	if f != nil {
		return f
	}
	x.peek = p
	x.setModel(p.Model)
	return nil
}

// wiring says what the bytes in exchange.wire were made for.
type wiring struct {
	made  bool
	used  bool // by the last attempt
	model string
}

// wantsUsage says whether the upstream must be told to count what the client did not ask to see.
func (x *exchange) wantsUsage() bool {
	return x.peek.Stream && x.op.Streams() && !x.peek.UsageAsked
}

// wireBody returns what the upstream gets that knows the model under the name upstreamModel: the client's very bytes
// unless something must be spliced.
func (x *exchange) wireBody(upstreamModel string) []byte {
	if !x.wantsUsage() && upstreamModel == x.model {
		x.wired.used = false
		return x.body.b
	}
	if x.wired.made && x.wired.model == upstreamModel {
		x.wired.used = true
		return x.wire.b
	}
	const splices = 128 // room for what is put in
	x.g.slabs.put(x.wire)
	x.wire = x.g.slabs.get(len(x.body.b) + len(upstreamModel) + splices)
	x.wire.b = openai.Rewrite(x.wire.b, x.body.b, &x.peek, upstreamModel, x.wantsUsage())
	x.wired = wiring{made: true, used: true, model: upstreamModel}
	return x.wire.b
}
