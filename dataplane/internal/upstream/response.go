package upstream

import (
	"errors"
	"io"
	"time"

	"fairway/pkg/h1"
)

// Response is a response whose body is still to be read. One goroutine uses it. It must be closed, and not be used after
// that, nor what Get and Fields returned.
type Response struct {
	header        // without the framing's meaning: Read delivers the body decoded
	Status        int
	ContentLength int64 // of the body; -1 = known only at its end
	Reused        bool  // the connection was open before: it had served, or was opened ahead of need

	pool    *Pool
	call    *Call
	own     Call
	c       *conn // nil once the body has ended or failed
	body    body
	sitting sitting
	content *content // nil = the content is not encoded
	up      *upload  // nil = written before the head came
	stop    func() bool
	keep    bool  // the connection may serve again if the body ends well
	err     error // what every further read of the body, still encoded, returns
}

// start makes r the response that h describes, whose head is the first size buffered bytes.
func (r *Response) start(c *conn, h *head, size int, req *Request, up *upload, sent bool) {
	s := r.pool.slabs
	r.header.keep(s, c.buffered()[:size], h.fields)
	c.r += size
	if c.r == c.w {
		c.unbuffer(s)
	}
	r.Status, r.Reused, r.ContentLength = h.status, c.kept, -1
	r.c, r.up = c, up
	r.keep = sent && h.persistent()
	c.served++
	c.keepFor = h.keepFor
	c.expect(or(req.Target.Idle, defaultIdle))
	r.body = body{}
	if h.status == 101 { // a Tunnel
		r.keep = false
		return
	}
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
	if h.coding != unwrapped {
		r.decode(h.coding)
	}
	if r.body.ended {
		_ = r.finish()
	}
}

// Read reads the body with its transfer coding and its content coding taken out. It returns as soon as something has come,
// reads from the network right into p (so p should hold a few KiB), and returns io.EOF with the last bytes or after them.
// Other errors are *Error; a body that ends before its framing says so is one.
func (r *Response) Read(p []byte) (int, error) {
	if r.content != nil {
		return r.content.Read(p)
	}
	return r.read(p)
}

// read reads the body with its transfer coding taken out.
func (r *Response) read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := r.c.read(r.pool.slabs, p)
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
		if err != nil {
			return 0, r.cut(err)
		}
	}
}

// cut ends a body when its connection can no longer be read: well, if that is how it ends, or badly.
func (r *Response) cut(err error) error {
	if errors.Is(err, io.EOF) {
		if r.body.framing == framedByClose {
			return r.finish()
		}
		err = io.ErrUnexpectedEOF
	}
	return r.fail(err)
}

// finish notes that the body was read to its end, and gives the connection back unless the request is still being sent, or
// the content is still to be judged.
// That the upload's goroutine is behind the response it caused is usual; Close gives it the time to say so.
func (r *Response) finish() error {
	r.err = io.EOF
	r.keep = r.keep && !r.body.excess && len(r.c.buffered()) == 0
	if r.content == nil && r.up.complete(0) {
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
		whole := errors.Is(r.err, io.EOF) && (r.content == nil || errors.Is(r.content.err, io.EOF))
		r.keep = r.keep && whole && r.up.complete(uploadGrace)
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
	clean := r.stop == nil || r.stop() // else the context's end may still be aborting r
	p := r.pool
	if r.content != nil {
		r.content.close(p)
	}
	r.forget(p.slabs)
	r.own.Reset()
	r.pool, r.call, r.c, r.content, r.up, r.stop, r.err = nil, nil, nil, nil, nil, nil, nil
	r.keep, r.body, r.sitting = false, body{}, sitting{}
	if clean {
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
	chunks  h1.Chunks
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
		n, used, err := b.chunks.Decode(p)
		b.ended = b.chunks.Ended()
		b.excess = used < len(p)
		return n, err
	default:
		return len(p), nil
	}
}
