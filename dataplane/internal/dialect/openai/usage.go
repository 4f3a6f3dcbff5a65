package openai

import (
	"bytes"
	"strconv"

	"github.com/tidwall/gjson"

	"fairway/pkg/money"
	"fairway/pkg/sse"
)

// maxTokens is beyond every real count; a larger one is an upstream's nonsense and not billed.
const maxTokens = 1_000_000_000

const usageKey = `"usage"`

// ParseUsage finds the last usage object in window, which is a response's body or its end, or the end of a stream. It
// returns false when there is none that holds a count. Inside JSON strings quotes are escaped, so text that a model
// wrote cannot pass for one.
func ParseUsage(window []byte) (money.Tokens, bool) {
	for end := len(window); ; {
		i := bytes.LastIndex(window[:end], []byte(usageKey))
		if i < 0 {
			return money.Tokens{}, false
		}
		if object, ok := objectAfter(window[i+len(usageKey):]); ok {
			if t, ok := readUsage(object); ok {
				return t, true
			}
		}
		end = i
	}
}

// objectAfter returns the object that follows a member's name: a colon, and {…} that ends within b.
func objectAfter(b []byte) ([]byte, bool) {
	s := scanner{b: b}
	s.space()
	if !s.take(':') {
		return nil, false
	}
	s.space()
	start := s.at
	if start >= len(b) || b[start] != '{' || !s.value() {
		return nil, false
	}
	return b[start:s.at], true
}

// readUsage reads the counts of a usage object; false when none is there.
func readUsage(object []byte) (t money.Tokens, found bool) {
	s := scanner{b: object, at: 1}
	s.members(func(key []byte) bool {
		switch string(key) {
		case "prompt_tokens":
			return s.count(&t.Input, &found)
		case "completion_tokens":
			return s.count(&t.Output, &found)
		case "prompt_tokens_details":
			if s.at >= len(s.b) || s.b[s.at] != '{' {
				return s.value()
			}
			s.at++
			details := s.members(func(key []byte) bool {
				if string(key) == "cached_tokens" {
					var ignored bool
					return s.count(&t.Cached, &ignored)
				}
				return s.value()
			})
			return details == ""
		}
		return s.value()
	})
	t.Cached = min(t.Cached, t.Input)
	return t, found
}

// count reads a number of tokens into n. A value that is none leaves n alone.
func (s *scanner) count(n *int64, found *bool) bool {
	start := s.at
	if !s.value() {
		return false
	}
	if v, ok := parseCount(s.b[start:s.at]); ok {
		*n, *found = v, true
	}
	return true
}

// parseCount reads a count as upstreams write them: nearly always plain digits.
func parseCount(raw []byte) (int64, bool) {
	var v int64
	for _, c := range raw {
		if c < '0' || c > '9' {
			f, err := strconv.ParseFloat(string(raw), 64)
			if err != nil || !(f >= 0 && f <= maxTokens) {
				return 0, false
			}
			return int64(f), true
		}
		if v = v*10 + int64(c-'0'); v > maxTokens {
			return 0, false
		}
	}
	return v, len(raw) > 0
}

// IsUsageEvent says whether an event of a stream (its lines, the blank one included or not) is the extra one that
// stream_options.include_usage brings: usage is an object, and choices is there and empty.
func IsUsageEvent(event []byte) bool {
	// Nearly all events stop here.
	i := bytes.Index(event, []byte(usageKey))
	if i < 0 {
		return false
	}
	if _, ok := objectAfter(event[i+len(usageKey):]); !ok {
		return false
	}
	data := sse.Data(event)
	choices := gjson.GetBytes(data, "choices")
	return choices.IsArray() && choices.Get("#").Int() == 0 && gjson.GetBytes(data, "usage").IsObject()
}

// What starts the part of an event that holds generated text: chat's deltas, and the text of completions.
const (
	deltaKey = `"delta":`
	textKey  = `"text":`
)

// OutputText is about how many bytes of generated text a piece of a stream carries. The piece may start and end
// anywhere; what is cut is not counted. For estimates.
func OutputText(piece []byte) int {
	total := 0
	for _, key := range [...]string{deltaKey, textKey} {
		for rest := piece; ; {
			i := bytes.Index(rest, []byte(key))
			if i < 0 {
				break
			}
			s := scanner{b: rest[i+len(key):]}
			if s.value() {
				total += s.text
			}
			rest = rest[i+len(key):]
		}
	}
	return total
}

// BodyText is about how many bytes of generated text the body of a plain response carries. For estimates.
func BodyText(body []byte) int {
	total := 0
	gjson.GetBytes(body, "choices").ForEach(func(_, choice gjson.Result) bool {
		for _, path := range [...]string{
			"text", "message.content", "message.refusal", "message.reasoning_content", "message.tool_calls",
		} {
			total += len(choice.Get(path).Raw)
		}
		return true
	})
	return total
}

// Finished says whether the end of a stream that came without [DONE] shows that the answer is complete all the same: a
// choice gave its reason for stopping.
func Finished(tail []byte) bool {
	for _, key := range [...]string{`"finish_reason":"`, `"finish_reason": "`} {
		if bytes.Contains(tail, []byte(key)) {
			return true
		}
	}
	return false
}

// DoneMark is the data of the event that ends a stream.
const DoneMark = "[DONE]"
