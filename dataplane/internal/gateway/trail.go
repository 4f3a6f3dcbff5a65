package gateway

import (
	"sync"
	"time"
	"weak"

	"fairway/dataplane/internal/snapshot"
)

// step is one attempt, for whoever asks how a request was decided.
type step struct {
	channel, account string
	with             *snapshot.Account
	picked           string // why this one: a route.Reason, or one of those below
	verdict          string // "" = it answered
	status           int    // of the upstream; 0 = none
	began            time.Time
	took             time.Duration
	ended            bool
}

// Why an account was picked, where it was not route.Pick that did.
const (
	pickedOwner = "owner" // it alone has what the request names
	pickedHedge = "hedge" // the first attempt took long
	pickedProbe = "probe" // to find out whether it is well again
)

// What became of attempts that did not fail.
const (
	verdictGone  = "client_gone"
	verdictHedge = "hedge_lost" // another attempt answered first
)

// beginStep notes that an attempt is made with an account, and returns its number.
func (x *exchange) beginStep(a *snapshot.Account, picked string) int {
	x.look.Lock()
	defer x.look.Unlock()
	x.trail = append(x.trail, step{channel: a.Channel.Name, account: a.Name, with: a, picked: picked, began: x.now})
	return len(x.trail) - 1
}

// endStep notes how it went.
func (x *exchange) endStep(i int, verdict string, status int) {
	x.look.Lock()
	defer x.look.Unlock()
	s := &x.trail[i]
	s.verdict, s.status, s.took, s.ended = verdict, status, x.now.Sub(s.began), true
}

// note ends the step of an attempt.
func (x *exchange) note(i int, f *failure) {
	switch {
	case f == nil && x.response != nil:
		x.endStep(i, "", x.response.Status)
	case f == nil:
		x.endStep(i, "", 0)
	case f.gone:
		x.endStep(i, verdictGone, f.status)
	default:
		x.endStep(i, f.verdict.Reason, f.status)
	}
}

// spoil changes what the last step came to, after it had answered.
func (x *exchange) spoil(verdict string) {
	x.look.Lock()
	defer x.look.Unlock()
	if n := len(x.trail); n > 0 {
		x.trail[n-1].verdict = verdict
	}
}

// opens lets others look at the request; from here on its key, group, model and operation stay as they are.
func (x *exchange) opens() {
	x.look.Lock()
	x.open = true
	x.look.Unlock()
}

// closes ends that.
func (x *exchange) closes() {
	x.look.Lock()
	x.open = false
	x.look.Unlock()
}

// crowd knows every exchange there is, so that a request can be found while it is under way. It keeps none alive: those
// that are not in use come and go with their pool.
type crowd struct {
	mu  sync.Mutex
	all []weak.Pointer[exchange]
}

// add notes a new exchange. Those that are no more are forgotten whenever the list would have to grow.
func (c *crowd) add(x *exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.all) == cap(c.all) {
		kept := make([]weak.Pointer[exchange], 0, 64)
		for _, p := range c.all {
			if p.Value() != nil {
				kept = append(kept, p)
			}
		}
		c.all = append(make([]weak.Pointer[exchange], 0, max(2*len(kept), 64)), kept...)
	}
	c.all = append(c.all, weak.Make(x))
}

// each yields those that are there.
func (c *crowd) each(yield func(*exchange) bool) {
	c.mu.Lock()
	all := append([]weak.Pointer[exchange](nil), c.all...)
	c.mu.Unlock()
	for _, p := range all {
		if x := p.Value(); x != nil && !yield(x) {
			return
		}
	}
}
