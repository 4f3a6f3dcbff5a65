package ingress

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"fairway/dataplane/internal/sock"
	"fairway/pkg/fault"
)

// conn is a client's connection, served by one goroutine. It waits for requests as a sock.Taker: those that have come whole
// are answered right where they are taken, so that a connection costs one read for each; others are answered in between.
type conn struct {
	server  *Server
	sock    *sock.Conn
	tls     *tls.Conn // nil = plain
	stream  stream    // what to read and write: tls, or sock
	ip      netip.Addr
	limited string // the address whose connections are counted; "" = none is

	in      *buffer // what has come and was not used yet is in.b[r:w]; nil = nothing
	r, w    int
	bodyAt  int       // where in in.b the current head ends
	armed   time.Time // the read deadline
	partial bool      // a head has begun
	pending bool      // the request is to be handled outside of Take: its body is still coming, or it wants the connection
	over    bool      // nothing is served any more
	linger  bool      // see end

	request  Request
	response Response

	mu       sync.Mutex
	busy     bool // between the first byte of a request and the end of its response
	draining bool
	watch    watch

	closed atomic.Bool
}

type stream interface {
	io.Reader
	io.Writer
}

func newConn(s *Server, raw net.Conn, limited string) *conn {
	c := &conn{server: s, sock: sock.New(raw), limited: limited}
	c.stream = c.sock
	if tcp, ok := raw.RemoteAddr().(*net.TCPAddr); ok {
		c.ip = tcp.AddrPort().Addr().Unmap()
	}
	if s.options.TLS != nil {
		c.tls = tls.Server(c.sock, s.options.TLS)
		c.stream = c.tls
	}
	c.request.c, c.response.c = c, c
	c.request.head.reset()
	return c
}

// serve is the connection's life.
func (c *conn) serve() {
	defer c.end()
	o := &c.server.options
	c.sock.SetWriteTimeout(o.WriteTimeout)
	c.sock.Watch(o.Lookout, c)
	if c.tls != nil {
		c.begin()
		_ = c.sock.SetDeadline(time.Now().Add(o.HeaderTimeout))
		if err := c.tls.Handshake(); err != nil {
			c.server.meters.handshakes.Inc()
			c.server.log.Debug("TLS handshake failed", "error", err)
			return
		}
		_ = c.sock.SetWriteDeadline(time.Time{})
	}
	c.rest(false)
	for !c.over {
		if !c.pending {
			c.sock.Each(c.reader(), c)
			continue
		}
		c.pending = false
		c.handle()
		c.advance()
	}
}

// Room is where the next bytes go.
func (c *conn) Room() []byte {
	if c.in == nil {
		c.in, c.r, c.w = c.server.buffers.get(), 0, 0
	}
	b := c.in.b[:cap(c.in.b)]
	if c.w == len(b) && c.r > 0 {
		c.w = copy(b, b[c.r:c.w])
		c.r = 0
	}
	if c.w == len(b) {
		larger := &buffer{b: make([]byte, 0, 4*len(b))}
		copy(larger.b[:c.w], b)
		c.server.buffers.put(c.in)
		c.in = larger
		b = larger.b[:cap(larger.b)]
	}
	return b[c.w:]
}

// Take answers what has come whole. It returns false when something must be done outside: the connection is over, or the
// body of a request has not come yet.
func (c *conn) Take(n int, err error) bool {
	if err != nil {
		return c.broken(err)
	}
	if n == 0 {
		c.release()
		return true
	}
	c.w += n
	return c.advance()
}

// advance answers the requests that are buffered. It returns true when more bytes are needed, and false when the connection
// is over or the current request is to be handled by serve.
func (c *conn) advance() bool {
	for !c.over {
		if c.r == c.w {
			c.release()
			return true
		}
		c.begin()
		h := &c.request.head
		b := c.in.b[c.r:c.w]
		n, f := h.scan(b, c.server.options.MaxHeader)
		if f != nil {
			c.refuseBroken(f)
			return false
		}
		if n == 0 {
			if !c.partial {
				c.partial = true
				c.arm(time.Now().Add(c.server.options.HeaderTimeout))
			}
			return true
		}
		c.partial = false
		c.request.begin(b[:n:n])
		c.r += n
		c.bodyAt = c.r
		if h.chunked || h.upgrade || h.length > int64(c.w-c.r) {
			c.pending = true
			return false
		}
		c.handle()
	}
	return false
}

// begin notes that a request has begun.
func (c *conn) begin() {
	c.mu.Lock()
	c.busy = true
	c.mu.Unlock()
}

// handle answers the current request and makes the connection ready for the next one.
func (c *conn) handle() {
	r, w := &c.request, &c.response
	w.begin()
	c.call()
	w.finish()
	c.unwatch()
	switch {
	case !c.endsWell():
		// The handler did not want the body, or not all of it; what is left must not be read as a request.
		c.over, c.linger = true, true
	case !r.ended():
		c.r += int(r.left)
		r.left = 0
	}
	c.over = c.over || w.closes
	r.head.reset()
	r.raw = nil
	c.rest(c.r < c.w)
}

// rest notes that a request has ended, and whether the next one has begun. The deadline is set under the lock, because
// drain sets it, too.
func (c *conn) rest(busy bool) {
	if c.over {
		return
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = busy
	if c.draining && !busy {
		c.over = true
		return
	}
	c.armIdle(now)
}

// endsWell says whether the request's body was read, or has come and can be skipped: only then can another request follow.
func (c *conn) endsWell() bool {
	r := &c.request
	return r.ended() || !r.head.chunked && !r.began && r.left <= int64(c.w-c.r)
}

// release gives the buffer back while nothing is in it.
func (c *conn) release() {
	if c.r == c.w && !c.partial {
		c.server.buffers.put(c.in)
		c.in, c.r, c.w = nil, 0, 0
	}
}

// fill reads more into the buffer, in which nothing is left but the head that is in use.
func (c *conn) fill() error {
	const least = 64
	switch {
	case c.in == nil:
		c.in, c.r, c.w, c.bodyAt = c.server.buffers.get(), 0, 0, 0
	case cap(c.in.b)-c.w >= least:
	case cap(c.in.b)-c.bodyAt >= least:
		c.r, c.w = c.bodyAt, c.bodyAt // the rest of the buffer serves the body again and again
	default:
		// The head is all of it, and stays where it is until the handler returns.
		c.in, c.r, c.w, c.bodyAt = c.server.buffers.get(), 0, 0, 0
	}
	n, err := c.reader().Read(c.in.b[c.w:cap(c.in.b)])
	if n == 0 && err != nil {
		return err
	}
	c.w += n
	return nil
}

// awaitBody is called before the first byte of a body is read.
func (c *conn) awaitBody(expected bool) error {
	r := &c.request
	if !r.head.chunked && r.left <= int64(c.w-c.r) {
		return nil
	}
	c.arm(time.Now().Add(c.server.options.BodyTimeout))
	if expected && c.r == c.w {
		_, err := c.stream.Write([]byte("HTTP/1.1 100 Continue\r\n\r\n"))
		return err
	}
	return nil
}

// readBody reads what is buffered, or from the network right into p.
func (c *conn) readBody(p []byte) (int, error) {
	if c.r < c.w {
		n := copy(p, c.in.b[c.r:c.w])
		c.r += n
		return n, nil
	}
	return c.reader().Read(p)
}

// arm sets the read deadline.
func (c *conn) arm(t time.Time) {
	c.armed = t
	_ = c.sock.SetReadDeadline(t)
}

// armIdle moves the read deadline for the wait for the next request. A deadline costs a timer, so it stays where it is while
// it is between three quarters of the timeout and the timeout away.
func (c *conn) armIdle(now time.Time) {
	limit := c.server.options.IdleTimeout
	if left := c.armed.Sub(now); left < limit-limit/4 || left > limit {
		c.arm(now.Add(limit))
	}
}

// broken is the end of the wait for a request: the client is gone, or took too long.
func (c *conn) broken(err error) bool {
	timeout := errors.Is(err, os.ErrDeadlineExceeded)
	c.mu.Lock()
	draining := c.draining
	c.mu.Unlock()
	if timeout && draining && !c.partial && c.sock.Pending() {
		// A request came in the moment when the connection was to be closed: it is served, as the last one.
		c.arm(time.Now().Add(c.server.options.HeaderTimeout))
		if n, err := c.reader().Read(c.Room()); err == nil && n > 0 {
			c.w += n
			return c.advance()
		}
	}
	if timeout && c.partial {
		c.refuseBroken(fault.New(fault.Deadline, "the request took too long to arrive").WithStatus(408))
	}
	c.over = true
	return false
}

// refuseBroken answers what is no request, and ends the connection.
func (c *conn) refuseBroken(f *fault.Error) {
	c.server.meters.malformed.Inc()
	c.request.head.reset()
	c.request.raw = nil
	w := &c.response
	w.begin()
	w.closes = true
	Refuse(w, f)
	w.finish()
	c.over, c.linger = true, true
}

// drain ends a connection that waits for a request, and lets the request under way be the last one.
func (c *conn) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.draining = true
	if !c.busy {
		_ = c.sock.SetReadDeadline(time.Unix(1, 0))
	}
}

// cut ends the connection and the request on it.
func (c *conn) cut() {
	c.HungUp()
	c.closed.Store(true)
	_ = c.sock.Close()
}

// maxLinger is how much of what a refused client still sends is read and thrown away; what comes beyond it waits in the
// kernel's buffers.
const maxLinger = 1 << 20

// end closes the connection. After a refusal it first stops sending and gives the client a moment to stop, too: bytes that
// arrive at a closed socket reset the connection and could destroy the refusal on its way.
func (c *conn) end() {
	c.server.buffers.put(c.in)
	c.in = nil
	if c.tls != nil && !c.closed.Load() {
		_ = c.sock.SetWriteDeadline(time.Now().Add(time.Second))
		_ = c.tls.CloseWrite()
	}
	if c.response.cut && c.response.length == untilClose {
		c.sock.Reset() // the only way to tell such a client that this is not the end
	}
	if c.linger && !c.closed.Load() && c.sock.CloseWrite() == nil {
		until := time.Now().Add(c.server.options.Linger)
		_ = c.sock.SetReadDeadline(until)
		if n, _ := io.CopyN(io.Discard, c.sock, maxLinger); n == maxLinger {
			// Still sending: the client needs the time to see the refusal, not us the bytes.
			time.Sleep(time.Until(until))
		}
	}
	c.server.forget(c)
	_ = c.sock.Close()
}
