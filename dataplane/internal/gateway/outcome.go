package gateway

import (
	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/health"
	"fairway/dataplane/internal/route"
	"fairway/dataplane/internal/snapshot"
)

// depart notes that an attempt goes to the candidate's account.
func (x *exchange) depart(a *snapshot.Account) {
	x.served = a
	x.began = x.now
	x.startLimit(a.Channel.Total)
	x.g.health.Began(x.candidate, x.now.UnixMilli())
	x.outcome = health.Outcome{
		Candidate: x.candidate, Model: x.model, Permit: x.permit, Panicked: x.reason == route.Panicked,
	}
	x.flying = true
	x.g.meters.attempts.Inc()
}

// land ends the attempt under way: whatever was noted of it is told to the health room, once.
func (x *exchange) land() {
	if !x.flying {
		return
	}
	x.flying = false
	o := &x.outcome
	o.Now, o.Took = x.now, max(x.now.Sub(x.began), 0)
	x.g.health.Ended(o)
}

// landFailed ends an attempt that failed. blamed says whether it has consequences for the account.
func (x *exchange) landFailed(f *failure, blamed bool) {
	if !x.flying {
		if x.permit != "" {
			x.g.health.Return(x.permit) // nothing was sent
		}
		return
	}
	o := &x.outcome
	o.Gone, o.Asked = f.gone, f.asked
	x.verdict = f.verdict
	x.verdict.Pass = x.verdict.Pass || !blamed
	o.Verdict = &x.verdict
	x.land()
}

// landLost ends an attempt of which nobody waited for the end.
func (x *exchange) landLost() {
	x.outcome.Gone = true
	x.land()
}

// hears reads what a response's head says about the account's limits.
func (x *exchange) hears() {
	if x.response != nil {
		x.g.health.Headers(x.served, x.response.Get, x.now)
	}
}

// sumUp tells the health room what a request came to that has ended, for views of the fleet.
func (x *exchange) sumUp() {
	k := x.g.health
	k.Underway(-1)
	k.Count(health.Requests, 1)
	if x.status >= 500 && !x.gone.Load() {
		k.Count(health.Failures, 1)
	}
	if x.settled {
		k.Count(health.InputTokens, uint64(max(x.usage.Input, 0)))
		k.Count(health.OutputTokens, uint64(max(x.usage.Output, 0)))
	}
}

// praise notes an answer that is worth sending, as soon as that is known: it may take minutes to end.
func (x *exchange) praise() {
	o := &x.outcome
	o.Now, o.TTFT = x.now, x.waited
	x.g.health.Answered(o)
}

// countFailure counts a failed attempt, and tells operators of what they should hear.
func (x *exchange) countFailure(f *failure) {
	x.g.meters.attemptFailures.WithLabelValues(f.verdict.Reason).Inc()
	v := &f.verdict
	if v.Pass {
		return
	}
	if v.Alert {
		account := x.candidate.Account
		x.g.log.Warn("upstream refuses an account", "request_id", x.requestID(), "reason", v.Reason,
			"channel", account.Channel.Name, "account", account.Name, "status", f.status, "detail", f.detail,
			"disabled", v.Disable)
	}
	x.avoid = nil
	if v.Elsewhere {
		x.avoid = x.candidate.Account.Channel
	}
}

// streamFailed notes a failure after bytes were sent: it counts against the account, and nothing is tried again.
func (x *exchange) streamFailed(reason string, err error) {
	x.failed, x.broke = true, true
	x.last.cause = err
	x.spoil(reason)
	x.g.meters.attemptFailures.WithLabelValues("stream_" + reason).Inc()
	if reason == "deadline" {
		return // ours: the account was at work
	}
	x.verdict = dialect.Transport(false)
	x.outcome.Verdict, x.outcome.Delivered = &x.verdict, true
}
