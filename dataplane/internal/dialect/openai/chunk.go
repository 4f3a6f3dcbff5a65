package openai

import (
	"unsafe"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
)

// chunk is one event of a stream, taken apart in one pass as far as it matters. What is not there is nil; all else is the
// raw JSON of a value, whose grammar is right.
type chunk struct {
	id, model, object, created, usage, failure []byte
	choice                                     choice
	further                                    bool // there are choices with other indexes
}

// choice is the one with index 0.
type choice struct {
	met      bool
	reason   []byte
	logprobs []byte
	delta    delta
}

// delta is what a chunk adds.
type delta struct {
	content, refusal, reasoning, details, calls, call, images, audio, annotations []byte
}

// scan takes data apart. It returns false for what is no JSON object.
func (c *chunk) scan(data []byte) bool {
	s := dialect.Scanner{B: data}
	s.Space()
	if !s.Take('{') {
		return false
	}
	why := s.Members(func(key []byte) bool {
		switch string(key) {
		case "id":
			return span(&s, &c.id)
		case "model":
			return span(&s, &c.model)
		case "object":
			return span(&s, &c.object)
		case "created":
			return span(&s, &c.created)
		case "usage":
			return span(&s, &c.usage)
		case "error":
			return span(&s, &c.failure)
		case "choices":
			return c.choices(&s)
		}
		return s.Value()
	})
	s.Space()
	return why == "" && s.At == len(data)
}

// span walks a value and notes where it is.
func span(s *dialect.Scanner, to *[]byte) bool {
	start := s.At
	if !s.Value() {
		return false
	}
	*to = s.B[start:s.At]
	return true
}

// choices walks the choices and keeps the first with index 0; one that says no index is that one.
func (c *chunk) choices(s *dialect.Scanner) bool {
	if !s.Take('[') {
		return s.Value()
	}
	s.Space()
	if s.Take(']') {
		return true
	}
	for {
		s.Space()
		if s.Take('{') {
			one := choice{met: true}
			var index []byte
			if !one.scan(s, &index) {
				return false
			}
			switch {
			case index != nil && string(index) != "0":
				c.further = true
			case !c.choice.met:
				c.choice = one
			}
		} else if !s.Value() {
			return false
		}
		s.Space()
		if !s.Take(',') {
			return s.Take(']')
		}
	}
}

func (c *choice) scan(s *dialect.Scanner, index *[]byte) bool {
	return s.Members(func(key []byte) bool {
		switch string(key) {
		case "index":
			return span(s, index)
		case "finish_reason":
			return span(s, &c.reason)
		case "logprobs":
			return span(s, &c.logprobs)
		case "delta":
			if !s.Take('{') {
				return s.Value()
			}
			return c.delta.scan(s)
		}
		return s.Value()
	}) == ""
}

func (d *delta) scan(s *dialect.Scanner) bool {
	return s.Members(func(key []byte) bool {
		switch string(key) {
		case "content":
			return span(s, &d.content)
		case "refusal":
			return span(s, &d.refusal)
		case "reasoning_content", "reasoning":
			if len(d.reasoning) > len(`""`) && d.reasoning[0] == '"' {
				return s.Value() // the same by another name
			}
			return span(s, &d.reasoning)
		case "reasoning_details":
			return span(s, &d.details)
		case "tool_calls":
			return span(s, &d.calls)
		case "function_call":
			return span(s, &d.call)
		case "images":
			return span(s, &d.images)
		case "audio":
			return span(s, &d.audio)
		case "annotations":
			return span(s, &d.annotations)
		}
		return s.Value()
	}) == ""
}

// sound says whether the strings that may be passed on are right inside, which scan does not look at.
func (d *delta) sound() bool {
	for _, raw := range [...][]byte{d.content, d.refusal, d.reasoning} {
		if len(raw) == 0 {
			continue
		}
		if raw[0] != '"' && !dialect.ValidBytes(raw) || raw[0] == '"' && !soundString(raw[1:len(raw)-1]) {
			return false
		}
	}
	for _, raw := range [...][]byte{d.details, d.calls, d.call, d.images, d.audio} {
		if raw != nil && !dialect.ValidBytes(raw) {
			return false
		}
	}
	return true
}

// soundString says whether the inside of a JSON string has no control characters and only escapes that there are.
func soundString(b []byte) bool {
	for i := 0; i < len(b); i++ {
		c := b[i]
		if c >= 0x20 && c != '\\' {
			continue
		}
		if c < 0x20 || i+1 == len(b) {
			return false
		}
		i++
		switch b[i] {
		case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		case 'u':
			if len(b)-i <= 4 {
				return false
			}
			for _, d := range b[i+1 : i+5] {
				if (d < '0' || d > '9') && (d|0x20 < 'a' || d|0x20 > 'f') {
					return false
				}
			}
			i += 4
		default:
			return false
		}
	}
	return true
}

// value is raw as JSON, without a copy; nothing is null.
func value(raw []byte) gjson.Result {
	if len(raw) == 0 {
		return gjson.Result{}
	}
	return gjson.Parse(unsafe.String(unsafe.SliceData(raw), len(raw)))
}
