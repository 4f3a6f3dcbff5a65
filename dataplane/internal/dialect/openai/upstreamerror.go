package openai

import (
	"bytes"
	"strconv"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/sse"
)

// ParseError reads the error of a response that was answered with status. A body that is no error envelope gives one with
// only the status.
func ParseError(status int, body []byte) dialect.UpstreamError {
	e, _ := parseEnvelope(body)
	e.Status = status
	return e
}

// ParseErrorEvent says whether the first event of a stream is an error instead of a result, and which.
func ParseErrorEvent(event []byte) (dialect.UpstreamError, bool) {
	if !bytes.Contains(event, []byte("error")) {
		return dialect.UpstreamError{}, false
	}
	e, ok := parseEnvelope(sse.Data(event))
	if !ok && !hasErrorName(event) {
		return dialect.UpstreamError{}, false
	}
	e.Status = impliedStatus(&e)
	return e, true
}

// ParseErrorBody says whether the body of a plain 200 is an error all the same, and which.
func ParseErrorBody(body []byte) (dialect.UpstreamError, bool) {
	if !bytes.Contains(body[:min(len(body), 64)], []byte(`"error"`)) {
		return dialect.UpstreamError{}, false
	}
	e, ok := parseEnvelope(body)
	if !ok {
		return dialect.UpstreamError{}, false
	}
	e.Status = impliedStatus(&e)
	return e, true
}

// IsData says whether an event carries data at all; comments and bare names do not.
func IsData(event []byte) bool { return len(sse.Data(event)) > 0 }

// parseEnvelope reads {"error":{"message","type","code"}}, and {"error":"text"} as some write it.
func parseEnvelope(body []byte) (dialect.UpstreamError, bool) {
	envelope := gjson.GetBytes(body, "error")
	switch {
	case envelope.Type == gjson.String && envelope.Str != "":
		return dialect.UpstreamError{Message: envelope.Str}, true
	case envelope.IsObject():
		return dialect.UpstreamError{
			Code:    envelope.Get("code").String(),
			Type:    envelope.Get("type").String(),
			Message: envelope.Get("message").String(),
		}, true
	}
	return dialect.UpstreamError{}, false
}

func hasErrorName(event []byte) bool {
	for line := range bytes.Lines(event) {
		if name, ok := bytes.CutPrefix(line, []byte("event:")); ok && string(bytes.TrimSpace(name)) == "error" {
			return true
		}
	}
	return false
}

// impliedStatus is the status that belongs to an error without one of its own. Some upstreams put it into code.
func impliedStatus(e *dialect.UpstreamError) int {
	if n, err := strconv.Atoi(e.Code); err == nil && n >= 400 && n <= 599 {
		return n
	}
	for _, row := range [...]struct {
		word   string
		status int
	}{
		{"rate_limit_exceeded", 429},
		{"slow_down", 429},
		{"insufficient_quota", 429},
		{"credit_balance_exhausted", 429},
		{"project_spend_limit_exceeded", 429},
		{"rate_limit_error", 429},
		{"requests", 429},
		{"tokens", 429},
		{"server_is_overloaded", 503},
		{"overloaded_error", 503},
		{"invalid_api_key", 401},
		{"account_deactivated", 401},
		{"billing_not_active", 401},
		{"authentication_error", 401},
		{"permission_error", 403},
		{"model_not_found", 404},
		{"not_found_error", 404},
		{"server_error", 500},
		{"internal_error", 500},
		{"content_policy_violation", 400},
		{"context_length_exceeded", 400},
		{"invalid_request_error", 400},
	} {
		if e.Code == row.word || e.Code == "" && e.Type == row.word {
			return row.status
		}
	}
	if e.Type == "invalid_request_error" {
		return 400
	}
	return 500
}
