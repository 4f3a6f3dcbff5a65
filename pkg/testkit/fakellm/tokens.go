package fakellm

import (
	"strconv"
	"strings"
)

// Tokens are words. A request's prompt has as many as its text has words (images and the like count nothing); an
// answer has max_tokens (or max_completion_tokens) words, or those of fixedText when no maximum is given. No prompt
// token is cached.
//
// A request can say what its usage is to be, with strings in the top-level object "metadata", which OpenAI's API allows
// for anything and which a gateway must pass on: fakellm_input, fakellm_cached and fakellm_output, decimal. They
// replace the counts; the text stays as it would be. Converse has them in "requestMetadata", Vertex's Gemini in "labels".
// A request for a response can also say how it is to fail: fakellm_fail is the code of the error that it ends with.

// fixedText is the answer to every prompt that sets no maximum.
const fixedText = "Hello! This is the fake provider."

// maxOutput bounds the words of one answer.
const maxOutput = 1 << 16

// usage is in tokens; input includes cached, output includes reasoning.
type usage struct {
	input, cached, output int64
	// reasoning is the part of output that nobody sees.
	reasoning int64
}

func words(text string) int64 { return int64(len(strings.Fields(text))) }

// override replaces what metadata names.
func (u usage) override(metadata map[string]string) (usage, *apiError) {
	for name, field := range map[string]*int64{
		"fakellm_input": &u.input, "fakellm_cached": &u.cached, "fakellm_output": &u.output,
	} {
		text, given := metadata[name]
		if !given {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return u, badRequest("invalid_value", "metadata", "%s is not a number of tokens", name)
		}
		*field = n
	}
	u.reasoning = min(u.reasoning, u.output)
	return u, nil
}

// chatUsage renders usage as chat and completions do.
func (u usage) chat() []byte {
	out := []byte(`{"prompt_tokens":`)
	out = strconv.AppendInt(out, u.input, 10)
	out = append(out, `,"completion_tokens":`...)
	out = strconv.AppendInt(out, u.output, 10)
	out = append(out, `,"total_tokens":`...)
	out = strconv.AppendInt(out, u.input+u.output, 10)
	out = append(out, `,"prompt_tokens_details":{"cached_tokens":`...)
	out = strconv.AppendInt(out, u.cached, 10)
	out = append(out, `,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":`...)
	out = strconv.AppendInt(out, u.reasoning, 10)
	out = append(out, `,"audio_tokens":0,`...)
	return append(out, `"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`...)
}

// reply is the text of an answer, in words that can be sent one by one, and why it ends.
func reply(limit *int64) (parts []string, finish string) {
	fixed := strings.SplitAfter(fixedText, " ")
	if limit == nil {
		return fixed, "stop"
	}
	parts = make([]string, *limit)
	for i := range parts {
		parts[i] = strings.TrimSuffix(fixed[i%len(fixed)], " ") + " "
	}
	return parts, "length"
}

// checkLimit refuses a maximum that no answer can have.
func checkLimit(param string, limit *int64) *apiError {
	if limit != nil && (*limit < 1 || *limit > maxOutput) {
		return badRequest("invalid_value", param, "'%s' must be between 1 and %d", param, maxOutput)
	}
	return nil
}
