package upstream

import (
	"errors"

	"fairway/dataplane/internal/sock"
)

const (
	inlineCopy = 16 << 10  // a request up to here is copied together where two writes would cost more than that
	inlineTLS  = 64 << 10  // a body up to here is encrypted and written before the response is read
	inlineBody = 256 << 10 // a body up to here is written as far as it goes before the response is read
)

// sending is the writing half of an exchange. It writes what goes out at once; what would have to wait, because it is large
// or because the upstream takes no more, goes out beside the reading, by an upload: an upstream may answer before it has
// read everything, and stop reading.
type sending struct {
	c     *conn
	s     *slabs
	req   *Request
	begun bool
	up    *upload // nil = all was written
}

// send sends the request and waits for the first bytes of the response, which are buffered then. unsent is why it could not
// be sent; whether anything came shows when more is read.
func (c *conn) send(s *slabs, req *Request) (up *upload, unsent error) {
	room, err := c.room(s)
	if err != nil {
		return nil, err
	}
	c.sending = sending{c: c, s: s, req: req}
	n := 0
	if !c.kept && c.sock.Pending() {
		// Something came before anybody asked: a session ticket, or an upstream that speaks first. Ask would not see it.
		_, err = c.sending.Write(nil)
		up, c.sending = c.sending.up, sending{}
		return up, err
	}
	for range 3 {
		n, err = c.sock.Ask(&c.sending, nil, c.rw, room)
		// The deadline may be left from an earlier request, and have passed before this one began.
		if n > 0 || c.sending.begun || !isDeadline(err) || c.arm() != nil {
			break
		}
	}
	c.w += n
	up = c.sending.up
	c.sending = sending{}
	switch {
	case errors.Is(err, sock.ErrWrite):
		return up, err
	case err != nil && !isDeadline(err):
		c.failed = err
	}
	return up, nil
}

// Write writes the request. It is called by Ask, which knows nothing of requests.
func (o *sending) Write([]byte) (int, error) {
	o.begun = true
	head, body := o.req.Head, o.req.Body
	most := inlineBody
	if o.c.secured() {
		most = inlineTLS
	}
	if o.req.BodyStream != nil || len(body) > most {
		o.up = startUpload(o.c, o.s, o.req, 0)
		return 0, nil
	}
	write := o.c.rw.Write
	if !o.c.secured() {
		write = o.c.sock.WriteHere
	}
	if len(body) == 0 {
		return write(head)
	}
	size := len(head) + len(body)
	if size <= slabSize || (o.c.secured() && size <= inlineCopy) {
		b := o.s.fitting(size)
		n := copy(*b, head)
		n += copy((*b)[n:], body)
		n, err := write((*b)[:n])
		o.s.put(b)
		return n, err
	}
	if o.c.secured() {
		if n, err := o.c.rw.Write(head); err != nil {
			return n, err
		}
		return o.c.rw.Write(body)
	}
	n, err := o.c.sock.TryWriteBoth(head, body)
	if err == nil && n < size {
		o.up = startUpload(o.c, o.s, o.req, n)
	}
	return n, err
}
