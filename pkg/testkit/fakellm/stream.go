package fakellm

import "net/http"

// done is the last event of every stream of OpenAI's older operations.
const done = "data: [DONE]\n\n"

// stream writes events one by one, each flushed.
func (x *exchange) stream(a answer, s stamp) {
	h := x.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache, must-revalidate")
	e := &emitter{x: x, control: http.NewResponseController(x.w)}
	a.events(s, !x.behaviour.NoUsage, e.emit)
	if e.ended {
		return
	}
	if x.behaviour.Death == CleanEnd || !e.before() {
		return
	}
	x.p.books.finish(x.request, a.usage)
	if !e.write([]byte(done)) {
		x.p.books.unfinish(x.request, a.usage)
	}
}

// emitter writes events until the behaviour ends the stream or the client is gone.
type emitter struct {
	x       *exchange
	control *http.ResponseController
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
		event := append([]byte("data: "), faultOf(http.StatusInternalServerError, b.ErrorCode).envelope()...)
		e.write(append(event, '\n', '\n'))
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
