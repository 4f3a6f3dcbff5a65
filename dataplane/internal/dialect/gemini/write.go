package gemini

import (
	"strconv"
	"unicode/utf8"

	"fairway/dataplane/internal/dialect"
)

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

// list writes the commas between members or elements.
type list struct{ some bool }

func (l *list) next(dst []byte) []byte {
	if l.some {
		return append(dst, ',')
	}
	l.some = true
	return dst
}

// name appends a member's name, with the comma before it if it is not the first.
func (l *list) name(dst []byte, name string) []byte {
	dst = append(l.next(dst), '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

// quoted appends a member that is a string.
func (l *list) quoted(dst []byte, name, value string) []byte {
	return dialect.AppendQuoted(l.name(dst, name), value)
}

// appendLine appends JSON so that it stays on one line: outside of strings, where valid JSON has no line ends, they are
// white space.
func appendLine(dst []byte, json string) []byte {
	at := len(dst)
	dst = append(dst, json...)
	for i := at; i < len(dst); i++ {
		if dst[i] == '\n' || dst[i] == '\r' {
			dst[i] = ' '
		}
	}
	return dst
}

// clean says whether b may stand inside a JSON string as it is: what came in one need not, for only quotes and backslashes
// were looked for. No escape is cut, and no line ends.
func clean(b []byte) bool {
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c < 0x20 || c == '"':
			return false
		case c == '\\':
			if i++; i >= len(b) {
				return false
			}
			switch b[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				if len(b)-i <= 4 {
					return false
				}
				if _, ok := unit(b[i+1:]); !ok {
					return false
				}
				i += 4
			default:
				return false
			}
		}
	}
	return true
}

// appendUnescaped appends what the inside of a JSON string means. A wrong escape stays as it is.
func appendUnescaped(dst, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c != '\\' || i+1 >= len(b) {
			dst = append(dst, c)
			continue
		}
		i++
		switch b[i] {
		case '"', '\\', '/':
			dst = append(dst, b[i])
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, ok := unit(b[i+1:])
			if !ok {
				dst = append(dst, '\\', 'u')
				continue
			}
			i += 4
			if r >= 0xd800 && r < 0xdc00 && len(b)-i > 6 && b[i+1] == '\\' && b[i+2] == 'u' {
				if low, ok := unit(b[i+3:]); ok && low >= 0xdc00 && low < 0xe000 {
					r = (r-0xd800)<<10 + (low - 0xdc00) + 0x10000
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, '\\', b[i])
		}
	}
	return dst
}

// unit reads four hexadecimal digits.
func unit(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
