// Package anthropic is the wire format of Anthropic's Messages API: how its answers are understood when they pass through
// (Answers), how it is read into the neutral form and written from it, as a client and as an upstream (Codec), and what
// its smaller operations need: lists of models, the models of a batch, and counts of tokens.
//
// What it decides where the API leaves a choice:
//   - max_tokens is required. A request that came without one gets 8192, and its budget for thinking on top.
//   - Tool results stand first in a user turn, because the API refuses them elsewhere. Turns of one role are one message.
//   - System turns at the beginning join the system text. Those in the middle become user text in <system> tags: not
//     every model takes a role of their own.
//   - A conversation that begins with the assistant gets a user message of one dot in front.
//   - Thinking is "adaptive" with an effort from Claude 4.6 on and a budget of tokens before (see thinking.go). It is left
//     out where a tool is forced, and where the turn that goes on called tools without thinking: the API refuses both.
//
// It refuses to read the blocks of tools that Anthropic runs itself: they are noted as lost, and never half carried.
package anthropic

import (
	"unsafe"

	"fairway/dataplane/internal/dialect/neutral"
)

// Codec reads and writes the Messages API, as a client's dialect and as an upstream's. Its zero value is ready.
type Codec struct{}

var (
	_ neutral.Reader = Codec{}
	_ neutral.Writer = Codec{}
	_ neutral.Asker  = Codec{}
	_ neutral.Hearer = Codec{}
)

// native is the maker of signatures that need no envelope here.
const native = neutral.FromAnthropic

// stopReason is the word for why an answer ended.
func stopReason(s neutral.Stop) string {
	switch s {
	case neutral.StopLength:
		return "max_tokens"
	case neutral.StopSequence:
		return "stop_sequence"
	case neutral.StopCall:
		return "tool_use"
	case neutral.StopFilter:
		return "refusal"
	case neutral.StopPause:
		return "pause_turn"
	case neutral.StopContext:
		return "model_context_window_exceeded"
	}
	return "end_turn"
}

// stopOf reads what stopReason writes; 0 = a word that this build does not know.
func stopOf(word string) neutral.Stop {
	for s := neutral.StopEnd; s <= neutral.StopContext; s++ {
		if stopReason(s) == word {
			return s
		}
	}
	return 0
}

// signature reads one from its slot; none is the zero value.
func signature(value string) neutral.Signature {
	if value == "" {
		return neutral.Signature{}
	}
	return neutral.Unwrap(value, native)
}

// view is b as a string without a copy. It is good for as long as nobody writes to b.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
