package upstream

import (
	"bufio"
	"bytes"
	"net"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	slabSize   = 4 << 10  // what a waiting response holds; most heads fit
	inlineCopy = 16 << 10 // a request up to here is copied together and leaves in one write
	inlineBody = 64 << 10 // a body up to here is written before the response is read; larger ones meanwhile
)

// conn is one connection. While it is idle it holds no buffer.
type conn struct {
	nc    net.Conn // what to read and write: TLS, or the same as tcp
	tcp   net.Conn // closing it ends everything at once, without the courtesies of TLS
	live  prober
	host  *host
	vec   [2][]byte
	bufs  net.Buffers
	armed time.Time // the read deadline

	slab *[]byte // what was read and not used yet is buf[r:w]
	r, w int

	served  int           // requests answered
	idle    time.Time     // since when
	keepFor time.Duration // how long the upstream says that it keeps it
}

// slabs are the buffers of connections at work, and those of large heads.
type slabs struct {
	small, large, heads, wide sync.Pool
}

func newSlabs() *slabs {
	sized := func(n int) func() any {
		return func() any { b := make([]byte, n); return &b }
	}
	parsing := func(n int) func() any {
		return func() any {
			p := new(headParser)
			p.br = bufio.NewReaderSize(&p.src, n)
			return p
		}
	}
	s := new(slabs)
	s.small.New, s.large.New = sized(slabSize), sized(maxHead)
	s.heads.New, s.wide.New = parsing(slabSize), parsing(maxHead)
	return s
}

func (s *slabs) put(b *[]byte) {
	switch {
	case b == nil:
	case len(*b) == slabSize:
		s.small.Put(b)
	default:
		s.large.Put(b)
	}
}

// headParser feeds a complete head to fasthttp.
type headParser struct {
	src bytes.Reader
	br  *bufio.Reader
}

// parse reads the fields of a complete head into h. Its error says nothing of the bytes.
func (s *slabs) parse(h *fasthttp.ResponseHeader, b []byte) error {
	from := &s.heads
	if len(b) > slabSize {
		from = &s.wide
	}
	p := from.Get().(*headParser)
	p.src.Reset(b)
	p.br.Reset(&p.src)
	err := h.Read(p.br)
	p.src.Reset(nil)
	from.Put(p)
	if err != nil {
		return malformed("header field")
	}
	return nil
}

// fill reads more behind what is buffered, in a larger buffer where the head needs one.
func (c *conn) fill(s *slabs) (int, error) {
	if c.slab == nil {
		c.slab, c.r, c.w = s.small.Get().(*[]byte), 0, 0
	}
	if c.w == len(*c.slab) && c.r > 0 {
		c.w = copy(*c.slab, (*c.slab)[c.r:c.w])
		c.r = 0
	}
	if c.w == len(*c.slab) {
		if c.w == maxHead {
			return 0, ErrTooLarge
		}
		b := s.large.Get().(*[]byte)
		copy(*b, *c.slab)
		s.put(c.slab)
		c.slab = b
	}
	n, err := c.nc.Read((*c.slab)[c.w:])
	c.w += n
	if n > 0 {
		err = nil // an error comes again
	}
	return n, err
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
func (c *conn) read(s *slabs, p []byte, idle time.Duration) (int, error) {
	if b := c.buffered(); len(b) > 0 {
		n := copy(p, b)
		c.r += n
		if n == len(b) {
			c.unbuffer(s)
		}
		return n, nil
	}
	// A deadline costs a timer. It is set an eighth late, and then stands for as long.
	now := time.Now()
	if early := now.Add(idle); c.armed.Before(early) || c.armed.After(early.Add(idle/8)) {
		if err := c.armRead(early.Add(idle / 8)); err != nil {
			return 0, err
		}
	}
	return c.nc.Read(p)
}

func (c *conn) armRead(t time.Time) error {
	c.armed = t
	return c.tcp.SetReadDeadline(t)
}

func (c *conn) arm(t time.Time) error {
	c.armed = t
	return c.tcp.SetDeadline(t)
}

// write sends head and body: in one system call and from one buffer where they are small.
func (c *conn) write(s *slabs, head, body []byte) error {
	if len(body) == 0 {
		_, err := c.nc.Write(head)
		return err
	}
	if len(head)+len(body) <= inlineCopy {
		if c.slab == nil {
			c.slab, c.r, c.w = s.small.Get().(*[]byte), 0, 0
		}
		b := c.slab // free until the response comes
		if len(head)+len(body) > len(*b) {
			b = s.large.Get().(*[]byte)
			defer s.put(b)
		}
		n := copy(*b, head)
		n += copy((*b)[n:], body)
		_, err := c.nc.Write((*b)[:n])
		return err
	}
	if c.nc == c.tcp {
		c.vec = [2][]byte{head, body}
		c.bufs = c.vec[:]
		_, err := c.bufs.WriteTo(c.tcp)
		c.vec, c.bufs = [2][]byte{}, nil
		return err
	}
	if _, err := c.nc.Write(head); err != nil {
		return err
	}
	_, err := c.nc.Write(body)
	return err
}

// close ends the connection at once.
func (c *conn) close() { _ = c.tcp.Close() }
