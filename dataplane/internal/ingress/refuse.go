package ingress

import (
	"net/http"
	"strconv"
	"time"

	"fairway/pkg/fault"
)

// Refuse answers with e in OpenAI's envelope, which every client of ours can read.
func Refuse(w *Response, e *fault.Error) { RefuseWith(w, e, fault.AppendOpenAI(nil, e)) }

// RefuseWith answers with e in the words of body, and says whether coming back makes sense: Retry-After where e knows when,
// x-should-retry false where the same request cannot succeed. Headers that were set before stay.
func RefuseWith(w *Response, e *fault.Error, body []byte) {
	status := e.HTTPStatus()
	w.Status(status)
	w.Set("Content-Type", "application/json")
	if e.RetryAfter > 0 {
		w.Set("Retry-After", strconv.FormatInt(RetrySeconds(e.RetryAfter), 10))
	}
	if !Retryable(status) {
		w.Set("X-Should-Retry", "false")
	}
	_ = w.Send(append(body, '\n'))
}

// RetrySeconds is d as Retry-After gives it: whole seconds, rounded up.
func RetrySeconds(d time.Duration) int64 {
	return int64((d + time.Second - 1) / time.Second)
}

// Retryable says whether a client may send the same request again after an answer with a status.
func Retryable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
