package accesslog

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"time"
	"unicode/utf8"

	"fairway/dataplane/internal/journal"
	"fairway/pkg/money"
)

// appendLine appends the entry as a line of JSON, with its newline. Fields always come in this order.
func appendLine(dst []byte, e *journal.Entry) []byte {
	dst = append(dst, `{"time":"`...)
	dst = appendTime(dst, e.Time)
	dst = append(dst, '"')
	dst = appendText(dst, `,"request_id":`, e.RequestID)
	dst = appendText(dst, `,"client_request_id":`, e.ClientRequestID)
	dst = appendText(dst, `,"upstream_request_id":`, e.UpstreamRequestID)
	if e.Trace.Valid() {
		dst = append(dst, `,"trace_id":"`...)
		dst = hex.AppendEncode(dst, e.Trace.ID[:])
		dst = append(dst, '"')
	}
	if e.RemoteIP.IsValid() {
		dst = append(dst, `,"remote_ip":"`...)
		dst = e.RemoteIP.AppendTo(dst)
		dst = append(dst, '"')
	}
	dst = appendText(dst, `,"method":`, e.Method)
	dst = appendText(dst, `,"operation":`, e.Operation)
	dst = appendText(dst, `,"model":`, e.Model)
	dst = appendText(dst, `,"upstream_model":`, e.UpstreamModel)
	dst = appendText(dst, `,"response_model":`, e.ResponseModel)
	dst = appendBool(dst, `,"stream":`, e.Stream)
	dst = appendInt(dst, `,"status":`, int64(e.Status))
	dst = appendText(dst, `,"key_id":`, e.KeyID)
	dst = appendText(dst, `,"key_name":`, e.KeyName)
	dst = appendText(dst, `,"tenant":`, e.Tenant)
	dst = appendText(dst, `,"group":`, e.Group)
	dst = appendText(dst, `,"channel":`, e.Channel)
	dst = appendText(dst, `,"account":`, e.Account)
	dst = appendInt(dst, `,"attempts":`, int64(e.Attempts))
	dst = appendBool(dst, `,"retried":`, e.Retried)
	dst = appendTrail(dst, e)
	dst = appendBool(dst, `,"client_gone":`, e.ClientGone)
	if e.TTFT > 0 {
		dst = appendMS(dst, `,"ttft_ms":`, e.TTFT)
	}
	dst = appendMS(dst, `,"duration_ms":`, e.Duration)
	dst = appendInt(dst, `,"bytes_in":`, e.BytesIn)
	dst = appendInt(dst, `,"bytes_out":`, e.BytesOut)
	dst = appendTokens(dst, &e.Tokens)
	dst = appendBool(dst, `,"estimated":`, e.Estimated)
	dst = appendInt(dst, `,"cost_nano_usd":`, e.CostNanoUSD)
	if e.Unpriced {
		dst = append(dst, `,"unpriced":true`...)
	}
	dst = appendSome(dst, `,"price_version":`, e.PriceVersion)
	dst = appendText(dst, `,"error":`, e.Error)
	dst = appendBodies(dst, e.Bodies)
	return append(dst, '}', '\n')
}

// appendTokens appends the kinds that every request has, and of the others those that this one has.
func appendTokens(dst []byte, t *money.Tokens) []byte {
	dst = appendInt(dst, `,"input_tokens":`, t.Input)
	dst = appendInt(dst, `,"cached_tokens":`, t.Cached)
	dst = appendInt(dst, `,"output_tokens":`, t.Output)
	dst = appendSome(dst, `,"cache_write_tokens":`, t.CacheWrite)
	dst = appendSome(dst, `,"cache_write_long_tokens":`, t.CacheWriteLong)
	dst = appendSome(dst, `,"reasoning_tokens":`, t.Reasoning)
	dst = appendSome(dst, `,"audio_input_tokens":`, t.AudioInput)
	return appendSome(dst, `,"audio_output_tokens":`, t.AudioOutput)
}

// appendTrail appends the attempts of a request that did not go straight through.
func appendTrail(dst []byte, e *journal.Entry) []byte {
	if len(e.Trail) == 0 || len(e.Trail) == 1 && e.Trail[0].Verdict == "" {
		return dst
	}
	dst = append(dst, `,"trail":`...)
	for i := range e.Trail {
		a, open := &e.Trail[i], byte(',')
		if i == 0 {
			open = '['
		}
		dst = append(dst, open)
		dst = appendMS(dst, `{"after_ms":`, a.After)
		dst = appendMS(dst, `,"took_ms":`, a.Took)
		dst = appendText(dst, `,"channel":`, a.Channel)
		dst = appendText(dst, `,"account":`, a.Account)
		dst = appendText(dst, `,"upstream_model":`, a.Model)
		dst = appendSome(dst, `,"status":`, int64(a.Status))
		dst = append(appendText(dst, `,"error":`, a.Verdict), '}')
	}
	return append(dst, ']')
}

// appendBodies appends what was said, as text.
func appendBodies(dst []byte, b *journal.Bodies) []byte {
	if b == nil {
		return dst
	}
	dst = appendBody(dst, `,"request_body":`, b.Request)
	if b.RequestCut {
		dst = append(dst, `,"request_body_cut":true`...)
	}
	dst = appendBody(dst, `,"response_body":`, b.Response)
	if b.ResponseCut {
		dst = append(dst, `,"response_body_cut":true`...)
	}
	return dst
}

// appendBody appends a body; of sound and pictures only that they are none that can be read.
func appendBody(dst []byte, field string, body []byte) []byte {
	if bytes.IndexByte(body, 0) >= 0 {
		body = []byte("(binary)")
	}
	return appendText(dst, field, body)
}

func appendInt(dst []byte, field string, n int64) []byte {
	return strconv.AppendInt(append(dst, field...), n, 10)
}

// appendSome appends a field with a number; none when that is 0.
func appendSome(dst []byte, field string, n int64) []byte {
	if n == 0 {
		return dst
	}
	return appendInt(dst, field, n)
}

func appendBool(dst []byte, field string, b bool) []byte {
	return strconv.AppendBool(append(dst, field...), b)
}

// appendMS appends a duration as milliseconds with three decimals, cut. A clock that was set back gives 0.
func appendMS(dst []byte, field string, d time.Duration) []byte {
	us := max(d, 0).Microseconds()
	return appendDecimals(strconv.AppendInt(append(dst, field...), us/1000, 10), us%1000)
}

// appendDecimals appends thousandths, 0 to 999.
func appendDecimals(dst []byte, n int64) []byte {
	return append(dst, '.', byte('0'+n/100), byte('0'+n/10%10), byte('0'+n%10))
}

// appendTime appends a time as RFC 3339 with milliseconds, in UTC.
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	// The form that the time package writes without reading a layout, with the milliseconds put before its Z.
	dst = t.AppendFormat(dst, time.RFC3339)
	return append(appendDecimals(dst[:len(dst)-1], int64(t.Nanosecond()/1e6)), 'Z')
}

// appendText appends a field with a string of a client's; none when that is empty.
func appendText[text string | []byte](dst []byte, field string, s text) []byte {
	if len(s) == 0 {
		return dst
	}
	return appendString(append(dst, field...), s)
}

const hexDigits = "0123456789abcdef"

// appendString appends a JSON string. Bytes that are not UTF-8 become U+FFFD. Besides what JSON wants escaped, so is all that
// does not print: control characters, line separators and changes of direction would let a client write to the terminal
// that shows the log.
func appendString[text string | []byte](dst []byte, s text) []byte {
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
		// At most one character is looked at, so that the conversion is cheap.
		r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
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
