package ingress

import (
	"bytes"
	"net"
	"time"

	"fairway/dataplane/internal/sock"
)

// Switched is a connection that speaks another protocol from here on. It is the handler's until that returns, and closed
// then.
type Switched struct {
	Conn     net.Conn   // plain or TLS; without deadlines
	Sock     *sock.Conn // what Conn runs on: the same, or what is below TLS
	Buffered []byte     // what came behind the request: the first bytes from the client
}

// Switch answers 101 with the headers that were set, Upgrade among them, and hands the connection over. The request must
// have asked for an upgrade; a Watch on it has ended.
func (w *Response) Switch() (Switched, error) {
	c := w.c
	c.unwatch()
	w.length = switched
	w.closeHead()
	w.ended, w.closes = true, true
	if err := w.write(nil); err != nil {
		return Switched{}, err
	}
	c.arm(time.Time{})
	s := Switched{Conn: c.sock, Sock: c.sock}
	if c.tls != nil {
		s.Conn = c.tls
	}
	if c.watch.hasBack {
		c.watch.hasBack = false
		s.Buffered = append(s.Buffered, c.watch.back[0])
	}
	if c.r < c.w {
		s.Buffered = append(s.Buffered, bytes.Clone(c.in.b[c.r:c.w])...)
		c.r = c.w
	}
	return s, nil
}
