package upstream

import (
	"context"
	"errors"
	"net"

	"fairway/dataplane/internal/sock"
)

// Tunnel is a connection that the upstream has handed over by answering 101: bytes in both directions, whose meaning is the
// caller's. It counts as open until it is closed. Get, Fields and Buffered are valid until then.
type Tunnel struct {
	Conn     net.Conn   // plain or TLS; without deadlines
	Sock     *sock.Conn // what Conn runs on: the same, or what is below TLS
	Buffered []byte     // what came behind the head: the first bytes from the upstream

	r *Response
}

// Upgrade sends a request that asks for an upgrade, and has no body. It returns a Tunnel if the upstream agrees, else its
// Response, or an error as Do does. ctx and call may abort the Tunnel until it is closed.
func (p *Pool) Upgrade(ctx context.Context, call *Call, req *Request) (*Tunnel, *Response, error) {
	if len(req.Body) > 0 || req.BodyStream != nil {
		err := &Error{Phase: PhaseQueue, Cause: errors.New("a request for an upgrade has a body")}
		p.failed(err)
		return nil, nil, err
	}
	r, err := p.doFor(ctx, call, req, true)
	if err != nil {
		return nil, nil, err
	}
	if r.Status != 101 {
		return nil, r, nil
	}
	c := r.c
	c.sock.SetWriteTimeout(0)
	if err := c.disarm(); err != nil {
		failure := r.fail(err)
		_ = r.Close()
		return nil, nil, failure
	}
	return &Tunnel{Conn: c.rw, Sock: c.sock, Buffered: c.buffered(), r: r}, nil, nil
}

// Get returns the first value of a field of the head, nil if there is none. The name is given in lower case.
func (t *Tunnel) Get(lower string) []byte { return t.r.Get(lower) }

// Fields yields all fields of the head in order, as the upstream spelt them.
func (t *Tunnel) Fields(yield func(name, value []byte) bool) { t.r.Fields(yield) }

// Abort ends the tunnel at once, also while others read and write. It must not be called after Close.
func (t *Tunnel) Abort() { t.r.Abort() }

// Close closes the connection, once nobody reads or writes any more. It returns nil always, and may be called again.
func (t *Tunnel) Close() error {
	if r := t.r; r != nil {
		t.r, t.Buffered = nil, nil
		r.drop()
		r.recycle()
	}
	return nil
}
