package fakellm

import (
	"fmt"
	"net/http"
	"strings"
)

// operation is how a path of OpenAI's younger operations is served; nil = it is none of them.
func (x *exchange) operation(path string) func() {
	name, ok := strings.CutPrefix(path, "/v1/")
	if !ok {
		return nil
	}
	if rest, ok := strings.CutPrefix(name, "responses/"); ok && name != "responses/input_tokens" {
		return func() { x.serveShelf(rest) }
	}
	if x.r.Method != http.MethodPost {
		return nil
	}
	return x.posted(name)
}

// posted is how an operation under /v1/ is served that has a body; nil = there is none of that name.
func (x *exchange) posted(name string) func() {
	with := func(decode func([]byte) (answer, *apiError)) func() {
		return func() { x.serve(x.deployed(decode)) }
	}
	switch name {
	case "responses":
		return with(x.decodeResponses)
	case "responses/input_tokens":
		return x.serveInputTokens
	case "images/generations":
		return with(decodeImages)
	case "images/edits", "images/variations":
		return func() {
			x.serveForm(func(f *form) (answer, *apiError) { return decodeImageForm(f, name == "images/edits") })
		}
	case "audio/speech":
		return with(decodeSpeech)
	case "audio/transcriptions", "audio/translations":
		return func() {
			x.serveForm(func(f *form) (answer, *apiError) { return decodeTranscription(f, name == "audio/translations") })
		}
	case "moderations":
		return with(decodeModeration)
	case "rerank":
		return with(decodeRerank)
	}
	return nil
}

// serveInputTokens counts what a response would be asked, and makes none.
func (x *exchange) serveInputTokens() {
	x.serve(x.deployed(func(body []byte) (answer, *apiError) {
		m, fault := x.readResponses(body)
		if fault != nil {
			return answer{}, fault
		}
		return answer{model: m.request.Model, whole: func(stamp, bool) []byte {
			return fmt.Appendf(nil, `{"object":"response.input_tokens","input_tokens":%d}`, m.said.usage.input)
		}}, nil
	}))
}

// bodyMedia is the content type that a path's body has; "" = the path's own code checks it.
func bodyMedia(path string) string {
	for _, suffix := range []string{"/images/edits", "/images/variations", "/audio/transcriptions", "/audio/translations"} {
		if strings.HasSuffix(path, suffix) {
			return multipartMedia
		}
	}
	if isGrant(path) || strings.HasSuffix(path, "/cancel") {
		return ""
	}
	return "application/json"
}

// unknownURL is the error for a path that nobody serves.
func (x *exchange) unknownURL() *apiError {
	return &apiError{
		status: http.StatusNotFound, kind: "invalid_request_error", code: "unknown_url",
		message: fmt.Sprintf("Unknown request URL: %s %s.", x.r.Method, x.r.URL.Path),
	}
}
