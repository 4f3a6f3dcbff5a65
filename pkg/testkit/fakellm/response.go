package fakellm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/coder/websocket"
)

// respond sends the events of one response, as the behaviour says; false ends the session.
func (s *session) respond(ctx context.Context, e clientEvent) bool {
	var limit *int64
	if raw := e.Response.MaxOutputTokens; len(raw) > 0 && string(raw) != `"inf"` {
		if json.Unmarshal(raw, &limit) != nil {
			return s.send(ctx, s.errorEvent(badRequest("invalid_type", "response.max_output_tokens", "it is no number")))
		}
	}
	if fault := checkLimit("response.max_output_tokens", limit); fault != nil {
		return s.send(ctx, s.errorEvent(fault))
	}
	parts, _ := reply(limit)
	used := usage{input: s.items + words(e.Response.Instructions), output: int64(len(parts))}
	used, fault := used.override(e.Response.Metadata)
	if fault != nil {
		return s.send(ctx, s.errorEvent(fault))
	}
	s.x.request.Sequence = s.x.p.sequence.Add(1)
	s.x.p.books.start(s.x.request)
	id := fmt.Sprintf("resp_fake%d", s.x.request.Sequence)

	r := response{s: s}
	r.emit(ctx, s.event("response.created", fmt.Sprintf(
		`"response":{"object":"realtime.response","id":%q,"status":"in_progress","output":[],"usage":null}`, id)))
	for _, part := range parts {
		r.emit(ctx, s.event("response.output_text.delta", string(appendString(fmt.Appendf(nil,
			`"response_id":%q,"item_id":"item_fake","output_index":0,"content_index":0,"delta":`, id), part))))
	}
	if !r.before(ctx) {
		return !r.over
	}
	s.x.p.books.finish(s.x.request, used)
	if !s.send(ctx, s.doneEvent(id, parts, used)) {
		s.x.p.books.unfinish(s.x.request, used)
		s.x.p.noteCanceled(s.x.request)
		return false
	}
	return true
}

// response is one response on its way out.
type response struct {
	s     *session
	sent  int
	ended bool // the behaviour has ended the response
	over  bool // and the session, or the client is gone
}

func (r *response) emit(ctx context.Context, event []byte) {
	if !r.before(ctx) {
		return
	}
	if !r.s.send(ctx, event) {
		r.ended, r.over = true, true
		r.s.x.p.noteCanceled(r.s.x.request)
		return
	}
	r.sent++
}

// before does what the behaviour wants between the last event and the next; false = there is no next.
func (r *response) before(ctx context.Context) bool {
	s := r.s
	b := s.x.behaviour
	switch {
	case r.ended:
	case b.ErrorEvent && r.sent == b.ErrorEvents:
		r.ended = true
		r.over = !s.send(ctx, s.errorEvent(faultOf(http.StatusInternalServerError, b.ErrorCode)))
	case b.Death != None && r.sent == b.DeathEvents:
		r.ended, r.over = true, true
		if b.Death == CleanEnd {
			_ = s.conn.Close(websocket.StatusNormalClosure, "")
		} else {
			cut(s.raw, b.Death)
		}
	case b.Hold != nil && b.HoldEvents > 0 && r.sent == b.HoldEvents && !s.x.hold():
		r.ended, r.over = true, true
	case r.sent > 0 && !s.x.pause(b.Interval):
		r.ended, r.over = true, true
	}
	return !r.ended
}

// event renders an event with members of its own.
func (s *session) event(kind, members string) []byte {
	s.events++
	out := fmt.Appendf(nil, `{"type":%q,"event_id":"event_fake%d"`, kind, s.events)
	if members != "" {
		out = append(append(out, ','), members...)
	}
	return append(out, '}')
}

func (s *session) sessionEvent(kind string) []byte {
	model := string(appendString(nil, s.x.request.Model))
	return s.event(kind, `"session":{"type":"realtime","object":"realtime.session","id":"sess_fake","model":`+model+`}`)
}

func (s *session) errorEvent(fault *apiError) []byte {
	envelope := fault.envelope()
	return s.event("error", string(envelope[1:len(envelope)-1]))
}

func (s *session) doneEvent(id string, parts []string, u usage) []byte {
	var said []byte
	for _, part := range parts {
		said = append(said, part...)
	}
	numbers := "null"
	if !s.x.behaviour.NoUsage {
		numbers = fmt.Sprintf(`{"total_tokens":%d,"input_tokens":%d,"output_tokens":%d,"input_token_details":`+
			`{"text_tokens":%d,"audio_tokens":0,"image_tokens":0,"cached_tokens":%d,`+
			`"cached_tokens_details":{"text_tokens":%d,"audio_tokens":0,"image_tokens":0}},`+
			`"output_token_details":{"text_tokens":%d,"audio_tokens":0}}`,
			u.input+u.output, u.input, u.output, u.input, u.cached, u.cached, u.output)
	}
	return s.event("response.done", fmt.Sprintf(`"response":{"object":"realtime.response","id":%q,"status":"completed",`+
		`"status_details":null,"output":[{"id":"item_fake","object":"realtime.item","type":"message","status":"completed",`+
		`"role":"assistant","content":[{"type":"output_text","text":%s}]}],"usage":%s}`,
		id, appendString(nil, string(said)), numbers))
}
