package ingress

import (
	"bytes"
	"net/http"

	"fairway/pkg/fault"
	"fairway/pkg/h1"
)

const (
	maxHead   = 64<<10 - 1 // bytes, so that offsets fit 16 bits
	maxFields = 128
)

// span is a piece of a head, in bytes from its beginning.
type span struct{ from, to uint16 }

// head reads a request's head line by line as it comes, and refuses whatever another parser, before us or behind, could
// read as another message: bare line feeds, folded lines, spaces in names, more than one length, coding or host, a length
// and a coding at once, codings other than chunked, versions other than 1.0 and 1.1, and expectations that nobody meets.
type head struct {
	method, target span
	fields         []field
	old            bool // HTTP/1.0

	length    int64 // -1 = not said
	chunked   bool
	hosts     int
	close     bool // the client wants the connection closed
	keepAlive bool
	upgrade   bool
	expect    bool // the client waits for 100 before its body

	line   int // where the line begins that is being read
	looked int // how far it was searched for its end
}

type field struct{ name, value span }

// reset makes h ready for the next request; it keeps its memory.
func (h *head) reset() {
	*h = head{fields: h.fields[:0], length: -1}
}

func errFraming(message string) *fault.Error { return fault.New(fault.Invalid, "%s", message) }

func tooLarge() *fault.Error {
	return fault.New(fault.Invalid, "the request's line and headers are too large").
		WithStatus(http.StatusRequestHeaderFieldsTooLarge)
}

// scan looks at what has come since the head began, most bytes of which may be its own. It returns the head's size once it
// is complete and 0 until then.
func (h *head) scan(b []byte, most int) (int, *fault.Error) {
	for {
		i := bytes.IndexByte(b[h.looked:], '\n')
		if i < 0 {
			h.looked = len(b)
			if len(b) >= most {
				return 0, tooLarge()
			}
			return 0, nil
		}
		end := h.looked + i
		if end >= most {
			return 0, tooLarge()
		}
		if end == h.line || b[end-1] != '\r' {
			return 0, errFraming("a line of the request does not end with CRLF")
		}
		from, to, first := h.line, end-1, h.line == 0
		h.line, h.looked = end+1, end+1
		switch {
		case first:
			if f := h.requestLine(b[:to]); f != nil {
				return 0, f
			}
		case from == to:
			return end + 1, h.settle()
		default:
			if f := h.field(b, from, to); f != nil {
				return 0, f
			}
		}
	}
}

// requestLine reads "METHOD target HTTP/1.x".
func (h *head) requestLine(b []byte) *fault.Error {
	method := bytes.IndexByte(b, ' ')
	last := bytes.LastIndexByte(b, ' ')
	if method <= 0 || last <= method+1 || !h1.Token(b[:method]) {
		return errFraming("the request line is malformed")
	}
	switch version := b[last+1:]; {
	case string(version) == "HTTP/1.1":
	case string(version) == "HTTP/1.0":
		h.old = true
	case len(version) == 8 && string(version[:5]) == "HTTP/":
		return errFraming("this version of HTTP is not served here").WithStatus(http.StatusHTTPVersionNotSupported)
	default:
		return errFraming("the request line is malformed")
	}
	for _, c := range b[method+1 : last] {
		if c <= ' ' || c >= 0x7f {
			return errFraming("the request's target holds a character that must be escaped")
		}
	}
	h.method = span{0, uint16(method)}
	h.target = origin(b, method+1, last)
	if b[method+1] != '/' && h.target.to == uint16(last) && h.target.from == uint16(method+1) && string(b[method+1:last]) != "*" {
		return errFraming("the request's target is neither a path nor an address")
	}
	return nil
}

// origin is the target's path and query: all of it, or what follows the authority of an absolute one (RFC 9112, 3.2.2).
func origin(b []byte, from, to int) span {
	target := b[from:to]
	for _, scheme := range [...]string{"http://", "https://"} {
		if len(target) <= len(scheme) || !h1.Is(target[:len(scheme)], scheme) {
			continue
		}
		if i := bytes.IndexByte(target[len(scheme):], '/'); i > 0 {
			return span{uint16(from + len(scheme) + i), uint16(to)}
		}
	}
	return span{uint16(from), uint16(to)}
}

// field reads "name: value".
func (h *head) field(b []byte, from, to int) *fault.Error {
	line := b[from:to]
	colon := bytes.IndexByte(line, ':')
	if colon < 1 || !h1.Token(line[:colon]) {
		return errFraming("a header of the request is folded, or its name is malformed")
	}
	if len(h.fields) == maxFields {
		return tooLarge()
	}
	value := h1.Trim(line[colon+1:])
	if !h1.Text(value) {
		return errFraming("a header of the request holds a control character")
	}
	begin := to
	if len(value) > 0 {
		begin = from + colon + 1 + (len(line[colon+1:]) - len(bytes.TrimLeft(line[colon+1:], " \t")))
	}
	h.fields = append(h.fields, field{
		name:  span{uint16(from), uint16(from + colon)},
		value: span{uint16(begin), uint16(begin + len(value))},
	})
	return h.framing(line[:colon], value)
}

// framing takes note of the headers that say where a request ends and what becomes of its connection.
func (h *head) framing(name, value []byte) *fault.Error {
	switch name[0] | 0x20 {
	case 'c':
		switch {
		case h1.Is(name, "content-length"):
			if h.length >= 0 {
				return errFraming("the request has more than one Content-Length")
			}
			n, err := h1.Length(value)
			if err != nil {
				return errFraming("the request's Content-Length is not a number")
			}
			h.length = n
		case h1.Is(name, "connection"):
			h.close = h.close || h1.HasToken(value, "close")
			h.keepAlive = h.keepAlive || h1.HasToken(value, "keep-alive")
			h.upgrade = h.upgrade || h1.HasToken(value, "upgrade")
		}
	case 't':
		if h1.Is(name, "transfer-encoding") {
			if h.chunked || !h1.Is(value, "chunked") {
				return errFraming("the request's Transfer-Encoding is not chunked")
			}
			h.chunked = true
		}
	case 'h':
		if h1.Is(name, "host") {
			if h.hosts++; h.hosts > 1 {
				return errFraming("the request has more than one Host")
			}
			if bytes.ContainsAny(value, " \t,/\\@?#\"<>^`{|}") {
				return errFraming("the request's Host is malformed")
			}
		}
	case 'e':
		if h1.Is(name, "expect") {
			if !h1.Is(value, "100-continue") {
				return errFraming("the request expects what is not served here").WithStatus(http.StatusExpectationFailed)
			}
			h.expect = true
		}
	}
	return nil
}

// settle judges the head as a whole.
func (h *head) settle() *fault.Error {
	switch {
	case h.chunked && h.length >= 0:
		return errFraming("the request has both a Content-Length and a Transfer-Encoding")
	case h.chunked && h.old:
		return errFraming("HTTP/1.0 has no Transfer-Encoding")
	case h.hosts == 0 && !h.old:
		return errFraming("the request has no Host")
	}
	return nil
}

// persistent says whether the client lets the connection serve again.
func (h *head) persistent() bool { return !h.close && (!h.old || h.keepAlive) }
