package gateway

import (
	"bytes"
	"errors"
	"io"

	"fairway/pkg/fault"
)

// relayEvents passes a stream on: one write for each piece that the upstream sends. Nothing is parsed on the way; the end of
// the stream is settled before the client can see it.
func (x *exchange) relayEvents() {
	x.out.Begin(-1)
	x.forgetHead()
	// What was held to see the first event goes first.
	first := x.first
	x.first = nil
	more := x.pass(first.b)
	x.g.slabs.put(first)
	var err error
	if more && !x.left {
		err = x.response.Each(x.takePiece)
	}
	if x.lost {
		x.lostClient()
		return
	}
	if x.broken != nil {
		err = x.broken
	}
	x.endOfEvents(err)
}

// unframed takes a piece of a stream out of the provider's own frames; nil: nothing was whole yet.
func (x *exchange) unframed(p []byte) []byte {
	x.frames, x.broken = x.unframe.Feed(x.frames[:0], p)
	if len(x.frames) == 0 {
		return nil
	}
	return x.frames
}

// take is pass for what the provider may have framed in its own way.
func (x *exchange) take(p []byte) bool {
	if x.unframe != nil {
		if p = x.unframed(p); p == nil {
			return x.broken == nil
		}
	}
	return x.pass(p)
}

// pass sends a piece of a stream to the client, and says whether it could.
func (x *exchange) pass(p []byte) bool {
	x.tap.Feed(p)
	x.mask(p)
	if x.strip {
		p = x.filter.Feed(p)
	}
	if x.tap.Done() {
		x.settleStream(false)
	}
	if len(p) > 0 {
		n, err := x.out.Write(p)
		x.sent += int64(n)
		if err != nil {
			x.lost = true // the response is in use until it has stopped reading
			return false
		}
	}
	return true
}

// endOfEvents is the end of a stream: a good one, or the upstream died in the middle of it. err is why the last read
// failed; nil and io.EOF are a clean end.
func (x *exchange) endOfEvents(err error) {
	if x.gone.Load() {
		x.lostClient()
		return
	}
	clean := err == nil
	tail := x.tail()
	saidError := x.endsInError(tail)
	if x.tap.Done() || clean && !saidError && x.heard.Finished(tail) {
		x.settleStream(saidError)
		if saidError {
			x.streamFailed("error_event", nil)
		}
		if err := x.out.Last(x.rest()); err != nil {
			x.lostClient()
		}
		return
	}
	x.settleStream(true)
	if saidError {
		// The upstream told the client already; only the clean end is missing.
		x.streamFailed("error_event", err)
	} else {
		reason, f := x.cutShort()
		x.streamFailed(reason, err)
		_, _ = x.out.Write(x.epitaph(tail, f))
	}
	// The response ends before its framing does, so that no client takes it for complete.
	x.out.Cut()
}

// rest is what the filter still holds.
func (x *exchange) rest() []byte {
	if !x.strip {
		return nil
	}
	return x.filter.Rest()
}

// epitaph is the dialect's error event for a stream that died, of f. What the filter holds of an unfinished event is of no use
// to the client; what of one it has seen is ended first.
func (x *exchange) epitaph(tail []byte, f *fault.Error) []byte {
	var out []byte
	if !x.strip && !endsEvent(tail) {
		out = append(out, "\n\n"...)
	}
	return x.appendErrorEvent(out, f, tail)
}

func interrupted() *fault.Error {
	return fault.New(fault.Upstream, "the upstream ended the stream before it was complete").
		WithCode("upstream_stream_interrupted")
}

func endsEvent(tail []byte) bool {
	return len(tail) == 0 || bytes.HasSuffix(tail, []byte("\n\n")) || bytes.HasSuffix(tail, []byte("\r\n\r\n")) ||
		bytes.HasSuffix(tail, []byte("\r\r"))
}

// endsInError says whether an error is the last event of a stream, but for [DONE].
func (x *exchange) endsInError(tail []byte) bool {
	i := bytes.LastIndex(tail, []byte(`"error"`))
	if i < 0 {
		return false
	}
	start := bytes.LastIndexByte(tail[:i], '\n') + 1
	if r := bytes.LastIndexByte(tail[:i], '\r') + 1; r > start {
		start = r
	}
	event := tail[start:]
	if end := bytes.IndexAny(event, "\r\n"); end >= 0 {
		event = event[:end]
	}
	_, found := x.heard.ErrorEvent(event)
	return found
}

// relayLarge passes on a plain response that was too large to hold. The last piece waits until the books have it: one
// piece is read ahead.
func (x *exchange) relayLarge() {
	x.out.Begin(x.response.ContentLength)
	x.piece = x.g.slabs.get(maxWhole)
	current, next := x.first, x.piece
	for {
		n, err := 0, error(nil)
		for n == 0 && err == nil {
			n, err = x.response.Read(next.b[:cap(next.b)])
		}
		x.tap.Feed(current.b)
		x.mask(current.b)
		if n == 0 {
			x.endOfLarge(current.b, err)
			return
		}
		written, err := x.out.Write(current.b)
		x.sent += int64(written)
		if err != nil {
			x.lostClient()
			return
		}
		next.b = next.b[:n]
		current, next = next, current
	}
}

// endOfLarge is the last piece of a plain response, and why none follows it. One that ended before its end is cut.
func (x *exchange) endOfLarge(last []byte, err error) {
	switch {
	case errors.Is(err, io.EOF):
		x.settleWhole()
		if err := x.out.Last(last); err != nil {
			x.lostClient()
		} else {
			x.sent += int64(len(last))
		}
	case x.gone.Load():
		x.lostClient()
	default:
		x.settlePart(true)
		reason, _ := x.cutShort()
		x.streamFailed(reason, err)
		_, _ = x.out.Write(last)
		x.out.Cut()
	}
}

// lostClient is a client that went away while its answer was under way: the upstream is stopped at once, and what was
// delivered is settled. One that left because the upstream told it an error does not make that error undone.
func (x *exchange) lostClient() {
	x.noteHangUp()
	told := x.sse && x.endsInError(x.tail())
	x.closeResponse()
	x.settlePart(told)
	if told {
		x.streamFailed("error_event", nil)
	}
	x.out.Cut()
}

// noteHangUp counts a client that went away.
func (x *exchange) noteHangUp() {
	if !x.gone.Swap(true) {
		x.g.meters.hangUps.Inc()
	}
}

// forgetHead gives the memory of the request's head back: an answer that takes long needs it no more.
func (x *exchange) forgetHead() {
	x.asked = x.clientRequestID()
	x.keepTrace()
	x.in.Forget()
}

// clientRequestID is the client's own id for the request, if it gave one.
func (x *exchange) clientRequestID() string {
	if x.asked != "" {
		return x.asked
	}
	return clip(string(x.in.Get("x-request-id")), 64)
}
