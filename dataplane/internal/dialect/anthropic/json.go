package anthropic

import (
	"bytes"

	"github.com/tidwall/gjson"
)

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	dst = appendEscaped(dst, s)
	return append(dst, '"')
}

// appendEscaped appends the inside of the JSON string s. Quotes, backslashes and control characters are escaped; every
// other byte stays.
func appendEscaped(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xf])
		}
	}
	return append(dst, s[start:]...)
}

// appendArgs appends the arguments of a call, which must be an object here. Models write broken ones at times: those go
// as text in a member of their own, so that the model sees what it did.
func appendArgs(dst []byte, args string) []byte {
	switch {
	case args == "":
		return append(dst, "{}"...)
	case isObject(args):
		return append(dst, args...)
	}
	dst = append(dst, `{"arguments":`...)
	dst = appendString(dst, args)
	return append(dst, '}')
}

func isObject(s string) bool {
	for i := range len(s) {
		switch s[i] {
		case ' ', '\n', '\t', '\r':
		case '{':
			return gjson.Valid(s)
		default:
			return false
		}
	}
	return false
}

// inString says whether b can be the inside of a JSON string: no bare quote, no control character and no broken escape.
func inString(b []byte) bool {
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c < 0x20 || c == '"':
			return false
		case c == '\\':
			n := escapeLen(b[i:])
			if n == 0 {
				return false
			}
			i += n - 1
		}
	}
	return true
}

// escapesHold says whether every escape of a JSON text is one. Its grammar was checked: a backslash stands only in strings.
func escapesHold(b []byte) bool {
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			return true
		}
		n := escapeLen(b[i:])
		if n == 0 {
			return false
		}
		b = b[i+n:]
	}
}

// escapeLen is how long the escape is that b begins with; 0 = it is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		for _, c := range b[2:6] {
			if lower := c | 0x20; (c < '0' || c > '9') && (lower < 'a' || lower > 'f') {
				return 0
			}
		}
		return 6
	}
	return 0
}
