// Package tunnel relays a WebSocket connection (RFC 6455) between a client and an upstream after both sides agreed to it:
// bytes pass untouched in both directions, and what the upstream says it used is taken from the messages as they go by.
//
// Both directions are read frame by frame, strictly: who breaks the protocol ends the tunnel, because a message that two
// readers understand differently is one that nobody has metered. When one side goes, the other is told at once.
//
// It refuses to change, add or hold back a byte, but for the last words of who ends it (Farewell); to let an extension through, since compressed messages could not be
// metered; to hold more of a message than Options.MaxMessage; and to check that text is UTF-8, which is for its reader.
package tunnel

import (
	"net"
	"sync"
	"time"

	"fairway/pkg/money"
)

// Options of a Relay. The zero value works.
type Options struct {
	// Idle ends a tunnel in which neither side has sent a byte for so long, up to a quarter more; 0 = 15m.
	Idle time.Duration
	// WriteTimeout ends a tunnel when one write to a side takes so long, up to a quarter more; 0 = 30s.
	WriteTimeout time.Duration
	// CloseWait is how long the other side has to answer a Close frame; 0 = 5s.
	CloseWait time.Duration
	// Linger is how long a side that did nothing wrong has to take the last bytes before its connection is closed; 0 = 1s.
	Linger time.Duration
	// MaxMessage is how many bytes of one message are held to be read; longer ones pass and count as unmetered; 0 = 1 MiB.
	MaxMessage int
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		at    *time.Duration
		value time.Duration
	}{
		{&o.Idle, 15 * time.Minute}, {&o.WriteTimeout, 30 * time.Second},
		{&o.CloseWait, 5 * time.Second}, {&o.Linger, time.Second},
	} {
		if *d.at <= 0 {
			*d.at = d.value
		}
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = 1 << 20
	}
	return o
}

// Sizes of pooled buffers, in bytes. Most audio events fit in a small one, and that is all a direction holds while it
// waits; a large one serves while more comes than fits.
const (
	smallSize = 8 << 10
	largeSize = 64 << 10
)

// Relay makes tunnels, which share its options and buffers. Its methods may be called from any goroutine.
type Relay struct {
	o            Options
	small, large sync.Pool
}

// New makes a Relay.
func New(o Options) *Relay {
	r := &Relay{o: o.withDefaults()}
	r.small.New = func() any { return new([smallSize]byte) }
	r.large.New = func() any { return new([largeSize]byte) }
	return r
}

// put gives buffers back; nil is none.
func (r *Relay) put(small *[smallSize]byte, large *[largeSize]byte) {
	if small != nil {
		r.small.Put(small)
	}
	if large != nil {
		r.large.Put(large)
	}
}

// Side is one end of a tunnel.
type Side struct {
	// Conn is plain or TLS. The tunnel takes it over, with its deadlines, and closes it.
	Conn net.Conn
	// Buffered was read from Conn already, behind the head of the handshake. It must stay as it is until Run returns.
	Buffered []byte
	// Each, if not nil, reads from Conn for t until t has enough or reading fails, which is the last call; nil = by Read.
	// It can wait without a buffer.
	Each func(t Taker)
}

// Taker takes what arrives.
type Taker interface {
	// Room says where the next arrival goes.
	Room() []byte
	// Take gets what came into the room: n bytes, or nothing (0, nil), or an error. It returns false to end the reading.
	Take(n int, err error) bool
}

// Usage is what responses used.
type Usage struct {
	money.Tokens
	// Estimated: nobody said (all of it), so the counts are derived from what was sent and delivered.
	Estimated bool
}

// Farewell is what a client is told when a tunnel ends by onUsage.
type Farewell struct {
	// Message is a last text message; empty = none.
	Message []byte
	// Code and Reason are those of the Close frame; the reason has 123 bytes at most.
	Code   uint16
	Reason string
}

// Open makes a tunnel; Run works it. onUsage, if not nil, is told the usage of each response as it ends, so that a tunnel
// that lives for hours is on the books all along; the sum of what it is told is Result.Usage. What it returns ends the
// tunnel behind that response; nil = it goes on. It is called by one goroutine at a time, between two reads of the
// upstream: while it blocks, nothing of that reaches the client.
func (r *Relay) Open(client, upstream Side, onUsage func(Usage) *Farewell) *Tunnel {
	t := &Tunnel{relay: r}
	t.ledger.on = onUsage
	t.up = pump{t: t, from: client, to: upstream, reader: Client, writer: Upstream}
	t.down = pump{t: t, from: upstream, to: client, reader: Upstream, writer: Client}
	t.up.messages.reset(r, &t.ledger, true)
	t.down.messages.reset(r, &t.ledger, false)
	return t
}

// Party is who ended a tunnel.
type Party uint8

// The parties.
const (
	Proxy Party = iota
	Client
	Upstream
)

func (p Party) String() string {
	switch p {
	case Client:
		return "client"
	case Upstream:
		return "upstream"
	case Proxy:
	}
	return "proxy"
}

// Reason is why a tunnel ended.
type Reason uint8

// The reasons.
const (
	// Aborted: Abort was called.
	Aborted Reason = iota
	// Closed: a Close frame was sent, first by the party.
	Closed
	// HungUp: the party's connection ended or broke without a Close frame.
	HungUp
	// Violated: the party broke RFC 6455.
	Violated
	// Stuck: the party did not take what was written to it.
	Stuck
	// Silent: neither side has said anything for too long.
	Silent
	// Dismissed: onUsage said so.
	Dismissed
)

func (r Reason) String() string {
	switch r {
	case Closed:
		return "closed"
	case HungUp:
		return "hung_up"
	case Violated:
		return "violated"
	case Stuck:
		return "stuck"
	case Silent:
		return "silent"
	case Dismissed:
		return "dismissed"
	case Aborted:
	}
	return "aborted"
}

// Traffic is what passed in one direction.
type Traffic struct {
	// Bytes were handed to the receiving side.
	Bytes int64
	// Messages were complete; control frames are none.
	Messages int64
}

// Result is what became of a tunnel.
type Result struct {
	// Usage is the sum over all responses. It is marked as estimated when any part of it is.
	Usage Usage
	// Responses ended with a usage object, Estimates without one though something was delivered, or not at all.
	Responses, Estimates int64
	// Unmetered messages were too long to be looked into, all of them or from some byte on.
	Unmetered int64
	// Errors are the upstream's error events and failed responses; LastError is the code of the last one that had one.
	Errors    int64
	LastError string
	// Up is client to upstream, Down is upstream to client.
	Up, Down Traffic

	By  Party
	Why Reason
	// CloseCode is that of the first Close frame; 0 = there was none, or it had no code.
	CloseCode uint16
	// Err says more where there is more to say: what was violated, how a connection broke, or the cause given to Abort.
	Err error
}
