package fault

import "unicode/utf8"

// AppendOpenAI appends OpenAI's error envelope for e to dst:
// {"error":{"message":…,"type":…,"param":…,"code":…}}. Only public fields of e appear; empty Param and Code are null.
func AppendOpenAI(dst []byte, e *Error) []byte {
	msg := e.Message
	if msg == "" {
		msg = e.Kind.String()
	}
	dst = append(dst, `{"error":{"message":`...)
	dst = appendString(dst, msg)
	dst = append(dst, `,"type":`...)
	dst = appendString(dst, openAIType(e))
	dst = append(dst, `,"param":`...)
	dst = appendNullable(dst, e.Param)
	dst = append(dst, `,"code":`...)
	dst = appendNullable(dst, e.Code)
	return append(dst, "}}"...)
}

// outOfQuota is the code, and then the type as well, of what is used up and does not come back by itself in a moment.
const outOfQuota = "insufficient_quota"

// openAIType is the "type" that OpenAI's own service answers with for such a failure.
func openAIType(e *Error) string {
	switch e.Kind {
	case Invalid, NotFound, Exists, Stale, TooLarge, Unimplemented, Unauthenticated:
		return "invalid_request_error"
	case Denied:
		return "permission_error"
	case Exhausted:
		if e.Code == outOfQuota {
			return outOfQuota
		}
		return "rate_limit_error"
	}
	return "server_error"
}

func appendNullable(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, "null"...)
	}
	return appendString(dst, s)
}

// appendString appends s as a JSON string. What is not UTF-8 becomes U+FFFD; what could end a script element or a line of
// an event stream is escaped.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' && c != 0x7f {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
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
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if (r == utf8.RuneError && size == 1) || r == '\u2028' || r == '\u2029' {
			dst = append(dst, s[start:i]...)
			switch r {
			case '\u2028':
				dst = append(dst, `\u2028`...)
			case '\u2029':
				dst = append(dst, `\u2029`...)
			default:
				dst = append(dst, `\ufffd`...)
			}
			start = i + size
		}
		i += size
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}
