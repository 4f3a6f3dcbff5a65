package ingress

import (
	"errors"
	"io"
	"net/netip"

	"fairway/pkg/fault"
	"fairway/pkg/h1"
)

// Request is a request as its bytes came in. What its methods return are views, valid until the handler returns or calls
// Forget.
type Request struct {
	c    *conn
	raw  []byte // the head
	head head

	left   int64 // of a body with a length
	chunks h1.Chunks
	began  bool // the body is being read
	err    error
}

// begin makes r the request whose head is raw.
func (r *Request) begin(raw []byte) {
	r.raw = raw
	r.left = max(0, r.head.length)
	r.chunks, r.began, r.err = h1.Chunks{}, false, nil
}

func (r *Request) view(s span) []byte { return r.raw[s.from:s.to] }

// Method is the method, as spelt.
func (r *Request) Method() []byte { return r.view(r.head.method) }

// Target is the path and query, escaped as they came. Of an absolute target it is what follows the authority.
func (r *Request) Target() []byte { return r.view(r.head.target) }

// Old says that the client speaks HTTP/1.0: it knows no chunks.
func (r *Request) Old() bool { return r.head.old }

// ContentLength is how long the body is, in bytes; -1 if only its end tells.
func (r *Request) ContentLength() int64 {
	if r.head.chunked {
		return -1
	}
	return max(0, r.head.length)
}

// Get returns the value of the first header of that name, which is in lower case; nil if there is none.
func (r *Request) Get(lower string) []byte {
	for i := range r.head.fields {
		f := &r.head.fields[i]
		if int(f.name.to-f.name.from) == len(lower) && h1.Is(r.view(f.name), lower) {
			return r.view(f.value)
		}
	}
	return nil
}

// Count says how many headers of that name there are, which is in lower case.
func (r *Request) Count(lower string) int {
	n := 0
	for i := range r.head.fields {
		if h1.Is(r.view(r.head.fields[i].name), lower) {
			n++
		}
	}
	return n
}

// Fields yields all headers in their order, names as spelt, values without the white space around them.
func (r *Request) Fields(yield func(name, value []byte) bool) {
	for i := range r.head.fields {
		f := &r.head.fields[i]
		if !yield(r.view(f.name), r.view(f.value)) {
			return
		}
	}
}

// Upgrade says that the client asks for another protocol on this connection.
func (r *Request) Upgrade() bool { return r.head.upgrade && !r.head.old }

// RemoteIP is the address at the other end of the connection: nothing that a client can say. It is invalid for a unix
// socket.
func (r *Request) RemoteIP() netip.Addr { return r.c.ip }

// Forget gives back the memory of the head; only what concerns the connection works from here on. It is for answers that
// take long, once the body was read.
func (r *Request) Forget() {
	if r.ended() {
		r.raw, r.head.fields = nil, r.head.fields[:0]
		r.head.method, r.head.target = span{}, span{}
		r.c.release()
	}
}

// ended says whether all of the body was read.
func (r *Request) ended() bool {
	if r.head.chunked {
		return r.chunks.Ended()
	}
	return r.left == 0
}

// Read reads the body without its transfer coding. Its errors are io.EOF at the end, io.ErrUnexpectedEOF when the client is
// gone, os.ErrDeadlineExceeded when it took too long, and those of package h1.
func (r *Request) Read(p []byte) (int, error) {
	switch {
	case r.err != nil:
		return 0, r.err
	case r.ended():
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	if !r.began {
		r.began = true
		if r.err = r.c.awaitBody(r.head.expect); r.err != nil {
			return 0, r.err
		}
	}
	var n int
	var err error
	if r.head.chunked {
		n, err = r.readChunks(p)
	} else {
		n, err = r.c.readBody(p[:min(int64(len(p)), r.left)])
		r.left -= int64(n)
	}
	switch {
	case n > 0:
		return n, nil // an error comes again
	case r.ended():
		return 0, io.EOF
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	r.err = err
	return 0, err
}

// readChunks reads a piece of a chunked body by way of the connection's buffer, where the next request may follow it.
func (r *Request) readChunks(p []byte) (int, error) {
	c := r.c
	for {
		if c.r == c.w {
			if err := c.fill(); err != nil {
				return 0, err
			}
		}
		b := c.in.b[c.r:c.w]
		b = b[:min(len(b), len(p))] // the data of a piece is no longer than the piece
		n, used, err := r.chunks.Decode(b)
		copy(p, b[:n])
		c.r += used
		if err != nil {
			r.err = err
			return n, err
		}
		if n > 0 || r.chunks.Ended() {
			return n, nil
		}
	}
}

// Unwatch ends a Watch before the handler returns. When it has returned, nobody is told any more.
func (r *Request) Unwatch() { r.c.unwatch() }

// Parse reads the head of a request that came by no connection: headers can be read, nothing else.
func Parse(raw []byte) (*Request, *fault.Error) {
	r := new(Request)
	r.head.reset()
	n, f := r.head.scan(raw, maxHead)
	if f != nil {
		return nil, f
	}
	if n == 0 {
		return nil, errFraming("the request's head is not complete")
	}
	r.begin(raw[:n])
	return r, nil
}
