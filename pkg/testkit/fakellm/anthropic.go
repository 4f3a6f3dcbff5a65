package fakellm

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Anthropic's API: messages, their tokens counted, batches of them, and models.

const messagesPath = "/v1/messages"

func (x *exchange) serveAnthropic(route string) {
	switch {
	case route == "POST "+messagesPath:
		x.serve(x.decodeMessages)
	case route == "POST "+messagesPath+"/count_tokens":
		x.serve(x.decodeCount)
	case strings.HasPrefix(x.r.URL.Path, batchesPath):
		x.serveBatches()
	case route == "GET /v1/models":
		x.serveAnthropicModels()
	case strings.HasPrefix(route, "GET /v1/models/"):
		x.serveAnthropicModel(strings.TrimPrefix(x.r.URL.Path, "/v1/models/"))
	default:
		x.p.refuse(x.w, x.r, noRoute(x.r))
	}
}

// decodeMessages checks a request for a message and decides what is answered.
func (x *exchange) decodeMessages(body []byte) (answer, *apiError) {
	r, fault := readMessages(body, messagesRules{beta: x.r.Header.Get("Anthropic-Beta") != ""})
	if fault != nil {
		return answer{}, fault
	}
	if fault := x.knowsModel(r.model); fault != nil {
		return answer{}, fault
	}
	m, fault := r.answer()
	if fault != nil {
		return answer{}, fault
	}
	return answer{
		model: r.model, stream: r.stream, usage: m.usage,
		whole: m.whole, events: m.events, cut: x.framing(lastMessageEvent, ""),
	}, nil
}

// decodeCount counts the tokens of a request, which costs none.
func (x *exchange) decodeCount(body []byte) (answer, *apiError) {
	r, fault := readMessages(body, messagesRules{beta: x.r.Header.Get("Anthropic-Beta") != "", count: true})
	if fault != nil {
		return answer{}, fault
	}
	if fault := x.knowsModel(r.model); fault != nil {
		return answer{}, fault
	}
	s, fault := r.prompt.say()
	if fault != nil {
		return answer{}, fault
	}
	return answer{model: r.model, whole: func(stamp, bool) []byte {
		return fmt.Appendf(nil, `{"input_tokens":%d}`, s.usage.input)
	}}, nil
}

func (x *exchange) knowsModel(name string) *apiError {
	if x.p.serves(name) {
		return nil
	}
	fault := noModel(name)
	x.p.violate("%s %s: %s", x.r.Method, safePath(x.r), fault.message)
	return fault
}

func noModel(name string) *apiError {
	return &apiError{status: http.StatusNotFound, kind: "not_found_error", message: "model: " + name}
}

func (x *exchange) serveAnthropicModels() {
	if !x.mayList() {
		return
	}
	names, more, fault := page(x.p.listed(), x.r.URL.Query(), 20)
	if fault != nil {
		fault.write(x.w, 0)
		return
	}
	out := []byte(`{"data":[`)
	for i, name := range names {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendAnthropicModel(out, name)
	}
	x.writeJSON(append(appendPageEnd(append(out, ']'), names, more), '}'))
}

func (x *exchange) serveAnthropicModel(name string) {
	if !x.mayList() {
		return
	}
	if !slices.Contains(x.p.listed(), name) {
		noModel(name).write(x.w, 0)
		return
	}
	x.writeJSON(appendAnthropicModel(nil, name))
}

func appendAnthropicModel(dst []byte, name string) []byte {
	dst = appendString(append(dst, `{"type":"model","id":`...), name)
	dst = appendString(append(dst, `,"display_name":`...), name)
	return append(dst, `,"created_at":"2023-11-14T22:13:20Z","max_input_tokens":200000,"max_tokens":65536}`...)
}

// appendPageEnd closes a page's list with its first and last id.
func appendPageEnd(dst []byte, ids []string, more bool) []byte {
	dst = fmt.Appendf(dst, `,"has_more":%t`, more)
	if len(ids) == 0 {
		return append(dst, `,"first_id":null,"last_id":null`...)
	}
	dst = appendString(append(dst, `,"first_id":`...), ids[0])
	return appendString(append(dst, `,"last_id":`...), ids[len(ids)-1])
}

// anthropicKind says whether a word is a type of Anthropic's errors.
func anthropicKind(word string) bool {
	switch word {
	case "invalid_request_error", "authentication_error", "billing_error", "permission_error", "not_found_error",
		"request_too_large", "rate_limit_error", "api_error", "timeout_error", "overloaded_error":
		return true
	}
	return false
}

// statusOverloaded is Anthropic's own status.
const statusOverloaded = 529

// anthropicFault gives an error Anthropic's type; one that a behaviour asked for gets its words, too. A code that is one
// of Anthropic's types is the type, others go by the status.
func anthropicFault(e *apiError) *apiError {
	out := *e
	switch {
	case anthropicKind(e.code):
		out.kind = e.code
	case !e.told && anthropicKind(e.kind):
	default:
		switch e.status {
		case http.StatusUnauthorized:
			out.kind = "authentication_error"
		case http.StatusPaymentRequired:
			out.kind = "billing_error"
		case http.StatusForbidden:
			out.kind = "permission_error"
		case http.StatusNotFound:
			out.kind = "not_found_error"
		case http.StatusRequestEntityTooLarge:
			out.kind = "request_too_large"
		case http.StatusTooManyRequests:
			out.kind = "rate_limit_error"
		case http.StatusGatewayTimeout:
			out.kind = "timeout_error"
		case statusOverloaded:
			out.kind = "overloaded_error"
		default:
			out.kind = "invalid_request_error"
			if e.status >= http.StatusInternalServerError {
				out.kind = "api_error"
			}
		}
	}
	if !e.told {
		return &out
	}
	switch out.kind {
	case "authentication_error":
		out.message = "invalid x-api-key"
	case "billing_error":
		out.message = "Your credit balance is too low to access the Anthropic API. " +
			"Please go to Plans & Billing to upgrade or purchase credits."
	case "request_too_large":
		out.message = "Request exceeds the maximum size"
	case "rate_limit_error":
		out.message = "This request would exceed your organization's rate limit of 50 requests per minute."
	case "timeout_error":
		out.message = "Request timed out"
	case "overloaded_error":
		out.message = "Overloaded"
	case "api_error":
		out.message = "Internal server error"
	}
	return &out
}

func anthropicEnvelope(e *apiError, id string) []byte {
	out := appendString([]byte(`{"type":"error","error":{"type":`), e.kind)
	out = appendString(append(out, `,"message":`...), e.message)
	if id == "" {
		return append(out, `},"request_id":null}`...)
	}
	return append(appendString(append(out, `},"request_id":`...), id), '}')
}

// anthropicEvent is one event of a stream.
func anthropicEvent(name string, data []byte) []byte {
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", name, data)
}

// rfc3339 is a time as Anthropic writes it; the zero time is null.
func rfc3339(t time.Time) string {
	if t.IsZero() {
		return "null"
	}
	return `"` + t.UTC().Format(time.RFC3339Nano) + `"`
}
