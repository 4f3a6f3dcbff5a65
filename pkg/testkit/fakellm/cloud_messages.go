package fakellm

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Anthropic's messages as the clouds relay them: the path names the model, the body an API version of the cloud's own.

// The versions that the clouds want.
const (
	bedrockVersion = "bedrock-2023-05-31"
	vertexVersion  = "vertex-2023-10-16"
)

type cloudMessagesRequest struct {
	Version  string `json:"anthropic_version"`
	Messages []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	} `json:"messages"`
	System      json.RawMessage `json:"system"`
	MaxTokens   *int64          `json:"max_tokens"`
	Stream      *bool           `json:"stream"`
	Temperature *float64        `json:"temperature"`
	Thinking    *thinkingSwitch `json:"thinking"`
	Tools       []struct {
		Type   string          `json:"type"`
		Name   string          `json:"name"`
		Schema json.RawMessage `json:"input_schema"`
	} `json:"tools"`
	ToolChoice struct {
		Type   string `json:"type"`
		Name   string `json:"name"`
		Single bool   `json:"disable_parallel_tool_use"`
	} `json:"tool_choice"`
	OutputConfig struct {
		Format struct {
			Type   string          `json:"type"`
			Schema json.RawMessage `json:"schema"`
		} `json:"format"`
	} `json:"output_config"`
}

// cloudBlock is one block of a message.
type cloudBlock struct {
	Type      string          `json:"type"`
	Text      string          `json:"text"`
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Input     json.RawMessage `json:"input"`
	ToolUseID string          `json:"tool_use_id"`
	Content   json.RawMessage `json:"content"`
	Thinking  string          `json:"thinking"`
	Signature string          `json:"signature"`
	Source    struct {
		Type string `json:"type"`
		Data []byte `json:"data"`
		URL  string `json:"url"`
	} `json:"source"`
}

func decodeCloudMessages(body []byte, version, model string) (cloudMessage, *cloudMessagesRequest, *apiError) {
	var r cloudMessagesRequest
	fields := []string{
		"anthropic_version", "anthropic_beta", "messages", "system", "max_tokens", "temperature", "top_p", "top_k",
		"stop_sequences", "tools", "tool_choice", "thinking", "metadata", "output_config", "context_management",
	}
	if version == vertexVersion {
		fields = append(fields, "stream")
	}
	if fault := known(body, fields...); fault != nil {
		return cloudMessage{}, nil, validation("%s: Extra inputs are not permitted", fault.param)
	}
	if fault := decodeInto(body, &r); fault != nil {
		return cloudMessage{}, nil, validation("%s", fault.message)
	}
	p := prompt{limit: r.MaxTokens, quiet: r.ToolChoice.Type == "none", single: r.ToolChoice.Single, tool: r.ToolChoice.Name}
	switch {
	case r.Version != version:
		return cloudMessage{}, nil, validation("anthropic_version: Input should be '%s'", version)
	case r.MaxTokens == nil:
		return cloudMessage{}, nil, validation("max_tokens: Field required")
	case *r.MaxTokens < 1 || *r.MaxTokens > maxOutput:
		return cloudMessage{}, nil, validation("max_tokens: must be between 1 and %d", maxOutput)
	}
	var fault *apiError
	if p.thinking, fault = r.Thinking.check(r.MaxTokens); fault != nil {
		return cloudMessage{}, nil, fault
	}
	if p.thinking > 0 && r.Temperature != nil && *r.Temperature != 1 {
		return cloudMessage{}, nil, validation("`temperature` may only be set to 1 when thinking is enabled.")
	}
	if r.OutputConfig.Format.Type == "json_schema" {
		p.schema = r.OutputConfig.Format.Schema
	}
	for i, t := range r.Tools {
		if t.Type != "" && t.Type != "custom" {
			continue
		}
		tool, err := function(t.Name, t.Schema)
		if err != nil || t.Name == "" || len(t.Schema) == 0 {
			return cloudMessage{}, nil, validation("tools.%d.custom.input_schema: Field required", i)
		}
		p.tools = append(p.tools, tool)
	}
	if fault := r.readMessages(&p); fault != nil {
		return cloudMessage{}, nil, fault
	}
	return cloudMessage{model: model, said: p.say()}, &r, nil
}

func (r *cloudMessagesRequest) readMessages(p *prompt) *apiError {
	system, ok := blocksOf(r.System)
	if !ok && len(r.System) > 0 {
		return validation("system: Input should be a valid list")
	}
	for _, block := range system {
		p.words += words(block.Text)
	}
	if len(r.Messages) == 0 {
		return validation("messages: at least one message is required")
	}
	var asked []string
	for i, m := range r.Messages {
		blocks, ok := blocksOf(m.Content)
		if (m.Role != "user" && m.Role != "assistant") || !ok || len(blocks) == 0 || (i == 0 && m.Role != "user") {
			return validation("messages.%d: Input should have a role of 'user' or 'assistant', the first 'user', and content", i)
		}
		var calls []string
		p.resulted = false
		for k, block := range blocks {
			at := fmt.Sprintf("messages.%d.content.%d", i, k)
			p.words += words(block.Text)
			switch block.Type {
			case "text", "document", "search_result":
			case "image":
				p.image = max(len(block.Source.Data), len(block.Source.URL), 1)
			case "thinking":
				if block.Signature != thoughtSignature(block.Thinking) {
					return validation("%s: Invalid `signature` in `thinking` block", at)
				}
			case "redacted_thinking":
			case "tool_use":
				if k == 0 && p.thinking > 0 {
					return validation("%s.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`.", at)
				}
				calls = append(calls, block.ID)
			case "tool_result":
				if !slices.Contains(asked, block.ToolUseID) {
					return validation("%s: unexpected `tool_use_id` found in `tool_result` blocks: %s. Each `tool_result` block must "+
						"have a corresponding `tool_use` block in the previous message.", at, block.ToolUseID)
				}
				asked = slices.DeleteFunc(asked, func(id string) bool { return id == block.ToolUseID })
				inner, _ := blocksOf(block.Content)
				for _, b := range inner {
					p.words += words(b.Text)
				}
				p.resulted = true
			default:
				return validation("%s: Input tag '%s' found using 'type' does not match any of the expected tags", at, block.Type)
			}
		}
		if len(asked) > 0 {
			return validation("messages.%d: `tool_use` ids were found without `tool_result` blocks immediately after: %s. Each "+
				"`tool_use` block must have a corresponding `tool_result` block in the next message.", i-1, strings.Join(asked, ", "))
		}
		asked = calls
	}
	return nil
}

// blocksOf reads content that is a string or blocks.
func blocksOf(raw json.RawMessage) ([]cloudBlock, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return []cloudBlock{{Type: "text", Text: text}}, true
	}
	var blocks []cloudBlock
	err := json.Unmarshal(raw, &blocks)
	return blocks, err == nil
}

// cloudMessage is an answer as Anthropic writes it.
type cloudMessage struct {
	model string
	said  saying
}

func (m cloudMessage) stop() string { return converseAnswer{m.said}.stop() }

func (m cloudMessage) usage(output int64) []byte {
	u := m.said.usage
	return fmt.Appendf(nil, `{"input_tokens":%d,"cache_creation_input_tokens":0,"cache_read_input_tokens":%d,`+
		`"cache_creation":{"ephemeral_5m_input_tokens":0,"ephemeral_1h_input_tokens":0},"output_tokens":%d}`,
		max(0, u.input-u.cached), u.cached, output)
}

func (m cloudMessage) head(s stamp) []byte {
	out := appendString([]byte(`"model":`), m.model)
	return fmt.Appendf(out, `,"id":"msg_fake%d","type":"message","role":"assistant"`, s.sequence)
}

func (m cloudMessage) whole(s stamp, withUsage bool) []byte {
	out := append([]byte{'{'}, m.head(s)...)
	out = append(out, `,"content":[`...)
	comma := ""
	if thought := strings.Join(m.said.thoughts, ""); thought != "" {
		out = appendString(append(out, `{"type":"thinking","thinking":`...), thought)
		out = append(appendString(append(out, `,"signature":`...), thoughtSignature(thought)), '}')
		comma = ","
	}
	if len(m.said.parts) > 0 {
		out = append(appendString(append(append(out, comma...), `{"type":"text","text":`...), strings.Join(m.said.parts, "")), '}')
		comma = ","
	}
	for i, call := range m.said.calls {
		out = fmt.Appendf(append(out, comma...), `{"type":"tool_use","id":"toolu_fake%d_%d","name":%s,"input":%s}`, s.sequence, i,
			appendString(nil, call.name), strings.Join(call.arguments, ""))
		comma = ","
	}
	out = fmt.Appendf(out, `],"stop_reason":%q,"stop_sequence":null`, m.stop())
	if withUsage {
		out = append(append(out, `,"usage":`...), m.usage(m.said.usage.output)...)
	}
	return append(out, '}')
}

// play gives the events, the last of which is message_stop.
func (m cloudMessage) play(s stamp, withUsage bool, yield func(name string, payload []byte) bool) {
	going := true
	send := func(name, format string, args ...any) {
		if going {
			payload := fmt.Appendf(nil, `{"type":%q`, name)
			payload = fmt.Appendf(payload, format, args...)
			going = yield(name, append(payload, '}'))
		}
	}
	usage := func(output int64) string {
		if !withUsage {
			return ""
		}
		return `,"usage":` + string(m.usage(output))
	}
	send("message_start", `,"message":{%s,"content":[],"stop_reason":null,"stop_sequence":null%s}`, m.head(s), usage(1))
	block := 0
	piecewise := func(start, kind, member string, pieces []string) {
		send("content_block_start", `,"index":%d,"content_block":%s`, block, start)
		for _, piece := range pieces {
			send("content_block_delta", `,"index":%d,"delta":{"type":%q,%q:%s}`, block, kind, member, appendString(nil, piece))
		}
	}
	stop := func() {
		send("content_block_stop", `,"index":%d`, block)
		block++
	}
	if len(m.said.thoughts) > 0 {
		piecewise(`{"type":"thinking","thinking":"","signature":""}`, "thinking_delta", "thinking", m.said.thoughts)
		send("content_block_delta", `,"index":%d,"delta":{"type":"signature_delta","signature":%q}`, block,
			thoughtSignature(strings.Join(m.said.thoughts, "")))
		stop()
	}
	if len(m.said.parts) > 0 {
		piecewise(`{"type":"text","text":""}`, "text_delta", "text", m.said.parts)
		stop()
	}
	for i, call := range m.said.calls {
		start := fmt.Sprintf(`{"type":"tool_use","id":"toolu_fake%d_%d","name":%s,"input":{}}`, s.sequence, i, appendString(nil, call.name))
		piecewise(start, "input_json_delta", "partial_json", call.arguments)
		stop()
	}
	send("message_delta", `,"delta":{"stop_reason":%q,"stop_sequence":null}%s`, m.stop(), usage(m.said.usage.output))
	send("message_stop", "")
}

// decodeInvoke reads InvokeModel's body for Anthropic's models, the only ones that are served.
func decodeInvoke(body []byte, model string, stream bool) (answer, *apiError) {
	if !strings.Contains(model, "anthropic.") {
		return answer{}, validation("the fake provider invokes models of Anthropic only, not %q", model)
	}
	m, _, fault := decodeCloudMessages(body, bedrockVersion, model)
	if fault != nil {
		return answer{}, fault
	}
	chunk := func(payload []byte) []byte {
		out := base64.StdEncoding.AppendEncode([]byte(`{"bytes":"`), payload)
		return eventFrame("chunk", append(out, `","p":"abcdefg"}`...))
	}
	u := m.said.usage
	return answer{
		stream: stream, usage: u, whole: m.whole,
		events: func(s stamp, withUsage bool, yield func([]byte) bool) {
			m.play(s, withUsage, func(name string, payload []byte) bool { return name == "message_stop" || yield(chunk(payload)) })
		},
		cut: &framing{media: amazonMedia, fault: streamException, last: func(_ stamp, withUsage bool) []byte {
			if !withUsage {
				return chunk([]byte(`{"type":"message_stop"}`))
			}
			return chunk(fmt.Appendf(nil, `{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":%d,`+
				`"outputTokenCount":%d,"invocationLatency":1,"firstByteLatency":1}}`, u.input, u.output))
		}},
	}, nil
}

// decodeRawPredict is the same at Vertex, in server-sent events.
func decodeRawPredict(body []byte, model string, stream bool) (answer, *apiError) {
	m, r, fault := decodeCloudMessages(body, vertexVersion, model)
	if fault != nil {
		return answer{}, fault
	}
	if stream != (r.Stream != nil && *r.Stream) {
		return answer{}, validation("stream: must be %t for this method", stream)
	}
	return answer{
		stream: stream, usage: m.said.usage, whole: m.whole,
		events: func(s stamp, withUsage bool, yield func([]byte) bool) {
			m.play(s, withUsage, func(name string, payload []byte) bool { return name == "message_stop" || yield(event(name, payload)) })
		},
		cut: &framing{
			last: func(stamp, bool) []byte { return event("message_stop", []byte(`{"type":"message_stop"}`)) },
			fault: func(e *apiError, _ int) []byte {
				out := appendString([]byte(`{"type":"error","error":{"type":"api_error","message":`), e.message)
				return event("error", append(out, "}}"...))
			},
		},
	}, nil
}
