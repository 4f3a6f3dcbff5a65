package tunnel

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
)

// pump carries one direction. It reads, looks, writes, and does nothing else: time is the watch's business, so that no
// byte costs a deadline.
type pump struct {
	t              *Tunnel
	from, to       Side
	reader, writer Party // at from, at to
	messages       messages

	seen    atomic.Int64 // bytes that came
	passed  atomic.Int64 // bytes that went on
	writes  atomic.Int64 // odd while a write is under way
	small   *[smallSize]byte
	large   *[largeSize]byte
	verdict verdict
	panicky any // what run recovered
}

// verdict is why a pump stops. It is passed when nothing is being read any more: what follows closes connections.
type verdict struct {
	by  Party
	why Reason
	err error
	// spare: the writing side has done nothing wrong, and what was written to it is to arrive.
	spare bool
	// wait: the other pump ends the tunnel.
	wait bool
}

// run ends when the tunnel does. A panic is kept for the goroutine that owns the tunnel.
func (p *pump) run() {
	defer func() {
		if p.panicky = recover(); p.panicky != nil {
			p.verdict = verdict{by: Proxy, why: Aborted}
		}
		p.release()
		p.messages.release()
		if !p.verdict.wait {
			p.t.end(p, p.verdict)
			p.t.shut()
		}
	}()
	if b := p.from.Buffered; len(b) > 0 && !p.pass(b) {
		return
	}
	if p.from.Each != nil {
		p.from.Each(p)
		return
	}
	for {
		n, err := p.from.Conn.Read(p.Room())
		if n > 0 {
			err = nil // it comes again
		}
		if !p.Take(n, err) {
			return
		}
	}
}

// Room implements Taker.
func (p *pump) Room() []byte {
	switch {
	case p.large != nil:
		return p.large[:]
	case p.small == nil:
		p.small = p.t.relay.small.Get().(*[smallSize]byte)
	}
	return p.small[:]
}

// Take implements Taker.
func (p *pump) Take(n int, err error) bool {
	switch {
	case n > 0:
		if !p.pass(p.Room()[:n]) {
			return false
		}
		p.fit(n)
		return true
	case err == nil:
		p.release()
		return !p.t.over.Load()
	case errors.Is(err, io.EOF):
		err = nil
	}
	p.verdict = verdict{by: p.reader, why: HungUp, err: err, spare: true}
	return false
}

// release gives the buffer back.
func (p *pump) release() {
	p.t.relay.put(p.small, p.large)
	p.small, p.large = nil, nil
}

// fit chooses the next buffer: a large one when a read has filled what there was, because more is waiting; a small one
// when it has not, because the next read will wait.
func (p *pump) fit(n int) {
	switch {
	case p.large == nil && n == smallSize:
		p.t.relay.put(p.small, nil)
		p.small, p.large = nil, p.t.relay.large.Get().(*[largeSize]byte)
	case p.large != nil && n < largeSize:
		p.t.relay.put(nil, p.large)
		p.large = nil
	}
}

// dismiss writes the last words to the client.
func (p *pump) dismiss(f *Farewell) {
	p.verdict = verdict{by: Proxy, why: Dismissed, spare: true}
	p.writes.Add(1)
	_, err := p.to.Conn.Write(f.frames())
	p.writes.Add(1)
	if err != nil {
		p.verdict = verdict{by: p.writer, why: HungUp, err: err}
	}
}

// pass hands on what came, as far as it keeps to the protocol. False is the end.
func (p *pump) pass(b []byte) bool {
	p.seen.Add(int64(len(b)))
	closed := p.messages.frames.closed
	good, violation := p.messages.feed(b)
	answer := p.messages.frames.closed && !closed && p.t.closing(p)
	if good > 0 {
		p.writes.Add(1)
		n, err := p.to.Conn.Write(b[:good])
		p.writes.Add(1)
		p.passed.Add(int64(n))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			// The connection's own patience, or the end of the tunnel.
			p.verdict = verdict{by: p.writer, why: Stuck, err: err}
			return false
		case err != nil:
			p.verdict = verdict{by: p.writer, why: HungUp, err: err, wait: p.t.fail(p, err)}
			return false
		}
	}
	if violation != nil {
		p.verdict = verdict{by: p.reader, why: Violated, err: violation, spare: true}
		return false
	}
	if answer {
		p.verdict = verdict{by: p.reader, why: Closed, spare: true}
		return false
	}
	if p.messages.dismissed() {
		p.dismiss(p.messages.ledger.farewell)
		return false
	}
	return !p.t.over.Load()
}
