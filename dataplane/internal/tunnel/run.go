package tunnel

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Tunnel is one relayed connection.
type Tunnel struct {
	relay    *Relay
	ledger   ledger
	up, down pump
	over     atomic.Bool // ended, for who does not hold mu

	mu      sync.Mutex
	ended   bool // what follows does not change any more
	verdict verdict
	spared  *pump // see verdict.spare; nil = none
	first   *pump // whose Close frame came first
	broken  *pump // whose write has failed, with failed
	failed  error
	watch   watch
}

// Run relays until one side ends, ends the other, and says what became of it. Both connections are closed and no goroutine
// is left when it returns. It may be called once. It panics if the callback does, after closing both.
func (t *Tunnel) Run() Result {
	if t.begin() {
		var other sync.WaitGroup
		other.Go(t.up.run)
		t.down.run()
		other.Wait()
	}
	t.mu.Lock()
	t.watch.stop()
	t.mu.Unlock()
	if t.spared != nil {
		t.part(t.spared.to.Conn)
	}
	hangUp(t.up.to.Conn)
	hangUp(t.down.to.Conn)
	for _, p := range []*pump{&t.up, &t.down} {
		if p.panicky != nil {
			panic(p.panicky)
		}
	}
	t.ledger.estimate()
	return t.result()
}

// Abort ends the tunnel at once, with cause as the Result's Err. It may be called from any goroutine, at any time and more
// than once; an ended tunnel stays as it was.
func (t *Tunnel) Abort(cause error) { t.end(nil, verdict{by: Proxy, why: Aborted, err: cause}) }

// begin takes the connections over; false when the tunnel was aborted before.
func (t *Tunnel) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return false
	}
	// What the handshake had set is over. One that fails shows at the first read.
	_ = t.up.from.Conn.SetDeadline(time.Time{})
	_ = t.up.to.Conn.SetDeadline(time.Time{})
	t.watch.start(t)
	return true
}

// past is a deadline that has passed.
func past() time.Time { return time.Unix(1, 0) }

// end ends the tunnel, unless it has ended: both pumps wake up and stop. It closes nothing, because it may be called by
// who reads. from is the pump that says so; nil = none.
func (t *Tunnel) end(from *pump, v verdict) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.ended, t.verdict = true, v
	t.over.Store(true)
	if t.first != nil && (v.why == HungUp || v.why == Silent || v.why == Closed) {
		// Who sent the first Close frame began it; how the connection went is of no interest then.
		t.verdict = verdict{by: t.first.reader, why: Closed}
	}
	if v.spare && (from.writer == Client || from.messages.frames.closed) {
		t.spared = from
	}
	// A write that was cut would end a TLS connection, so who is spared is only not read any more.
	for _, p := range []*pump{&t.up, &t.down} {
		if p == t.spared {
			_ = p.to.Conn.SetReadDeadline(past())
		} else {
			_ = p.to.Conn.SetDeadline(past())
		}
	}
}

// shut closes what is not spared, so that the other side knows before the spared one was waited for. It is for pumps that
// have stopped.
func (t *Tunnel) shut() {
	for _, p := range []*pump{&t.up, &t.down} {
		if p != t.spared {
			hangUp(p.to.Conn)
		}
	}
}

// closing notes that a Close frame came, and says whether it answers another. It is called before the frame is passed on:
// who gets it may be gone at once.
func (t *Tunnel) closing(p *pump) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first == nil {
		t.first = p
		t.watch.endWithin(t.relay.o.CloseWait)
		return false
	}
	return true
}

// fail notes that a write has failed, and says whether the other pump ends the tunnel: the connection is broken, but what
// its side had sent before may still wait to be read, a last message perhaps. Its own pump takes that and meets the end,
// and has a moment for both.
func (t *Tunnel) fail(p *pump, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended || t.broken != nil {
		return false
	}
	t.broken, t.failed = p, err
	t.watch.endWithin(t.relay.o.Linger)
	return true
}

// result is for a tunnel whose goroutines have ended.
func (t *Tunnel) result() Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := &t.ledger
	r := Result{
		Usage: l.usage, Responses: l.responses, Estimates: l.estimates,
		Unmetered: l.unmetered + l.sentUnmetered, Errors: l.errors, LastError: l.lastError,
		Up:   Traffic{Bytes: t.up.passed.Load(), Messages: t.up.messages.count},
		Down: Traffic{Bytes: t.down.passed.Load(), Messages: t.down.messages.count},
		By:   t.verdict.by, Why: t.verdict.why, Err: t.verdict.err,
	}
	if t.first != nil {
		r.CloseCode = t.first.messages.frames.code
	}
	return r
}

// hangUp closes a connection at once. The goodbye of TLS is said where it matters; where it does not, it could take
// seconds.
func hangUp(conn net.Conn) {
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secure.NetConn()
	}
	_ = conn.Close()
}

// maxLinger is how much of what a side still sends is read and thrown away: more than a kernel keeps for a connection, so
// that the end of one that has stopped is seen.
const maxLinger = 16 << 20

// part stops sending to a side and gives it a moment to do the same: bytes that arrive at a closed socket reset the
// connection and could destroy what was sent last on its way.
func (t *Tunnel) part(conn net.Conn) {
	half, ok := conn.(interface{ CloseWrite() error })
	until := time.Now().Add(t.relay.o.Linger)
	if !ok || conn.SetDeadline(until) != nil || half.CloseWrite() != nil {
		return
	}
	b := t.relay.small.Get().(*[smallSize]byte)
	defer t.relay.small.Put(b)
	for left := maxLinger; left > 0; {
		n, err := conn.Read(b[:])
		if left -= n; err != nil {
			return
		}
	}
	// Still sending: it needs the time to see the end, not us the bytes.
	time.Sleep(time.Until(until))
}
