package gateway

import (
	"errors"
	"io"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/fault"
	"fairway/pkg/sse"
)

// maxEvent is how large one event of a stream that is converted may be: an image in base64 fits.
const maxEvent = 24 << 20

var errEventTooLarge = errors.New("an event of the stream is too large to be converted")

// retellWhole answers with a plain response in the client's dialect, or with its events if the client asked for a stream.
func (x *exchange) retellWhole() {
	t := x.talk
	x.tap.Feed(x.first.b)
	x.closeResponse()
	x.settleWhole()
	if x.remembers() {
		x.g.memory.keepResponse(x.key.ID, t.response)
	}
	var body []byte
	if x.peek.Stream {
		w := t.client.NewEventWriter(&t.answering)
		neutral.Replay(t.response, func(e *neutral.Event) { body = w.Append(body, e) })
	} else {
		body = t.client.AppendResponse(nil, t.response, &t.answering)
	}
	if err := x.out.Send(body); err != nil {
		x.noteHangUp()
		return
	}
	x.sent = int64(len(body))
}

// retellEvents answers from a stream, event by event, in the client's dialect; a client that asked for a plain answer gets
// it when the stream has ended.
func (x *exchange) retellEvents() {
	t := x.talk
	t.reader = hearerOf(x.plan).NewEventReader()
	if !x.peek.Stream {
		x.collect()
		return
	}
	t.writer = t.client.NewEventWriter(&t.answering)
	x.out.Begin(-1)
	x.forgetHead()
	first := x.first
	x.first = nil
	// What was held is out of the provider's frames already.
	more := x.hear(first.b) && x.flush()
	x.g.slabs.put(first)
	var err error
	if more && !x.left {
		err = x.response.Each(func(p []byte) bool {
			if x.unframe != nil {
				if p = x.unframed(p); p == nil {
					return x.broken == nil
				}
			}
			return x.hear(p) && x.flush()
		})
	}
	if x.lost {
		x.lostClient()
		return
	}
	x.endOfTold(err)
}

// hear takes a piece of the upstream's stream: its events become the client's, in talk.out. false = no more is wanted.
func (x *exchange) hear(p []byte) bool {
	t := x.talk
	x.tap.Feed(p)
	x.mask(p)
	if len(t.held) > 0 {
		at := len(t.held)
		t.held = append(t.held, p...)
		return x.hearEvents(t.held, at)
	}
	return x.hearEvents(p, 0)
}

// hearEvents reads the events of b, of which the first at bytes were scanned before, and keeps what is unfinished.
func (x *exchange) hearEvents(b []byte, at int) bool {
	t := x.talk
	start := 0
	for !t.ended {
		n := t.scan.Feed(b[at:])
		if n < 0 {
			break
		}
		at += n
		e := sse.Parse(b[start:at])
		start = at
		if len(e.Data) > 0 {
			t.reader.Read(e.Name, e.Data, x.tellEvent)
		}
	}
	if t.ended {
		return false
	}
	if len(b)-start > maxEvent {
		x.broken = errEventTooLarge
		return false
	}
	if rest := b[start:]; cap(t.held) > pieceSize && len(rest) <= pieceSize {
		t.held = append([]byte(nil), rest...) // a large event is over
	} else {
		t.held = append(t.held[:0], rest...)
	}
	return true
}

// tell writes what an event becomes in the client's dialect.
func (x *exchange) tell(e *neutral.Event) {
	t := x.talk
	if t.ended {
		return
	}
	switch e.Kind {
	case neutral.Failed:
		t.ended, t.failed = true, e.Failure
	case neutral.End:
		t.ended = true
	default:
	}
	if x.remembers() {
		t.study.note(e)
	}
	if t.ended {
		// The books come before the client can see the end.
		x.settleStream(t.failed != nil)
	}
	t.out = t.writer.Append(t.out, e)
}

// flush sends what the events of a piece became.
func (x *exchange) flush() bool {
	t := x.talk
	if len(t.out) == 0 {
		return true
	}
	n, err := x.out.Write(t.out)
	x.sent += int64(n)
	if cap(t.out) > pieceSize {
		t.out = nil
	} else {
		t.out = t.out[:0]
	}
	if err != nil {
		x.lost = true // the response is in use until it has stopped reading
		return false
	}
	return true
}

// endOfTold is the end of a stream that was converted.
func (x *exchange) endOfTold(err error) {
	t := x.talk
	if x.gone.Load() {
		x.lostClient()
		return
	}
	clean := x.broken == nil && (err == nil || errors.Is(err, io.EOF))
	whole := t.ended || clean && t.reader.Close(x.tellEvent)
	x.countLosses((t.writer.Losses() | t.reader.Losses()) &^ t.losses)
	if x.remembers() {
		x.g.memory.keep(x.key.ID, &t.study)
	}
	switch {
	case t.failed != nil:
		x.settleStream(true)
		x.streamFailed("error_event", nil)
		x.flush()
		x.out.Cut()
	case whole:
		x.settleStream(false)
		if err := x.out.Last(t.out); err != nil {
			x.lostClient()
		}
	default:
		x.settleStream(true)
		if x.broken != nil {
			err = x.broken
		}
		reason, f := x.cutShort()
		x.streamFailed(reason, err)
		t.out = t.writer.Append(t.out, &neutral.Event{Kind: neutral.Failed, Failure: &dialect.UpstreamError{
			Status: f.HTTPStatus(), Code: f.Code, Type: "api_error", Message: f.Message,
		}})
		x.flush()
		x.out.Cut()
	}
}

// collect makes a plain answer of a stream.
func (x *exchange) collect() {
	t := x.talk
	var c neutral.Collector
	t.writer = &c
	more := x.hear(x.first.b)
	var err error
	if more && !x.left {
		err = x.response.Each(func(p []byte) bool {
			if x.unframe != nil {
				if p = x.unframed(p); p == nil {
					return x.broken == nil
				}
			}
			return x.hear(p)
		})
	}
	if x.gone.Load() {
		x.lostClient()
		return
	}
	clean := x.broken == nil && (err == nil || errors.Is(err, io.EOF))
	whole := t.ended || clean && t.reader.Close(x.tellEvent)
	response, ok := c.Response()
	if t.failed != nil || !whole || !ok {
		x.settleStream(true)
		reason, f := x.cutShort()
		x.streamFailed(reason, err)
		x.out.Reset()
		if t.failed != nil {
			f = fault.New(fault.Upstream, "%s", clip(t.failed.Message, 2000)).WithCode(clip(t.failed.Code, 100))
		}
		x.refuse(f)
		return
	}
	x.settleStream(false)
	if x.remembers() {
		x.g.memory.keepResponse(x.key.ID, response)
	}
	body := t.client.AppendResponse(nil, response, &t.answering)
	if err := x.out.Send(body); err != nil {
		x.noteHangUp()
		return
	}
	x.sent = int64(len(body))
}
