package gateway

import (
	"time"

	"fairway/dataplane/internal/accesslog"
)

// logAccess gives a request that has ended to the access log, if that wants it.
func (x *exchange) logAccess(ended time.Time) {
	failed := x.failed || x.status >= 400 || x.gone.Load()
	if !x.g.access.Wants(failed, x.rng.Uint64()) {
		return
	}
	e := accesslog.Entry{
		Time:            x.start,
		RequestID:       x.requestID(),
		ClientRequestID: x.clientRequestID(),
		RemoteIP:        x.in.RemoteIP(),
		Method:          x.op.Facts().Method,
		Operation:       x.op.String(),
		Model:           x.model,
		Stream:          x.peek.Stream,
		Status:          x.status,
		Attempts:        x.attempt,
		Retried:         x.attempt > 1,
		ClientGone:      x.gone.Load(),
		TTFT:            x.ttft,
		Duration:        ended.Sub(x.start),
		BytesIn:         x.size,
		BytesOut:        x.sent,
		Input:           x.usage.Input,
		Cached:          x.usage.Cached,
		Output:          x.usage.Output,
		Estimated:       x.usage.Estimated,
		CostNanoUSD:     x.cost,
		Error:           x.whatFailed(),
	}
	if x.key != nil {
		e.KeyID = string(x.key.ID)
	}
	if x.group != nil {
		e.Group = x.group.Name
	}
	if x.served != nil {
		e.Channel, e.Account = x.served.Channel.Name, x.served.Name
	}
	x.g.access.Record(&e)
}

// whatFailed is a short reason, in our words.
func (x *exchange) whatFailed() string {
	switch {
	case x.gone.Load():
		return "client_gone"
	case x.refused != nil && x.refused.Code != "":
		return x.refused.Code
	case x.refused != nil:
		return x.refused.Kind.String()
	case !x.failed:
		return ""
	case len(x.trail) > 0 && x.trail[len(x.trail)-1].verdict != "":
		return x.trail[len(x.trail)-1].verdict
	}
	return x.last.verdict.Reason
}
