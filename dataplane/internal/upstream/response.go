package upstream

import (
	"errors"
	"io"
	"time"

	"github.com/valyala/fasthttp"
)

// maxPooledHead: the header of a larger response is left to the garbage collector, so that one such response does not
// make every later one hold as much.
const maxPooledHead = 16 << 10

// Response is a response whose body is still to be read. One goroutine uses it. It must be closed, and not be used after
// that.
type Response struct {
	Header        fasthttp.ResponseHeader // without the framing's meaning: Read delivers the body decoded
	Status        int
	ContentLength int64 // of the body; -1 = known only at its end
	Reused        bool  // the connection had served before

	pool *Pool
	call *Call
	own  Call
	c    *conn // nil once the body has ended or failed
	body body
	idle time.Duration
	up   *upload // nil = written before the head came
	stop func() bool
	keep bool  // the connection may serve again if the body ends well
	big  bool  // see maxPooledHead
	err  error // what every further Read returns
}

// start makes r the response that h describes.
func (r *Response) start(c *conn, h *head, req *Request, up *upload, sent bool) {
	r.Status, r.Reused, r.ContentLength = h.status, c.served > 0, -1
	r.c, r.up, r.idle = c, up, or(req.Target.Idle, defaultIdle)
	r.keep = sent && h.persistent()
	r.big = h.line > maxPooledHead
	c.served++
	c.keepFor = h.keepFor
	r.body = body{}
	switch {
	case h.status == 204 || h.status == 304 || isHead(req.Head):
		r.ContentLength = 0
		r.body.ended = true
		// An upstream that announces a body where none can be might send it.
		if h.chunked || (h.status == 204 && h.length > 0) {
			r.keep = r.keep && isHead(req.Head)
		}
	case h.chunked:
		r.body.framing = framedByChunks
	case h.hasLength:
		r.ContentLength = h.length
		r.body.framing, r.body.left = framedByLength, h.length
		r.body.ended = h.length == 0
	default:
		r.body.framing = framedByClose
		r.keep = false
	}
	if r.body.ended {
		_ = r.finish()
	}
}

// Read reads the body with its transfer coding taken out. It returns as soon as something has come, reads from the
// network right into p (so p should hold a few KiB), and returns io.EOF with the last bytes or after them. Other errors
// are *Error; a body that ends before its framing says so is one.
func (r *Response) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := r.c.read(r.pool.slabs, p, r.idle)
		if n > 0 {
			n, bad := r.body.decode(p[:n])
			switch {
			case bad != nil:
				return n, r.fail(bad)
			case r.body.ended:
				return n, r.finish()
			case n > 0:
				return n, nil
			}
		}
		if r.body.framing == framedByClose && errors.Is(err, io.EOF) {
			return 0, r.finish()
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, r.fail(err)
		}
	}
}

// finish notes that the body was read to its end, and gives the connection back unless the request is still being sent.
// That the upload's goroutine is behind the response it caused is usual; Close gives it the time to say so.
func (r *Response) finish() error {
	r.err = io.EOF
	r.keep = r.keep && !r.body.excess && len(r.c.buffered()) == 0
	if r.up == nil || r.up.complete(0) {
		r.giveBack()
	}
	return io.EOF
}

// giveBack lets the connection serve again, or closes it.
func (r *Response) giveBack() {
	if !r.keep {
		r.drop()
		return
	}
	c := r.c
	r.c, r.up = nil, nil
	c.unbuffer(r.pool.slabs)
	if !r.call.detach() {
		c.host.discard(c)
		return
	}
	c.idle = time.Now()
	c.host.release(c)
}

// drop closes the connection; it says whether the call was aborted.
func (r *Response) drop() (aborted bool) {
	c := r.c
	r.c = nil
	aborted = !r.call.detach()
	c.unbuffer(r.pool.slabs)
	c.host.discard(c)
	r.join()
	return aborted
}

// fail ends the body with an error.
func (r *Response) fail(err error) error {
	aborted := r.drop()
	e := &Error{Phase: PhaseBody, Reused: r.Reused, Timeout: isTimeout(err), Cause: err}
	if aborted {
		e.Aborted, e.Timeout, e.Cause = true, false, ErrAborted
	}
	r.pool.failed(e)
	r.err = e
	return e
}

// join waits until nothing of the request is in use.
func (r *Response) join() {
	if r.up != nil {
		<-r.up.done
		r.up = nil
	}
}

// Close ends the response. The connection serves again if the body was read to its end (Read has returned io.EOF) and
// everything about it was in order; else it is closed. Close returns nil always.
func (r *Response) Close() error {
	if r.c != nil {
		r.keep = r.keep && errors.Is(r.err, io.EOF) && r.up.complete(uploadGrace)
		r.giveBack()
	}
	r.recycle()
	return nil
}

// Abort ends the response at once, also while another goroutine waits in Read, which then fails with Aborted set. It
// must not be called after Close; Call.Abort may.
func (r *Response) Abort() { r.call.Abort() }

// recycle makes r ready for the next request.
func (r *Response) recycle() {
	clean := !r.big
	if r.stop != nil && !r.stop() {
		clean = false // the context's end may still be aborting r
	}
	p := r.pool
	r.own.Reset()
	r.pool, r.call, r.c, r.up, r.stop, r.err = nil, nil, nil, nil, nil, nil
	r.keep, r.big, r.body = false, false, body{}
	if clean {
		r.Header.Reset()
		p.responses.Put(r)
	}
}

type framing uint8

const (
	framedByLength framing = iota + 1
	framedByChunks
	framedByClose
)

// body finds the end of a body.
type body struct {
	framing framing
	ended   bool
	excess  bool  // more came than belongs to the body
	left    int64 // framedByLength
	chunks  chunks
}

// decode keeps what belongs to the body, at the front of p, and returns how much that is.
func (b *body) decode(p []byte) (int, error) {
	switch b.framing {
	case framedByLength:
		n := int(min(int64(len(p)), b.left))
		b.left -= int64(n)
		b.ended = b.left == 0
		b.excess = n < len(p)
		return n, nil
	case framedByChunks:
		n, used, err := b.chunks.decode(p)
		b.ended = b.chunks.state == chunkEnd
		b.excess = used < len(p)
		return n, err
	default:
		return len(p), nil
	}
}
