package sim

import (
	"slices"
	"time"

	"fairway/dataplane/internal/health"
	"fairway/dataplane/internal/route"
	"fairway/dataplane/internal/snapshot"
)

// request is one client's, on its way through one proxy.
type request struct {
	proxy    *proxy
	snap     *snapshot.Snapshot
	group    *snapshot.Group
	pool     *snapshot.Pool
	input    int           // tokens
	writing  time.Duration // that an account of the usual pace takes after the first byte
	tried    []*snapshot.Account
	attempts int
	retrying bool
	budget   route.Budget
}

// arrive is the beginning of a request, as the gateway's.
func (p *proxy) arrive(input int, writing time.Duration) {
	w := p.world
	w.tally.arrived()
	snap := p.holder.Current()
	group, ok := snap.Group(groupID)
	if !ok {
		w.tally.fail(false)
		return
	}
	pool, ok := snap.Pool(group, modelName)
	if !ok {
		w.tally.fail(false)
		return
	}
	r := &request{proxy: p, snap: snap, group: group, pool: pool, input: input, writing: writing}
	r.budget = route.BudgetOf(group, snap.Settings())
	r.budget.Begin()
	p.keeper.Underway(1)
	r.try()
}

// try makes the next attempt.
func (r *request) try() {
	p := r.proxy
	w := p.world
	now := w.time()
	c, reason, permit := r.pick(now)
	if c == nil {
		r.done(false, false)
		return
	}
	r.attempts++
	u := w.upstreams[c.Account.ID]
	w.tally.attempt(r, u)
	if reason == route.Panicked {
		w.tally.panicked++
	}
	p.keeper.Began(c, now.UnixMilli())
	f := &flight{request: r, began: w.now}
	f.outcome = health.Outcome{
		Candidate: c, Model: modelName, Permit: permit, Panicked: reason == route.Panicked, UncachedInput: int64(r.input), Now: now,
	}
	u.take(f)
}

// pick chooses as the gateway does: a permit first, then routing, until nothing speaks against the account.
func (r *request) pick(now time.Time) (*snapshot.Candidate, route.Reason, string) {
	p := r.proxy
	nowMS := now.UnixMilli()
	if r.attempts == 0 {
		if c, id := p.keeper.Permit(r.pool, nowMS); c != nil {
			if p.keeper.Refuses(c.Account, modelName, nowMS) == 0 {
				return c, route.Chosen, id
			}
			p.keeper.Return(id)
		}
	}
	ask := route.Ask{
		Group: r.group, Settings: r.snap.SettingsRef(), Tried: r.tried, NowMS: nowMS, Seed: p.seed,
	}
	for range maxSkipped {
		c, reason := p.choose(r.pool, &ask)
		if c == nil || p.keeper.Refuses(c.Account, modelName, nowMS) == 0 {
			return c, reason, ""
		}
		ask.Tried = append(slices.Clip(ask.Tried), c.Account)
	}
	return nil, route.Crowded, ""
}

// maxSkipped is how many accounts may be passed over.
const maxSkipped = 64

// again is what follows a failed attempt: another one, if that is affordable.
func (r *request) again(f *flight) {
	r.tried = append(r.tried, f.outcome.Candidate.Account)
	if !f.verdict.Retry || !r.affordable() {
		r.done(false, false)
		return
	}
	r.proxy.world.tally.retries++
	r.try()
}

func (r *request) affordable() bool {
	switch {
	case r.attempts >= r.snap.SettingsRef().MaxAttempts:
		return false
	case !r.retrying:
		r.retrying = r.budget.Retry()
	}
	return r.retrying
}

// done is the end.
func (r *request) done(well, broken bool) {
	p := r.proxy
	if r.retrying {
		r.budget.EndRetry()
	}
	r.budget.End()
	p.keeper.Underway(-1)
	p.keeper.Count(health.Requests, 1)
	if !well {
		p.world.tally.fail(broken)
		p.keeper.Count(health.Failures, 1)
	}
}
