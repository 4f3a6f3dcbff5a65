package upstream

import (
	"context"
	"crypto/tls"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// key is what two targets agree on that share connections.
type key struct {
	tls                                          bool
	addr, name                                   string
	proxyScheme, proxyAddr, proxyUser, proxyPass string
}

func (t *Target) key() key {
	k := key{tls: t.TLS, addr: t.Addr}
	if t.TLS {
		k.name = hostname(t.Host)
	}
	if t.Proxy != nil {
		k.proxyScheme, k.proxyAddr = t.Proxy.Scheme, t.Proxy.Host
		if u := t.Proxy.User; u != nil {
			k.proxyUser = u.Username()
			k.proxyPass, _ = u.Password()
		}
	}
	return k
}

// hostname takes the port and the brackets off.
func hostname(h string) string {
	if strings.HasPrefix(h, "[") {
		if i := strings.IndexByte(h, ']'); i > 0 {
			return h[1:i]
		}
	}
	if i := strings.IndexByte(h, ':'); i >= 0 && strings.IndexByte(h[i+1:], ':') < 0 {
		return h[:i]
	}
	return h
}

// host is one target's connections: those that idle, newest last, and how many there are in all.
type host struct {
	key    key
	limit  int
	keep   int
	maxAge time.Duration
	config *tls.Config // nil = plain
	proxy  *url.URL
	warmer *warmer

	mu      sync.Mutex
	idle    []*conn
	open    int       // idle, in use and being dialled
	waiters []*waiter // first come first
	gone    bool      // taken out of the pool
	unused  uint64    // connections that the upstream closed before they had served
	used    time.Time
	counts  counts
}

// counts only grow.
type counts struct {
	kept, dials, dialErrors, waits, waitTimeouts, stale, retries uint64
}

// waiter is a request that found every connection in use.
type waiter struct {
	grant chan *conn // nil = permission to dial
}

// acquire takes the idle connection that was used last, or dials, or waits for either. fresh refuses used ones.
func (h *host) acquire(p *Pool, call *Call, t *Target, fresh bool, now time.Time) (*conn, *Error) {
	for {
		h.mu.Lock()
		h.used = now
		if h.gone {
			h.mu.Unlock()
			return nil, &Error{Phase: PhaseQueue, Cause: ErrClosed}
		}
		if n := len(h.idle); n > 0 && !fresh {
			c := h.idle[n-1]
			h.idle[n-1] = nil
			h.idle = h.idle[:n-1]
			h.counts.kept++
			h.mu.Unlock()
			if h.usable(c, now) {
				return c, nil
			}
			h.discard(c)
			h.count(func(n *counts) { n.stale++ })
			continue
		}
		if h.open < h.limit {
			h.open++
			h.mu.Unlock()
			break
		}
		if n := len(h.idle); n > 0 { // a fresh one is wanted, and a used one makes room
			c := h.idle[0]
			copy(h.idle, h.idle[1:])
			h.idle[n-1] = nil
			h.idle = h.idle[:n-1]
			h.mu.Unlock()
			c.close()
			break
		}
		w := &waiter{grant: make(chan *conn, 1)}
		h.waiters = append(h.waiters, w)
		h.counts.waits++
		h.mu.Unlock()
		c, err := h.wait(call, w, or(t.Dial, defaultDial))
		if err != nil {
			return nil, err
		}
		if c == nil {
			break
		}
		if !fresh && h.usable(c, time.Now()) {
			return c, nil
		}
		c.close() // its place is ours
		break
	}
	c, err := p.dial(h, call, t)
	if err != nil {
		h.leave()
	}
	h.dialled(err)
	return c, err
}

func (h *host) wait(call *Call, w *waiter, limit time.Duration) (*conn, *Error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	err := &Error{Phase: PhaseQueue}
	select {
	case c := <-w.grant:
		return c, nil
	case <-timer.C:
		err.Timeout, err.Cause = true, context.DeadlineExceeded
	case <-call.done():
		err.Aborted, err.Cause = true, ErrAborted
	}
	h.mu.Lock()
	for i, other := range h.waiters {
		if other == w {
			h.waiters = append(h.waiters[:i], h.waiters[i+1:]...)
			break
		}
	}
	if err.Timeout {
		h.counts.waitTimeouts++
	}
	h.mu.Unlock()
	select {
	case c := <-w.grant: // it came meanwhile: pass it on
		if c != nil {
			h.release(c)
		} else {
			h.leave()
		}
	default:
	}
	return nil, err
}

// usable says whether an idle connection may serve again.
func (h *host) usable(c *conn, now time.Time) bool {
	return !c.expired(now, h.maxAge) && c.clean()
}

// expired says whether a connection has idled too long, for us or for the upstream.
func (c *conn) expired(now time.Time, maxAge time.Duration) bool {
	age := now.Sub(c.idle)
	return age >= maxAge || (c.keepFor > 0 && age >= c.keepFor-min(time.Second, c.keepFor/2))
}

// release takes back a connection that can serve again.
func (h *host) release(c *conn) {
	c.kept = true
	h.mu.Lock()
	if len(h.waiters) > 0 && !h.gone {
		w := h.waiters[0]
		h.waiters = h.waiters[1:]
		w.grant <- c // never blocks; under the lock, so that a waiter that gives up sees it
		h.mu.Unlock()
		return
	}
	if h.gone || len(h.idle) >= h.keep || c.sock.HungUp() { // from here on hungUp finds it
		if c.served == 0 {
			h.unused++
		}
		h.mu.Unlock()
		h.discard(c)
		return
	}
	h.idle = append(h.idle, c)
	h.mu.Unlock()
}

// hungUp takes an idle connection out that the upstream has closed.
func (h *host) hungUp(c *conn) {
	h.mu.Lock()
	i := slices.Index(h.idle, c)
	if i >= 0 {
		h.idle = slices.Delete(h.idle, i, i+1)
		h.counts.stale++
		if c.served == 0 {
			h.unused++
		}
	}
	h.mu.Unlock()
	if i >= 0 {
		h.discard(c)
		h.warmer.nudge()
	}
}

// discard closes a connection that was counted as open.
func (h *host) discard(c *conn) {
	c.close()
	h.leave()
}

// leave gives a place back, to the first who waits.
func (h *host) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.waiters) > 0 {
		w := h.waiters[0]
		h.waiters = h.waiters[1:]
		w.grant <- nil
		return
	}
	h.open--
}

func (h *host) count(f func(*counts)) {
	h.mu.Lock()
	f(&h.counts)
	h.mu.Unlock()
}

// reap takes out what has expired. all takes everything and marks the host as gone. It says whether the host is unused
// since long.
func (h *host) reap(now time.Time, all bool) (unused bool) {
	h.mu.Lock()
	var old []*conn
	kept := h.idle[:0]
	for _, c := range h.idle {
		if all || c.expired(now, h.maxAge) {
			old = append(old, c)
		} else {
			kept = append(kept, c)
		}
	}
	clear(h.idle[len(kept):])
	h.idle = kept
	h.open -= len(old)
	unused = h.open == 0 && len(h.waiters) == 0 && now.Sub(h.used) > hostMemory
	h.gone = h.gone || all || unused
	if h.gone {
		for _, w := range h.waiters {
			h.open++
			w.grant <- nil // its dial will be refused
		}
		h.waiters = nil
	}
	h.mu.Unlock()
	for _, c := range old {
		c.close()
	}
	return unused
}
