package responses

import (
	"bytes"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/money"
)

const usageKey = `"usage"`

// findUsage finds the last usage object in window, which is a response's body or its end, or the end of a stream. It
// returns false when there is none that holds a count. Inside JSON strings quotes are escaped, so text that a model wrote
// cannot pass for one; a schema of the request's that has a member of this name holds no counts.
func findUsage(window []byte) (money.Tokens, bool) {
	for {
		i := bytes.LastIndex(window, []byte(usageKey))
		if i < 0 {
			return money.Tokens{}, false
		}
		if t, ok := readUsage(window[i+len(usageKey):]); ok {
			return t, true
		}
		window = window[:i]
	}
}

// readUsage reads the counts of the usage object that follows its name; false when none is there, or no whole object.
func readUsage(b []byte) (t money.Tokens, found bool) {
	s := dialect.Scanner{B: b, SSE: true}
	if !s.OpenAfter() {
		return t, false
	}
	var ignored bool
	// inner reads one count of an object of details.
	details := func(read func(key []byte) bool) bool {
		if !s.Take('{') {
			return s.Value()
		}
		return s.Members(read) == ""
	}
	err := s.Members(func(key []byte) bool {
		switch string(key) {
		case "input_tokens":
			return s.Count(&t.Input, &found)
		case "output_tokens":
			return s.Count(&t.Output, &found)
		case "input_tokens_details":
			return details(func(key []byte) bool {
				switch string(key) {
				case "cached_tokens":
					return s.Count(&t.Cached, &ignored)
				case "cache_write_tokens":
					return s.Count(&t.CacheWrite, &ignored)
				case "audio_tokens":
					return s.Count(&t.AudioInput, &ignored)
				}
				return s.Value()
			})
		case "output_tokens_details":
			return details(func(key []byte) bool {
				switch string(key) {
				case "reasoning_tokens":
					return s.Count(&t.Reasoning, &ignored)
				case "audio_tokens":
					return s.Count(&t.AudioOutput, &ignored)
				}
				return s.Value()
			})
		}
		return s.Value()
	})
	// A part is never more than the whole, whatever an upstream says.
	t.Cached = min(t.Cached, t.Input)
	t.CacheWrite = min(t.CacheWrite, t.Input-t.Cached)
	t.AudioInput = min(t.AudioInput, t.Input-t.Cached-t.CacheWrite)
	t.Reasoning = min(t.Reasoning, t.Output)
	t.AudioOutput = min(t.AudioOutput, t.Output-t.Reasoning)
	return t, found && err == ""
}
