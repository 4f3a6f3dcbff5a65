package judge

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/pkg/breaker"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Decision is a verdict to be kept. Keep it or not, and say which by Persisted.
type Decision struct {
	AccountID string
	Health    *resourcev1.AccountHealth
	Detail    string // why, for people
	Alert     bool   // somebody has to act

	saved  saved
	number uint64
}

// saved is a verdict as the judge compares it.
type saved struct {
	state        breaker.State
	reason       string
	since, until time.Time
	opens        int
	ordered      bool // by its provider
}

// verdict is what there is to keep of a.
func (a *account) verdict() saved {
	state, reason, since, until, opens := a.breaker.Health()
	return saved{state, reason, since, until, opens, a.breaker.Ordered()}
}

// Classes of decisions, in the order in which they are kept when there are more than a second allows.
const (
	classDisabled = iota
	classOpen
	classClosed
	classHalfOpen
	classes
)

// again is after how long a decision that was not kept is offered again.
const again = time.Second

func class(s breaker.State) int {
	switch s {
	case breaker.Disabled:
		return classDisabled
	case breaker.Open:
		return classOpen
	case breaker.HalfOpen:
		return classHalfOpen
	default:
		return classClosed
	}
}

// enqueue lets a wait for its verdict to be kept: as it is then, whatever it was in between.
func (j *Judge) enqueue(a *account) {
	c := class(a.state)
	if a.writing != 0 || a.gone || a.queued&(1<<c) != 0 {
		return // Persisted looks again
	}
	a.queued |= 1 << c
	j.waiting[c] = append(j.waiting[c], a)
}

// decide hands out what waits.
func (j *Judge) decide(m moment) []Decision {
	j.decisions.refill(m)
	kept := j.retries[:0]
	for _, a := range j.retries {
		if m < a.retryAt {
			kept = append(kept, a)
		} else {
			j.enqueue(a)
		}
	}
	clear(j.retries[len(kept):])
	j.retries = kept
	var all []Decision
	for c := range j.waiting {
		for len(j.waiting[c]) > 0 {
			a := j.waiting[c][0]
			if d, ok := j.decision(a, c); ok {
				if !j.decisions.take() {
					return all
				}
				j.decided++
				d.number, a.writing = j.decided, j.decided
				all = append(all, d)
			}
			a.queued &^= 1 << c
			j.waiting[c][0] = nil
			j.waiting[c] = j.waiting[c][1:]
		}
		j.waiting[c] = nil
	}
	return all
}

// decision is a's verdict as it is now; false where there is nothing to keep, or it waits in another class by now.
func (j *Judge) decision(a *account, c int) (Decision, bool) {
	s := a.verdict()
	if a.gone || a.writing != 0 || class(s.state) != c || s.equal(a.saved) {
		return Decision{}, false
	}
	return Decision{
		AccountID: a.ID, Health: j.health(s), Detail: a.detail, Alert: s.state == breaker.Disabled, saved: s,
	}, true
}

// Persisted says what became of a decision. One that was not kept is offered again, as things are then.
func (j *Judge) Persisted(d Decision, err error) {
	a := j.accounts[d.AccountID]
	if a == nil || d.number == 0 || a.writing != d.number {
		return
	}
	a.writing = 0
	if err != nil {
		a.retryAt = j.now.add(again)
		j.retries = append(j.retries, a)
		return
	}
	a.saved = d.saved
	if !a.verdict().equal(a.saved) {
		j.enqueue(a)
	}
}

// equal compares what is worth keeping: that openings of long ago are forgotten is not.
func (s saved) equal(o saved) bool {
	return s.state == o.state && s.reason == o.reason && s.since.Equal(o.since) && s.until.Equal(o.until) && s.ordered == o.ordered &&
		(s.opens == o.opens || s.state == breaker.Closed)
}

// health is a verdict as messages have it, by the caller's clock.
func (j *Judge) health(s saved) *resourcev1.AccountHealth {
	h := &resourcev1.AccountHealth{
		State: resourcev1.HealthState(s.state), Reason: s.reason, Opens: uint32(max(s.opens, 0)), Ordered: s.ordered, //nolint:gosec // not negative, 31 bits
	}
	if !s.since.IsZero() {
		h.Since = timestamppb.New(j.clock(s.since))
	}
	if !s.until.IsZero() {
		h.Until = timestamppb.New(j.clock(s.until))
	}
	return h
}
