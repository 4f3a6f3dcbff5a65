// Package openai is the dialect of OpenAI's chat completions and of what looks like them: how answers are understood that
// pass through (Answers), how errors and lists of models read, and how conversations become the neutral form and come out of
// it (Codec).
//
// It refuses to know other dialects, HTTP and providers' addresses, and to guess: what it cannot say or does not know is
// refused by its field's name or noted as a loss.
package openai

import (
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// Codec is the dialect of chat completions: what clients ask in it and are answered, and what upstreams are asked in it and
// answer. Its zero value is ready.
//
// Of reasoning that a conversation already has, it sends nothing to an upstream: OpenAI's own models do not take it, and
// some servers refuse it. ReasoningCodec is for those that want it back.
type Codec struct{}

// ReasoningCodec is Codec for upstreams that want the reasoning of earlier turns back, in the fields in which they said it:
// reasoning_content (DeepSeek, Moonshot), reasoning_details (OpenRouter) and Google's thought_signature on tool calls.
type ReasoningCodec struct{ Codec }

var (
	_ neutral.Reader = Codec{}
	_ neutral.Writer = Codec{}
	_ neutral.Asker  = Codec{}
	_ neutral.Hearer = Codec{}
	_ neutral.Asker  = ReasoningCodec{}
)

// customSchema is the schema of a function that stands for a custom tool, which takes any text: Writer knows such a
// tool's calls by it.
const customSchema = `{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}`

// efforts are the words for how much to think, with the budgets in tokens that stand for them where a dialect counts.
//
//nolint:gochecknoglobals // a constant table
var efforts = [...]struct {
	word   string
	budget int64
}{{"minimal", 512}, {"low", 1024}, {"medium", 8192}, {"high", 24576}, {"xhigh", 32768}}

// view is body as JSON, without a copy: what is read from it lives as long as body does.
func view(body []byte) gjson.Result {
	return gjson.Parse(unsafe.String(unsafe.SliceData(body), len(body)))
}

// doneMark is the data of the event that ends a stream.
const doneMark = "[DONE]"

// said says whether a member is there and not null.
func said(v gjson.Result) bool { return v.Type != gjson.Null }

// inside is a JSON string without its quotes, still escaped.
func inside(v gjson.Result) string { return v.Raw[1 : len(v.Raw)-1] }

// object is args if that is a JSON object. What else a model or a client wrote stands in one as "input", so that dialects
// that carry arguments as JSON can.
func object(args string) string {
	trimmed := strings.TrimSpace(args)
	switch {
	case trimmed == "":
		return "{}"
	case trimmed[0] == '{' && dialect.Valid(trimmed):
		return args
	}
	return wrapInput(args)
}

// stopOf reads a finish_reason: OpenAI's, and words of servers that are compatible with it otherwise.
func stopOf(reason string) neutral.Stop {
	switch reason {
	case "stop", "eos", "end_turn":
		return neutral.StopEnd
	case "length", "max_tokens", "model_length":
		return neutral.StopLength
	case "tool_calls", "function_call", "tool_use":
		return neutral.StopCall
	case "content_filter", "sensitive":
		return neutral.StopFilter
	case "stop_sequence":
		return neutral.StopSequence
	case "model_context_window_exceeded":
		return neutral.StopContext
	}
	return 0
}

// finishReason is the word for a stop. A call wins over a plain end, because clients act on it.
func finishReason(s neutral.Stop, calls bool) string {
	switch s {
	case neutral.StopLength, neutral.StopContext:
		return "length"
	case neutral.StopFilter:
		return "content_filter"
	case neutral.StopCall:
		return "tool_calls"
	}
	if calls {
		return "tool_calls"
	}
	return "stop"
}

// calling is the stop of an answer that calls tools: OpenAI says "stop" where the client forced the call, and others always.
func calling(s neutral.Stop, calls bool) neutral.Stop {
	if calls && (s == neutral.StopEnd || s == 0) {
		return neutral.StopCall
	}
	return s
}
