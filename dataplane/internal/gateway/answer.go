package gateway

import (
	"bytes"
	"net"
	"strconv"

	"fairway/dataplane/internal/dialect/openai"
	"fairway/dataplane/internal/ingress"
	"fairway/pkg/fault"
)

// answer commits to the upstream's response: from here on the client gets this one, and nothing is tried again.
func (x *exchange) answer() *fault.Error {
	x.commitBody()
	x.copyHead()
	x.debugHeaders()
	x.startTap()

	size := -1
	switch {
	case x.sse:
	case x.left:
		// The whole answer is here; the books come before it goes out.
		x.tap.Feed(x.first.b)
		x.closeResponse()
		x.settleWhole()
		size = len(x.first.b)
	default:
		size = int(x.response.ContentLength)
	}
	if size < 0 && !x.ctx.Request.Header.IsHTTP11() {
		x.streamToOldClient()
		return nil
	}
	x.ctx.Response.SetBodyStream(x, size)
	x.streaming = true // from here on the end is Close's
	return nil
}

// startTap makes meter and filter ready for this answer.
func (x *exchange) startTap() {
	if !x.sse {
		x.tap.Reset("", nil)
		return
	}
	x.tap.Reset(openai.DoneMark, openai.OutputText)
	if x.strip = x.wantsUsage(); x.strip {
		x.filter.Reset(openai.IsUsageEvent)
	}
}

// copyHead gives the client the upstream's status and the headers that are end-to-end.
func (x *exchange) copyHead() {
	from, to := &x.response.Header, &x.ctx.Response.Header
	x.status = x.response.Status
	to.SetStatusCode(x.status)
	secret := x.head[x.secret.Start:x.secret.End]
	for name, value := range from.All() {
		switch {
		case isName(name, "content-type"):
			to.SetContentTypeBytes(value)
		case isUpstreamID(name):
			to.SetBytesV("X-Upstream-Request-Id", value)
		case passesBack(name) && (len(secret) < shortestSecret || !bytes.Contains(value, secret)):
			to.AddBytesKV(name, value)
		}
	}
}

// answerFailure gives the client an upstream's error in the upstream's words.
func (x *exchange) answerFailure(f *failure) {
	x.settleUnanswered()
	x.status = f.status
	to := &x.ctx.Response.Header
	to.SetStatusCode(f.status)
	to.SetContentType("application/json")
	if f.answer.contentType != "" {
		to.SetContentType(f.answer.contentType)
	}
	if f.answer.requestID != "" {
		to.Set("X-Upstream-Request-Id", f.answer.requestID)
	}
	switch {
	case f.verdict.Pass:
		to.Set("X-Should-Retry", "false")
	default:
		wait := f.asked
		if wait == 0 {
			wait = x.readyIn()
		}
		if wait > farAway {
			to.Set("X-Should-Retry", "false")
		}
		to.Set("Retry-After", strconv.FormatInt(ingress.RetrySeconds(wait), 10))
	}
	for _, h := range f.answer.headers {
		to.Add(h[0], h[1])
	}
	x.debugHeaders()
	x.ctx.Response.SetBodyRaw(f.answer.body)
}

// debugHeaders says who served, to clients that ask for it.
func (x *exchange) debugHeaders() {
	if string(x.ctx.Request.Header.Peek("X-Fairway-Debug")) != "1" || x.key == nil {
		return
	}
	to := &x.ctx.Response.Header
	to.Set("X-Fairway-Attempts", strconv.Itoa(x.attempt))
	if n := len(x.trail); n > 0 {
		to.Set("X-Fairway-Channel", x.trail[n-1].channel)
		to.Set("X-Fairway-Account", x.trail[n-1].account)
	}
}

// streamToOldClient streams to an HTTP/1.0 client, which knows no chunks: the end of the connection ends the body.
// fasthttp cannot do that, so head and body are written here.
func (x *exchange) streamToOldClient() {
	header := &x.ctx.Response.Header
	header.SetContentLength(-2) // until close
	// The bytes are written before anything else uses the header.
	head := header.Header()
	if conn := x.ctx.Conn(); conn != nil {
		if _, err := conn.Write(head); err == nil {
			_, _ = x.WriteTo(conn)
		}
	}
	x.ctx.HijackSetNoResponse(true)
	x.ctx.Hijack(func(net.Conn) {}) // which closes the connection
}
