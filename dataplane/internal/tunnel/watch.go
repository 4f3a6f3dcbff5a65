package tunnel

import "time"

// watch is the clock of a tunnel: a timer that compares, a few times within each timeout, what has moved since. So time
// costs a relayed byte nothing. Tunnel.mu guards it.
type watch struct {
	timer *time.Timer
	tick  time.Duration
	until time.Time // when the tunnel ends in any case; zero = not known yet

	seen     int64 // bytes that both sides had sent
	silent   time.Duration
	up, down writing
}

// writing is how long one write has been seen to be under way.
type writing struct {
	number int64
	since  time.Duration
}

// perTimeout is how often the watch looks within the shorter timeout.
const perTimeout = 4

func (w *watch) start(t *Tunnel) {
	w.tick = max(min(t.relay.o.Idle, t.relay.o.WriteTimeout)/perTimeout, 1)
	w.timer = time.AfterFunc(w.tick, t.look)
}

// stop is for an ended tunnel: a look that is under way does not start the timer again.
func (w *watch) stop() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// endWithin ends the tunnel after d at the latest.
func (w *watch) endWithin(d time.Duration) {
	if until := time.Now().Add(d); w.until.IsZero() || until.Before(w.until) {
		w.until = until
		w.timer.Reset(d)
	}
}

// look is the timer's goroutine.
func (t *Tunnel) look() {
	t.mu.Lock()
	var v verdict
	over := false
	if !t.ended {
		if v, over = t.overdue(); !over {
			t.watch.timer.Reset(t.watch.wait())
		}
	}
	t.mu.Unlock()
	if over {
		t.end(nil, v)
	}
}

// wait is how long until the next look.
func (w *watch) wait() time.Duration {
	if w.until.IsZero() {
		return w.tick
	}
	return max(time.Until(w.until), 1)
}

// overdue says whether and why the tunnel is to end now.
func (t *Tunnel) overdue() (v verdict, over bool) {
	w := &t.watch
	silent := verdict{by: Proxy, why: Silent}
	switch {
	case !w.until.IsZero():
		if t.broken != nil {
			silent = verdict{by: t.broken.writer, why: HungUp, err: t.failed}
		}
		return silent, !time.Now().Before(w.until)
	case w.up.stuck(&t.up, w.tick) >= t.relay.o.WriteTimeout:
		return verdict{by: Upstream, why: Stuck}, true
	case w.down.stuck(&t.down, w.tick) >= t.relay.o.WriteTimeout:
		return verdict{by: Client, why: Stuck}, true
	}
	if seen := t.up.seen.Load() + t.down.seen.Load(); seen != w.seen {
		w.seen, w.silent = seen, 0
	} else {
		w.silent += w.tick
	}
	return silent, w.silent >= t.relay.o.Idle
}

// stuck is for how long a pump's write is known to be under way.
func (w *writing) stuck(p *pump, tick time.Duration) time.Duration {
	switch number := p.writes.Load(); {
	case number%2 == 0:
		w.since = 0
	case number != w.number:
		w.number, w.since = number, 0
	default:
		w.since += tick
	}
	return w.since
}
