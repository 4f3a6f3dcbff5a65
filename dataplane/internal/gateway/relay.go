package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"fairway/dataplane/internal/dialect/openai"
	"fairway/pkg/fault"
	"fairway/pkg/sse"
)

// The exchange is the body stream of its response: fasthttp calls WriteTo once and Close always, after Serve has
// returned.

// errCut ends a response before its framing does, so that no client takes it for complete: the connection is closed.
var errCut = errors.New("response cut: unexpected EOF")

// Read is never called; fasthttp writes by WriteTo.
func (x *exchange) Read([]byte) (int, error) { return 0, errCut }

// SupportsBodyWriteTo says that WriteTo does what reading would.
func (x *exchange) SupportsBodyWriteTo() bool { return true }

// Close is the end of the exchange.
func (x *exchange) Close() error {
	x.end()
	return nil
}

// WriteTo sends the body to the client: one write for each piece that the upstream sends.
func (x *exchange) WriteTo(w io.Writer) (n int64, err error) {
	defer func() {
		if p := recover(); p != nil {
			x.panicked(p)
			err = fmt.Errorf("%w: panic", errCut)
		}
	}()
	x.out = counted{w: w}
	out := &x.out
	switch {
	case x.sse:
		err = x.relayEvents(out)
	case x.large:
		err = x.relayLarge(out)
	default:
		_, err = out.Write(x.first.b)
	}
	return out.n, err
}

// counted counts what was delivered.
type counted struct {
	w io.Writer
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// relayEvents passes a stream on. Nothing is parsed on the way; the end of the stream is settled before the client can
// see it.
func (x *exchange) relayEvents(w io.Writer) error {
	// What was held to see the first event goes first.
	p, ended := x.first.b, x.left
	var err error
	for {
		x.tap.Feed(p)
		x.mask(p)
		if x.strip {
			p = x.filter.Feed(p)
		}
		if x.tap.Done() {
			x.settleStream(false)
		}
		if len(p) > 0 {
			if _, err := w.Write(p); err != nil {
				x.lostClient()
				return err
			}
		}
		if x.piece == nil {
			x.piece = x.g.slabs.get(pieceSize)
			x.g.slabs.put(x.first)
			x.first = nil
		}
		for p, err = nil, nil; len(p) == 0 && err == nil && !ended; {
			buf := x.piece.b[:cap(x.piece.b)]
			var n int
			n, err = x.response.Read(buf)
			p = buf[:n]
		}
		if len(p) == 0 {
			return x.endOfEvents(w, err)
		}
		// An error that came with bytes comes again with the next read.
	}
}

// endOfEvents is the end of a stream: a good one, or the upstream died in the middle of it. err is why the last read
// failed; nil and io.EOF are a clean end.
func (x *exchange) endOfEvents(w io.Writer, err error) error {
	if x.gone.Load() {
		x.lostClient()
		return errCut
	}
	clean := err == nil || errors.Is(err, io.EOF)
	tail := x.tail()
	saidError := endsInError(tail)
	if x.tap.Done() || clean && !saidError && openai.Finished(tail) {
		x.settleStream(saidError)
		if saidError {
			x.streamFailed("error_event", nil)
		}
		if rest := x.rest(); len(rest) > 0 {
			if _, err := w.Write(rest); err != nil {
				x.lostClient()
				return err
			}
		}
		return nil
	}
	x.settleStream(true)
	if saidError {
		// The upstream told the client already; only the clean end is missing.
		x.streamFailed("error_event", err)
		return errCut
	}
	x.streamFailed("died", err)
	_, _ = w.Write(x.epitaph(tail))
	return errCut
}

// rest is what the filter still holds.
func (x *exchange) rest() []byte {
	if !x.strip {
		return nil
	}
	return x.filter.Rest()
}

// epitaph is the dialect's error event for a stream that died. What the filter holds of an unfinished event is of no use
// to the client; what of one it has seen is ended first.
func (x *exchange) epitaph(tail []byte) []byte {
	var out []byte
	if !x.strip && !endsEvent(tail) {
		out = append(out, "\n\n"...)
	}
	f := fault.New(fault.Upstream, "the upstream ended the stream before it was complete").
		WithCode("upstream_stream_interrupted")
	return sse.AppendEvent(out, "", fault.AppendOpenAI(nil, f))
}

func endsEvent(tail []byte) bool {
	return len(tail) == 0 || bytes.HasSuffix(tail, []byte("\n\n")) || bytes.HasSuffix(tail, []byte("\r\n\r\n")) ||
		bytes.HasSuffix(tail, []byte("\r\r"))
}

// endsInError says whether an error is the last event of a stream, but for [DONE].
func endsInError(tail []byte) bool {
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
	_, found := openai.ParseErrorEvent(event)
	return found
}

// relayLarge passes on a plain response that was too large to hold. The last piece waits until the books have it: one
// piece is read ahead.
func (x *exchange) relayLarge(w io.Writer) error {
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
			if !errors.Is(err, io.EOF) {
				return x.brokeOff(w, current.b, err)
			}
			x.settleWhole()
			if _, err := w.Write(current.b); err != nil {
				x.lostClient()
				return err
			}
			return nil
		}
		if _, err := w.Write(current.b); err != nil {
			x.lostClient()
			return err
		}
		next.b = next.b[:n]
		current, next = next, current
	}
}

// brokeOff is a plain response that ended before its end, after its head was sent: the client sees it cut.
func (x *exchange) brokeOff(w io.Writer, last []byte, err error) error {
	if x.gone.Load() {
		x.lostClient()
		return errCut
	}
	x.settlePart(true)
	x.streamFailed("died", err)
	_, _ = w.Write(last)
	return errCut
}

// streamFailed notes a failure after bytes were sent: it counts against the account, and nothing is tried again.
func (x *exchange) streamFailed(reason string, err error) {
	x.failed = true
	x.last.cause = err
	if n := len(x.trail); n > 0 {
		x.trail[n-1].verdict = reason
	}
	x.g.meters.attemptFailures.WithLabelValues("stream_" + reason).Inc()
	v := openai.Transport(false)
	cell := x.candidate.Cell
	if rest := v.Cool.For(int(cell.Failures.Add(1)), 0); rest > 0 {
		cell.Cool(x.g.now().Add(rest).UnixMilli())
	}
}

// lostClient is a client that went away while its answer was under way: the upstream is stopped at once, and what was
// delivered is settled.
func (x *exchange) lostClient() {
	if !x.gone.Swap(true) {
		x.g.meters.hangUps.Inc()
	}
	x.closeResponse()
	x.settlePart(false)
}
