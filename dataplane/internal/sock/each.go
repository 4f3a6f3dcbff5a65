package sock

import (
	"io"
	"net"
)

// Taker takes what arrives.
type Taker interface {
	// Room says where the next arrival goes. It is asked only when there may be something, so whoever waits holds no buffer.
	Room() []byte
	// Take gets what came into the room: n bytes, or nothing (0, nil), or an error, which is the last call. It returns false
	// to end the sitting.
	Take(n int, err error) bool
}

// taking is one Each under way.
type taking struct {
	r     io.Reader
	t     Taker
	ended bool
}

// Each reads from r, which is c itself or the TLS connection on top of it, again and again until t has enough or reading
// fails. A read deadline that passes is such a failure; Take may move it.
func (c *Conn) Each(r io.Reader, t Taker) {
	if c.lookout == nil || c.gone.Load() || !c.sit() {
		takePlainly(r, t)
		return
	}
	c.each = taking{r: r, t: t}
	err := c.whileSitting(c.eachFn)
	ended := c.each.ended
	c.each = taking{}
	switch {
	case ended:
	case c.closed():
		t.Take(0, net.ErrClosed)
	case c.nudged(err):
		takePlainly(r, t)
	default:
		t.Take(0, err)
	}
}

// takePlainly is Each where every read waits by itself.
func takePlainly(r io.Reader, t Taker) {
	for {
		n, err := r.Read(t.Room())
		if n > 0 && err != nil {
			// The error comes again, after what came with it was taken.
			err = nil
		}
		if more := t.Take(n, err); !more || err != nil {
			return
		}
	}
}

// eachStep takes what is there, and returns false to wait for more.
func (c *Conn) eachStep(fd uintptr) bool {
	e := &c.each
	c.fd, c.dry = int(fd), false
	for {
		n, err := e.r.Read(e.t.Room())
		if isDry(err) {
			if n > 0 {
				err = nil
			} else {
				e.t.Take(0, nil)
				return false
			}
		}
		if n > 0 {
			err = nil // it comes again
		}
		if more := e.t.Take(n, err); !more || err != nil {
			e.ended = true
			return true
		}
		if c.gone.Load() || c.closed() {
			c.dry = false // there is an end to be read
			continue
		}
		if c.dry && e.r == io.Reader(c) {
			return false
		}
	}
}
