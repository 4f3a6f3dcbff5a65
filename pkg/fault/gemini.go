package fault

import (
	"net/http"
	"strconv"
	"time"
)

// AppendGemini appends Gemini's error envelope for e to dst: {"error":{"code":…,"message":…,"status":…,"details":[…]}},
// which is google.rpc.Status. Only public fields of e appear: Code as the reason of an ErrorInfo, Param as the field of a
// BadRequest, RetryAfter as the delay of a RetryInfo. Without any of them there are no details.
func AppendGemini(dst []byte, e *Error) []byte {
	status := e.HTTPStatus()
	msg := e.Message
	if msg == "" {
		msg = e.Kind.String()
	}
	dst = append(dst, `{"error":{"code":`...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, `,"message":`...)
	dst = appendString(dst, msg)
	dst = append(dst, `,"status":"`...)
	dst = append(dst, geminiStatus(status)...)
	dst = append(dst, '"')
	return append(appendDetails(dst, e, msg), "}}"...)
}

func appendDetails(dst []byte, e *Error, msg string) []byte {
	const kind = `{"@type":"type.googleapis.com/google.rpc.`
	next := `,"details":[`
	if e.Code != "" {
		dst = append(dst, next+kind+`ErrorInfo","reason":`...)
		dst = appendString(dst, e.Code)
		dst = append(dst, `,"domain":"fairway"}`...)
		next = ","
	}
	if e.Param != "" {
		dst = append(dst, next+kind+`BadRequest","fieldViolations":[{"field":`...)
		dst = appendString(dst, e.Param)
		dst = append(dst, `,"description":`...)
		dst = appendString(dst, msg)
		dst = append(dst, "}]}"...)
		next = ","
	}
	if e.RetryAfter > 0 {
		dst = append(dst, next+kind+`RetryInfo","retryDelay":"`...)
		// Whole seconds, rounded up: too soon would fail again.
		seconds := int64(e.RetryAfter / time.Second)
		if e.RetryAfter%time.Second > 0 {
			seconds++
		}
		dst = strconv.AppendInt(dst, seconds, 10)
		dst = append(dst, `s"}`...)
		next = ","
	}
	if next == "," {
		dst = append(dst, ']')
	}
	return dst
}

// geminiStatus is the name in google.rpc.Code that Gemini's own service answers with for such a status.
func geminiStatus(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "UNAUTHENTICATED"
	case http.StatusForbidden:
		return "PERMISSION_DENIED"
	case http.StatusNotFound:
		return "NOT_FOUND"
	case http.StatusConflict:
		return "ALREADY_EXISTS"
	case http.StatusPaymentRequired, http.StatusPreconditionFailed:
		return "FAILED_PRECONDITION"
	case http.StatusTooManyRequests:
		return "RESOURCE_EXHAUSTED"
	case statusClientClosed:
		return "CANCELLED"
	case http.StatusNotImplemented:
		return "UNIMPLEMENTED"
	case http.StatusBadGateway, http.StatusServiceUnavailable, statusOverloaded:
		return "UNAVAILABLE"
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return "DEADLINE_EXCEEDED"
	}
	if status >= 400 && status < 500 {
		return "INVALID_ARGUMENT"
	}
	return "INTERNAL"
}
