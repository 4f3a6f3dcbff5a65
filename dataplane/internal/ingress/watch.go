package ingress

import (
	"io"
	"time"
)

// HangUp is told, at most once per Watch, that the client is gone. It is called on a goroutine of its own and must not
// block.
type HangUp interface{ HungUp() }

// watch is who wants to know of a hang-up, and, where no Lookout notices one, the read that does.
type watch struct {
	hangUp HangUp

	state watchState
	timer *time.Timer
	stop  bool          // the read under way is being ended by unwatch
	done  chan struct{} // gets one value when a read that was started has ended

	back    [1]byte // what a watch has read: it belongs to the next request
	hasBack bool
}

type watchState uint8

const (
	unwatched watchState = iota
	armed                // the timer runs, or its goroutine is about to look here
	reading              // a goroutine reads, or has; done tells
)

// Watch tells h when the client hangs up, until the handler returns. It may be called once the request's body was read.
func (r *Request) Watch(h HangUp) {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watch.hangUp = h
	if c.sock.Watched() {
		if c.sock.HungUp() {
			h.HungUp()
		}
		return
	}
	w := &c.watch
	w.state = armed
	if w.timer == nil {
		w.done = make(chan struct{}, 1)
		w.timer = time.AfterFunc(c.server.options.WatchAfter, c.watchByReading)
		return
	}
	w.timer.Reset(c.server.options.WatchAfter)
}

// HungUp is called by the lookout.
func (c *conn) HungUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.watch.hangUp != nil {
		c.watch.hangUp.HungUp()
	}
}

// watchByReading is the timer's goroutine: a request has waited, so it is worth a read that ends when the client hangs up,
// as net/http has it. One that comes late, after an unwatch and another Watch, only starts early.
func (c *conn) watchByReading() {
	w := &c.watch
	c.mu.Lock()
	if w.state != armed {
		c.mu.Unlock()
		return
	}
	w.state = reading
	// The deadline was the request's; this read ends by unwatch or by the client.
	_ = c.sock.SetReadDeadline(time.Time{})
	c.mu.Unlock()

	n, err := 0, error(nil)
	if !w.hasBack {
		n, err = c.stream.Read(w.back[:])
	}

	c.mu.Lock()
	w.hasBack = w.hasBack || n == 1
	h := w.hangUp
	gone := err != nil && !w.stop
	c.mu.Unlock()
	if gone && h != nil {
		h.HungUp()
	}
	w.done <- struct{}{}
}

// unwatch ends a Watch. When it has returned, nobody is told any more.
func (c *conn) unwatch() {
	w := &c.watch
	c.mu.Lock()
	if w.state != reading {
		if w.state == armed {
			w.timer.Stop()
		}
		w.state, w.hangUp = unwatched, nil
		c.mu.Unlock()
		return
	}
	w.stop = true
	_ = c.sock.SetReadDeadline(time.Unix(1, 0))
	c.mu.Unlock()

	<-w.done

	c.mu.Lock()
	w.state, w.hangUp, w.stop = unwatched, nil, false
	c.armed = time.Time{}
	_ = c.sock.SetReadDeadline(c.armed)
	c.mu.Unlock()
}

// reader is where requests come from: what a watch has read comes first.
func (c *conn) reader() io.Reader {
	if c.sock.Watched() {
		return c.stream
	}
	return (*handedBack)(c)
}

// handedBack is a connection whose watch may have read the first byte of a request.
type handedBack conn

func (c *handedBack) Read(p []byte) (int, error) {
	if c.watch.hasBack && len(p) > 0 {
		c.watch.hasBack = false
		p[0] = c.watch.back[0]
		return 1, nil
	}
	return c.stream.Read(p)
}
