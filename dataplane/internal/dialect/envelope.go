package dialect

import (
	"strconv"

	"github.com/tidwall/gjson"
)

// Envelope reads an error as OpenAI's API writes it: {"error":{"message","type","code"}}, and {"error":"text"} as some do
// that imitate it. false = body is neither. The error has no status.
func Envelope(body []byte) (UpstreamError, bool) {
	envelope := gjson.GetBytes(body, "error")
	switch {
	case envelope.Type == gjson.String && envelope.Str != "":
		return UpstreamError{Message: envelope.Str}, true
	case envelope.IsObject():
		return UpstreamError{
			Code:    envelope.Get("code").String(),
			Type:    envelope.Get("type").String(),
			Message: envelope.Get("message").String(),
		}, true
	}
	return UpstreamError{}, false
}

// ImpliedStatus is the HTTP status that belongs to an error of OpenAI's without one of its own. Some upstreams put it into
// the code.
func ImpliedStatus(e *UpstreamError) int {
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
		{"invalid_prompt", 400},
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
