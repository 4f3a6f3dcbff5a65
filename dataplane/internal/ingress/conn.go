package ingress

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// HangUp is told, at most once per Watch, that the client is gone. It is called on a goroutine of its own and must not
// block.
type HangUp interface{ HungUp() }

// Watcher is what a handler finds in RequestCtx.Conn. Watch may be called once the request's body was read, and Unwatch
// must be called before the next request is: when the response is out, at the latest.
type Watcher interface {
	// Watch tells h when the client hangs up, from WatchAfter on.
	Watch(h HangUp)
	// Unwatch ends that. When it has returned, h is not called any more.
	Unwatch()
}

// conn is a client's connection. Reads and writes are those of one serving goroutine; a watch reads only while that one
// does not.
type conn struct {
	net.Conn
	server *Server
	ip     string

	linger  atomic.Bool
	closed  atomic.Bool
	started atomic.Bool // a byte was read

	line     lineCheck // of the serving goroutine
	deadline time.Time // of writes

	mu     sync.Mutex
	state  watchState
	hangUp HangUp
	timer  *time.Timer
	stop   bool          // the read under way is being ended by Unwatch
	done   chan struct{} // gets one value when a read that was started has ended

	back    [1]byte // what a watch has read: it belongs to the next request
	hasBack bool
}

type watchState uint8

const (
	unwatched watchState = iota
	armed                // the timer runs, or its goroutine is about to look here
	reading              // a goroutine reads, or has; done tells
)

// Read is for the serving goroutine.
func (c *conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.hasBack {
		c.hasBack = false
		p[0] = c.back[0]
		return 1, nil
	}
	n, err := c.Conn.Read(p)
	if n > 0 && !c.line.known {
		c.started.Store(true)
		c.line.feed(p[:n])
	}
	return n, err
}

// Write bounds each write by itself. The deadline is moved only when a quarter of it has passed: it costs a lock in the
// runtime.
func (c *conn) Write(p []byte) (int, error) {
	timeout := c.server.options.WriteTimeout
	if now := time.Now(); c.deadline.Sub(now) < timeout-timeout/4 {
		c.deadline = now.Add(timeout)
		if err := c.SetWriteDeadline(c.deadline); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(p)
}

// bareLF says whether the line of the connection's first request was seen to end with a bare LF.
func (c *conn) bareLF() bool { return c.line.bare }

// lineCheck looks at the end of the first line that a connection sends. fasthttp keeps the raw headers but not the raw
// request line, and where a later one begins in what was read only fasthttp knows.
type lineCheck struct {
	known bool
	cr    bool // the last byte was a CR
	bare  bool
}

func (l *lineCheck) feed(p []byte) {
	i := bytes.IndexByte(p, '\n')
	switch {
	case i < 0:
		l.cr = p[len(p)-1] == '\r'
		return
	case i == 0:
		l.bare = !l.cr
	default:
		l.bare = p[i-1] != '\r'
	}
	l.known = true
}

// Watch is described at Watcher.
func (c *conn) Watch(h HangUp) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != unwatched {
		return
	}
	c.state, c.hangUp = armed, h
	if c.timer == nil {
		c.done = make(chan struct{}, 1)
		c.timer = time.AfterFunc(c.server.options.WatchAfter, c.watch)
		return
	}
	c.timer.Reset(c.server.options.WatchAfter)
}

// watch is the timer's goroutine: a request has waited, so it is worth a read that ends when the client hangs up, as
// net/http has it. One that comes late, after an Unwatch and another Watch, only starts early.
func (c *conn) watch() {
	c.mu.Lock()
	if c.state != armed {
		c.mu.Unlock()
		return
	}
	c.state = reading
	// The deadline was the request's; this read ends by Unwatch or by the client.
	_ = c.SetReadDeadline(time.Time{})
	c.mu.Unlock()

	n, err := 0, error(nil)
	if !c.hasBack {
		n, err = c.Conn.Read(c.back[:])
	}

	c.mu.Lock()
	c.hasBack = c.hasBack || n == 1
	h := c.hangUp
	gone := err != nil && !c.stop
	c.mu.Unlock()
	if gone && h != nil {
		h.HungUp()
	}
	c.done <- struct{}{}
}

// Unwatch is described at Watcher.
func (c *conn) Unwatch() {
	c.mu.Lock()
	if c.state != reading {
		if c.state == armed {
			c.timer.Stop()
		}
		c.state, c.hangUp = unwatched, nil
		c.mu.Unlock()
		return
	}
	c.stop = true
	_ = c.SetReadDeadline(time.Unix(1, 0))
	c.mu.Unlock()

	<-c.done

	c.mu.Lock()
	c.state, c.hangUp, c.stop = unwatched, nil, false
	_ = c.SetReadDeadline(time.Time{})
	c.mu.Unlock()
}

// cut ends the connection and the request on it.
func (c *conn) cut() {
	c.mu.Lock()
	if c.hangUp != nil {
		c.hangUp.HungUp()
	}
	c.mu.Unlock()
	c.linger.Store(false)
	_ = c.Close()
}

// maxLinger is how much of what a refused client still sends is read and thrown away; what comes beyond it waits in the
// kernel's buffers.
const maxLinger = 1 << 20

// Close closes the connection. After a refusal it first stops sending and gives the client a moment to stop, too: bytes
// that arrive at a closed socket reset the connection and could destroy the refusal on its way.
func (c *conn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	c.server.forget(c)
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.linger.Load() && half.CloseWrite() == nil {
		until := time.Now().Add(c.server.options.Linger)
		_ = c.SetReadDeadline(until)
		if n, _ := io.CopyN(io.Discard, c.Conn, maxLinger); n == maxLinger {
			// Still sending: the client needs the time to see the refusal, not us the bytes.
			time.Sleep(time.Until(until))
		}
	}
	return c.Conn.Close()
}
