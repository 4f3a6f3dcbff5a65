package openai

import (
	"time"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/money"
)

// Answers understands the answers of chat, completions, embeddings and what looks like them. Its zero value is ready.
type Answers struct {
	// Media: streams are of images, speech or transcriptions, which end in an event of their own.
	Media bool
}

var _ dialect.Answers = Answers{}

// Usage implements dialect.Answers.
func (Answers) Usage(head, tail []byte) (money.Tokens, bool) {
	if t, ok := ParseUsage(tail); ok {
		return t, true
	}
	return ParseUsage(head)
}

// BodyText implements dialect.Answers.
func (Answers) BodyText(body []byte) int { return BodyText(body) }

// OutputText implements dialect.Answers.
func (Answers) OutputText(piece []byte) int { return dialect.OutputText(piece) }

// LastLine implements dialect.Answers.
func (Answers) LastLine() string { return "data: [DONE]" }

// Finished implements dialect.Answers.
func (a Answers) Finished(tail []byte) bool {
	if a.Media {
		return finishedMedia(tail)
	}
	return Finished(tail)
}

// Error implements dialect.Answers.
func (Answers) Error(status int, body []byte) dialect.UpstreamError { return ParseError(status, body) }

// ErrorBody implements dialect.Answers.
func (Answers) ErrorBody(body []byte) (dialect.UpstreamError, bool) { return ParseErrorBody(body) }

// ErrorEvent implements dialect.Answers.
func (Answers) ErrorEvent(event []byte) (dialect.UpstreamError, bool) { return ParseErrorEvent(event) }

// RetryAfter implements dialect.Answers.
func (Answers) RetryAfter(header func(name string) string, _ []byte, now time.Time) time.Duration {
	return dialect.RetryAfter(header, now)
}
