package dialect

import (
	"time"

	"fairway/pkg/money"
)

// Answers is how a family of operations is answered, as far as a relay that passes bytes through must understand it. All
// methods are pure and safe for concurrent use; what they are given is foreign, may be cut anywhere and must not be kept.
type Answers interface {
	// Usage finds what was used in a response: whole, or head (its first bytes) and tail (its last) of a long one or of a
	// stream. false = nobody said.
	Usage(head, tail []byte) (money.Tokens, bool)
	// BodyText is about how many bytes of generated text a whole plain response carries, for estimates.
	BodyText(body []byte) int
	// OutputText is about how many bytes of generated text a piece of a stream carries, for estimates.
	OutputText(piece []byte) int
	// LastLine is the line that only the end of a stream has, such as "data: [DONE]"; "" = there is none, a stream ends
	// with its bytes. The space behind the colon may be missing in a stream.
	LastLine() string
	// Finished says whether the end of a stream that came without LastLine shows that the answer is complete.
	Finished(tail []byte) bool

	// Error reads the error of a response that was answered with status.
	Error(status int, body []byte) UpstreamError
	// ErrorBody says whether the body of a plain 200 is an error all the same, and which.
	ErrorBody(body []byte) (UpstreamError, bool)
	// ErrorEvent says whether an event of a stream (its lines) is an error instead of a result, and which.
	ErrorEvent(event []byte) (UpstreamError, bool)
	// RetryAfter is how long the provider asks to be left alone, by its headers (found by name in lower case) and the
	// body of its error; 0 = it does not say. It is at most MaxAsked.
	RetryAfter(header func(name string) string, body []byte, now time.Time) time.Duration
}

// UpstreamError is what an upstream says went wrong. Its strings are foreign text: good for tables and for logs after
// scrubbing.
type UpstreamError struct {
	// Status is the HTTP status, or the one that an error inside a 200 would have had.
	Status int
	// Code and Type are the dialect's: OpenAI's code and type; Anthropic's type in Type; Gemini's status (such as
	// "RESOURCE_EXHAUSTED") in Type and the reason of its details (such as "API_KEY_INVALID") in Code.
	Code    string
	Type    string
	Message string
}

// MaxAsked bounds what a provider may ask for; beyond it a number is a mistake or an attack.
const MaxAsked = 24 * time.Hour
