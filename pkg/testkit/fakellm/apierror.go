package fakellm

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// apiError is an error as OpenAI writes it; voice.go has the other ways. Empty param and code are null.
type apiError struct {
	status  int
	kind    string
	code    string
	param   string
	message string
	// form writes the body as another API does, and may set headers; nil = OpenAI's envelope.
	form errorForm
	// told says that a behaviour asked for the error, not a mistake of the request.
	told bool
	// details are Google's, as JSON; empty = none.
	details string
}

// errorForm is how an API writes an error.
type errorForm func(e *apiError, h http.Header) []byte

func badRequest(code, param, format string, args ...any) *apiError {
	return &apiError{
		status: http.StatusBadRequest, kind: "invalid_request_error",
		code: code, param: param, message: fmt.Sprintf(format, args...),
	}
}

// faultOf is the error that a behaviour asks for.
func faultOf(status int, code string) *apiError {
	e := &apiError{status: status, kind: "invalid_request_error", code: code, told: true}
	switch {
	case status == http.StatusTooManyRequests && code == "insufficient_quota":
		e.kind = "insufficient_quota"
		e.message = "You exceeded your current quota, please check your plan and billing details."
	case status == http.StatusTooManyRequests:
		e.kind = "requests"
		e.message = "Rate limit reached for requests."
	case status >= http.StatusInternalServerError:
		e.kind = "server_error"
		e.message = "The server had an error while processing your request. Sorry about that!"
	case status == http.StatusUnauthorized:
		e.message = "Incorrect API key provided."
	default:
		e.message = fmt.Sprintf("The fake provider was told to answer %d.", status)
	}
	return e
}

// envelope is the error's JSON.
func (e *apiError) envelope() []byte {
	orNull := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	type body struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	out, err := json.Marshal(struct {
		Error body `json:"error"`
	}{body{e.message, e.kind, orNull(e.param), orNull(e.code)}})
	if err != nil {
		// Strings always marshal.
		panic(err)
	}
	return out
}

// write answers with the error. A failed write has no one to be told to.
func (e *apiError) write(w http.ResponseWriter, retryAfter time.Duration) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	var body []byte
	if e.form != nil {
		body = e.form(e, h)
	} else {
		e, body = voiceOf(w).render(e, retryAfter, requestID(w))
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if retryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64(math.Ceil(retryAfter.Seconds())), 10))
	}
	w.WriteHeader(e.status)
	_, _ = w.Write(body)
}
