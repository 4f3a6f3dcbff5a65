// Package converse is the wire format of Amazon Bedrock's Converse API, which Bedrock's models share: how conversations are
// written for it, how its answers are read, and what a relay must know of them. No client speaks it, so it is the
// upstream's half of a dialect only. Streams come as the server-sent events that provider makes of AWS's frames: the
// event's name is the frame's type, and its data the payload.
//
// What it decides where the API leaves a choice:
//   - Blank text is left out, because the API refuses it. A turn of which nothing is left becomes one dot; so does the
//     user's turn that has to stand before an assistant's, and the text that has to stand beside a document.
//   - System turns at the beginning join the system text; those in the middle become user text in <system> tags.
//   - Tool results stand first in their turn. Tools that were called but are not offered any more are offered again with
//     no schema: the API refuses calls without tools.
//   - Reasoning goes back only with a signature of Anthropic's: other models refuse it or do not want it.
//   - How much to think is said in each maker's own words (see thinking.go), because the API has none.
//
// It refuses images and documents by URL (but for s3://), audio, and what it does not know: all of it is noted as lost.
package converse

import (
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/money"
)

// Codec writes requests and reads answers of Converse. Its zero value is ready.
type Codec struct{}

var (
	_ neutral.Asker  = Codec{}
	_ neutral.Hearer = Codec{}
)

// origin is the maker of signatures here.
const origin = neutral.FromAnthropic

// stopOf reads a reason for stopping; 0 = one that says nothing, or that this build does not know.
func stopOf(word string) neutral.Stop {
	switch word {
	case "end_turn":
		return neutral.StopEnd
	case "max_tokens":
		return neutral.StopLength
	case "stop_sequence":
		return neutral.StopSequence
	case "tool_use":
		return neutral.StopCall
	case "guardrail_intervened", "content_filtered":
		return neutral.StopFilter
	case "model_context_window_exceeded":
		return neutral.StopContext
	}
	return 0
}

// maxTokens is beyond every real count; a larger one is an upstream's nonsense and not billed.
const maxTokens = 1_000_000_000

// count reads a number of tokens; nonsense is none.
func count(v gjson.Result) int64 {
	if v.Type != gjson.Number || !(v.Num >= 0 && v.Num <= maxTokens) {
		return 0
	}
	return int64(v.Num)
}

// tokensOf reads usage. Its inputTokens are without what the cache gave and took.
func tokensOf(usage gjson.Result) (money.Tokens, bool) {
	if !usage.IsObject() {
		return money.Tokens{}, false
	}
	var t money.Tokens
	var written int64
	said := false
	usage.ForEach(func(name, v gjson.Result) bool {
		switch name.Str {
		case "inputTokens":
			t.Input, said = t.Input+count(v), true
		case "outputTokens":
			t.Output, said = count(v), true
		case "cacheReadInputTokens":
			t.Cached = count(v)
		case "cacheWriteInputTokens":
			written = count(v)
		case "cacheDetails":
			v.ForEach(func(_, detail gjson.Result) bool {
				if detail.Get("ttl").Str == "1h" {
					t.CacheWriteLong = count(detail.Get("inputTokens"))
				}
				return true
			})
		}
		return true
	})
	t.CacheWriteLong = min(t.CacheWriteLong, written)
	t.CacheWrite = written - t.CacheWriteLong
	t.Input += t.Cached + written
	return t, said
}

// family is who made a model, as far as requests differ by it.
type family uint8

const (
	others family = iota
	claude
	nova
	gptOSS
)

func familyOf(model string) family {
	switch {
	case strings.Contains(model, "anthropic.claude"):
		return claude
	case strings.Contains(model, "amazon.nova-2"):
		return nova
	case strings.Contains(model, "openai.gpt-oss"):
		return gptOSS
	}
	return others
}

// view is b as a string, without a copy. It is good for as long as nobody writes to b.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// inside is the inside of a JSON string, still escaped, as bytes that must not be written to.
func inside(v gjson.Result) []byte {
	if v.Type != gjson.String || len(v.Raw) < len(`""`) {
		return nil
	}
	raw := v.Raw[1 : len(v.Raw)-1]
	return unsafe.Slice(unsafe.StringData(raw), len(raw))
}
