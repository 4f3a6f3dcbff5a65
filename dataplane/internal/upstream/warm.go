package upstream

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	warmDials   = 16               // connections that are being opened at once, over all targets
	warmLook    = time.Second      // between looks at what is there
	warmLead    = 5 * time.Second  // a connection that expires within this is replaced before it does
	warmBackoff = time.Second      // after a first failure; doubled by each further one
	warmSlowest = 2 * time.Minute  // the longest wait after failures
	warmCalm    = 10 * time.Second // without a failure, beyond the wait twice over, and failures are forgotten
)

// warmer keeps connections open to the targets that were asked for.
type warmer struct {
	mu      sync.Mutex
	targets []Target
	floor   int
	changed bool          // since run last looked
	wake    chan struct{} // something has changed

	wanted   atomic.Int64 // connections
	failures atomic.Uint64

	// Of run alone.
	plan    []*warmth
	dialing int
	ended   chan ended
}

// warmth is one target that is kept warm.
type warmth struct {
	target  Target
	key     key
	want    int
	dialing int
	unused  uint64 // the host's, when it was last looked at
	fails   int
	failed  time.Time // when it last did
	next    time.Time // not before this
}

// ended is the end of a dial.
type ended struct {
	w  *warmth
	ok bool
}

// Warm says from now on which targets have at least floor idle connections each, opened and with their TLS handshake done,
// before anybody asks. It only notes that: Run opens them, a few at once, replaces those that close or expire, and tries
// again later and later where it fails. Where Options.MaxWarm is less than all of them together, the first targets get
// theirs, each one before any gets a second. Targets that are not named any more keep what is open until it expires.
// targets is not used after Warm has returned.
func (p *Pool) Warm(targets []Target, floor int) {
	w := &p.warmer
	w.mu.Lock()
	w.targets, w.floor, w.changed = append([]Target(nil), targets...), floor, true
	w.mu.Unlock()
	w.nudge()
}

// nudge has the warmer look soon.
func (w *warmer) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run keeps connections open until ctx ends and all dials have.
func (w *warmer) run(ctx context.Context, p *Pool) {
	w.ended = make(chan ended, warmDials)
	var calls sync.WaitGroup
	defer calls.Wait()
	tick := time.NewTicker(warmLook)
	defer tick.Stop()
	for {
		select {
		case <-w.wake:
			w.replan(p)
		case e := <-w.ended:
			w.dialing--
			e.w.dialing--
			if !e.ok {
				w.failures.Add(1)
				e.w.fail(time.Now())
			}
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		w.look(ctx, p, &calls, time.Now())
	}
}

// replan takes over what Warm was told, and keeps what is known of targets that stay.
func (w *warmer) replan(p *Pool) {
	w.mu.Lock()
	targets, floor, changed := w.targets, w.floor, w.changed
	w.changed = false
	w.mu.Unlock()
	if !changed {
		return
	}
	floor = min(floor, p.o.MaxIdlePerHost, p.o.MaxConnsPerHost)
	known := make(map[key]*warmth, len(w.plan))
	for _, one := range w.plan {
		known[one.key] = one
	}
	left := p.o.MaxWarm
	seen := make(map[key]bool, min(len(targets), left))
	w.plan = w.plan[:0:0]
	for i := 0; i < len(targets) && left > 0 && floor > 0; i++ {
		k := targets[i].key()
		if seen[k] {
			continue
		}
		seen[k] = true
		one := known[k]
		if one == nil {
			one = &warmth{key: k}
		}
		one.target, one.want = targets[i], 1
		w.plan = append(w.plan, one)
		left--
	}
	for more := 1; more < floor && left > 0 && len(w.plan) > 0; more++ {
		for _, one := range w.plan {
			if left == 0 {
				break
			}
			one.want++
			left--
		}
	}
	w.wanted.Store(int64(p.o.MaxWarm - left))
}

// look opens what is missing at the time now.
func (w *warmer) look(ctx context.Context, p *Pool, calls *sync.WaitGroup, now time.Time) {
	for _, one := range w.plan {
		h := p.host(&one.target)
		ready, unused := h.warmth(now)
		if unused != one.unused {
			if unused > one.unused {
				one.fail(now) // an upstream that closes what it was just given is not asked again at once
			}
			one.unused = unused
		}
		if one.fails > 0 && now.Sub(one.failed) > 2*one.wait()+warmCalm {
			one.fails = 0
		}
		if now.Before(one.next) {
			continue
		}
		for missing := one.want - ready - one.dialing; missing > 0 && w.dialing < warmDials; missing-- {
			if !h.reserve() {
				break
			}
			w.dialing++
			one.dialing++
			target := one.target
			calls.Go(func() { w.ended <- ended{one, p.warm(ctx, h, &target)} })
			if one.fails > 0 {
				break // one at a time, until it works
			}
		}
	}
}

// wait is how long a target that has failed is left alone.
func (one *warmth) wait() time.Duration {
	return min(warmBackoff<<min(max(one.fails-1, 0), 16), warmSlowest)
}

// fail notes a failure. Waits are spread, so that targets that fail together do not come back together.
func (one *warmth) fail(now time.Time) {
	one.fails++
	one.failed = now
	one.next = now.Add(one.wait()/2 + rand.N(one.wait()))
}

// warm opens a connection whose place is reserved, and has it idle.
func (p *Pool) warm(ctx context.Context, h *host, t *Target) (ok bool) {
	var call Call
	stop := context.AfterFunc(ctx, call.Abort)
	defer stop()
	c, err := p.dial(h, &call, t) //nolint:contextcheck // AfterFunc above ends the dial, through the Call.
	h.dialled(err)
	if err != nil {
		h.leave()
		return call.Aborted()
	}
	c.idle = c.born
	h.release(c)
	return true
}

// warmth says how many idle connections are good for a while, and how many were closed unused since ever.
func (h *host) warmth(now time.Time) (ready int, unused uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.idle {
		if !c.expired(now.Add(min(warmLead, h.maxAge/4)), h.maxAge) {
			ready++
		}
	}
	return ready, h.unused
}

// reserve takes a place for one more connection, if there is one that nobody waits for.
func (h *host) reserve() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone || h.open >= h.limit || len(h.idle) >= h.keep {
		return false
	}
	h.open++
	return true
}

// dialled counts a dial.
func (h *host) dialled(err *Error) {
	h.count(func(n *counts) {
		n.dials++
		if err != nil {
			n.dialErrors++
		}
	})
}

// warmNow counts the idle connections of the targets that are kept warm.
func (p *Pool) warmNow() (idle int) {
	p.warmer.mu.Lock()
	targets, floor := p.warmer.targets, p.warmer.floor
	p.warmer.mu.Unlock()
	if floor <= 0 {
		return 0
	}
	hosts := *p.hosts.Load()
	seen := make(map[key]bool, len(targets))
	for i := range targets {
		if k := targets[i].key(); !seen[k] {
			seen[k] = true
			if h := hosts[k]; h != nil {
				idle += h.stats().Idle
			}
		}
	}
	return idle
}
