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
	r := p.responses.Get().(*Response)
	r.pool, r.call = p, call
	if call == nil {
		r.call = &r.own
	}
	if ctx.Done() != nil {
		r.stop = context.AfterFunc(ctx, r.call.Abort)
	}
	if err := p.do(r, req); err != nil { //nolint:contextcheck // AfterFunc above ends dials too, through the Call.
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

func (p *Pool) do(r *Response, req *Request) *Error {
	if p.closed.Load() {
		return &Error{Phase: PhaseQueue, Cause: ErrClosed}
	}
	h := p.host(&req.Target)
	for again := false; ; again = true {
		now := time.Now()
		c, err := h.acquire(p, r.call, &req.Target, again, now)
		if err != nil {
			if errors.Is(err.Cause, ErrClosed) && !p.closed.Load() { // the reaper forgot it this moment
				h = p.hostAnew(req.Target.key(), &req.Target)
				continue
			}
			return err
		}
		if c.served == 0 {
			now = time.Now() // dialling took a while
		}
		stale, err := p.exchange(r, c, req, now)
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
func (p *Pool) exchange(r *Response, c *conn, req *Request, now time.Time) (stale bool, _ *Error) {
	reused := c.served > 0
	if !r.call.attach(c.tcp) {
		c.host.discard(c)
		return false, &Error{Phase: PhaseWrite, Aborted: true, Reused: reused, Cause: ErrAborted}
	}
	var (
		up    *upload
		got   bool
		size  int
		h     head
		phase = PhaseWrite
		limit = or(req.Target.FirstByte, defaultFirstByte)
		err   = c.arm(now.Add(limit))
	)
	if err == nil {
		if req.BodyStream == nil && len(req.Body) <= inlineBody {
			err = c.write(p.slabs, req.Head, req.Body)
		} else {
			up = startUpload(c, p.slabs, req, limit)
		}
	}
	unsent := err
	if unsent == nil || (!reused && !isTimeout(unsent) && c.armRead(time.Now().Add(salvage)) == nil) {
		size, got, err = c.readHead(p.slabs, &h)
		phase = PhaseFirstByte
		if got {
			phase = PhaseHead
		}
	}
	if err == nil && h.status == 101 {
		err = malformed("upgrade to another protocol")
	}
	if err == nil {
		err = p.slabs.parse(&r.Header, c.buffered()[:size])
	}
	if up != nil {
		up.head()
		if err != nil && !got && !up.complete(0) {
			phase = PhaseWrite
			err = cmp.Or(up.failed(), err)
		}
	}
	if err != nil && unsent != nil {
		phase, err = PhaseWrite, unsent
	}
	if err != nil {
		aborted := !r.call.detach()
		c.unbuffer(p.slabs)
		c.host.discard(c)
		if up != nil {
			<-up.done
		}
		if aborted {
			return false, &Error{Phase: phase, Aborted: true, Reused: reused, Cause: ErrAborted}
		}
		timeout := isTimeout(err)
		return reused && !got && !timeout && isGone(err),
			&Error{Phase: phase, Timeout: timeout, Reused: reused, Cause: err}
	}
	c.r += size
	if c.r == c.w {
		c.unbuffer(p.slabs)
	}
	r.start(c, &h, req, up, unsent == nil)
	return false, nil
}

// readHead reads up to the end of the final head, which is then at the front of what is buffered. got says whether
// anything at all has come.
func (c *conn) readHead(s *slabs, h *head) (size int, got bool, err error) {
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
				*h = head{}
				continue
			}
		}
		if _, err = c.fill(s); err != nil {
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
