package accesslog

import (
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// appendLine appends the line as JSON, with its newline. Fields always come in this order.
func appendLine(dst []byte, l *line) []byte {
	dst = append(dst, `{"time":"`...)
	dst = appendTime(dst, l.time)
	dst = append(dst, '"')
	dst = appendText(dst, `,"request_id":`, l.get(requestID))
	dst = appendText(dst, `,"client_request_id":`, l.get(clientRequestID))
	if l.hasIP {
		dst = append(dst, `,"remote_ip":"`...)
		dst = netip.AddrFrom16(l.ip).Unmap().AppendTo(dst)
		dst = append(dst, '"')
	}
	dst = appendText(dst, `,"method":`, l.get(method))
	dst = appendText(dst, `,"operation":`, l.get(operation))
	dst = appendText(dst, `,"model":`, l.get(model))
	dst = appendBool(dst, `,"stream":`, l.stream)
	dst = appendInt(dst, `,"status":`, int64(l.status))
	dst = appendText(dst, `,"key_id":`, l.get(keyID))
	dst = appendText(dst, `,"group":`, l.get(group))
	dst = appendText(dst, `,"channel":`, l.get(channel))
	dst = appendText(dst, `,"account":`, l.get(account))
	dst = appendInt(dst, `,"attempts":`, int64(l.attempts))
	dst = appendBool(dst, `,"retried":`, l.retried)
	dst = appendBool(dst, `,"client_gone":`, l.gone)
	if l.ttft > 0 {
		dst = appendMS(dst, `,"ttft_ms":`, l.ttft)
	}
	dst = appendMS(dst, `,"duration_ms":`, l.duration)
	dst = appendInt(dst, `,"bytes_in":`, l.bytesIn)
	dst = appendInt(dst, `,"bytes_out":`, l.bytesOut)
	dst = appendInt(dst, `,"input_tokens":`, l.input)
	dst = appendInt(dst, `,"cached_tokens":`, l.cached)
	dst = appendInt(dst, `,"output_tokens":`, l.output)
	dst = appendBool(dst, `,"estimated":`, l.estimated)
	dst = appendInt(dst, `,"cost_nano_usd":`, l.cost)
	dst = appendText(dst, `,"error":`, l.get(failure))
	return append(dst, '}', '\n')
}

func appendInt(dst []byte, field string, n int64) []byte {
	return strconv.AppendInt(append(dst, field...), n, 10)
}

func appendBool(dst []byte, field string, b bool) []byte {
	return strconv.AppendBool(append(dst, field...), b)
}

// appendMS appends nanoseconds as milliseconds with three decimals, cut. A clock that was set back gives 0.
func appendMS(dst []byte, field string, ns int64) []byte {
	us := max(ns, 0) / 1000
	return appendDecimals(strconv.AppendInt(append(dst, field...), us/1000, 10), us%1000)
}

// appendDecimals appends thousandths, 0 to 999.
func appendDecimals(dst []byte, n int64) []byte {
	return append(dst, '.', byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10))
}

// appendTime appends Unix nanoseconds as RFC 3339 with milliseconds, in UTC.
func appendTime(dst []byte, ns int64) []byte {
	t := time.Unix(0, ns).UTC()
	// The form that the time package writes without reading a layout, with the milliseconds put before its Z.
	dst = t.AppendFormat(dst, time.RFC3339)
	return append(appendDecimals(dst[:len(dst)-1], int64(t.Nanosecond()/1e6)), 'Z')
}

// appendText appends a field with a string of a client's; none when that is empty.
func appendText(dst []byte, field string, s []byte) []byte {
	if len(s) == 0 {
		return dst
	}
	return appendString(append(dst, field...), s)
}

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string. Bytes that are not UTF-8 become U+FFFD. Besides what JSON wants escaped, so is all that
// does not print: control characters, line separators and changes of direction would let a client write to the terminal
// that shows the log.
func appendString(dst, s []byte) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		if b := s[i]; b < utf8.RuneSelf {
			if b >= ' ' && b < 0x7f && b != '"' && b != '\\' {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			if b == '"' || b == '\\' {
				dst = append(dst, '\\', b)
			} else {
				dst = appendEscape(dst, rune(b))
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRune(s[i:])
		invalid := r == utf8.RuneError && size == 1
		if !invalid && strconv.IsPrint(r) {
			i += size
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = appendEscape(dst, r)
		i += size
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// appendEscape appends \uXXXX, two of them for what lies beyond 16 bits.
func appendEscape(dst []byte, r rune) []byte {
	if r >= 0x10000 {
		r -= 0x10000
		return appendEscape(appendEscape(dst, 0xd800+r>>10), 0xdc00+r&0x3ff)
	}
	return append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}
