package upstream

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"time"

	"fairway/dataplane/internal/sock"
)

// conn is one connection. While it is idle it holds no buffer.
type conn struct {
	rw   net.Conn   // what to read and write: TLS, or the same as sock
	sock *sock.Conn // closing it ends everything at once, without the courtesies of TLS
	host *host
	peer *candid // between TLS and sock; nil = plain

	patience
	sending sending
	failed  error // what the next read returns

	slab *[]byte // what was read and not used yet is slab[r:w]
	r, w int

	born    time.Time
	served  int           // requests answered
	kept    bool          // it was open before this request: it has served, or was opened ahead of need
	idle    time.Time     // since when
	keepFor time.Duration // how long the upstream says that it keeps it
}

// secured says whether TLS is in between.
func (c *conn) secured() bool { return c.peer != nil }

// secure puts TLS between what is read and written and the wire.
func (c *conn) secure(config *tls.Config) *tls.Conn {
	c.peer = &candid{Conn: c.sock}
	t := tls.Client(c.peer, config)
	c.rw = t
	return t
}

// clean says whether nothing has come that nobody asked for: bytes, or an end. Under TLS there may be a session ticket,
// which is nothing to fear, or part of a record that was read with the last response: only reading tells.
func (c *conn) clean() bool {
	if !c.secured() {
		return !c.sock.Pending()
	}
	one := c.peer.one[:]
	c.peer.probing = true
	n, err := c.rw.Read(one)
	if isDeadline(err) && c.arm() == nil { // left from an earlier request
		n, err = c.rw.Read(one)
	}
	c.peer.probing = false
	return n == 0 && errors.Is(err, errNothing)
}

// HungUp is called when the upstream has hung up: a connection that idles is of no more use. One that is in use has its
// reader.
func (c *conn) HungUp() { c.host.hungUp(c) }

// room makes sure that there is a buffer, and returns what of it is free.
func (c *conn) room(s *slabs) ([]byte, error) {
	if c.slab == nil {
		c.slab, c.r, c.w = s.small.Get().(*[]byte), 0, 0
	}
	if c.w == len(*c.slab) && c.r > 0 {
		c.w = copy(*c.slab, (*c.slab)[c.r:c.w])
		c.r = 0
	}
	if c.w == len(*c.slab) {
		if c.w == maxHead {
			return nil, ErrTooLarge
		}
		b := s.large.Get().(*[]byte)
		copy(*b, *c.slab)
		s.put(c.slab)
		c.slab = b
	}
	return (*c.slab)[c.w:], nil
}

// fill reads more behind what is buffered, in a larger buffer where the head needs one.
func (c *conn) fill(s *slabs, up *upload) error {
	room, err := c.room(s)
	if err != nil {
		return err
	}
	n, err := c.wait(room, up)
	c.w += n
	return err
}

func (c *conn) buffered() []byte {
	if c.slab == nil {
		return nil
	}
	return (*c.slab)[c.r:c.w]
}

// unbuffer gives the buffer back.
func (c *conn) unbuffer(s *slabs) {
	s.put(c.slab)
	c.slab, c.r, c.w = nil, 0, 0
}

// read copies what is buffered, or reads from the network right into p.
func (c *conn) read(s *slabs, p []byte) (int, error) {
	if b := c.buffered(); len(b) > 0 {
		n := copy(p, b)
		c.r += n
		if n == len(b) {
			c.unbuffer(s)
		}
		return n, nil
	}
	return c.wait(p, nil)
}

// wait reads from the network, for as long as the connection's patience lasts.
func (c *conn) wait(p []byte, up *upload) (int, error) {
	if err := c.failed; err != nil {
		c.failed = nil
		return 0, err
	}
	c.stirred()
	for {
		n, err := c.rw.Read(p)
		if n > 0 {
			return n, nil // an error comes again
		}
		if err == nil || (isDeadline(err) && c.waitOn(up)) {
			continue
		}
		return 0, err
	}
}

// close ends the connection at once.
func (c *conn) close() { _ = c.sock.Close() }

// isDeadline says whether a read ended because its deadline had passed.
func isDeadline(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
