package anthropic

import (
	"bytes"

	"fairway/dataplane/internal/dialect"
)

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
	dst = dialect.AppendQuoted(dst, args)
	return append(dst, '}')
}

func isObject(s string) bool {
	for i := range len(s) {
		switch s[i] {
		case ' ', '\n', '\t', '\r':
		case '{':
			return dialect.Valid(s)
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
