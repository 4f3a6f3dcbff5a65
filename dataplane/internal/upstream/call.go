package upstream

import (
	"sync"

	"fairway/dataplane/internal/sock"
)

// Call is a handle by which another goroutine can end a request: declare one, pass it to Do, Abort it at any time. The
// zero value is ready. It serves one request at a time and may be used again after Reset.
type Call struct {
	mu      sync.Mutex
	aborted bool
	conn    *sock.Conn    // what Abort closes: the connection that carries the request
	cancel  func()        // what Abort calls: ends a dial or a handshake
	wake    chan struct{} // what Abort closes: ends the wait for a free connection; made on demand
}

// Abort ends the request at once, in whatever phase it is: before Do, waiting for a connection, dialling, writing,
// waiting for the response, between reads of its body. Do or Read then return an Error with Aborted set. It does not
// block, is idempotent, and does nothing to a response that was read to its end or closed.
func (c *Call) Abort() {
	c.mu.Lock()
	if c.aborted {
		c.mu.Unlock()
		return
	}
	c.aborted = true
	conn, cancel, wake := c.conn, c.cancel, c.wake
	c.conn, c.cancel = nil, nil
	c.mu.Unlock()
	if wake != nil {
		close(wake)
	}
	if cancel != nil {
		cancel()
	}
	if conn != nil {
		conn.Reset() // which reaches the upstream even if it has stopped reading
	}
}

// Aborted says whether Abort was called since the last Reset.
func (c *Call) Aborted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.aborted
}

// Reset makes the Call ready for another request. The last one must have ended, and nobody who might still Abort it may
// hold on to the Call.
func (c *Call) Reset() {
	c.mu.Lock()
	c.aborted, c.conn, c.cancel, c.wake = false, nil, nil, nil
	c.mu.Unlock()
}

// attach names the connection to close; false means that the call was aborted already.
func (c *Call) attach(conn *sock.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.aborted {
		return false
	}
	c.conn = conn
	return true
}

// detach is the end of attach; false means that the connection was or is being closed.
func (c *Call) detach() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = nil
	return !c.aborted
}

// watch names what ends a dial; false means that the call was aborted already. nil ends it.
func (c *Call) watch(cancel func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.aborted {
		return false
	}
	c.cancel = cancel
	return true
}

// done returns a channel that Abort closes.
func (c *Call) done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wake == nil {
		c.wake = make(chan struct{})
		if c.aborted {
			close(c.wake)
		}
	}
	return c.wake
}
