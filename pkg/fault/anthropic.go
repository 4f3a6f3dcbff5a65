package fault

import (
	"net/http"
	"strings"
)

// statusOverloaded is Anthropic's status for too much to do.
const statusOverloaded = 529

// AppendAnthropic appends Anthropic's error envelope for e to dst:
// {"type":"error","error":{"type":…,"message":…},"request_id":…}. Only public fields of e appear. There is no slot for a
// param, so the message begins with it unless it names it; without a requestID it is null.
func AppendAnthropic(dst []byte, e *Error, requestID string) []byte {
	dst = append(dst, `{"type":"error","error":{"type":"`...)
	dst = append(dst, anthropicType(e.HTTPStatus())...)
	dst = append(dst, `","message":`...)
	msg := e.Message
	if msg == "" {
		msg = e.Kind.String()
	}
	if e.Param != "" && !strings.Contains(msg, e.Param) {
		msg = e.Param + ": " + msg
	}
	dst = appendString(dst, msg)
	dst = append(dst, `},"request_id":`...)
	dst = appendNullable(dst, requestID)
	return append(dst, '}')
}

// anthropicType is the "type" that Anthropic's own service answers with for such a status.
func anthropicType(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusPaymentRequired:
		return "billing_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return "timeout_error"
	case http.StatusServiceUnavailable, statusOverloaded:
		return "overloaded_error"
	case http.StatusNotImplemented:
		return "invalid_request_error"
	case statusClientClosed:
		return "api_error"
	}
	if status >= 400 && status < 500 {
		return "invalid_request_error"
	}
	return "api_error"
}
