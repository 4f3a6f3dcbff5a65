package anthropic

import (
	"bytes"
	"strings"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/sse"
)

// parseError reads the error of a response that was answered with status. A body that is no error envelope gives one with
// only the status.
func parseError(status int, body []byte) dialect.UpstreamError {
	e, _ := parseEnvelope(body)
	e.Status = status
	return e
}

// parseErrorEvent says whether an event of a stream is an error instead of a result, and which.
func parseErrorEvent(event []byte) (dialect.UpstreamError, bool) {
	named := hasErrorName(event)
	// Nearly all events stop here: in what a model writes the quotes are escaped.
	if !named && !bytes.Contains(event, []byte(`"error"`)) {
		return dialect.UpstreamError{}, false
	}
	e, ok := parseEnvelope(sse.Data(event))
	if !ok && !named {
		return dialect.UpstreamError{}, false
	}
	e.Status = impliedStatus(e.Type)
	return e, true
}

// parseErrorBody says whether the body of a plain 200 is an error all the same, and which.
func parseErrorBody(body []byte) (dialect.UpstreamError, bool) {
	if !bytes.Contains(body[:min(len(body), 64)], []byte(`"error"`)) {
		return dialect.UpstreamError{}, false
	}
	e, ok := parseEnvelope(body)
	if !ok {
		return dialect.UpstreamError{}, false
	}
	e.Status = impliedStatus(e.Type)
	return e, true
}

// IsError says whether a body is an error as this API writes it. The clouds that have its models write their own.
func IsError(body []byte) bool {
	return gjson.GetBytes(body, "error").IsObject() && gjson.GetBytes(body, "type").Str == "error"
}

// parseEnvelope reads {"type":"error","error":{"type","message"}}, and {"error":"text"} as some in between write it.
func parseEnvelope(body []byte) (dialect.UpstreamError, bool) {
	envelope := gjson.GetBytes(body, "error")
	switch {
	case envelope.Type == gjson.String && envelope.Str != "":
		return dialect.UpstreamError{Message: envelope.Str}, true
	case envelope.IsObject():
		e := dialect.UpstreamError{
			Code:    envelope.Get("code").String(),
			Type:    envelope.Get("type").String(),
			Message: envelope.Get("message").String(),
		}
		if e.Code == "" {
			e.Code = envelope.Get("details.error_code").String()
		}
		if e.Code == "" {
			e.Code = impliedCode(e.Message)
		}
		if e.Code == "" && e.Type == "not_found_error" && strings.HasPrefix(e.Message, "model:") {
			e.Code = "model_not_found"
		}
		return e, true
	}
	return dialect.UpstreamError{}, false
}

// impliedCode names what only the message says: accounts without money are answered as invalid requests.
func impliedCode(message string) string {
	switch {
	case strings.Contains(message, "credit balance is too low"):
		return "credit_balance_exhausted"
	case strings.Contains(message, "reached your specified API usage limits"):
		return "enforced_spend_limit_reached"
	}
	return ""
}

func hasErrorName(event []byte) bool {
	for line := range bytes.Lines(event) {
		if name, ok := bytes.CutPrefix(line, []byte("event:")); ok && string(bytes.TrimSpace(name)) == "error" {
			return true
		}
	}
	return false
}

// impliedStatus is the status that belongs to a type of error.
func impliedStatus(kind string) int {
	switch kind {
	case "invalid_request_error":
		return 400
	case "authentication_error":
		return 401
	case "billing_error":
		return 402
	case "permission_error":
		return 403
	case "not_found_error":
		return 404
	case "request_too_large":
		return 413
	case "rate_limit_error":
		return 429
	case "timeout_error":
		return 504
	case "overloaded_error":
		return 529
	}
	return 500
}

// errorType is the type of error for a status: what impliedStatus reads, and the nearest for the others.
func errorType(status int) string {
	switch status {
	case 401:
		return "authentication_error"
	case 402:
		return "billing_error"
	case 403:
		return "permission_error"
	case 404:
		return "not_found_error"
	case 413:
		return "request_too_large"
	case 429:
		return "rate_limit_error"
	case 408, 504:
		return "timeout_error"
	case 503, 529:
		return "overloaded_error"
	}
	if status >= 400 && status < 499 {
		return "invalid_request_error"
	}
	return "api_error"
}
