package sse

import (
	"errors"
	"io"
)

// ErrTooLong is returned for an event beyond the reader's bound.
var ErrTooLong = errors.New("sse: event is too long")

const readSize = 4 << 10

// Reader takes a stream of events apart, one after the other. It is not safe for concurrent use.
type Reader struct {
	r       io.Reader
	max     int
	buf     []byte
	start   int // of the event
	scanned int // up to here the scanner has seen it
	scan    Scanner
	later   bool // the first event is out
	err     error
}

// NewReader reads events from r. An event of more than maxEvent bytes (0 = 1 MiB), comments before it included, is
// refused.
func NewReader(r io.Reader, maxEvent int) *Reader {
	if maxEvent <= 0 {
		maxEvent = 1 << 20
	}
	return &Reader{r: r, max: maxEvent}
}

// Next returns the next event, with everything that came between it and the one before in Raw, so that the Raws of all
// events put together are the stream. It is valid until the next call.
//
// At the end of the stream it returns io.EOF. When bytes are left there that are no event, they are returned in Raw, with
// io.EOF when they are whole blocks without data, and with io.ErrUnexpectedEOF when a block was cut. An event that is
// too long gives ErrTooLong; errors of the underlying reader come as they are. Every error is final.
func (r *Reader) Next() (Event, error) {
	for {
		if n := r.scan.Feed(r.buf[r.scanned:]); n >= 0 {
			end := r.scanned + n
			raw := r.buf[r.start:end]
			r.start, r.scanned = end, end
			if len(raw) > r.max {
				r.fail(ErrTooLong)
				return Event{}, ErrTooLong
			}
			return r.parse(raw), nil
		}
		r.scanned = len(r.buf)
		if r.err == nil && len(r.buf)-r.start > r.max {
			r.fail(ErrTooLong)
		}
		if r.err != nil {
			return r.rest()
		}
		r.fill()
	}
}

// parse takes raw apart; only the first may begin with a byte order mark.
func (r *Reader) parse(raw []byte) Event {
	if r.later {
		return parse(raw)
	}
	r.later = true
	return Parse(raw)
}

// rest hands out what is left at the end of the stream.
func (r *Reader) rest() (Event, error) {
	raw := r.buf[r.start:]
	r.start = len(r.buf)
	if !errors.Is(r.err, io.EOF) || len(raw) == 0 {
		return Event{}, r.err
	}
	if r.scan.wait {
		// The LF of the last CRLF never came: the CR ends the line.
		r.scan.wait = false
		if r.scan.endLine() {
			return r.parse(raw), nil
		}
	}
	if r.scan.AtBoundary() {
		return Event{Raw: raw}, io.EOF
	}
	return Event{Raw: raw}, io.ErrUnexpectedEOF
}

func (r *Reader) fail(err error) {
	r.err = err
	r.start = len(r.buf)
}

// fill reads once, after making room by moving the unfinished event to the front.
func (r *Reader) fill() {
	if cap(r.buf)-len(r.buf) < readSize {
		left := len(r.buf) - r.start
		buf := r.buf[:0]
		if cap(r.buf)-left < readSize {
			buf = make([]byte, 0, max(2*left, left+readSize))
		}
		r.buf = append(buf, r.buf[r.start:]...)
		r.scanned -= r.start
		r.start = 0
	}
	for range 100 {
		n, err := r.r.Read(r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+n]
		r.err = err
		if n > 0 || err != nil {
			return
		}
	}
	r.err = io.ErrNoProgress
}
