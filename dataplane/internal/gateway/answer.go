package gateway

import (
	"bytes"
	"strconv"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/anthropic"
	"fairway/dataplane/internal/dialect/openai"
	"fairway/dataplane/internal/ingress"
	"fairway/pkg/fault"
	"fairway/pkg/operation"
)

// upstreamIDHeader carries the upstream's id of a request; X-Request-Id is ours.
const upstreamIDHeader = "X-Upstream-Request-Id"

// answer commits to the upstream's response: from here on the client gets this one, and nothing is tried again.
func (x *exchange) answer() *fault.Error {
	if x.op == operation.Realtime {
		x.tunnelRealtime()
		return nil
	}
	x.own()
	x.commitBody()
	x.copyHead()
	x.debugHeaders()
	x.lossHeaders()
	x.startTap()

	switch {
	case x.talk != nil && x.converted && x.sse:
		x.retellEvents()
	case x.talk != nil && x.converted:
		x.retellWhole()
	case x.sse:
		x.relayEvents()
	case x.left:
		// The whole answer is here; the books come before it goes out.
		x.tap.Feed(x.first.b)
		x.closeResponse()
		x.settleWhole()
		if x.batchInside() {
			x.first.b = anthropic.KeepResultsHere(x.first.b)
		}
		if err := x.out.Send(x.first.b); err != nil {
			x.noteHangUp()
		} else {
			x.sent = int64(len(x.first.b))
		}
	default:
		x.relayLarge()
	}
	return nil
}

// batchInside says whether the answer describes batches, and with them where their results are.
func (x *exchange) batchInside() bool {
	switch x.op {
	case operation.Batches, operation.Batch, operation.BatchCancel:
		return true
	default:
		return false
	}
}

// startTap makes meter and filter ready for this answer.
func (x *exchange) startTap() {
	text := x.imageCounter()
	x.logged.heard = true
	if !x.sse {
		x.tap.Reset("", text)
		return
	}
	if text == nil {
		text = dialect.OutputText
	}
	x.tap.Reset(x.heard.LastLine(), text)
	if x.strip = x.wantsUsage() && !x.converted; x.strip {
		x.filter.Reset(openai.IsUsageEvent)
	}
}

// copyHead gives the client the upstream's status and the headers that are end-to-end.
func (x *exchange) copyHead() {
	x.status = x.response.Status
	x.out.Status(x.status)
	secret := x.head[x.secret.Start:x.secret.End]
	typed, ours := false, x.limitHeaders()
	for name, value := range x.response.Fields {
		switch {
		case isName(name, "content-type"):
			if !typed && !x.converted && x.unframe == nil {
				x.out.Add(name, value)
			}
			typed = true
		case ours && isRateLimit(name):
		case isUpstreamID(name):
			x.logged.upstreamID(value)
			x.out.Add([]byte(upstreamIDHeader), value)
		case passesBack(name) && (len(secret) < shortestSecret || !bytes.Contains(value, secret)):
			x.out.Add(name, value)
		}
	}
	switch {
	case x.converted && !x.peek.Stream:
		x.out.Set("Content-Type", "application/json")
	case x.converted || x.unframe != nil:
		x.out.Set("Content-Type", "text/event-stream; charset=utf-8")
	}
}

// answerFailure gives the client an upstream's error in the upstream's words.
func (x *exchange) answerFailure(f *failure) {
	x.settleUnanswered()
	x.status = f.status
	if to, ok := x.served.Channel.Statuses[f.status]; ok {
		x.status = to
	}
	to := x.out
	to.Status(x.status)
	contentType, body := "application/json", f.answer.body
	if body == nil {
		body = appendError(nil, x.target.Dialect, x.inOurWords(f), x.requestID())
	} else if f.answer.contentType != "" {
		contentType = f.answer.contentType
	}
	to.Set("Content-Type", contentType)
	if f.answer.requestID != "" {
		to.Set(upstreamIDHeader, f.answer.requestID)
	}
	switch {
	case f.verdict.Pass:
		to.Set("X-Should-Retry", "false")
	default:
		wait := f.asked
		if wait == 0 {
			wait = x.readyIn()
		}
		if wait > farAway || !ingress.Retryable(x.status) {
			to.Set("X-Should-Retry", "false")
		}
		to.Set("Retry-After", strconv.FormatInt(ingress.RetrySeconds(wait), 10))
	}
	if !x.limitHeaders() {
		for _, h := range f.answer.headers {
			to.Set(h[0], h[1])
		}
	}
	x.debugHeaders()
	_ = to.Send(body)
}

// inOurWords is an upstream's error for a client of another dialect: what it says, in the client's form.
func (x *exchange) inOurWords(f *failure) *fault.Error {
	kind := fault.Invalid
	switch {
	case f.status == 404:
		kind = fault.NotFound
	case f.status == 413:
		kind = fault.TooLarge
	case f.status == 429:
		kind = fault.Exhausted
	case f.status == 503 || f.status == 529:
		kind = fault.Unavailable
	case f.status >= 500:
		kind = fault.Upstream
	}
	message := f.said.Message
	if message == "" {
		message = "the upstream refused the request"
	}
	return fault.New(kind, "%s", clip(message, 2000)).WithCode(clip(f.said.Code, 100)).WithStatus(x.status)
}

// debugHeaders says who served and why, to keys that are made for it: what a client sends does not make it be told.
func (x *exchange) debugHeaders() {
	if x.key == nil || !x.key.Debug {
		return
	}
	to := x.out
	to.Set("X-Fairway-Attempts", strconv.Itoa(x.attempt))
	to.Set("X-Fairway-Revision", strconv.FormatInt(x.snap.Revision(), 10))
	if proxy := x.g.options.Proxy(); proxy != "" {
		to.Set("X-Fairway-Proxy", proxy)
	}
	if x.group != nil {
		to.Set("X-Fairway-Strategy", strategyName(x.group.Strategy))
	}
	if x.served != nil && x.stepAt < len(x.trail) {
		s := &x.trail[x.stepAt]
		to.Set("X-Fairway-Channel", s.channel)
		to.Set("X-Fairway-Account", s.account)
		to.Set("X-Fairway-Pick", s.picked)
	}
}
