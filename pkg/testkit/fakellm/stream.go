package fakellm

import (
	"cmp"
	"net/http"
)

// done is the last event of every stream of OpenAI's older operations.
const done = "data: [DONE]\n\n"

// stream writes events one by one, each flushed.
func (x *exchange) stream(a answer, s stamp) {
	h := x.w.Header()
	cut := a.cut
	if cut == nil {
		cut = &framing{}
	}
	h.Set("Content-Type", cmp.Or(cut.media, "text/event-stream; charset=utf-8"))
	h.Set("Cache-Control", "no-cache, must-revalidate")
	e := &emitter{x: x, control: http.NewResponseController(x.w), cut: cut}
	a.events(s, !x.behaviour.NoUsage, e.emit)
	if e.ended {
		return
	}
	if x.behaviour.Death == CleanEnd || !e.before() {
		return
	}
	last := []byte(done)
	if cut.last != nil {
		last = cut.last(s, !x.behaviour.NoUsage)
	}
	x.p.books.finish(x.request, a.usage)
	if !e.write(last) {
		x.p.books.unfinish(x.request, a.usage)
	}
}

// framing is what streams have of their own that are not like chat's.
type framing struct {
	// media is the content type; "" = server-sent events.
	media string
	// last renders the event that ends the stream; nil = [DONE].
	last func(s stamp, withUsage bool) []byte
	// fault renders an error after so many events; nil = OpenAI's envelope as an event.
	fault func(e *apiError, sent int) []byte
}

// emitter writes events until the behaviour ends the stream or the client is gone.
type emitter struct {
	x       *exchange
	control *http.ResponseController
	cut     *framing
	sent    int
	ended   bool
}

// emit is the yield of answer.events.
func (e *emitter) emit(event []byte) bool {
	return e.before() && e.write(event)
}

// before does what the behaviour wants between the last event and the next; false = there is no next.
func (e *emitter) before() bool {
	b := e.x.behaviour
	if e.ended {
		return false
	}
	if b.ErrorEvent && e.sent == b.ErrorEvents {
		fault := faultOf(http.StatusInternalServerError, b.ErrorCode)
		if e.cut.fault != nil {
			e.write(e.cut.fault(fault, e.sent))
		} else {
			e.write(append(append([]byte("data: "), fault.envelope()...), "\n\n"...))
		}
		e.ended = true
		return false
	}
	if b.Death != None && e.sent == b.DeathEvents {
		e.ended = true
		if b.Death == CleanEnd {
			if e.sent == 0 {
				// An empty stream still has a head.
				_ = e.control.Flush()
			}
			return false
		}
		if e.sent == 0 {
			e.x.w.WriteHeader(http.StatusOK)
			_ = e.control.Flush()
		}
		abort(e.x.w, b.Death)
		return false
	}
	if b.Hold != nil && b.HoldEvents > 0 && e.sent == b.HoldEvents && !e.x.hold() {
		e.ended = true
		return false
	}
	if e.sent > 0 && !e.x.pause(b.Interval) {
		e.ended = true
		return false
	}
	if e.x.r.Context().Err() != nil {
		e.x.p.noteCanceled(e.x.request)
		e.ended = true
		return false
	}
	return true
}

func (e *emitter) write(event []byte) bool {
	_, err := e.x.w.Write(event)
	if err == nil {
		err = e.control.Flush()
	}
	if err != nil {
		e.ended = true
		e.x.p.noteCanceled(e.x.request)
		return false
	}
	e.sent++
	return true
}
