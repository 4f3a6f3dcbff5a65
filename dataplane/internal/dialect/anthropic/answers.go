package anthropic

import (
	"bytes"
	"time"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/money"
)

// Answers understands the answers of messages and of what belongs to them. Its zero value is ready.
type Answers struct{}

var _ dialect.Answers = Answers{}

// Usage implements dialect.Answers.
func (Answers) Usage(head, tail []byte) (money.Tokens, bool) { return findUsage(head, tail) }

// BodyText implements dialect.Answers.
func (Answers) BodyText(body []byte) int {
	total := 0
	gjson.Get(view(body), "content").ForEach(func(_, block gjson.Result) bool {
		for _, name := range [...]string{"text", "thinking", "input"} {
			total += len(block.Get(name).Raw)
		}
		return true
	})
	return total
}

// OutputText implements dialect.Answers.
func (Answers) OutputText(piece []byte) int { return dialect.OutputText(piece) }

// LastLine implements dialect.Answers.
func (Answers) LastLine() string { return "event: message_stop" }

// Finished implements dialect.Answers. An answer whose reason for stopping was said is complete.
func (Answers) Finished(tail []byte) bool {
	for _, key := range [...]string{`"stop_reason":"`, `"stop_reason": "`} {
		if bytes.Contains(tail, []byte(key)) {
			return true
		}
	}
	return false
}

// Error implements dialect.Answers.
func (Answers) Error(status int, body []byte) dialect.UpstreamError { return parseError(status, body) }

// ErrorBody implements dialect.Answers.
func (Answers) ErrorBody(body []byte) (dialect.UpstreamError, bool) { return parseErrorBody(body) }

// ErrorEvent implements dialect.Answers.
func (Answers) ErrorEvent(event []byte) (dialect.UpstreamError, bool) { return parseErrorEvent(event) }

// RetryAfter implements dialect.Answers.
func (Answers) RetryAfter(header func(name string) string, _ []byte, now time.Time) time.Duration {
	return retryAfter(header, now)
}
