package gemini

import (
	"bytes"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/money"
)

const usageKey = `"usageMetadata"`

// ParseUsage finds the last usageMetadata in window, which is a response's body or its end, or the end of a stream. It
// returns false when there is none that holds a count. Inside JSON strings quotes are escaped, so text that a model wrote
// cannot pass for one.
func ParseUsage(window []byte) (money.Tokens, bool) {
	for end := len(window); ; {
		i := bytes.LastIndex(window[:end], []byte(usageKey))
		if i < 0 {
			return money.Tokens{}, false
		}
		if t, ok := readUsage(window[i+len(usageKey):]); ok {
			return t, true
		}
		end = i
	}
}

// readUsage reads the counts of the object that follows its name; false when none is there, or no whole object.
func readUsage(b []byte) (money.Tokens, bool) {
	s := dialect.Scanner{B: b, SSE: true}
	if !s.OpenAfter() {
		return money.Tokens{}, false
	}
	s.At--
	return usageObject(&s)
}

// usageObject reads the object that begins at s.
func usageObject(s *dialect.Scanner) (money.Tokens, bool) {
	var u usage
	ok := object(s, func(key []byte) bool { return u.member(s, key) })
	return u.tokens(), u.found && ok
}

// usage is usageMetadata as Google counts: what was thought is not among the candidates' tokens, and what its own tools
// read is not among the prompt's.
type usage struct {
	prompt, cached, candidates, thoughts, toolUse int64
	audioIn, audioOut                             int64
	found                                         bool
}

func (u *usage) member(s *dialect.Scanner, key []byte) bool {
	var ignored bool
	switch string(key) {
	case "promptTokenCount":
		return s.Count(&u.prompt, &u.found)
	case "candidatesTokenCount":
		return s.Count(&u.candidates, &u.found)
	case "cachedContentTokenCount":
		return s.Count(&u.cached, &ignored)
	case "thoughtsTokenCount":
		return s.Count(&u.thoughts, &ignored)
	case "toolUsePromptTokenCount":
		return s.Count(&u.toolUse, &ignored)
	case "promptTokensDetails", "toolUsePromptTokensDetails":
		return audio(s, &u.audioIn)
	case "candidatesTokensDetails":
		return audio(s, &u.audioOut)
	}
	return s.Value()
}

func (u *usage) tokens() money.Tokens {
	t := money.Tokens{Input: u.prompt + u.toolUse, Output: u.candidates + u.thoughts, Reasoning: u.thoughts}
	t.Cached = min(u.cached, t.Input)
	t.AudioInput = min(u.audioIn, t.Input)
	t.AudioOutput = min(u.audioOut, u.candidates)
	return t
}

// audio adds to n what a list of {"modality","tokenCount"} counts as sound.
func audio(s *dialect.Scanner, n *int64) bool {
	return array(s, func(int) bool {
		var count int64
		var sound, ignored bool
		ok := object(s, func(key []byte) bool {
			if string(key) == "tokenCount" {
				return s.Count(&count, &ignored)
			}
			v, ok := value(s)
			sound = sound || string(key) == "modality" && string(v) == `"AUDIO"`
			return ok
		})
		if sound {
			*n += count
		}
		return ok
	})
}

// appendUsage appends t as usageMetadata's value.
func appendUsage(dst []byte, t *money.Tokens) []byte {
	dst = append(dst, `{"promptTokenCount":`...)
	dst = appendInt(dst, t.Input)
	dst = append(dst, `,"candidatesTokenCount":`...)
	dst = appendInt(dst, max(t.Output-t.Reasoning, 0))
	dst = append(dst, `,"totalTokenCount":`...)
	dst = appendInt(dst, t.Input+t.Output)
	dst = appendCount(dst, `,"cachedContentTokenCount":`, t.Cached)
	dst = appendCount(dst, `,"thoughtsTokenCount":`, t.Reasoning)
	dst = appendSound(dst, `,"promptTokensDetails":`, t.Input, t.AudioInput)
	dst = appendSound(dst, `,"candidatesTokensDetails":`, t.Output-t.Reasoning, t.AudioOutput)
	return append(dst, '}')
}

func appendCount(dst []byte, name string, n int64) []byte {
	if n == 0 {
		return dst
	}
	return appendInt(append(dst, name...), n)
}

func appendSound(dst []byte, name string, all, sound int64) []byte {
	if sound == 0 {
		return dst
	}
	dst = append(append(dst, name...), `[{"modality":"TEXT","tokenCount":`...)
	dst = appendInt(dst, max(all-sound, 0))
	dst = append(dst, `},{"modality":"AUDIO","tokenCount":`...)
	return append(appendInt(dst, sound), `}]`...)
}
