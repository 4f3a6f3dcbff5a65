package gemini

import (
	"bytes"
	"time"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/money"
	"fairway/pkg/sse"
)

// Answers understands the answers of generateContent, its stream, and embeddings, which mostly say nothing of their usage.
// Its zero value is ready.
type Answers struct{}

var _ dialect.Answers = Answers{}

// Usage implements dialect.Answers.
func (Answers) Usage(head, tail []byte) (money.Tokens, bool) {
	if t, ok := ParseUsage(tail); ok {
		return t, true
	}
	return ParseUsage(head)
}

// BodyText implements dialect.Answers.
func (Answers) BodyText(body []byte) int {
	total := 0
	gjson.Get(text(body), "candidates").ForEach(func(_, candidate gjson.Result) bool {
		candidate.Get("content.parts").ForEach(func(_, part gjson.Result) bool {
			total += len(part.Get("text").Str) + len(part.Get("functionCall.args").Raw)
			return true
		})
		return true
	})
	return total
}

// OutputText implements dialect.Answers.
func (Answers) OutputText(piece []byte) int { return dialect.OutputText(piece) }

// LastLine implements dialect.Answers: a stream ends with its bytes.
func (Answers) LastLine() string { return "" }

// Finished implements dialect.Answers: the model gave its reason for stopping, or the prompt was refused.
func (Answers) Finished(tail []byte) bool {
	return saidLast(tail, `"finishReason"`) || saidLast(tail, `"blockReason"`)
}

// saidLast says whether the member name of an enum comes in window, with a value that says something, the last time that
// it comes. Quotes in text are escaped, so only a member's name matches.
func saidLast(window []byte, name string) bool {
	i := bytes.LastIndex(window, []byte(name))
	if i < 0 {
		return false
	}
	rest := bytes.TrimLeft(window[i+len(name):], " \t\r\n")
	value, ok := bytes.CutPrefix(rest, []byte(":"))
	value = bytes.TrimLeft(value, " \t\r\n")
	return ok && len(value) > 1 && value[0] == '"' && !bytes.HasPrefix(value, []byte(`"FINISH_REASON_UNSPECIFIED"`))
}

// Error implements dialect.Answers.
func (Answers) Error(status int, body []byte) dialect.UpstreamError {
	e, _ := parseError(body)
	e.Status = status
	return e
}

// ErrorBody implements dialect.Answers.
func (Answers) ErrorBody(body []byte) (dialect.UpstreamError, bool) {
	if !bytes.Contains(body[:min(len(body), 64)], []byte(`"error"`)) {
		return dialect.UpstreamError{}, false
	}
	return parseError(body)
}

// ErrorEvent implements dialect.Answers. Google ends a stream that fails with the bare error, not as an event, too.
func (Answers) ErrorEvent(event []byte) (dialect.UpstreamError, bool) {
	if !bytes.Contains(event, []byte(`"error"`)) {
		return dialect.UpstreamError{}, false
	}
	data := sse.Data(event)
	if data == nil {
		data = event
	}
	return parseError(data)
}

// RetryAfter implements dialect.Answers.
func (Answers) RetryAfter(header func(name string) string, body []byte, now time.Time) time.Duration {
	return retryAfter(header, body, now)
}
