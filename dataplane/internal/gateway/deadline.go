package gateway

import (
	"sync"
	"sync/atomic"
	"time"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/fault"
)

// alarm ends what a request waits for at its upstream when a time has passed, as a client's hang-up does: in whatever phase
// it is, also while bytes arrive. A request has none unless its group or channel bounds the whole; those that have one pay
// an allocation and a timer for it.
type alarm struct {
	mu    sync.Mutex
	x     *exchange // nil = off
	timer *time.Timer
	rang  atomic.Bool
}

// newAlarm rings after d.
func (x *exchange) newAlarm(d time.Duration) *alarm {
	a := &alarm{x: x}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.timer = time.AfterFunc(d, a.ring)
	return a
}

func (a *alarm) ring() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.x != nil {
		a.rang.Store(true)
		a.x.g.meters.overdue.Inc()
		a.x.abort()
	}
}

// off ends the alarm: from here on it does not touch its exchange. It says whether it rang before.
func (a *alarm) off() bool {
	if a == nil {
		return false
	}
	a.timer.Stop()
	a.mu.Lock()
	a.x = nil
	a.mu.Unlock()
	return a.rang.Load()
}

// passed says whether it rang.
func (a *alarm) passed() bool { return a != nil && a.rang.Load() }

// startClock has the request ended when its group's time for the whole of it has passed.
func (x *exchange) startClock() {
	if x.group.Total > 0 {
		x.total = x.newAlarm(x.group.Total - x.now.Sub(x.start))
	}
}

// startLimit has the attempt ended when its channel's time for it has passed.
func (x *exchange) startLimit(d time.Duration) {
	if d > 0 {
		x.limit = x.newAlarm(d)
	}
}

// endLimit ends the attempt's time, so that the next attempt has one of its own.
func (x *exchange) endLimit() {
	if x.limit.off() {
		// Who hangs up from here on finds the call in use again, and who did before is noticed by gone.
		x.call.Reset()
	}
	x.limit = nil
}

// outOfTime says whether what is left of the group's time is too little for another attempt.
func (x *exchange) outOfTime() bool {
	total := x.group.Total
	if total <= 0 {
		return false
	}
	little := min(total/20, time.Second)
	return x.total.passed() || total-x.now.Sub(x.start) < little
}

// overdue is an attempt that the group's time ended. It speaks against the account only where that had most of the time,
// and said nothing.
func (x *exchange) overdue(err error) *failure {
	f := &failure{verdict: dialect.Verdict{Reason: "deadline", Pass: true}, timeout: true, cause: err}
	if x.now.Sub(x.began) >= x.group.Total/2 {
		f.verdict = dialect.Transport(true)
		f.verdict.Retry = false
	}
	return f
}

// cutShort is why an answer that had begun did not come to its end, and what its client is told.
func (x *exchange) cutShort() (reason string, f *fault.Error) {
	if x.total.passed() || x.limit.passed() {
		return "deadline", fault.New(fault.Deadline, "the answer took longer than is allowed").WithCode("upstream_timeout")
	}
	return "died", interrupted()
}
