package upstream

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"
)

const (
	maxInterim = 8                      // 1xx responses before the final one
	salvage    = 200 * time.Millisecond // how long a response may still come after a small request could not be sent
)

// Do sends the request and reads the response's head. call may be nil; it is what Response.Abort aborts then, and a
// request can only be aborted before Do returns through ctx. A ctx that can end costs allocations: on the hot path pass
// context.Background() and a Call. A Call must not be used again once a ctx that was passed with it has ended.
//
// Errors are *Error. A kept connection that dies before the first byte of the response is replaced once by a fresh one,
// unless the body is a stream.
func (p *Pool) Do(ctx context.Context, call *Call, req *Request) (*Response, error) {
	return p.doFor(ctx, call, req, false)
}

func (p *Pool) doFor(ctx context.Context, call *Call, req *Request, upgrade bool) (*Response, error) {
	r := p.responses.Get().(*Response)
	r.pool, r.call = p, call
	if call == nil {
		r.call = &r.own
	}
	if ctx.Done() != nil {
		r.stop = context.AfterFunc(ctx, r.call.Abort)
	}
	if err := p.do(r, req, upgrade); err != nil { //nolint:contextcheck // AfterFunc above ends dials too, through the Call.
		p.failed(err)
		if err.Aborted {
			if cause := context.Cause(ctx); cause != nil {
				err.Cause = fmt.Errorf("%w: %w", ErrAborted, cause)
			}
		}
		r.recycle()
		return nil, err
	}
	return r, nil
}

// failed counts an error.
func (p *Pool) failed(err *Error) {
	if err.Aborted {
		p.aborts.Add(1)
	} else {
		p.errors[err.Phase].Add(1)
	}
}

func (p *Pool) do(r *Response, req *Request, upgrade bool) *Error {
	if p.closed.Load() {
		return &Error{Phase: PhaseQueue, Cause: ErrClosed}
	}
	h := p.host(&req.Target)
	for again := false; ; again = true {
		c, err := h.acquire(p, r.call, &req.Target, again, time.Now())
		if err != nil {
			if errors.Is(err.Cause, ErrClosed) && !p.closed.Load() { // the reaper forgot it this moment
				h = p.hostAnew(req.Target.key(), &req.Target)
				continue
			}
			return err
		}
		stale, err := p.exchange(r, c, req, upgrade)
		if err == nil {
			return nil
		}
		if !stale || req.BodyStream != nil {
			return err
		}
		// The next one is fresh, and a fresh one is never stale.
		h.count(func(n *counts) { n.retries++ })
	}
}

// exchange uses a connection for one request. If it fails, the connection is closed and nothing of req is in use; stale
// says that the upstream had most likely closed the connection before the request.
func (p *Pool) exchange(r *Response, c *conn, req *Request, upgrade bool) (stale bool, _ *Error) {
	reused := c.kept
	if !r.call.attach(c.sock) {
		c.host.discard(c)
		return false, &Error{Phase: PhaseWrite, Aborted: true, Reused: reused, Cause: ErrAborted}
	}
	limit := or(req.Target.FirstByte, defaultFirstByte)
	c.expect(limit)
	c.sock.SetWriteTimeout(limit)
	var (
		got  bool
		size int
		h    = head{fields: r.fields[:0]}
	)
	up, err := c.send(p.slabs, req)
	unsent := err
	if unsent != nil && !reused && !isTimeout(unsent) {
		c.expect(salvage)
	}
	if unsent == nil || (!reused && !isTimeout(unsent)) {
		size, got, err = c.readHead(p.slabs, &h, up)
	}
	if err == nil && h.status == 101 && (!upgrade || !h.switches || !h.upgrade || up != nil) {
		err = malformed("upgrade to another protocol")
	}
	if err == nil {
		r.start(c, &h, size, req, up, unsent == nil)
		return false, nil
	}
	r.fields = h.fields[:0]
	return p.broken(r, c, up, got, unsent, err)
}

// broken ends an exchange that brought no response.
func (p *Pool) broken(r *Response, c *conn, up *upload, got bool, unsent, err error) (stale bool, _ *Error) {
	phase, reused := PhaseFirstByte, c.kept
	var upFailed error
	if up != nil {
		_, upFailed = up.result() // before the connection is closed, which makes every upload fail
	}
	aborted := !r.call.detach()
	c.unbuffer(p.slabs)
	c.host.discard(c)
	if up != nil {
		<-up.done
	}
	switch {
	case unsent != nil:
		phase, err = PhaseWrite, unsent
	case got:
		phase = PhaseHead
	case up != nil && up.err != nil:
		phase, err = PhaseWrite, cmp.Or(upFailed, err)
	}
	if aborted {
		return false, &Error{Phase: phase, Aborted: true, Reused: reused, Cause: ErrAborted}
	}
	timeout := isTimeout(err)
	return reused && !got && !timeout && isGone(err), &Error{Phase: phase, Timeout: timeout, Reused: reused, Cause: err}
}

// readHead reads up to the end of the final head, which is then at the front of what is buffered. got says whether
// anything at all has come.
func (c *conn) readHead(s *slabs, h *head, up *upload) (size int, got bool, err error) {
	for interim := 0; ; {
		if b := c.buffered(); len(b) > h.looked {
			got = true
			if size, err = h.scan(b); err != nil {
				return 0, got, err
			}
			if size > 0 && (h.status >= 200 || h.status == 101) {
				return size, got, nil
			}
			if size > 0 {
				if interim++; interim > maxInterim {
					return 0, got, malformed("too many interim responses")
				}
				c.r += size
				*h = head{fields: h.fields[:0]}
				continue
			}
		}
		if err = c.fill(s, up); err != nil {
			if got && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, got, err
		}
	}
}

// isGone says that the connection was closed by the other side.
func isGone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, errCut) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, syscall.ECONNABORTED)
}

func isHead(head []byte) bool { return bytes.HasPrefix(head, []byte("HEAD ")) }
