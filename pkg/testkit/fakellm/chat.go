package fakellm

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

type chatRequest struct {
	Model               string            `json:"model"`
	Messages            []chatMessage     `json:"messages"`
	Stream              bool              `json:"stream"`
	StreamOptions       *streamOptions    `json:"stream_options"`
	MaxTokens           *int64            `json:"max_tokens"`
	MaxCompletionTokens *int64            `json:"max_completion_tokens"`
	Tools               []chatTool        `json:"tools"`
	ToolChoice          json.RawMessage   `json:"tool_choice"`
	ParallelToolCalls   *bool             `json:"parallel_tool_calls"`
	Metadata            map[string]string `json:"metadata"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type chatMessage struct {
	Role    string      `json:"role"`
	Content messageText `json:"content"`
}

// messageText is the text of a message whose content is a string, null, or a list of parts.
type messageText string

func (t *messageText) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		*t = messageText(text)
		return nil
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return fmt.Errorf("decode message content: %w", err)
	}
	texts := make([]string, len(parts))
	for i, part := range parts {
		texts[i] = part.Text
	}
	*t = messageText(strings.Join(texts, " "))
	return nil
}

func decodeChat(body []byte) (answer, *apiError) {
	var r chatRequest
	if fault := decodeInto(body, &r); fault != nil {
		return answer{}, fault
	}
	limit, param := r.MaxCompletionTokens, "max_completion_tokens"
	if limit == nil {
		limit, param = r.MaxTokens, "max_tokens"
	}
	switch {
	case r.Model == "":
		return answer{}, badRequest("missing_required_parameter", "model", "you must provide a model parameter")
	case len(r.Messages) == 0:
		return answer{}, badRequest("missing_required_parameter", "messages", "Missing required parameter: 'messages'.")
	case r.StreamOptions != nil && !r.Stream:
		return answer{}, badRequest("invalid_value", "stream_options",
			"The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	}
	if fault := checkLimit(param, limit); fault != nil {
		return answer{}, fault
	}
	c := chatAnswer{model: r.Model, includeUsage: r.StreamOptions != nil && r.StreamOptions.IncludeUsage}
	for _, m := range r.Messages {
		c.usage.input += words(string(m.Content))
	}
	c.calls = r.toolCalls()
	if len(c.calls) > 0 {
		c.finish = "tool_calls"
		for _, call := range c.calls {
			c.usage.output += int64(1 + len(call.arguments))
		}
	} else {
		c.parts, c.finish = reply(limit)
		c.usage.output = int64(len(c.parts))
	}
	var fault *apiError
	if c.usage, fault = c.usage.override(r.Metadata); fault != nil {
		return answer{}, fault
	}
	return answer{model: r.Model, stream: r.Stream, usage: c.usage, whole: c.whole, events: c.events}, nil
}

// chatAnswer is what a chat request gets: text in parts, or tool calls.
type chatAnswer struct {
	model        string
	parts        []string
	calls        []toolCall
	finish       string
	usage        usage
	includeUsage bool
}

func (c chatAnswer) whole(s stamp, withUsage bool) []byte {
	out := c.head(s, "chat.completion")
	out = append(out, `"choices":[{"index":0,"message":{"role":"assistant","content":`...)
	if len(c.calls) > 0 {
		out = append(out, `null,"tool_calls":[`...)
		for i, call := range c.calls {
			if i > 0 {
				out = append(out, ',')
			}
			out = call.append(out, s, i, strings.Join(call.arguments, ""), false)
		}
		out = append(out, ']')
	} else {
		out = appendString(out, strings.Join(c.parts, ""))
	}
	out = append(out, `,"refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"`...)
	out = append(out, c.finish...)
	out = append(out, `"}]`...)
	if withUsage {
		out = append(out, `,"usage":`...)
		out = append(out, c.usage.chat()...)
	}
	return append(out, `,"service_tier":"default","system_fingerprint":"fp_fake"}`...)
}

func (c chatAnswer) events(s stamp, withUsage bool, yield func([]byte) bool) {
	head := append([]byte("data: "), c.head(s, "chat.completion.chunk")...)
	head = append(head, `"service_tier":"default","system_fingerprint":"fp_fake","choices":[`...)
	tail := "]}\n\n"
	if c.includeUsage && withUsage {
		tail = "],\"usage\":null}\n\n"
	}
	var buf []byte
	chunk := func(delta string, finish string) bool {
		buf = append(buf[:0], head...)
		buf = append(buf, `{"index":0,"delta":`...)
		buf = append(buf, delta...)
		buf = append(buf, `,"logprobs":null,"finish_reason":`...)
		buf = append(buf, finish...)
		buf = append(buf, '}')
		return yield(append(buf, tail...))
	}
	for _, delta := range c.deltas(s) {
		if !chunk(delta, "null") {
			return
		}
	}
	if !chunk("{}", strconv.Quote(c.finish)) {
		return
	}
	if c.includeUsage && withUsage {
		buf = append(buf[:0], head...)
		buf = append(buf, `],"usage":`...)
		buf = append(buf, c.usage.chat()...)
		yield(append(buf, "}\n\n"...))
	}
}

// deltas are the delta objects of a stream, the empty last one left out. The pieces of several tool calls' arguments
// take turns.
func (c chatAnswer) deltas(s stamp) []string {
	if len(c.calls) == 0 {
		out := make([]string, 0, 1+len(c.parts))
		out = append(out, `{"role":"assistant","content":"","refusal":null}`)
		for _, part := range c.parts {
			out = append(out, string(append(appendString([]byte(`{"content":`), part), '}')))
		}
		return out
	}
	out := []string{`{"role":"assistant","content":null}`}
	longest := 0
	for i, call := range c.calls {
		out = append(out, string(append(call.append([]byte(`{"tool_calls":[`), s, i, "", true), "]}"...)))
		longest = max(longest, len(call.arguments))
	}
	for turn := range longest {
		for i, call := range c.calls {
			if turn < len(call.arguments) {
				delta := fmt.Appendf(nil, `{"tool_calls":[{"index":%d,"function":{"arguments":`, i)
				out = append(out, string(append(appendString(delta, call.arguments[turn]), "}}]}"...)))
			}
		}
	}
	return out
}

// head opens the object of a response or chunk, up to a comma.
func (c chatAnswer) head(s stamp, object string) []byte {
	out := fmt.Appendf(nil, `{"id":"chatcmpl-fake%d","object":"%s","created":%d,"model":`, s.sequence, object, s.created)
	return append(appendString(out, c.model), ',')
}

// appendString appends a JSON string.
func appendString(dst []byte, s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil {
		// Strings always marshal.
		panic(err)
	}
	return append(dst, quoted...)
}
