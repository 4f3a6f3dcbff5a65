package ingress

import (
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"fairway/pkg/fault"
)

// Refuse answers with e in OpenAI's envelope, which every client of ours can read, and says whether coming back makes
// sense: Retry-After where e knows when, x-should-retry false where the same request cannot succeed. Headers that were
// set before stay.
func Refuse(ctx *fasthttp.RequestCtx, e *fault.Error) {
	status := e.HTTPStatus()
	ctx.Response.ResetBody()
	ctx.Response.SetStatusCode(status)
	ctx.Response.Header.SetContentType("application/json")
	if e.RetryAfter > 0 {
		ctx.Response.Header.Set("Retry-After", strconv.FormatInt(RetrySeconds(e.RetryAfter), 10))
	}
	if !retryable(status) {
		ctx.Response.Header.Set("X-Should-Retry", "false")
	}
	ctx.Response.SetBodyRaw(append(fault.AppendOpenAI(nil, e), '\n'))
}

// RetrySeconds is d as Retry-After gives it: whole seconds, rounded up.
func RetrySeconds(d time.Duration) int64 {
	return int64((d + time.Second - 1) / time.Second)
}

// retryable says whether a client may send the same request again.
func retryable(status int) bool {
	switch status {
	case fasthttp.StatusRequestTimeout, fasthttp.StatusTooManyRequests, fasthttp.StatusInternalServerError,
		fasthttp.StatusBadGateway, fasthttp.StatusServiceUnavailable, fasthttp.StatusGatewayTimeout:
		return true
	}
	return false
}
