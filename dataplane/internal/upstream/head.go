package upstream

import (
	"bytes"
	"fmt"
	"time"
)

// Bounds of a response's head.
const (
	maxHead   = 64 << 10
	maxFields = 512
)

// head reads a response's head line by line as it arrives, and takes from it what decides where the response ends. It is
// strict where lenient readers disagree with each other. The fields themselves are fasthttp's to read, once head has
// seen the whole.
type head struct {
	status    int
	minor     byte // HTTP/1.minor
	length    int64
	hasLength bool
	chunked   bool
	close     bool
	keepAlive bool
	keepFor   time.Duration // Keep-Alive: timeout; 0 = not said

	line   int // where the line begins that is being read
	looked int // how far it was searched for its end
	fields int
}

// scan looks at all bytes that have come since the head began. It returns the size of the head once it is complete, and
// 0 until then.
func (h *head) scan(b []byte) (int, error) {
	for {
		i := bytes.IndexByte(b[h.looked:], '\n')
		if i < 0 {
			h.looked = len(b)
			const start = "HTTP/1."
			if n := min(len(b), len(start)); h.line == 0 && string(b[:n]) != start[:n] {
				return 0, malformed("not HTTP/1") // something else may never send a line's end
			}
			if len(b) > maxHead {
				return 0, fmt.Errorf("head: %w", ErrTooLarge)
			}
			return 0, nil
		}
		end := h.looked + i
		if end >= maxHead {
			return 0, fmt.Errorf("head: %w", ErrTooLarge)
		}
		if end == h.line || b[end-1] != '\r' {
			return 0, malformed("bare line feed in the head")
		}
		line := b[h.line : end-1]
		first := h.line == 0
		h.line, h.looked = end+1, end+1
		switch {
		case first:
			if err := h.statusLine(line); err != nil {
				return 0, err
			}
		case len(line) == 0:
			return end + 1, h.settle()
		default:
			if err := h.field(line); err != nil {
				return 0, err
			}
		}
	}
}

// statusLine reads "HTTP/1.x NNN reason".
func (h *head) statusLine(l []byte) error {
	if len(l) < 12 || string(l[:7]) != "HTTP/1." || (l[7] != '0' && l[7] != '1') || l[8] != ' ' || (len(l) > 12 && l[12] != ' ') {
		return malformed("not an HTTP/1.0 or 1.1 status line")
	}
	h.minor = l[7] - '0'
	for _, c := range l[9:12] {
		if c < '0' || c > '9' {
			return malformed("status is not a number")
		}
		h.status = h.status*10 + int(c-'0')
	}
	if h.status < 100 || h.status > 599 {
		return malformed("status out of range")
	}
	if !cleanText(l[12:]) {
		return malformed("control character in the status line")
	}
	return nil
}

// field reads "name: value".
func (h *head) field(l []byte) error {
	if h.fields++; h.fields > maxFields {
		return fmt.Errorf("more than %d header fields: %w", maxFields, ErrTooLarge)
	}
	colon := bytes.IndexByte(l, ':')
	if colon <= 0 {
		return malformed("header line without a name")
	}
	name := l[:colon]
	for _, c := range name {
		if !tokenChar(c) { // a space too: a folded line, or a space before the colon
			return malformed("header name is not a token")
		}
	}
	switch len(name) {
	case len("connection"): // and keep-alive
		if equalFold(name, "connection") {
			h.connection(l[colon+1:])
		} else if equalFold(name, "keep-alive") {
			h.keepFor = keepAliveTimeout(l[colon+1:])
		}
	case len("content-length"):
		if equalFold(name, "content-length") {
			return h.contentLength(trim(l[colon+1:]))
		}
	case len("transfer-encoding"):
		if equalFold(name, "transfer-encoding") {
			return h.transferEncoding(trim(l[colon+1:]))
		}
	}
	return nil
}

func (h *head) contentLength(v []byte) error {
	if h.hasLength {
		return malformed("more than one content-length")
	}
	if len(v) == 0 || len(v) > 18 {
		return malformed("content-length is not a number")
	}
	for _, c := range v {
		if c < '0' || c > '9' { // signs, lists, spaces, 0x …
			return malformed("content-length is not a number")
		}
		h.length = h.length*10 + int64(c-'0')
	}
	h.hasLength = true
	return nil
}

func (h *head) transferEncoding(v []byte) error {
	if h.chunked {
		return malformed("more than one transfer-encoding")
	}
	if !equalFold(v, "chunked") {
		return malformed("transfer-encoding is not chunked")
	}
	h.chunked = true
	return nil
}

func (h *head) connection(v []byte) {
	for len(v) > 0 {
		item := v
		if i := bytes.IndexByte(v, ','); i >= 0 {
			item, v = v[:i], v[i+1:]
		} else {
			v = nil
		}
		item = trim(item)
		h.close = h.close || equalFold(item, "close")
		h.keepAlive = h.keepAlive || equalFold(item, "keep-alive")
	}
}

// settle judges the head as a whole.
func (h *head) settle() error {
	if h.chunked && h.hasLength {
		return malformed("both content-length and transfer-encoding")
	}
	if h.chunked && h.minor == 0 {
		return malformed("transfer-encoding in HTTP/1.0")
	}
	if h.status < 200 && (h.chunked || h.length > 0) {
		return malformed("interim response with a body")
	}
	return nil
}

// persistent says whether the upstream lets the connection serve again.
func (h *head) persistent() bool {
	return !h.close && (h.minor == 1 || h.keepAlive)
}

// keepAliveTimeout reads "timeout=5, max=100"; 0 = nothing that makes sense.
func keepAliveTimeout(v []byte) time.Duration {
	const name = "timeout="
	for i := 0; i+len(name) <= len(v); i++ {
		if !equalFold(v[i:i+len(name)], name) {
			continue
		}
		seconds := 0
		for _, c := range v[i+len(name):] {
			if c < '0' || c > '9' || seconds > 1e6 {
				break
			}
			seconds = seconds*10 + int(c-'0')
		}
		return time.Duration(seconds) * time.Second
	}
	return 0
}

func malformed(why string) error { return fmt.Errorf("%s: %w", why, ErrMalformed) }

// tokenChar says whether c may stand in a token (RFC 9110, 5.6.2).
func tokenChar(c byte) bool {
	const (
		digits  = 0x3ff << '0'
		letters = 0x3ffffff
		low     = 1<<'!' | 1<<'#' | 1<<'$' | 1<<'%' | 1<<'&' | 1<<'\'' | 1<<'*' | 1<<'+' | 1<<'-' | 1<<'.' | digits
		high    = letters<<('A'-64) | letters<<('a'-64) | 1<<('^'-64) | 1<<('_'-64) | 1<<('`'-64) | 1<<('|'-64) | 1<<('~'-64)
	)
	switch {
	case c < 64:
		return uint64(low)>>c&1 != 0
	case c < 128:
		return uint64(high)>>(c-64)&1 != 0
	}
	return false
}

// cleanText says that b has no control characters but tabs.
func cleanText(b []byte) bool {
	for _, c := range b {
		if (c < ' ' && c != '\t') || c == 0x7f {
			return false
		}
	}
	return true
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// equalFold compares ASCII; lower must be lower case.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
