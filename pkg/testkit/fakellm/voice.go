package fakellm

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// voice is a vendor's way to be asked who comes, and to say no. The zero value is OpenAI's.
type voice uint8

const (
	byOpenAI voice = iota
	byAnthropic
	byGoogle
	// byGoogleAsOpenAI is what Google serves for OpenAI's SDKs: OpenAI's requests and answers, Google's errors in a list.
	byGoogleAsOpenAI
)

// compatPath is where Google serves OpenAI's shapes.
const compatPath = "/v1beta/openai/"

// voiceFor tells by the path, and where two vendors share one, by the head, which vendor is asked.
func voiceFor(r *http.Request) voice {
	path := r.URL.Path
	switch {
	case path == messagesPath || strings.HasPrefix(path, messagesPath+"/"):
		return byAnthropic
	case path == "/v1/models" || strings.HasPrefix(path, "/v1/models/"):
		if r.Header.Get("Anthropic-Version") != "" || r.Header.Get("X-Api-Key") != "" {
			return byAnthropic
		}
	case strings.HasPrefix(path, compatPath):
		return byGoogleAsOpenAI
	case strings.HasPrefix(path, "/v1beta/"):
		return byGoogle
	}
	return byOpenAI
}

// voiced is a response that knows in which voice it is given.
type voiced struct {
	http.ResponseWriter
	voice voice
}

// Unwrap lets http.ResponseController through.
func (w *voiced) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func voiceOf(w http.ResponseWriter) voice {
	if v, ok := w.(*voiced); ok {
		return v.voice
	}
	return byOpenAI
}

func (v voice) requestIDHeader() string {
	if v == byAnthropic {
		return "Request-Id"
	}
	return "X-Request-Id"
}

func requestID(w http.ResponseWriter) string { return w.Header().Get(voiceOf(w).requestIDHeader()) }

// keyHeader is the header for credentials that is this vendor's own; empty = it has none.
func (v voice) keyHeader() string {
	switch v {
	case byAnthropic:
		return "X-Api-Key"
	case byGoogle:
		return "X-Goog-Api-Key"
	case byOpenAI, byGoogleAsOpenAI:
	}
	return ""
}

// inspect returns what is wrong with the head by the vendor's own rules.
func (v voice) inspect(r *http.Request) []*apiError {
	var found []*apiError
	bad := func(param, format string, args ...any) {
		found = append(found, badRequest("gateway_violation", param, format, args...))
	}
	query := r.URL.Query()
	places := len(r.Header.Values("Authorization")) + len(query["key"])
	if name := v.keyHeader(); name != "" {
		places += len(r.Header.Values(name))
	}
	if places > 1 {
		bad("Authorization", "credentials came in %d places", places)
	}
	switch v {
	case byAnthropic:
		switch r.Header.Get("Anthropic-Version") {
		case "2023-06-01", "2023-01-01":
		case "":
			bad("anthropic-version", "anthropic-version: header is required")
		default:
			bad("anthropic-version", "anthropic-version: %q is not a valid version", r.Header.Get("Anthropic-Version"))
		}
	case byGoogle:
		for name := range query {
			switch name {
			case "alt", "key", "pageSize", "pageToken":
			default:
				bad(name, "Invalid JSON payload received. Unknown name %q: Cannot bind query parameter. "+
					"Field '%s' could not be found in request message.", name, name)
			}
		}
	case byOpenAI, byGoogleAsOpenAI:
	}
	if v != byGoogle && query.Has("key") {
		bad("key", "a credential is in the query")
	}
	return found
}

// credential takes the credential from where the vendor wants it. That it is in one place only was checked.
func (v voice) credential(r *http.Request) (string, *apiError) {
	switch v {
	case byAnthropic:
		if key := r.Header.Get("X-Api-Key"); key != "" {
			return key, nil
		}
		if r.Header.Get("Authorization") == "" {
			return "", &apiError{status: http.StatusUnauthorized, kind: "authentication_error", message: "x-api-key header is required"}
		}
		credential, fault := bearer(r)
		if fault != nil {
			fault.kind, fault.message = "authentication_error", "Invalid bearer token"
		}
		return credential, fault
	case byGoogle:
		if r.Header.Get("Authorization") != "" {
			return "", &apiError{
				status: http.StatusUnauthorized, code: "UNAUTHENTICATED",
				message: "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or " +
					"other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
				details: `{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ACCESS_TOKEN_TYPE_UNSUPPORTED"}`,
			}
		}
		if key := r.Header.Get("X-Goog-Api-Key"); key != "" {
			return key, nil
		}
		if key := r.URL.Query().Get("key"); key != "" {
			return key, nil
		}
		return "", &apiError{
			status: http.StatusForbidden, code: "PERMISSION_DENIED",
			message: "Method doesn't allow unregistered callers (callers without established identity). " +
				"Please use API Key or other form of API consumer identity to call this API.",
		}
	case byOpenAI, byGoogleAsOpenAI:
	}
	return bearer(r)
}

func (v voice) unknownCredential() *apiError {
	switch v {
	case byAnthropic:
		return &apiError{status: http.StatusUnauthorized, kind: "authentication_error", message: "invalid x-api-key"}
	case byGoogle, byGoogleAsOpenAI:
		return invalidGeminiKey()
	case byOpenAI:
	}
	return &apiError{
		status: http.StatusUnauthorized, kind: "invalid_request_error",
		code: "invalid_api_key", message: "Incorrect API key provided.",
	}
}

// render returns the error as the vendor writes it, with the status that the vendor gives it.
func (v voice) render(e *apiError, retryAfter time.Duration, id string) (*apiError, []byte) {
	switch v {
	case byAnthropic:
		e = anthropicFault(e)
		return e, anthropicEnvelope(e, id)
	case byGoogle:
		e = geminiFault(e, retryAfter)
		return e, geminiEnvelope(e)
	case byGoogleAsOpenAI:
		e = geminiFault(e, retryAfter)
		return e, append(append([]byte{'['}, geminiEnvelope(e)...), ']')
	case byOpenAI:
	}
	return e, e.envelope()
}

// errorEvent is the error in the middle of a stream; of an array of JSON, when the stream is one.
func (v voice) errorEvent(e *apiError, id string, array, first bool) []byte {
	_, body := v.render(e, 0, id)
	switch {
	case v == byAnthropic:
		return anthropicEvent("error", body)
	case v == byGoogle && array:
		open := ",\r\n"
		if first {
			open = "["
		}
		return append(append([]byte(open), body...), ']')
	case v == byGoogle:
		return append(append([]byte("data: "), body...), "\r\n\r\n"...)
	}
	return append(append([]byte("data: "), body...), "\n\n"...)
}

// framing frames a stream in the voice of the exchange.
func (x *exchange) framing(last func(s stamp, withUsage bool) []byte, media string) *framing {
	return &framing{media: media, last: last, fault: func(e *apiError, sent int) []byte {
		return voiceOf(x.w).errorEvent(e, requestID(x.w), media != "", sent == 0)
	}}
}

// decorate sets the headers that the vendor adds to results.
func (v voice) decorate(h http.Header, now time.Time) {
	switch v {
	case byAnthropic:
		h.Set("Anthropic-Organization-Id", "00000000-0000-4000-8000-000000000000")
		for _, of := range []string{"Requests", "Tokens", "Input-Tokens", "Output-Tokens"} {
			h.Set("Anthropic-Ratelimit-"+of+"-Limit", "10000")
			h.Set("Anthropic-Ratelimit-"+of+"-Remaining", "9999")
			h.Set("Anthropic-Ratelimit-"+of+"-Reset", now.UTC().Format(time.RFC3339))
		}
	case byGoogle, byGoogleAsOpenAI:
		h.Set("Server-Timing", "gfet4t7; dur=1")
		h.Set("Vary", "Origin, X-Origin, Referer")
	case byOpenAI:
		h.Set("Openai-Organization", "org-fake")
		h.Set("Openai-Processing-Ms", "1")
		h.Set("Openai-Version", "2020-10-01")
		h.Set("X-Ratelimit-Limit-Requests", "10000")
		h.Set("X-Ratelimit-Remaining-Requests", "9999")
	}
}

// noRoute is the answer to a path that the vendor does not serve.
func noRoute(r *http.Request) *apiError {
	return &apiError{
		status: http.StatusNotFound, kind: "not_found_error",
		message: fmt.Sprintf("%s %s: Not found", r.Method, r.URL.Path),
	}
}
