package fakellm

import (
	"bytes"
	"fmt"
	"strings"
)

// messageAnswer is a message of Anthropic's.
type messageAnswer struct {
	utterance
	model string
	// redacted answers with thinking that nobody may read; unseen with thinking that is left out, but signed.
	redacted, unseen bool
	refused          bool
}

// The strings that Anthropic documents for tests of what a model rarely does.
const (
	redactionTrigger = "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING_46C9A13E193C177646C7398A98432ECCCE4C1253D5E2D82641AC0E52CC2876CB"
	refusalTrigger   = "ANTHROPIC_MAGIC_STRING_TRIGGER_REFUSAL_1FAEFB6177B4672DEE07F9D3AFC62588CCD2631EDCF22E8CCC1FB35B501C9C86"
)

func (r messagesRequest) answer() (messageAnswer, *apiError) {
	s, fault := r.prompt.say()
	if fault != nil {
		return messageAnswer{}, fault
	}
	m := messageAnswer{utterance: s, model: r.model, unseen: r.unseen}
	m.redacted = r.prompt.thinks && strings.Contains(r.prompt.last, redactionTrigger)
	if strings.Contains(r.prompt.last, refusalTrigger) {
		m.refused = true
		m.thoughts, m.parts, m.calls = nil, nil, nil
		m.usage.output, m.reasoning = 1, 0
	}
	return m, nil
}

// block is one block of content in the pieces that a stream sends.
type block struct {
	kind   string
	start  string   // the block as content_block_start has it
	deltas []string // delta objects
	whole  string
}

func (m messageAnswer) blocks(s stamp) []block {
	var out []block
	switch {
	case m.redacted:
		start := `{"type":"redacted_thinking","data":` + quote(signatureOf("redacted")) + `}`
		out = append(out, block{kind: "redacted_thinking", start: start, whole: start})
	case len(m.thoughts) > 0:
		b := block{kind: "thinking", start: `{"type":"thinking","thinking":"","signature":""}`}
		text := ""
		if !m.unseen {
			text = strings.Join(m.thoughts, "")
			for _, thought := range m.thoughts {
				b.deltas = append(b.deltas, `{"type":"thinking_delta","thinking":`+quote(thought)+`}`)
			}
		}
		sign := quote(thinkingSignature(text))
		b.deltas = append(b.deltas, `{"type":"signature_delta","signature":`+sign+`}`)
		b.whole = `{"type":"thinking","thinking":` + quote(text) + `,"signature":` + sign + `}`
		out = append(out, b)
	}
	if len(m.parts) > 0 {
		b := block{
			kind: "text", start: `{"type":"text","text":""}`,
			whole: `{"type":"text","text":` + quote(strings.Join(m.parts, "")) + `}`,
		}
		for _, part := range m.parts {
			b.deltas = append(b.deltas, `{"type":"text_delta","text":`+quote(part)+`}`)
		}
		out = append(out, b)
	}
	for i, call := range m.calls {
		head := fmt.Sprintf(`{"type":"tool_use","id":"toolu_fake%d_%d","name":%s,"input":`, s.sequence, i, quote(call.name))
		// The first delta is empty, as it is with the real one.
		b := block{
			kind: "tool_use", start: head + "{}}", whole: head + strings.Join(call.arguments, "") + "}",
			deltas: []string{`{"type":"input_json_delta","partial_json":""}`},
		}
		for _, piece := range call.arguments {
			b.deltas = append(b.deltas, `{"type":"input_json_delta","partial_json":`+quote(piece)+`}`)
		}
		out = append(out, b)
	}
	return out
}

// thinkingSignature signs a thinking block.
func thinkingSignature(text string) string { return signatureOf("thinking", text) }

func quote(s string) string { return string(appendString(nil, s)) }

func (m messageAnswer) whole(s stamp, withUsage bool) []byte {
	out := m.head(s)
	for i, b := range m.blocks(s) {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, b.whole...)
	}
	out = append(append(out, `],`...), m.stopped()...)
	if withUsage {
		out = append(append(out, `,"usage":`...), m.counts(m.usage.output)...)
	}
	return append(out, '}')
}

func (m messageAnswer) events(s stamp, withUsage bool, yield func([]byte) bool) {
	start := append(append([]byte(`{"type":"message_start","message":`), m.head(s)...), `],"stop_reason":null,"stop_sequence":null`...)
	if withUsage {
		start = append(append(start, `,"usage":`...), m.counts(1)...)
	}
	if !yield(anthropicEvent("message_start", append(start, "}}"...))) {
		return
	}
	for i, b := range m.blocks(s) {
		if !yield(anthropicEvent("content_block_start",
			fmt.Appendf(nil, `{"type":"content_block_start","index":%d,"content_block":%s}`, i, b.start))) {
			return
		}
		if i == 0 && !yield(anthropicEvent("ping", []byte(`{"type": "ping"}`))) {
			return
		}
		for _, delta := range b.deltas {
			if !yield(anthropicEvent("content_block_delta",
				fmt.Appendf(nil, `{"type":"content_block_delta","index":%d,"delta":%s}`, i, delta))) {
				return
			}
		}
		if !yield(anthropicEvent("content_block_stop", fmt.Appendf(nil, `{"type":"content_block_stop","index":%d}`, i))) {
			return
		}
	}
	end := fmt.Appendf(nil, `{"type":"message_delta","delta":{%s}`, m.stopped())
	if withUsage {
		// Cumulative, and with the input's once more.
		end = append(append(end, `,"usage":`...), m.counts(m.usage.output)...)
	}
	yield(anthropicEvent("message_delta", append(end, '}')))
}

func lastMessageEvent(stamp, bool) []byte {
	return anthropicEvent("message_stop", []byte(`{"type":"message_stop"}`))
}

// head opens the message up to its content.
func (m messageAnswer) head(s stamp) []byte {
	out := appendString([]byte(`{"model":`), m.model)
	return fmt.Appendf(out, `,"id":"msg_fake%d","type":"message","role":"assistant","content":[`, s.sequence)
}

// stopped says why the message ends.
func (m messageAnswer) stopped() string {
	reason, sequence := "end_turn", "null"
	switch m.end {
	case endStop:
	case endLength:
		reason = "max_tokens"
	case endCalls:
		reason = "tool_use"
	case endSequence:
		reason, sequence = "stop_sequence", quote(m.sequence)
	}
	if m.refused {
		reason = "refusal"
	}
	if m.finish != "" {
		reason = m.finish
	}
	return `"stop_reason":` + quote(reason) + `,"stop_sequence":` + sequence
}

// counts renders usage; Anthropic's input is without what the cache read or wrote.
func (m messageAnswer) counts(output int64) []byte {
	var out bytes.Buffer
	fmt.Fprintf(&out, `{"input_tokens":%d,"cache_creation_input_tokens":%d,"cache_read_input_tokens":%d,`+
		`"cache_creation":{"ephemeral_5m_input_tokens":%d,"ephemeral_1h_input_tokens":0},"output_tokens":%d,`+
		`"service_tier":"standard"}`,
		m.usage.input-m.usage.cached-m.cacheWrite, m.cacheWrite, m.usage.cached, m.cacheWrite, output)
	return out.Bytes()
}
