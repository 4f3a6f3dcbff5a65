package sim

import (
	"time"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/health"
)

// flight is one attempt under way.
type flight struct {
	request    *request
	upstream   *upstream // that works on it; nil = none does
	prev, next *flight   // in that one's ring
	outcome    health.Outcome
	verdict    dialect.Verdict
	began      time.Duration
	ttft       time.Duration
	over       bool // beyond the capacity
	answered   bool
	ended      bool
}

// join takes a place at the account.
func (f *flight) join(u *upstream) {
	f.upstream = u
	u.under++
	f.prev, f.next = u.flights.prev, &u.flights
	f.prev.next, f.next.prev = f, f
}

// leave gives it back.
func (f *flight) leave() {
	if f.upstream == nil {
		return
	}
	f.upstream.under--
	f.upstream = nil
	f.prev.next, f.next.prev = f.next, f.prev
	f.prev, f.next = nil, nil
}

// answer is the first byte of a good answer.
func (f *flight) answer() {
	if f.ended {
		return
	}
	f.answered = true
	p := f.request.proxy
	f.outcome.Now, f.outcome.TTFT = p.world.time(), f.ttft
	p.keeper.Answered(&f.outcome)
	p.world.tally.answers++
	p.world.tally.ttft += f.ttft
	p.hear()
}

// end is the last byte.
func (f *flight) end() {
	if f.ended {
		return
	}
	f.leave()
	f.land()
	f.request.done(true, false)
}

func (f *flight) failIn(d time.Duration, v dialect.Verdict, asked time.Duration) {
	f.request.proxy.world.after(d, func() { f.fail(v, asked) })
}

// fail ends it without an answer, or in the middle of one.
func (f *flight) fail(v dialect.Verdict, asked time.Duration) {
	if f.ended {
		return
	}
	f.leave()
	f.verdict = v
	f.outcome.Verdict, f.outcome.Asked, f.outcome.Delivered = &f.verdict, asked, f.answered
	f.land()
	if f.answered {
		f.request.done(false, true)
		return
	}
	f.request.again(f)
}

// land tells the health room.
func (f *flight) land() {
	f.ended = true
	p := f.request.proxy
	f.outcome.Now, f.outcome.Took = p.world.time(), p.world.now-f.began
	p.keeper.Ended(&f.outcome)
	p.hear()
}

// drop ends it because its proxy has.
func (f *flight) drop() {
	f.ended = true
	f.leave()
}
