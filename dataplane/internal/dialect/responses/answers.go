package responses

import (
	"bytes"
	"net/http"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/money"
	"fairway/pkg/sse"
)

// Answers understands the answers of the Responses API. Its zero value is ready, for responses that are being made.
type Answers struct {
	// Stored: the answer tells of a response that was made before (retrieved, cancelled, deleted). That it failed is then
	// what the client wanted to know, and no failure of the account's.
	Stored bool
}

var _ dialect.Answers = Answers{}

// Usage implements dialect.Answers.
func (Answers) Usage(head, tail []byte) (money.Tokens, bool) {
	if t, ok := findUsage(tail); ok {
		return t, true
	}
	return findUsage(head)
}

// BodyText implements dialect.Answers.
func (Answers) BodyText(body []byte) int {
	total := 0
	count := func(list gjson.Result) {
		list.ForEach(func(_, part gjson.Result) bool {
			total += len(part.Get("text").Raw) + len(part.Get("refusal").Raw)
			return true
		})
	}
	gjson.GetBytes(body, "output").ForEach(func(_, item gjson.Result) bool {
		count(item.Get("content"))
		count(item.Get("summary"))
		total += len(item.Get("arguments").Raw) + len(item.Get("input").Raw)
		return true
	})
	return total
}

// OutputText implements dialect.Answers. Only deltas count: the events that end a part, an item and the response say the
// same text again.
func (Answers) OutputText(piece []byte) int {
	s := dialect.Scanner{B: piece}
	for {
		i := bytes.Index(piece[s.At:], []byte(`"delta":`))
		if i < 0 {
			return s.Text
		}
		s.At += i + len(`"delta":`)
		if at, text := s.At, s.Text; !s.Value() {
			s.At, s.Text = at, text
		}
	}
}

// LastLine implements dialect.Answers: streams end with an event, not with a line of their own.
func (Answers) LastLine() string { return "" }

// Finished implements dialect.Answers. The last event repeats the whole response and may be longer than the tail; then the
// counts, which no event but the last has, stand for its name.
func (Answers) Finished(tail []byte) bool {
	if !bytes.HasSuffix(tail, []byte("\n\n")) && !bytes.HasSuffix(tail, []byte("\n\r\n")) && !bytes.HasSuffix(tail, []byte("\r\r")) {
		return false
	}
	for _, status := range [...]string{"completed", "incomplete", "failed"} {
		for _, before := range [...]string{`"type":"response.`, `"type": "response.`, "event: response.", "event:response."} {
			if terminal(tail, before+status) {
				return true
			}
		}
	}
	_, counted := findUsage(tail)
	return counted
}

// terminal says whether tail holds words as a member or as a line. A quote in a text is escaped, and so is a new line.
func terminal(tail []byte, words string) bool {
	for {
		i := bytes.Index(tail, []byte(words))
		if i < 0 {
			return false
		}
		end := byte(0)
		if i+len(words) < len(tail) {
			end = tail[i+len(words)]
		}
		if words[0] == '"' && end == '"' && (i == 0 || tail[i-1] != '\\') {
			return true
		}
		if words[0] == 'e' && (end == '\n' || end == '\r') && (i == 0 || tail[i-1] == '\n' || tail[i-1] == '\r') {
			return true
		}
		tail = tail[i+1:]
	}
}

// Error implements dialect.Answers.
func (Answers) Error(status int, body []byte) dialect.UpstreamError {
	e, _ := dialect.Envelope(body)
	e.Status = status
	return e
}

// ErrorBody implements dialect.Answers: an error in a 200, or a response that failed.
func (a Answers) ErrorBody(body []byte) (dialect.UpstreamError, bool) {
	if gjson.GetBytes(body, "object").Str == "response" || gjson.GetBytes(body, "status").Exists() {
		if a.Stored {
			return dialect.UpstreamError{}, false
		}
		return failed(gjson.ParseBytes(body))
	}
	e, ok := dialect.Envelope(body)
	if !ok {
		return dialect.UpstreamError{}, false
	}
	e.Status = dialect.ImpliedStatus(&e)
	return e, true
}

// ErrorEvent implements dialect.Answers: a bare error, or the news that the response failed.
func (a Answers) ErrorEvent(event []byte) (dialect.UpstreamError, bool) {
	// Nearly all events stop here.
	if !bytes.Contains(event, []byte("error")) && !bytes.Contains(event, []byte("response.failed")) {
		return dialect.UpstreamError{}, false
	}
	e := sse.Parse(event)
	kind := string(e.Name)
	if kind == "" || kind == "message" {
		kind = gjson.GetBytes(e.Data, "type").Str
	}
	switch {
	case kind == "response.failed":
		if a.Stored {
			return dialect.UpstreamError{}, false
		}
		return failed(gjson.GetBytes(e.Data, "response"))
	case strings.HasPrefix(kind, "response.") && kind != "response.error":
		return dialect.UpstreamError{}, false
	case kind == "error" || kind == "response.error" || gjson.GetBytes(e.Data, "error").IsObject():
		return bareError(e.Data), true
	}
	return dialect.UpstreamError{}, false
}

// RetryAfter implements dialect.Answers.
func (Answers) RetryAfter(header func(name string) string, _ []byte, now time.Time) time.Duration {
	return dialect.RetryAfter(header, now)
}

// failed reads the error of a response object that is not what was asked for.
func failed(response gjson.Result) (dialect.UpstreamError, bool) {
	e := dialect.UpstreamError{
		Code: response.Get("error.code").String(), Type: response.Get("error.type").String(),
		Message: response.Get("error.message").String(),
	}
	if e.Code == "" {
		e.Code = "server_error"
	}
	switch {
	case response.Get("status").Str == "failed":
	case response.Get("status").Str == "cancelled":
		e.Message = "the response was cancelled"
	case response.Get("error").IsObject():
	default:
		return dialect.UpstreamError{}, false
	}
	e.Status = dialect.ImpliedStatus(&e)
	if strings.HasPrefix(e.Code, "invalid_") && e.Status == http.StatusInternalServerError {
		e.Status = http.StatusBadRequest // invalid_image, invalid_base64_image and the like
	}
	return e, true
}

// bareError reads the data of an error event: flat as the API describes it, or with an envelope as it is often sent.
func bareError(data []byte) dialect.UpstreamError {
	e, ok := dialect.Envelope(data)
	if !ok {
		e = dialect.UpstreamError{Code: gjson.GetBytes(data, "code").String(), Message: gjson.GetBytes(data, "message").String()}
	}
	e.Status = dialect.ImpliedStatus(&e)
	return e
}
