package gateway

import (
	"time"
	"unsafe"

	"fairway/dataplane/internal/ingress"
	"fairway/dataplane/internal/limit"
	"fairway/dataplane/internal/meter"
	"fairway/dataplane/internal/report"
	"fairway/pkg/fault"
	"fairway/pkg/money"
	"fairway/pkg/operation"
)

// reserve takes what the request will probably use from the limits above it, before anybody is asked for it: from all of
// them, or from none. What is taken is settled as soon as the books have what was used (repay), and given back if nobody was
// asked (giveBack). A fault is the answer.
func (x *exchange) reserve() *fault.Error {
	x.standUnder()
	if !x.limited() {
		return nil
	}
	f := x.g.limits.Admit(x, &x.reserved, &x.scopes, x.expectation())
	x.leaves.Store(nil)
	x.now = x.g.now()
	switch {
	case f == nil:
		return nil
	case x.gone.Load():
		return x.clientLeft()
	case x.total.passed():
		return x.tooLate()
	}
	x.noRoom = *f
	refused := f.Fault()
	if ingress.Retryable(refused.HTTPStatus()) && (f.Terminal() || f.Retry > farAway) {
		x.out.Set("X-Should-Retry", "false")
	}
	return refused
}

// standUnder finds the limits above the request.
func (x *exchange) standUnder() {
	s := &x.scopes
	s[limit.AtKey], s[limit.AtGroup] = x.key.Limits(), x.group.Limits
	if x.key.TenantID == "" {
		return
	}
	t, ok := x.snap.Tenant(x.key.TenantID)
	if !ok {
		return
	}
	s[limit.AtTenant] = t.Limits
	if t.ParentID == "" {
		return
	}
	if parent, ok := x.snap.Tenant(t.ParentID); ok {
		s[limit.AtParent] = parent.Limits
	}
}

// limited says whether there are any.
func (x *exchange) limited() bool { return x.scopes != (limit.Scopes{}) }

// expectation is what the request will probably use. What is not billed is one request, and nothing else. Who will serve is
// not known yet, so it is priced by the dearest channel that may: the excess comes back when it is settled.
func (x *exchange) expectation() limit.Estimate {
	if !x.op.Facts().Billed {
		return limit.Estimate{}
	}
	q := limit.Request{
		Model: x.model, TextBytes: int64(x.peek.TextBytes), MaxTokens: x.peek.Asks.MaxTokens, Answers: x.peek.Asks.Answers,
		NoOutput: wordless(x.op), Images: makesImages(x.op), Ratio: x.dearest(), GroupRatio: x.group.PriceRatio,
	}
	if prices := x.expectedPrices(); prices != nil {
		q.Prices = *prices
	}
	if q.Images {
		q.NoOutput = q.Prices.Image > 0 // else they are paid for by their tokens
	}
	return x.g.estimator.Estimate(&q)
}

// expectedPrices are those of the standard way, for a text of this length; nil = none are known, and it costs nothing.
func (x *exchange) expectedPrices() *money.Prices {
	if m, ok := x.snap.Model(x.model); ok {
		input := meter.Estimate(int64(x.peek.TextBytes), 0).Input
		if rate, ok := m.Price(x.now.UnixMilli(), 0, input); ok {
			return rate.Prices
		}
	}
	return x.snap.UnknownPrice().Default
}

// dearest is the greatest price ratio of the channels that may serve.
func (x *exchange) dearest() money.PPM {
	if x.pinned != nil {
		return x.pinned.Channel.PriceRatio
	}
	return x.pool.Dearest
}

// wordless says whether what comes back of an operation is no text.
func wordless(op operation.Operation) bool {
	switch op {
	case operation.Embeddings, operation.EmbedContent, operation.BatchEmbedContents, operation.Rerank, operation.Speech:
		return true
	default:
		return makesImages(op)
	}
}

// makesImages says whether what comes back of an operation is images.
func makesImages(op operation.Operation) bool {
	switch op {
	case operation.Images, operation.ImageEdits, operation.ImageVariations:
		return true
	default:
		return false
	}
}

// repay settles what was reserved, now that the record of what was used is appended. Only the first call does anything.
func (x *exchange) repay(r *report.Record) {
	if x.limited() {
		x.g.limits.Settle(&x.reserved, limit.Usage{Tokens: r.Input + r.Output, Cost: r.CostNanoUSD}, x.now)
	}
}

// learn takes in what a provider said that the request used.
func (x *exchange) learn(u *meter.Usage) {
	if x.limited() && !u.Estimated {
		x.g.estimator.Learn(x.model, int64(x.peek.TextBytes), u.Tokens)
	}
}

// giveBack is the end of what is still reserved: a request that nobody was asked for took nothing, one that came to nothing
// was a request.
func (x *exchange) giveBack() {
	switch {
	case !x.limited():
	case x.served == nil || x.between:
		x.g.limits.Cancel(&x.reserved)
	default:
		x.g.limits.Settle(&x.reserved, limit.Usage{}, x.now)
	}
}

// Done implements limit.Client: it is closed when the client leaves, or the group's time is over, while the request waits
// for room.
func (x *exchange) Done() <-chan struct{} {
	c := make(chan struct{})
	x.leaves.Store(&c)
	if x.gone.Load() || x.total.passed() {
		x.tellLeaving()
	}
	return c
}

// tellLeaving ends the wait for room, if the request waits.
func (x *exchange) tellLeaving() {
	if c := x.leaves.Swap(nil); c != nil {
		close(*c)
	}
}

// limitHeaders tells the client where its limits of requests and of tokens stand, and says whether it has any.
func (x *exchange) limitHeaders() bool {
	if !x.limited() {
		return false
	}
	v := x.g.limits.View(&x.scopes, x.now)
	if v == (limit.View{}) {
		return false
	}
	v.Headers(x.target.Dialect, x.now, x.digits[:0], func(name string, value []byte) {
		x.out.Set(name, unsafe.String(unsafe.SliceData(value), len(value))) // which copies it
	})
	return true
}

// isRateLimit says whether a header of an upstream's says how its account's limits stand.
func isRateLimit(name []byte) bool {
	return hasPrefix(name, "x-ratelimit-") || hasPrefix(name, "anthropic-ratelimit-")
}

// begins is when what is on the books next began: the request, or the response of a session that followed another.
func (x *exchange) begins() time.Time {
	if x.between {
		return x.sinceLast
	}
	return x.start
}
