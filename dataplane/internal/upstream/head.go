package upstream

import (
	"bytes"
	"fmt"
	"time"

	"fairway/pkg/h1"
)

// Bounds of a response's head.
const (
	maxHead   = 64 << 10
	maxFields = 512
)

// head reads a response's head line by line as it arrives, and takes from it what decides where the response ends. It is
// strict where lenient readers disagree with each other, and notes where each field is.
type head struct {
	status    int
	minor     byte // HTTP/1.minor
	length    int64
	hasLength bool
	chunked   bool
	close     bool
	keepAlive bool
	keepFor   time.Duration // Keep-Alive: timeout; 0 = not said
	coding    coding        // of the content
	codings   int           // how many fields say so
	switches  bool          // Connection: upgrade
	upgrade   bool          // an Upgrade field

	line   int // where the line begins that is being read
	looked int // how far it was searched for its end
	fields []field
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
		at := h.line
		h.line, h.looked = end+1, end+1
		switch {
		case at == 0:
			if err := h.statusLine(line); err != nil {
				return 0, err
			}
		case len(line) == 0:
			return end + 1, h.settle()
		default:
			if err := h.field(line, at); err != nil {
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
	if !h1.Text(l[12:]) {
		return malformed("control character in the status line")
	}
	return nil
}

// field reads "name: value", a line that begins at at.
func (h *head) field(l []byte, at int) error {
	if len(h.fields) == maxFields {
		return fmt.Errorf("more than %d header fields: %w", maxFields, ErrTooLarge)
	}
	colon := 0
	for ; colon < len(l) && l[colon] != ':'; colon++ {
		if !h1.TokenChar(l[colon]) { // a space too: a folded line, or a space before the colon
			return malformed("header name is not a token")
		}
	}
	if colon == 0 || colon == len(l) {
		return malformed("header line without a name")
	}
	from, to := colon+1, len(l)
	for from < to && (l[from] == ' ' || l[from] == '\t') {
		from++
	}
	for from < to && (l[to-1] == ' ' || l[to-1] == '\t') {
		to--
	}
	name, value := l[:colon], l[from:to]
	if !h1.Text(value) {
		return malformed("control character in a header")
	}
	h.fields = append(h.fields, field{
		name:  span{uint16(at), uint16(colon)},
		value: span{uint16(at + from), uint16(to - from)},
	})
	return h.meaning(name, value)
}

// meaning notes the fields that say where the response ends, and what its content is wrapped in.
func (h *head) meaning(name, value []byte) error {
	switch len(name) {
	case len("upgrade"): // and trailer
		if h1.Is(name, "upgrade") {
			h.upgrade = len(value) > 0
		} else if h1.Is(name, "trailer") {
			return announced(value)
		}
	case len("connection"): // and keep-alive
		if h1.Is(name, "connection") {
			h.connection(value)
		} else if h1.Is(name, "keep-alive") {
			h.keepFor = keepAliveTimeout(value)
		}
	case len("content-length"):
		if h1.Is(name, "content-length") {
			return h.contentLength(value)
		}
	case len("content-encoding"):
		if h1.Is(name, "content-encoding") {
			if h.codings++; h.codings > 1 {
				return malformed("more than one content-encoding")
			}
			h.coding = codingOf(value)
		}
	case len("transfer-encoding"):
		if h1.Is(name, "transfer-encoding") {
			return h.transferEncoding(value)
		}
	}
	return nil
}

// announced refuses trailers that would change what the head said. Trailers are dropped, but others may believe them.
func announced(list []byte) error {
	for len(list) > 0 {
		var name []byte
		name, list = h1.Item(list)
		switch string(bytes.ToLower(name)) {
		case "content-length", "transfer-encoding", "content-encoding", "content-type", "content-range", "trailer", "host", "connection":
			return malformed("trailer that belongs into the head")
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
	if !h1.Is(v, "chunked") {
		return malformed("transfer-encoding is not chunked")
	}
	h.chunked = true
	return nil
}

func (h *head) connection(v []byte) {
	for len(v) > 0 {
		var option []byte
		option, v = h1.Item(v)
		h.close = h.close || h1.Is(option, "close")
		h.keepAlive = h.keepAlive || h1.Is(option, "keep-alive")
		h.switches = h.switches || h1.Is(option, "upgrade")
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
		if !h1.Is(v[i:i+len(name)], name) {
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
