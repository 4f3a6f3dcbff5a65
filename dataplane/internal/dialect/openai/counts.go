package openai

import (
	"strconv"

	"github.com/tidwall/gjson"

	"fairway/pkg/money"
)

// maxCount is beyond every real count; a larger one is an upstream's nonsense.
const maxCount = 1_000_000_000

// readCounts reads a usage object; false = it says nothing.
func readCounts(usage gjson.Result) (t money.Tokens, ok bool) {
	if !usage.IsObject() {
		return t, false
	}
	usage.ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "prompt_tokens":
			ok = count(v, &t.Input) || ok
		case "completion_tokens":
			ok = count(v, &t.Output) || ok
		case "cached_tokens", "prompt_cache_hit_tokens": // Moonshot's and DeepSeek's own places
			count(v, &t.Cached)
		case "prompt_tokens_details":
			v.ForEach(func(key, v gjson.Result) bool {
				switch key.Str {
				case "cached_tokens":
					count(v, &t.Cached)
				case "cache_write_tokens":
					count(v, &t.CacheWrite)
				case "audio_tokens":
					count(v, &t.AudioInput)
				}
				return true
			})
		case "completion_tokens_details":
			v.ForEach(func(key, v gjson.Result) bool {
				switch key.Str {
				case "reasoning_tokens":
					count(v, &t.Reasoning)
				case "audio_tokens":
					count(v, &t.AudioOutput)
				}
				return true
			})
		}
		return true
	})
	// The parts are never more than the whole, whatever an upstream says.
	t.Cached = min(t.Cached, t.Input)
	t.CacheWrite = min(t.CacheWrite, t.Input-t.Cached)
	t.AudioInput = min(t.AudioInput, t.Input)
	t.Reasoning = min(t.Reasoning, t.Output)
	t.AudioOutput = min(t.AudioOutput, t.Output)
	return t, ok
}

// count reads a number of tokens into n. A value that is none leaves n alone.
func count(v gjson.Result, n *int64) bool {
	if v.Type != gjson.Number || !(v.Num >= 0 && v.Num <= maxCount) {
		return false
	}
	*n = int64(v.Num)
	return true
}

// appendCounts appends a usage object. What was written into a cache stands together: chat knows one kind of it.
func appendCounts(dst []byte, t *money.Tokens) []byte {
	dst = append(dst, `{"prompt_tokens":`...)
	dst = strconv.AppendInt(dst, t.Input, 10)
	dst = append(dst, `,"completion_tokens":`...)
	dst = strconv.AppendInt(dst, t.Output, 10)
	dst = append(dst, `,"total_tokens":`...)
	dst = strconv.AppendInt(dst, t.Input+t.Output, 10)
	dst = append(dst, `,"prompt_tokens_details":{"cached_tokens":`...)
	dst = strconv.AppendInt(dst, t.Cached, 10)
	if written := t.CacheWrite + t.CacheWriteLong; written > 0 {
		dst = append(dst, `,"cache_write_tokens":`...)
		dst = strconv.AppendInt(dst, written, 10)
	}
	dst = append(dst, `,"audio_tokens":`...)
	dst = strconv.AppendInt(dst, t.AudioInput, 10)
	dst = append(dst, `},"completion_tokens_details":{"reasoning_tokens":`...)
	dst = strconv.AppendInt(dst, t.Reasoning, 10)
	dst = append(dst, `,"audio_tokens":`...)
	dst = strconv.AppendInt(dst, t.AudioOutput, 10)
	return append(dst, `,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`...)
}
