package gemini

import (
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
)

// The codes that are not Google's own words, but what its QuotaFailure comes to.
const (
	codeNone      = "limit0" // this project may not use the model at all: waiting does not help
	codePerDay    = "PerDay"
	codePerMinute = "PerMinute"
)

// envelope finds the error in a body: {"error":{…}}, or that in a list of one, as streams without SSE have it.
func envelope(body []byte) gjson.Result {
	root := gjson.Parse(text(body))
	if root.IsArray() {
		root = root.Get("0")
	}
	return root.Get("error")
}

// parseError reads {"error":{"code","message","status","details"}}. Its Status is the one it names, or that its words imply.
func parseError(body []byte) (dialect.UpstreamError, bool) {
	return readError(envelope(body))
}

func readError(v gjson.Result) (dialect.UpstreamError, bool) {
	if v.Type == gjson.String && v.Str != "" {
		return dialect.UpstreamError{Status: 500, Message: strings.Clone(v.Str)}, true
	}
	if !v.IsObject() {
		return dialect.UpstreamError{}, false
	}
	e := dialect.UpstreamError{
		Type:    strings.Clone(v.Get("status").String()),
		Message: strings.Clone(v.Get("message").String()),
	}
	e.Code = strings.Clone(errorCode(v.Get("details"), e.Message))
	if e.Code == "" && e.Type == "NOT_FOUND" && strings.HasPrefix(e.Message, "models/") {
		e.Code = "model_not_found"
	}
	if n := v.Get("code").Int(); n >= 400 && n <= 599 {
		e.Status = int(n)
	} else {
		e.Status = statusOf(e.Type)
	}
	return e, true
}

// errorCode is what the details say precisely: which quota is used up, or the reason in ErrorInfo.
func errorCode(details gjson.Result, message string) string {
	var reason, quota string
	details.ForEach(func(_, d gjson.Result) bool {
		switch kind := d.Get(`@type`).Str; {
		case strings.HasSuffix(kind, "google.rpc.ErrorInfo"):
			reason = d.Get("reason").String()
		case strings.HasSuffix(kind, "google.rpc.QuotaFailure"):
			d.Get("violations").ForEach(func(_, v gjson.Result) bool {
				quota = worse(quota, violation(v, message))
				return true
			})
		}
		return true
	})
	if quota != "" {
		return quota
	}
	return reason
}

func violation(v gjson.Result, message string) string {
	id, value := v.Get("quotaId").Str, v.Get("quotaValue")
	switch {
	// The JSON of a proto leaves out a zero; the message does not.
	case value.String() == "0", !value.Exists() && strings.Contains(message, "limit: 0,"):
		return codeNone
	case strings.Contains(id, codePerDay):
		return codePerDay
	case strings.Contains(id, codePerMinute):
		return codePerMinute
	}
	return ""
}

// worse is the one of two quotas that takes longer to come back.
func worse(a, b string) string {
	for _, code := range [...]string{codeNone, codePerDay, codePerMinute} {
		if a == code || b == code {
			return code
		}
	}
	return ""
}

// statuses are Google's names of errors and the HTTP statuses that they come with (google.rpc.Code).
//
//nolint:gochecknoglobals // a table, and constant; Go has no constants of this type
var statuses = [...]struct {
	name   string
	status int
}{
	{"INVALID_ARGUMENT", 400}, {"FAILED_PRECONDITION", 400}, {"OUT_OF_RANGE", 400}, {"UNAUTHENTICATED", 401},
	{"PERMISSION_DENIED", 403}, {"NOT_FOUND", 404}, {"ALREADY_EXISTS", 409}, {"ABORTED", 409},
	{"RESOURCE_EXHAUSTED", 429}, {"CANCELLED", 499}, {"INTERNAL", 500}, {"UNKNOWN", 500}, {"DATA_LOSS", 500},
	{"UNIMPLEMENTED", 501}, {"UNAVAILABLE", 503}, {"DEADLINE_EXCEEDED", 504},
}

// statusOf is the HTTP status of one of Google's names; 500 for one that is not known.
func statusOf(name string) int {
	for _, s := range statuses {
		if s.name == name {
			return s.status
		}
	}
	return 500
}

// nameOf is Google's name for an HTTP status.
func nameOf(status int) string {
	for _, s := range statuses {
		if s.status == status {
			return s.name
		}
	}
	switch {
	case status == 402:
		return "FAILED_PRECONDITION"
	case status == 408:
		return "DEADLINE_EXCEEDED"
	case status == 529:
		return "UNAVAILABLE"
	case status >= 400 && status < 500:
		return "INVALID_ARGUMENT"
	}
	return "INTERNAL"
}

// appendError appends an error as Google writes it.
func appendError(dst []byte, e *dialect.UpstreamError) []byte {
	status := e.Status
	if status < 400 || status > 599 {
		status = 500
	}
	dst = appendInt(append(dst, `{"error":{"code":`...), int64(status))
	dst = dialect.AppendQuoted(append(dst, `,"message":`...), e.Message)
	dst = dialect.AppendQuoted(append(dst, `,"status":`...), nameOf(status))
	return append(dst, "}}"...)
}

// retryAfter is what RetryInfo in an error's details asks for, else the header.
func retryAfter(header func(name string) string, body []byte, now time.Time) time.Duration {
	var asked time.Duration
	envelope(body).Get("details").ForEach(func(_, d gjson.Result) bool {
		if strings.HasSuffix(d.Get(`@type`).Str, "google.rpc.RetryInfo") {
			// A proto's duration: seconds with a fraction, and an s.
			if v, err := time.ParseDuration(d.Get("retryDelay").Str); err == nil {
				asked = v
			}
		}
		return true
	})
	if v := header("retry-after"); asked <= 0 && v != "" {
		if d, err := time.ParseDuration(v + "s"); err == nil {
			asked = d
		} else if at, err := time.Parse(time.RFC1123, v); err == nil {
			asked = at.Sub(now)
		}
	}
	return min(max(asked, 0), dialect.MaxAsked)
}
