package provider

import (
	"encoding/base64"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
)

// eventStream turns Bedrock's frames into server-sent events: Converse's by their types, those of invoke into the events that
// the vendor's own API would have sent. An exception becomes an event "error": Anthropic's for invoke, and for Converse
// {"__type","message"}, as AWS's services write errors in bodies. It holds at most one frame.
type eventStream struct {
	invoke  bool
	held    []byte // the beginning of a frame
	decoded []byte
	err     error
}

// Feed implements Unframer.
func (s *eventStream) Feed(dst, p []byte) ([]byte, error) {
	if s.err != nil {
		return dst, s.err
	}
	for len(p) > 0 {
		if len(s.held) == 0 {
			n, err := frameLen(p)
			if err == nil && n > 0 && n <= len(p) {
				if dst, err = s.append(dst, p[:n]); err == nil {
					p = p[n:]
					continue
				}
			}
			if err != nil {
				s.err = err
				return dst, err
			}
		}
		// Never more than what the frame needs, and never before it is here: a length is only what the upstream says.
		want := preludeLen
		if n, err := frameLen(s.held); err != nil {
			s.err = err
			return dst, err
		} else if n > 0 {
			want = n
		}
		take := min(want-len(s.held), len(p))
		s.held = append(s.held, p[:take]...)
		p = p[take:]
		if len(s.held) < want {
			break
		}
		n, err := frameLen(s.held)
		if err == nil && n == len(s.held) {
			dst, err = s.append(dst, s.held)
			s.release()
		}
		if err != nil {
			s.err = err
			return dst, err
		}
	}
	return dst, nil
}

// keep is how much memory stays with a stream between its frames.
const keep = 64 << 10

func (s *eventStream) release() {
	s.held = s.held[:0]
	if cap(s.held) > keep {
		s.held = nil
	}
	if cap(s.decoded) > keep {
		s.decoded = nil
	}
}

// append appends what one whole frame becomes.
func (s *eventStream) append(dst, b []byte) ([]byte, error) {
	f, err := readFrame(b)
	if err != nil {
		return dst, err
	}
	switch {
	case string(f.message) == "exception" || string(f.message) == "error":
		return s.appendError(dst, &f), nil
	case !s.invoke:
		return appendEvent(dst, f.event, f.payload), nil
	case string(f.event) != "chunk":
		return dst, nil
	}
	inner := gjson.Get(view(f.payload), "bytes")
	if inner.Type != gjson.String {
		return dst, nil
	}
	s.decoded, err = base64.StdEncoding.AppendDecode(s.decoded[:0], viewBytes(inner.Str))
	if err != nil {
		return dst, errFrame
	}
	return appendEvent(dst, viewBytes(gjson.Get(view(s.decoded), "type").Str), s.decoded), nil
}

// appendEvent appends one event. A name that could be more than a name is left out. JSON has line ends only between its
// tokens, where a space does as well.
func appendEvent(dst, name, data []byte) []byte {
	if isName(name) {
		dst = append(dst, "event: "...)
		dst = append(dst, name...)
		dst = append(dst, '\n')
	}
	dst = append(dst, "data: "...)
	start := len(dst)
	dst = append(dst, data...)
	for i := start; i < len(dst); i++ {
		if dst[i] == '\n' || dst[i] == '\r' {
			dst[i] = ' '
		}
	}
	return append(dst, "\n\n"...)
}

func isName(b []byte) bool {
	for _, c := range b {
		if !unreserved(c) {
			return false
		}
	}
	return len(b) > 0
}

func (s *eventStream) appendError(dst []byte, f *frame) []byte {
	message := string(f.text)
	for _, name := range [...]string{"message", "Message", "originalMessage"} {
		if m := gjson.GetBytes(f.payload, name).String(); m != "" {
			message = m
			break
		}
	}
	dst = append(dst, "event: error\ndata: "...)
	if s.invoke {
		dst = append(dst, `{"type":"error","error":{"type":"`...)
		dst = append(dst, anthropicType(string(f.exception))...)
		dst = append(dst, `","message":`...)
		dst = appendText(dst, message)
		return append(dst, "}}\n\n"...)
	}
	dst = append(dst, `{"__type":`...)
	dst = appendText(dst, string(f.exception))
	dst = append(dst, `,"message":`...)
	dst = appendText(dst, message)
	return append(dst, "}\n\n"...)
}

// appendText appends foreign text as a JSON string.
func appendText(dst []byte, s string) []byte {
	return dialect.AppendQuoted(dst, strings.ToValidUTF8(s, "\uFFFD"))
}

// anthropicType is the type of Anthropic's error that means what an exception of Bedrock's does.
func anthropicType(exception string) string {
	for _, row := range [...]struct{ exception, kind string }{
		{"throttlingException", "rate_limit_error"},
		{"serviceQuotaExceededException", "rate_limit_error"},
		{"validationException", "invalid_request_error"},
		{"accessDeniedException", "permission_error"},
		{"resourceNotFoundException", "not_found_error"},
		{"serviceUnavailableException", "overloaded_error"},
		{"modelNotReadyException", "overloaded_error"},
		{"modelTimeoutException", "timeout_error"},
	} {
		if strings.EqualFold(exception, row.exception) {
			return row.kind
		}
	}
	return "api_error"
}

// view is b as a string, without a copy.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// viewBytes is s as bytes that must not be written to.
func viewBytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
