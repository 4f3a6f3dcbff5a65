package converse

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/money"
	"fairway/pkg/sse"
)

// Answers understands the answers of Converse. Its zero value is ready.
type Answers struct{}

var _ dialect.Answers = Answers{}

// Usage implements dialect.Answers.
func (Answers) Usage(head, tail []byte) (money.Tokens, bool) {
	if t, ok := findUsage(tail); ok {
		return t, true
	}
	return findUsage(head)
}

// findUsage finds the last usage object of a window that holds counts. Inside JSON strings quotes are escaped, so text that
// a model wrote cannot pass for one.
func findUsage(window []byte) (money.Tokens, bool) {
	const key = `"usage"`
	for end := len(window); ; {
		i := bytes.LastIndex(window[:end], []byte(key))
		if i < 0 {
			return money.Tokens{}, false
		}
		s := dialect.Scanner{B: window, At: i + len(key)}
		if s.Space(); s.Take(':') {
			s.Space()
			start := s.At
			if s.Value() {
				if t, ok := tokensOf(gjson.Parse(view(window[start:s.At]))); ok {
					return t, true
				}
			}
		}
		end = i
	}
}

// BodyText implements dialect.Answers.
func (Answers) BodyText(body []byte) int {
	total := 0
	gjson.Get(view(body), "output.message.content").ForEach(func(_, block gjson.Result) bool {
		for _, path := range [...]string{"text", "toolUse.input", "reasoningContent.reasoningText.text"} {
			total += len(block.Get(path).Raw)
		}
		return true
	})
	return total
}

// OutputText implements dialect.Answers.
func (Answers) OutputText(piece []byte) int { return dialect.OutputText(piece) }

// LastLine implements dialect.Answers: usage comes last.
func (Answers) LastLine() string { return "event: metadata" }

// Finished implements dialect.Answers. An answer whose reason for stopping was said is complete.
func (Answers) Finished(tail []byte) bool { return bytes.Contains(tail, []byte(`"stopReason":`)) }

// Error implements dialect.Answers.
func (Answers) Error(status int, body []byte) dialect.UpstreamError {
	e, _ := parseError(body)
	e.Status = status
	if status == 404 {
		e.Code = "model_not_found" // the path names nothing else
	}
	return e
}

// ErrorBody implements dialect.Answers. What answers paths that it does not know says so in a 200.
func (Answers) ErrorBody(body []byte) (dialect.UpstreamError, bool) {
	return readError(false, body)
}

// ErrorEvent implements dialect.Answers.
func (Answers) ErrorEvent(event []byte) (dialect.UpstreamError, bool) {
	if !bytes.Contains(event, []byte("__type")) && !bytes.Contains(event, []byte("event: error")) {
		return dialect.UpstreamError{}, false
	}
	e := sse.Parse(event)
	return readError(string(e.Name) == "error", e.Data)
}

// RetryAfter implements dialect.Answers. AWS rarely says; then the caller's own back-off holds.
func (Answers) RetryAfter(header func(name string) string, _ []byte, now time.Time) time.Duration {
	v := header("retry-after")
	if v == "" {
		return 0
	}
	if seconds, err := strconv.ParseFloat(v, 64); err == nil {
		if !(seconds >= 0) {
			return 0
		}
		return time.Duration(min(seconds, dialect.MaxAsked.Seconds()) * float64(time.Second))
	}
	if at, err := time.Parse(time.RFC1123, v); err == nil && at.After(now) {
		return min(at.Sub(now), dialect.MaxAsked)
	}
	return 0
}

// readError reads an error inside a 200: an event that is named so (named), or an object that names its type.
func readError(named bool, data []byte) (dialect.UpstreamError, bool) {
	if !named && !bytes.Contains(data[:min(len(data), 256)], []byte(`"__type"`)) {
		return dialect.UpstreamError{}, false
	}
	e, ok := parseError(data)
	if !named && !ok {
		return dialect.UpstreamError{}, false
	}
	e.Status = impliedStatus(e.Type)
	return e, true
}

// parseError reads {"__type","message"}, and what some of AWS's front ends wrap it in; false = there is no type.
func parseError(body []byte) (dialect.UpstreamError, bool) {
	answer := gjson.Parse(view(body))
	var e dialect.UpstreamError
	if !answer.IsObject() {
		return e, false
	}
	kind := answer.Get("__type").String()
	if kind == "" {
		kind = answer.Get("Output.__type").String()
	}
	e.Type = strings.Clone(kind[strings.LastIndexByte(kind, '#')+1:])
	for _, name := range [...]string{"message", "Message"} {
		if m := answer.Get(name).String(); m != "" {
			e.Message = strings.Clone(m)
			break
		}
	}
	return e, kind != ""
}

// impliedStatus is the status that an exception in a stream would have had.
func impliedStatus(exception string) int {
	for _, row := range [...]struct {
		exception string
		status    int
	}{
		{"throttlingException", 429},
		{"serviceQuotaExceededException", 429},
		{"modelNotReadyException", 429},
		{"validationException", 400},
		{"accessDeniedException", 403},
		{"resourceNotFoundException", 404},
		{"modelTimeoutException", 408},
		{"modelErrorException", 424},
		{"modelStreamErrorException", 424},
		{"serviceUnavailableException", 503},
	} {
		if strings.EqualFold(exception, row.exception) {
			return row.status
		}
	}
	return 500
}
