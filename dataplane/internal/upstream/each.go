package upstream

import (
	"errors"
	"io"
)

// sitting is one Each under way: it takes what arrives on the connection. What ends the body is settled after the sitting,
// because until then the connection is in use.
type sitting struct {
	r    *Response
	take func(piece []byte) bool
	slab *[]byte
	bad  error // what ended the body
	more bool  // take wants more
}

// Each reads the body as Read does, piece by piece and in one sitting, which costs less than as many Reads: take gets each
// piece as it arrives, in a buffer that is taken only when there is something to read, and that is take's until it returns,
// also beyond the piece's end. Each returns nil when the body has ended well, or when take has returned false; the response
// is open then, and closing it closes the connection unless that piece was the last. Other errors are *Error. take may
// abort the response, and must not read or close it.
func (r *Response) Each(take func(piece []byte) bool) error {
	if r.content != nil {
		return r.content.each(r.pool.slabs, take)
	}
	if r.c != nil {
		r.c.stirred()
	}
	for r.err == nil {
		s := &r.sitting
		*s = sitting{r: r, take: take, more: true}
		if c := r.c; c.slab != nil && c.r < c.w {
			s.arrived(c.buffered())
			c.unbuffer(r.pool.slabs)
		} else {
			c.sock.Each(c.rw, s)
		}
		bad, more := s.bad, s.more
		*s = sitting{}
		switch {
		case r.body.ended:
			_ = r.finish()
		case errors.Is(bad, ErrMalformed), errors.Is(bad, ErrTooLarge):
			_ = r.fail(bad)
		case bad == nil, isDeadline(bad) && r.c.waitOn(nil):
		default:
			_ = r.cut(bad)
		}
		if !more {
			break
		}
	}
	if r.err == nil || errors.Is(r.err, io.EOF) {
		return nil
	}
	return r.err
}

// arrived hands on what belongs to the body.
func (s *sitting) arrived(p []byte) (more bool) {
	n, bad := s.r.body.decode(p)
	s.bad = bad
	if n > 0 {
		s.more = s.take(p[:n])
	}
	return s.more && bad == nil && !s.r.body.ended
}

// Room implements sock.Taker.
func (s *sitting) Room() []byte {
	if s.slab == nil {
		s.slab = s.r.pool.slabs.small.Get().(*[]byte)
	}
	return *s.slab
}

// Take implements sock.Taker.
func (s *sitting) Take(n int, err error) (more bool) {
	slab := s.slab
	s.slab = nil
	switch {
	case n > 0:
		s.r.c.stirred()
		more = s.arrived((*slab)[:n])
	case err == nil:
		more = true
	default:
		s.bad = err
	}
	s.r.pool.slabs.put(slab)
	return more
}
