package ingress

import (
	"net/http"
	"strconv"
)

// Response is the answer to a request. It is either one piece (Send), or a head (Begin) and a body in pieces (Write, Last).
// Nothing goes out before Send or the first piece; until then the answer may still become another one.
type Response struct {
	c      *conn
	id     [requestIDLen]byte
	status int
	out    *buffer // statusRoom bytes, then the headers so far; later what is being written
	sent   bool    // the head is out
	ended  bool    // all of the response is out
	closes bool    // the connection ends with it
	cut    bool
	length int64 // of the body: exact, or one of these
	left   int64 // of that
	err    error // why the client cannot be reached
	keeper Keeper
}

// Keeper is shown the body of a response as it goes out. It must not keep p.
type Keeper interface {
	AddResponse(p []byte)
}

const (
	untilEnd   = -1 // in chunks
	untilClose = -2
	switched   = -3 // there is none: the connection speaks another protocol from here on
)

// statusRoom holds a status line, which is known last.
const statusRoom = 64

// begin makes w ready for a request.
func (w *Response) begin() {
	w.status, w.sent, w.ended, w.closes, w.cut, w.length, w.left, w.err, w.keeper = 0, false, false, false, false, 0, 0, nil, nil
	appendRequestID(w.id[:0])
}

// RequestID is the request's id, which the response carries.
func (w *Response) RequestID() []byte { return w.id[:] }

// Started says whether something has gone out, so that it is too late for another answer.
func (w *Response) Started() bool { return w.sent }

// Keep shows k the body of this response.
func (w *Response) Keep(k Keeper) { w.keeper = k }

func (w *Response) keep(p []byte) {
	if w.keeper != nil && len(p) > 0 {
		w.keeper.AddResponse(p)
	}
}

// Close ends the connection with this response.
func (w *Response) Close() { w.closes = true }

// Reset forgets status and headers.
func (w *Response) Reset() {
	w.status = 0
	if w.out != nil {
		w.out.b = w.out.b[:statusRoom]
	}
}

// Status sets the status.
func (w *Response) Status(code int) { w.status = code }

// Add adds a header. Name and value must be good for one, as those are that came in.
func (w *Response) Add(name, value []byte) {
	b := w.head()
	*b = append(*b, name...)
	*b = append(*b, ": "...)
	*b = append(*b, value...)
	*b = append(*b, "\r\n"...)
}

// Set is Add for what is ours to say.
func (w *Response) Set(name, value string) {
	b := w.head()
	*b = append(*b, name...)
	*b = append(*b, ": "...)
	*b = append(*b, value...)
	*b = append(*b, "\r\n"...)
}

func (w *Response) head() *[]byte {
	if w.out == nil {
		w.out = w.c.server.buffers.get()
		w.out.b = w.out.b[:statusRoom]
	}
	return &w.out.b
}

// Send sends a response with all of its body, at once.
func (w *Response) Send(body []byte) error {
	w.length = int64(len(body))
	w.closeHead()
	if string(w.c.request.Method()) == http.MethodHead {
		body = nil
	}
	w.ended = true
	w.keep(body)
	return w.write(body)
}

// Begin promises a body of length bytes, or one whose end only Last tells (-1). The head goes out with the first piece.
func (w *Response) Begin(length int64) {
	w.length, w.left = length, length
	if length < 0 {
		w.length = untilEnd
		if w.c.request.Old() {
			w.length, w.closes = untilClose, true
		}
	}
	w.closeHead()
}

// Write sends a piece of the body, at once. An error means that the client cannot be reached; it comes again.
func (w *Response) Write(p []byte) (int, error) {
	if err := w.piece(p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Last sends the last piece, which may be empty, and the end of the body.
func (w *Response) Last(p []byte) error { return w.piece(p, true) }

// Cut ends the response without its end, so that no client takes it for complete.
func (w *Response) Cut() { w.cut, w.closes = true, true }

// closeHead writes what follows the headers, and the status line in front of them.
func (w *Response) closeHead() {
	b := *w.head()
	if w.length == switched {
		w.status = http.StatusSwitchingProtocols
	}
	old, closes := w.c.request.Old(), w.closes || !w.c.endsWell() || !w.c.request.head.persistent() || w.c.server.draining.Load()
	w.closes = closes
	b = append(b, RequestIDHeader+": "...)
	b = append(b, w.id[:]...)
	switch {
	case w.length >= 0:
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, w.length, 10)
	case w.length == untilEnd:
		b = append(b, "\r\nTransfer-Encoding: chunked"...)
	}
	switch {
	case w.length == switched:
		b = append(b, "\r\nConnection: Upgrade"...)
	case closes:
		b = append(b, "\r\nConnection: close"...)
	case old:
		b = append(b, "\r\nConnection: keep-alive"...)
	}
	b = append(b, "\r\n\r\n"...)
	w.out.b = b
	if w.status == 0 {
		w.status = http.StatusOK
	}
	var line [statusRoom]byte
	status := appendStatusLine(line[:0], w.status)
	from := statusRoom - len(status)
	copy(w.out.b[from:], status)
	w.out.b = w.out.b[:copy(w.out.b, w.out.b[from:])]
}

// piece frames a piece of the body and sends it.
func (w *Response) piece(p []byte, last bool) error {
	if w.err != nil || w.ended {
		return w.err
	}
	w.ended = last
	w.keep(p)
	if w.length != untilEnd {
		if w.left -= int64(len(p)); w.length >= 0 && (w.left < 0 || last && w.left > 0) {
			w.Cut() // the promise cannot be kept
		}
		return w.write(p)
	}
	if w.out == nil {
		w.out = w.c.server.buffers.get()
	}
	b := w.out.b
	if len(p) > 0 {
		b = strconv.AppendInt(b, int64(len(p)), 16)
		b = append(b, "\r\n"...)
		b = append(b, p...)
		b = append(b, "\r\n"...)
	}
	if last {
		b = append(b, "0\r\n\r\n"...)
	}
	w.out.b = b
	return w.write(nil)
}

// write sends what is in out, and then p, with one system call where possible; out is given back.
func (w *Response) write(p []byte) error {
	c := w.c
	switch {
	case w.err != nil:
	case w.out == nil:
		if len(p) > 0 {
			_, w.err = c.write(p)
		}
	case len(w.out.b)+len(p) <= cap(w.out.b):
		w.out.b = append(w.out.b, p...)
		_, w.err = c.write(w.out.b)
	case c.tls != nil:
		if _, w.err = c.write(w.out.b); w.err == nil {
			_, w.err = c.write(p)
		}
	default:
		w.err = c.sock.WriteBoth(w.out.b, p)
	}
	w.sent = true
	c.server.buffers.put(w.out)
	w.out = nil
	if w.err != nil {
		w.closes = true
	}
	return w.err
}

// write sends p. Handlers write on the goroutine that reads the connection.
func (c *conn) write(p []byte) (int, error) {
	if c.tls != nil {
		return c.tls.Write(p)
	}
	return c.sock.WriteHere(p)
}

// finish is called when the handler has returned. A response that it began and did not end is cut.
func (w *Response) finish() {
	if !w.ended {
		w.closes = true
	}
	w.c.server.buffers.put(w.out)
	w.out = nil
}

// appendStatusLine appends "HTTP/1.1 200 OK" with its CRLF.
func appendStatusLine(b []byte, status int) []byte {
	if status == http.StatusOK {
		return append(b, "HTTP/1.1 200 OK\r\n"...)
	}
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(status)...)
	return append(b, "\r\n"...)
}
