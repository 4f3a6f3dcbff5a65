package judge

import (
	"slices"
	"strconv"
	"time"

	"fairway/pkg/breaker"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// margin is how long before its end a permit is void for the proxy that has it: what an update may take on its way, and
// clocks may differ in speed. So it has ended everywhere when another is granted.
const margin = 5 * time.Second

const (
	maxPermits = 500    // that one proxy may hold
	idleLooks  = 10_000 // accounts that one Tick looks at for idle ones
)

// permit lets one proxy try one account. There is at most one of an account.
type permit struct {
	id      string
	account *account
	proxy   *proxy
	ends    moment
	told    bool
	active  bool
}

// grant gives permits: first for half-open accounts, then for those that had no traffic. Both are bounded together, so
// that a fleet of many accounts is checked evenly, if less often than asked for.
func (j *Judge) grant(m moment) {
	j.checks.refill(m)
	for _, a := range j.permits {
		if m >= a.permit.ends {
			a.prober, a.unused = a.permit.proxy, true
			j.end(a)
		}
	}
	if m < j.grantFrom || len(j.list) == 0 || !slices.ContainsFunc(j.fleet, func(p *proxy) bool { return p.alive(m) }) {
		return
	}
	// From where it stopped, so that those at the end have their turn when there are too many.
	for range len(j.half) {
		j.turns++
		a := j.half[j.turns%uint64(len(j.half))]
		if a.permit == nil && !a.Disabled && m >= a.permitFrom && a.ordered.until <= m && !j.try(a, m) {
			return
		}
	}
	if j.rules.Check == breaker.CheckOff {
		return
	}
	for range min(len(j.list), idleLooks) {
		j.cursor = (j.cursor + 1) % len(j.list)
		a := j.list[j.cursor]
		if j.idle(a, m) && !j.check(a, m) {
			j.cursor = (j.cursor + len(j.list) - 1) % len(j.list) // it is the first next time
			return
		}
	}
}

// idle reports whether it is time to look after an account that serves, but had nothing to do.
func (j *Judge) idle(a *account, m moment) bool {
	return m >= a.checkAt && a.permit == nil && !a.Disabled && a.state == breaker.Closed &&
		m.sub(a.last) >= j.rules.CheckInterval && a.ordered.until <= m && a.soft.until <= m && a.inFlight(nil) == 0
}

// try grants a half-open account's permit: to the proxy with the most recent traffic to its channel, or to its models,
// which then tries it with a request; else to any, which tries it at once. Where a proxy failed or did nothing with it,
// another is next. It reports false when no more can be granted now.
func (j *Judge) try(a *account, m moment) bool {
	p := busiest(a.place.seats, a.prober, m)
	for _, name := range first(a.Models, 16) {
		if p != nil {
			break
		}
		if known := j.models[name]; known != nil {
			p = busiest(known.seats, a.prober, m)
		}
	}
	active := p == nil || a.unused
	if p == nil || len(p.permits) >= maxPermits {
		p = j.any(a, m)
	}
	return j.hand(a, p, active, m)
}

// check grants the permit of an idle account, to any proxy: there is nothing to wait for. It reports false when no more
// can be granted now.
func (j *Judge) check(a *account, m moment) bool {
	if !j.hand(a, j.any(a, m), true, m) {
		return false
	}
	a.checkAt = m.add(j.rules.CheckInterval)
	return true
}

// any is a live proxy, another one each time, and not the one that failed last if there is another.
func (j *Judge) any(a *account, m moment) *proxy {
	n := uint64(len(j.fleet))
	var last *proxy
	for i := range n {
		p := j.fleet[(a.hash%n+j.permitted+i)%n]
		switch {
		case !p.alive(m) || len(p.permits) >= maxPermits:
		case p == a.prober:
			last = p
		default:
			return p
		}
	}
	return last
}

func (j *Judge) hand(a *account, p *proxy, active bool, m moment) bool {
	if p == nil || !j.checks.take() {
		return false
	}
	j.permitted++
	a.permit = &permit{
		id:      j.o.Term + "-" + strconv.FormatUint(j.permitted, 10),
		account: a, proxy: p, ends: m.add(PermitTTL), active: active && j.rules.Check != breaker.CheckOff,
	}
	j.permits[a.permit.id] = a
	p.permits = append(p.permits, a.permit)
	return true
}

// end takes a's permit back.
func (j *Judge) end(a *account) {
	o := a.permit
	a.permit = nil
	delete(j.permits, o.id)
	o.proxy.permits = slices.DeleteFunc(o.proxy.permits, func(x *permit) bool { return x == o })
}

// probed takes what became of a permit. One that ended, or that another proxy has, is nobody's word any more.
func (j *Judge) probed(p *proxy, o *syncv1.ProbeOutcome, m moment) {
	a := j.permits[o.GetPermitId()]
	if a == nil || a.permit.proxy != p || a.ID != o.GetAccountId() {
		return
	}
	j.end(a)
	if a.Disabled {
		return
	}
	ok, failed := o.GetOk() && !o.GetFailed(), o.GetFailed()
	a.unused = !ok && !failed
	a.permitFrom = m.add(time.Second)
	reason, asked := j.reason(o.GetReason()), span(o.GetAsked(), breaker.MaxAsked)
	if failed {
		a.prober, a.failed = p, m
		if reason == "" {
			reason = "probe"
		}
	}
	now := j.time(m)
	switch a.breaker.State() {
	case breaker.HalfOpen:
		if ok || failed {
			a.breaker.Probed(now, ok, reason, asked, &j.rules)
			if failed && asked > 0 {
				a.ordered.raise(m, asked, reason)
			}
			j.after(a, "it was tried: "+outcome(ok, reason))
		}
	case breaker.Closed:
		j.checked(a, ok, failed, reason, asked, m)
	}
}

// checked takes how a look at an idle account went: it counts as an attempt does.
func (j *Judge) checked(a *account, ok, failed bool, reason string, asked time.Duration, m moment) {
	switch {
	case ok:
		a.breaker.Add(j.time(m), 1, 0, &j.rules)
		a.row, a.rowBy, a.rowAt, a.prober = 0, nil, 0, nil
	case failed:
		a.breaker.Add(j.time(m), 0, 1, &j.rules)
		a.row, a.rowBy = min(a.row+1, most), nil
		if asked > 0 {
			j.order(a, asked, reason, m)
		}
		if j.rules.ConsecutiveFailures > 0 && a.row >= j.rules.ConsecutiveFailures && a.breaker.State() == breaker.Closed {
			j.trip(a, reason)
		}
	}
}

func outcome(ok bool, reason string) string {
	if ok {
		return "ok"
	}
	return reason
}
