package fakellm

import (
	"fmt"
	"strings"
)

// converseAnswer is what Converse says, whole or in frames.
type converseAnswer struct {
	said saying
}

func (c converseAnswer) stop() string {
	switch {
	case len(c.said.calls) > 0:
		return "tool_use"
	case c.said.cut:
		return "max_tokens"
	}
	return "end_turn"
}

func toolUseID(s stamp, i int) string { return fmt.Sprintf("tooluse_fake%d_%d", s.sequence, i) }

// usage is Bedrock's: its input is without what came from the cache.
func (c converseAnswer) usage() []byte {
	u := c.said.usage
	return fmt.Appendf(nil, `{"inputTokens":%d,"outputTokens":%d,"totalTokens":%d,"cacheReadInputTokens":%d,`+
		`"cacheWriteInputTokens":0}`, max(0, u.input-u.cached), u.output, u.input+u.output, u.cached)
}

func (c converseAnswer) whole(s stamp, withUsage bool) []byte {
	out := []byte(`{"metrics":{"latencyMs":1},"output":{"message":{"content":[`)
	comma := ""
	if thought := strings.Join(c.said.thoughts, ""); thought != "" {
		out = appendString(append(out, `{"reasoningContent":{"reasoningText":{"signature":`...), thoughtSignature(thought))
		out = append(appendString(append(out, `,"text":`...), thought), `}}}`...)
		comma = ","
	}
	if len(c.said.parts) > 0 {
		out = append(appendString(append(append(out, comma...), `{"text":`...), strings.Join(c.said.parts, "")), '}')
		comma = ","
	}
	for i, call := range c.said.calls {
		out = append(append(append(out, comma...), `{"toolUse":{"input":`...), strings.Join(call.arguments, "")...)
		out = append(appendString(append(out, `,"name":`...), call.name), fmt.Sprintf(`,"toolUseId":%q}}`, toolUseID(s, i))...)
		comma = ","
	}
	out = fmt.Appendf(out, `],"role":"assistant"}},"stopReason":%q`, c.stop())
	if withUsage {
		out = append(append(out, `,"usage":`...), c.usage()...)
	}
	return append(out, '}')
}

// events are the frames but for the last. As with the real service, text and thoughts begin without contentBlockStart.
func (c converseAnswer) events(s stamp, _ bool, yield func([]byte) bool) {
	going := true
	send := func(kind, format string, args ...any) {
		if going {
			payload := fmt.Appendf([]byte{'{'}, format, args...)
			// Padding hides how long the pieces are.
			going = yield(eventFrame(kind, append(payload, `,"p":"abcdefg"}`...)))
		}
	}
	send("messageStart", `"role":"assistant"`)
	block := 0
	if len(c.said.thoughts) > 0 {
		for _, piece := range c.said.thoughts {
			send("contentBlockDelta", `"contentBlockIndex":%d,"delta":{"reasoningContent":{"text":%s}}`, block, appendString(nil, piece))
		}
		send("contentBlockDelta", `"contentBlockIndex":%d,"delta":{"reasoningContent":{"signature":%q}}`, block,
			thoughtSignature(strings.Join(c.said.thoughts, "")))
		send("contentBlockStop", `"contentBlockIndex":%d`, block)
		block++
	}
	if len(c.said.parts) > 0 {
		for _, piece := range c.said.parts {
			send("contentBlockDelta", `"contentBlockIndex":%d,"delta":{"text":%s}`, block, appendString(nil, piece))
		}
		send("contentBlockStop", `"contentBlockIndex":%d`, block)
		block++
	}
	for i, call := range c.said.calls {
		send("contentBlockStart", `"contentBlockIndex":%d,"start":{"toolUse":{"name":%s,"toolUseId":%q}}`, block,
			appendString(nil, call.name), toolUseID(s, i))
		for _, piece := range call.arguments {
			send("contentBlockDelta", `"contentBlockIndex":%d,"delta":{"toolUse":{"input":%s}}`, block, appendString(nil, piece))
		}
		send("contentBlockStop", `"contentBlockIndex":%d`, block)
		block++
	}
	send("messageStop", `"stopReason":%q`, c.stop())
}

func (c converseAnswer) last(_ stamp, withUsage bool) []byte {
	out := []byte(`{"metrics":{"latencyMs":1},"p":"abcdefg"`)
	if withUsage {
		out = append(append(out, `,"usage":`...), c.usage()...)
	}
	return eventFrame("metadata", append(out, '}'))
}
