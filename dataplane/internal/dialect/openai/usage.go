package openai

import (
	"bytes"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/money"
	"fairway/pkg/sse"
)

const usageKey = `"usage"`

// ParseUsage finds the last usage object in window, which is a response's body or its end, or the end of a stream. It
// returns false when there is none that holds a count. Inside JSON strings quotes are escaped, so text that a model
// wrote cannot pass for one.
func ParseUsage(window []byte) (money.Tokens, bool) {
	for end := len(window); ; {
		i := lastUsage(window[:end])
		if i < 0 {
			return money.Tokens{}, false
		}
		if t, ok := readUsage(window[i+len(usageKey):]); ok {
			return t, true
		}
		end = i
	}
}

// usageStride is how much of a window is searched at once, from its end on: usage is nearly always in the last of it.
const usageStride = 128

// lastUsage is where the last "usage" of b begins, or -1. The library's search from the end goes byte by byte; its search
// from the start does not, and stops less often for a letter than for a quote.
func lastUsage(b []byte) int {
	word := []byte(usageKey[1:])
	for end := len(b); end >= len(usageKey); {
		start := max(0, end-usageStride)
		last := -1
		for at := start + 1; at < end; {
			i := bytes.Index(b[at:end], word)
			if i < 0 {
				break
			}
			if b[at+i-1] == '"' {
				last = at + i - 1
			}
			at += i + 1
		}
		if last >= 0 || start == 0 {
			return last
		}
		end = start + len(usageKey) - 1 // one may lie across
	}
	return -1
}

// objectAfter says whether an object follows a member's name: a colon, and {…} that ends within b.
func objectAfter(b []byte) bool {
	s := dialect.Scanner{B: b, SSE: true}
	return s.OpenAfter() && s.Members(func([]byte) bool { return s.Value() }) == ""
}

// readUsage reads the counts of the usage object that follows its name; false when none is there, or no whole object. Chat
// counts prompt and completion, the newer operations input and output, and rerank only a total.
func readUsage(b []byte) (t money.Tokens, found bool) {
	s := dialect.Scanner{B: b, SSE: true}
	if !s.OpenAfter() {
		return t, false
	}
	var total int64
	var totalled bool
	err := s.Members(func(key []byte) bool {
		switch string(key) {
		case "prompt_tokens", "input_tokens":
			return s.Count(&t.Input, &found)
		case "completion_tokens", "output_tokens":
			return s.Count(&t.Output, &found)
		case "total_tokens":
			return s.Count(&total, &totalled)
		case "prompt_tokens_details", "input_tokens_details", "input_token_details":
			return readDetails(&s, &t.Cached, &t.CacheWrite, &t.AudioInput)
		case "completion_tokens_details", "output_tokens_details", "output_token_details":
			return readDetails(&s, &t.Reasoning, nil, &t.AudioOutput)
		}
		return s.Value()
	})
	if !found && totalled {
		t.Input, found = total, true
	}
	// A part is never more than its whole.
	t.Cached = min(t.Cached, t.Input)
	t.CacheWrite = min(t.CacheWrite, t.Input-t.Cached)
	t.AudioInput = min(t.AudioInput, t.Input)
	t.Reasoning = min(t.Reasoning, t.Output)
	t.AudioOutput = min(t.AudioOutput, t.Output)
	return t, found && err == ""
}

// readDetails reads an object of counts: of what was in the cache or thought, what was put into the cache, and of sound.
// Anything else is walked over.
func readDetails(s *dialect.Scanner, first, written, audio *int64) bool {
	if !s.Take('{') {
		return s.Value()
	}
	var ignored bool
	return s.Members(func(key []byte) bool {
		switch string(key) {
		case "cached_tokens", "reasoning_tokens":
			return s.Count(first, &ignored)
		case "cache_write_tokens":
			if written != nil {
				return s.Count(written, &ignored)
			}
		case "audio_tokens":
			return s.Count(audio, &ignored)
		}
		return s.Value()
	}) == ""
}

// IsUsageEvent says whether an event of a stream (its lines, the blank one included or not) is the extra one that
// stream_options.include_usage brings: usage is an object, and choices is there and empty.
func IsUsageEvent(event []byte) bool {
	// Nearly all events stop here.
	i := bytes.Index(event, []byte(usageKey))
	if i < 0 {
		return false
	}
	if !objectAfter(event[i+len(usageKey):]) {
		return false
	}
	data := sse.Data(event)
	choices := gjson.GetBytes(data, "choices")
	return choices.IsArray() && choices.Get("#").Int() == 0 && gjson.GetBytes(data, "usage").IsObject()
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

// finishedMedia says whether a stream of images, speech or a transcription has come to its last event: none has [DONE]
// behind it.
func finishedMedia(tail []byte) bool {
	for _, last := range [...]string{
		`"image_generation.completed"`, `"image_edit.completed"`, `"speech.audio.done"`, `"transcript.text.done"`,
	} {
		// Inside a text the quotes would be escaped.
		if bytes.Contains(tail, []byte(last)) {
			return true
		}
	}
	// A picture fills the tail; what it cost stands behind it, and in no other event.
	i := bytes.LastIndex(tail, []byte(usageKey))
	return i >= 0 && objectAfter(tail[i+len(usageKey):])
}
