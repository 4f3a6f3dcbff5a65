package fakellm

import (
	"fmt"
	"strings"
)

// responseStream writes a response as events.
type responseStream struct {
	m     *modelResponse
	shelf *shelf
	final []byte
}

// events gives all but the last, which last gives.
func (s *responseStream) events(_ stamp, _ bool, yield func([]byte) bool) {
	s.shelf.keep(s.m)
	s.m.play(0, func(event []byte) bool {
		if s.final != nil && !yield(s.final) {
			return false
		}
		s.final = event
		return true
	})
}

func (s *responseStream) last(stamp, bool) []byte { return s.final }

// responseFault is the bare error event.
func responseFault(e *apiError, sent int) []byte {
	out := append([]byte(`{"type":"error","code":`), appendString(nil, orElse(e.code, "server_error"))...)
	out = appendString(append(out, `,"message":`...), e.message)
	return event("error", fmt.Appendf(out, `,"param":null,"sequence_number":%d}`, sent))
}

// player numbers events and leaves out the first of them.
type player struct {
	yield    func([]byte) bool
	from     int
	sequence int
	stopped  bool
}

// emit sends one event, whose members are given without braces.
func (p *player) emit(kind, format string, args ...any) {
	sequence := p.sequence
	p.sequence++
	if p.stopped || sequence < p.from {
		return
	}
	out := fmt.Appendf(nil, `{"type":%q,`, kind)
	out = fmt.Appendf(out, format, args...)
	p.stopped = !p.yield(event(kind, fmt.Appendf(out, `,"sequence_number":%d}`, sequence)))
}

// play gives the events of the response, from a sequence number on.
func (m *modelResponse) play(from int, yield func([]byte) bool) {
	p := &player{yield: yield, from: from}
	if m.request.Background {
		p.emit("response.created", `"response":%s`, m.object("queued"))
		p.emit("response.queued", `"response":%s`, m.object("queued"))
	} else {
		p.emit("response.created", `"response":%s`, m.object("in_progress"))
	}
	p.emit("response.in_progress", `"response":%s`, m.object("in_progress"))
	index := 0
	if len(m.said.thoughts) > 0 {
		m.playThought(p, index)
		index++
	}
	for i := range m.said.calls {
		m.playCall(p, i, index)
		index++
	}
	if len(m.said.parts) > 0 {
		m.playMessage(p, index)
	}
	p.emit("response."+m.status(), `"response":%s`, m.object(m.status()))
}

func (m *modelResponse) playThought(p *player, index int) {
	p.emit("response.output_item.added", `"output_index":%d,"item":%s`, index, m.thought(false))
	if m.summarizes() {
		at := fmt.Sprintf(`"item_id":%q,"output_index":%d,"summary_index":0`, m.thoughtID(), index)
		p.emit("response.reasoning_summary_part.added", `%s,"part":%s`, at, appendPart(nil, "summary_text", ""))
		for _, piece := range m.said.thoughts {
			p.emit("response.reasoning_summary_text.delta", `%s,"delta":%s,"obfuscation":"x"`, at, appendString(nil, piece))
		}
		p.emit("response.reasoning_summary_text.done", `%s,"text":%s`, at, appendString(nil, m.thoughts()))
		p.emit("response.reasoning_summary_part.done", `%s,"part":%s`, at, appendPart(nil, "summary_text", m.thoughts()))
	}
	p.emit("response.output_item.done", `"output_index":%d,"item":%s`, index, m.thought(true))
}

func (m *modelResponse) playCall(p *player, i, index int) {
	p.emit("response.output_item.added", `"output_index":%d,"item":%s`, index, m.call(i, false))
	at := fmt.Sprintf(`"item_id":%q,"output_index":%d`, m.itemID(i), index)
	call := m.said.calls[i]
	for _, piece := range call.arguments {
		p.emit("response.function_call_arguments.delta", `%s,"delta":%s,"obfuscation":"x"`, at, appendString(nil, piece))
	}
	p.emit("response.function_call_arguments.done", `%s,"arguments":%s,"name":%s`, at,
		appendString(nil, strings.Join(call.arguments, "")), appendString(nil, call.name))
	p.emit("response.output_item.done", `"output_index":%d,"item":%s`, index, m.call(i, true))
}

func (m *modelResponse) playMessage(p *player, index int) {
	p.emit("response.output_item.added", `"output_index":%d,"item":%s`, index, m.message(false))
	at := fmt.Sprintf(`"item_id":%q,"output_index":%d,"content_index":0`, m.messageID(), index)
	p.emit("response.content_part.added", `%s,"part":%s`, at, m.part(""))
	for _, piece := range m.said.parts {
		p.emit("response.output_text.delta", `%s,"delta":%s,"logprobs":[],"obfuscation":"x"`, at, appendString(nil, piece))
	}
	p.emit("response.output_text.done", `%s,"text":%s,"logprobs":[]`, at, appendString(nil, m.text()))
	p.emit("response.content_part.done", `%s,"part":%s`, at, m.part(m.text()))
	p.emit("response.output_item.done", `"output_index":%d,"item":%s`, index, m.message(true))
}
