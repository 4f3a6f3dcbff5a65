package fakellm

import (
	"encoding/base64"
	"encoding/json"
	"errors"
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
	ReasoningEffort     string            `json:"reasoning_effort"`
	ResponseFormat      struct {
		Type       string `json:"type"`
		JSONSchema struct {
			Name   string          `json:"name"`
			Schema json.RawMessage `json:"schema"`
		} `json:"json_schema"`
	} `json:"response_format"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

type chatMessage struct {
	Role       string         `json:"role"`
	Content    messageContent `json:"content"`
	ToolCallID string         `json:"tool_call_id"`
	ToolCalls  []struct {
		ID string `json:"id"`
	} `json:"tool_calls"`
}

// messageContent is what a message says: a string, null, or a list of parts.
type messageContent struct {
	text  string
	image int // bytes of the last image
}

func (c *messageContent) UnmarshalJSON(raw []byte) error {
	if json.Unmarshal(raw, &c.text) == nil {
		return nil
	}
	var parts []struct {
		Type     string `json:"type"`
		Text     string `json:"text"`
		ImageURL struct {
			URL string `json:"url"`
		} `json:"image_url"`
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return fmt.Errorf("decode message content: %w", err)
	}
	texts := make([]string, 0, len(parts))
	for _, part := range parts {
		texts = append(texts, part.Text)
		if part.Type == "image_url" {
			size, err := imageSize(part.ImageURL.URL)
			if err != nil {
				return err
			}
			c.image = size
		}
	}
	c.text = strings.Join(texts, " ")
	return nil
}

// imageSize is how many bytes an image has that comes as a data URL. Any other URL is not fetched: its own length
// stands for what is behind it.
func imageSize(url string) (int, error) {
	rest, inline := strings.CutPrefix(url, "data:")
	if !inline {
		if !strings.HasPrefix(url, "https://") && !strings.HasPrefix(url, "http://") {
			return 0, errors.New("an image's URL is neither http, https nor data")
		}
		return len(url), nil
	}
	media, encoded, found := strings.Cut(rest, ";base64,")
	if !found || !strings.HasPrefix(media, "image/") {
		return 0, errors.New("an image's data URL is not data:image/…;base64,…")
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return 0, fmt.Errorf("decode an image: %w", err)
	}
	return len(raw), nil
}

func decodeChat(body []byte) (answer, *apiError) {
	c, fault := decodeChatAnswer(body)
	if fault != nil {
		return answer{}, fault
	}
	return answer{model: c.model, stream: c.stream, usage: c.usage, whole: c.whole, events: c.events}, nil
}

func decodeChatAnswer(body []byte) (chatAnswer, *apiError) {
	var r chatRequest
	if fault := decodeInto(body, &r); fault != nil {
		return chatAnswer{}, fault
	}
	limit, param := r.MaxCompletionTokens, "max_completion_tokens"
	if limit == nil {
		limit, param = r.MaxTokens, "max_tokens"
	}
	switch {
	case r.Model == "":
		return chatAnswer{}, badRequest("missing_required_parameter", "model", "you must provide a model parameter")
	case len(r.Messages) == 0:
		return chatAnswer{}, badRequest("missing_required_parameter", "messages", "Missing required parameter: 'messages'.")
	case r.StreamOptions != nil && !r.Stream:
		return chatAnswer{}, badRequest("invalid_value", "stream_options",
			"The 'stream_options' parameter is only allowed when 'stream' is enabled.")
	}
	if fault := checkLimit(param, limit); fault != nil {
		return chatAnswer{}, fault
	}
	ask, fault := r.prompt(limit)
	if fault != nil {
		return chatAnswer{}, fault
	}
	said := ask.say()
	c := chatAnswer{
		model: r.Model, stream: r.Stream, parts: said.parts, calls: said.calls, usage: said.usage, finish: "stop",
		includeUsage: r.StreamOptions != nil && r.StreamOptions.IncludeUsage,
	}
	switch {
	case len(c.calls) > 0:
		c.finish = "tool_calls"
	case said.cut:
		c.finish = "length"
	}
	c.usage, fault = c.usage.override(r.Metadata)
	return c, fault
}

// prompt is the request as what decides the answer. A message without a role is let through: the checks of a relay's
// own tests are not about it.
func (r *chatRequest) prompt(limit *int64) (prompt, *apiError) {
	p := prompt{
		tools: r.Tools, tool: r.chosen(), quiet: string(r.ToolChoice) == `"none"`,
		single: r.ParallelToolCalls != nil && !*r.ParallelToolCalls, limit: limit,
		resulted: r.Messages[len(r.Messages)-1].Role == "tool",
	}
	asked := map[string]bool{}
	for i, m := range r.Messages {
		switch m.Role {
		case "", "system", "developer", "user", "function":
		case "assistant":
			for _, call := range m.ToolCalls {
				asked[call.ID] = true
			}
		case "tool":
			if !asked[m.ToolCallID] {
				return p, badRequest("", fmt.Sprintf("messages.[%d].role", i), "Invalid parameter: messages with role "+
					"'tool' must be a response to a preceding message with 'tool_calls'.")
			}
		default:
			return p, badRequest("invalid_value", fmt.Sprintf("messages[%d].role", i), "Invalid value: '%s'. Supported "+
				"values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.", m.Role)
		}
		p.words += words(m.Content.text)
		if m.Content.image > 0 {
			p.image = m.Content.image
		}
	}
	var known bool
	if p.thinking, known = thoughtsFor(r.ReasoningEffort); !known {
		return p, badRequest("invalid_value", "reasoning_effort", "Invalid value: '%s'.", r.ReasoningEffort)
	}
	switch f := r.ResponseFormat; f.Type {
	case "", "text":
	case "json_object":
		p.schema = json.RawMessage(`{"type":"object"}`)
	case "json_schema":
		if f.JSONSchema.Name == "" || len(f.JSONSchema.Schema) == 0 {
			return p, badRequest("missing_required_parameter", "response_format.json_schema.name",
				"Missing required parameter: 'response_format.json_schema.name' or 'schema'.")
		}
		p.schema = f.JSONSchema.Schema
	default:
		return p, badRequest("invalid_value", "response_format.type", "Invalid value: '%s'.", f.Type)
	}
	return p, nil
}

// chatAnswer is what a chat request gets: text in parts, or tool calls.
type chatAnswer struct {
	model        string
	stream       bool
	parts        []string
	calls        []toolCall
	finish       string
	usage        usage
	includeUsage bool
	filtered     bool // Azure's content filters have looked at it
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
	out = append(out, '"')
	if c.filtered {
		out = append(out, `,"content_filter_results":`+nothingFiltered...)
	}
	out = append(out, "}]"...)
	if c.filtered {
		out = append(out, `,"prompt_filter_results":`+promptFiltered...)
	}
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
	if c.filtered && !yield([]byte(`data: {"choices":[],"created":0,"id":"","model":"","object":"",`+
		`"prompt_filter_results":`+promptFiltered+"}\n\n")) {
		return
	}
	var buf []byte
	chunk := func(delta string, finish string) bool {
		buf = append(buf[:0], head...)
		buf = append(buf, `{"index":0,"delta":`...)
		buf = append(buf, delta...)
		buf = append(buf, `,"logprobs":null,"finish_reason":`...)
		buf = append(buf, finish...)
		if c.filtered {
			buf = append(buf, `,"content_filter_results":`...)
			if delta == "{}" || strings.Contains(delta, `"role"`) {
				buf = append(buf, "{}"...)
			} else {
				buf = append(buf, nothingFiltered...)
			}
		}
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
