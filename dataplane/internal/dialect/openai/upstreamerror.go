package openai

import (
	"bytes"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/sse"
)

// ParseError reads the error of a response that was answered with status. A body that is no error envelope gives one with
// only the status.
func ParseError(status int, body []byte) dialect.UpstreamError {
	e, _ := dialect.Envelope(body)
	e.Status = status
	return e
}

// ParseErrorEvent says whether the first event of a stream is an error instead of a result, and which.
func ParseErrorEvent(event []byte) (dialect.UpstreamError, bool) {
	if !bytes.Contains(event, []byte("error")) {
		return dialect.UpstreamError{}, false
	}
	e, ok := dialect.Envelope(sse.Data(event))
	if !ok && !hasErrorName(event) {
		return dialect.UpstreamError{}, false
	}
	e.Status = dialect.ImpliedStatus(&e)
	return e, true
}

// ParseErrorBody says whether the body of a plain 200 is an error all the same, and which.
func ParseErrorBody(body []byte) (dialect.UpstreamError, bool) {
	if !bytes.Contains(body[:min(len(body), 64)], []byte(`"error"`)) {
		return dialect.UpstreamError{}, false
	}
	e, ok := dialect.Envelope(body)
	if !ok {
		return dialect.UpstreamError{}, false
	}
	e.Status = dialect.ImpliedStatus(&e)
	return e, true
}

func hasErrorName(event []byte) bool {
	for line := range bytes.Lines(event) {
		if name, ok := bytes.CutPrefix(line, []byte("event:")); ok && string(bytes.TrimSpace(name)) == "error" {
			return true
		}
	}
	return false
}
