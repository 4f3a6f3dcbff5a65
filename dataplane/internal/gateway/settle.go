package gateway

import (
	"bytes"

	"fairway/dataplane/internal/meter"
	"fairway/dataplane/internal/report"
	"fairway/pkg/operation"
)

// settleWhole settles a plain response that has arrived completely.
func (x *exchange) settleWhole() {
	if x.settled {
		return
	}
	whole := x.left && x.first != nil
	window := x.first.bytes()
	if !whole {
		window = x.tail()
	}
	x.seeVariant(x.tap.Head(), window)
	u, ok := x.heard.Usage(x.tap.Head(), window)
	switch {
	case ok:
		x.settle(meter.Usage{Tokens: u}, false)
	case whole:
		text := x.heard.BodyText(window)
		if text == 0 && x.op.Facts().Body == operation.Multipart && !bytes.HasPrefix(window, []byte{'{'}) {
			text = len(window) // what was heard, as plain text
		}
		x.settle(x.estimate(int64(text)), false)
	default:
		x.settle(x.estimate(x.tap.Bytes()), false)
	}
}

// settleStream settles a stream that has ended, well or not.
func (x *exchange) settleStream(failed bool) {
	if x.settled {
		return
	}
	x.now = x.g.now()
	x.seeVariant(x.tap.Head(), x.tail())
	u, ok := x.heard.Usage(x.tap.Head(), x.tail())
	if !ok {
		x.settle(x.estimate(x.tap.TextBytes()), failed)
		return
	}
	x.settle(meter.Usage{Tokens: u}, failed)
}

// tail is the end of what the tap has seen, valid until the next call.
func (x *exchange) tail() []byte {
	if x.window == nil {
		x.window = x.g.slabs.get(meter.TailSize)
	}
	x.window.b = x.tap.AppendTail(x.window.b[:0])
	return x.window.b
}

// settlePart settles what was delivered of an answer that did not end: nobody says what that was.
func (x *exchange) settlePart(failed bool) {
	if x.settled {
		return
	}
	if x.sse {
		x.settleStream(failed)
		return
	}
	x.settle(x.estimate(x.tap.Bytes()), failed)
}

// settleUnanswered settles a request that reached an upstream and got no answer to deliver. One that reached none is no
// usage.
func (x *exchange) settleUnanswered() {
	if x.settled || x.served == nil || !x.op.Facts().Billed {
		return
	}
	x.settle(meter.Usage{Estimated: x.gone.Load()}, !x.gone.Load())
}

// estimate is the usage that nobody told, from the text that went in and the text that was delivered.
func (x *exchange) estimate(text int64) meter.Usage {
	if wordless(x.op) {
		text = 0
	}
	return meter.Estimate(int64(x.peek.TextBytes), text)
}

// settle puts the request on the books, once.
func (x *exchange) settle(u meter.Usage, failed bool) {
	x.settled, x.usage = true, u
	x.failed = x.failed || failed
	x.g.health.Spent(x.served, u.Input+u.Output)
	if !u.Estimated {
		x.outcome.UncachedInput = u.Input - u.Cached
	}
	if !x.op.Facts().Billed {
		x.repay(&x.record)
		return
	}
	x.book(u, failed)
}

// book puts usage on the books, with the account that served last and what it costs.
func (x *exchange) book(u meter.Usage, failed bool) {
	account := x.served
	r := &x.record
	*r = report.Record{
		TimeMS:    x.now.UnixMilli(),
		KeyID:     string(x.key.ID),
		ChannelID: string(account.Channel.ID),
		AccountID: string(account.ID),
		Model:     x.model,
		Error:     failed,
		Input:     u.Input,
		Cached:    u.Cached,
		Output:    u.Output,
		Estimated: u.Estimated,
		GroupID:   string(x.group.ID),
		TenantID:  string(x.key.TenantID),
		BeginMS:   x.begins().UnixMilli(),
		Reserved:  x.reserved.Tokens(),
	}
	x.price(r, &u, failed)
	if err := x.g.sink.Append(r); err != nil {
		x.g.meters.lost.Inc()
		x.g.log.Error("cannot keep a usage record", "request_id", x.requestID(), "error", err)
	}
	x.repay(r)
	x.learn(&u)
}
