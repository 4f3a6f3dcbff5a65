package health

import (
	"math"
	"time"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/snapshot"
)

// Began notes that an attempt goes to a candidate. Each is ended by one Ended.
func (k *Keeper) Began(c *snapshot.Candidate, nowMS int64) {
	c.Cell.InFlight.Add(1)
	c.Cell.LastUsed.Store(nowMS)
	k.stats[attempts].n.Add(1)
	w := k.ward(c.Account)
	w.touch()
	if caps := &c.Account.Caps; capped(caps) {
		w.capped().began(caps, nowMS)
	}
}

// Answered notes that an attempt has an answer that is worth sending, as soon as that is known: a stream may take minutes
// to end. Ended does it for who does not call it.
func (k *Keeper) Answered(o *Outcome) {
	if o.answered || o.Candidate == nil {
		return
	}
	o.answered = true
	w := k.ward(o.Candidate.Account)
	cell := w.cell
	// Counted now: the streams that an account still finishes do not say that it answers anybody new.
	w.traffic().ok.Add(1)
	// A success ends what was said about the account before, but not a rest that began while it was under way; only when
	// everybody rests, and this one was tried all the same, is its rest over.
	if cell.Failures.Load() != 0 {
		cell.Failures.Store(0)
	}
	if w.bad.Load() != 0 {
		w.bad.Store(0)
	}
	if w.crowded.Load() != 0 {
		w.crowded.Store(0)
	}
	if o.Panicked {
		cell.CooldownUntil.Store(0)
	}
	if t := w.trouble.Load(); t != nil {
		k.relieve(t, o)
	}
	if o.TTFT > 0 {
		k.observe(w, o)
	}
	if o.Permit != "" {
		k.probed(o, true)
	}
}

// Ended notes how an attempt ended, once for each that began.
func (k *Keeper) Ended(o *Outcome) {
	if o.Candidate == nil {
		return
	}
	w := k.ward(o.Candidate.Account)
	w.cell.InFlight.Add(-1)
	w.touch()
	f := w.traffic()
	if o.Took > 0 {
		f.durations.Add(uint64(o.Took.Milliseconds()))
		f.ended.Add(1)
	}
	v := o.Verdict
	switch {
	case o.Gone && !o.answered:
		if o.Permit != "" {
			k.unused(o.Permit, "")
		}
		return
	case v == nil:
		k.Answered(o)
		if o.TTFT > 0 {
			k.compare(w, o)
		}
	default:
		k.failed(w, f, o)
	}
	if t := k.rolls.Load().at(string(o.Candidate.Account.Channel.ID), o.Model); t != nil {
		t.add(k.turn.Load(), v == nil || accepted(v))
	}
}

// failed draws the consequences of a failed attempt.
func (k *Keeper) failed(w *ward, f *flow, o *Outcome) {
	v := o.Verdict
	k.stats[attemptFailures].n.Add(1)
	f.fault(k.reasons.of(v.Reason), !v.Pass && !v.Healthy)
	if v.Pass {
		// The client's business: whoever says so has understood the request.
		if o.Permit != "" {
			k.probed(o, true)
		}
		return
	}
	if v.Reason == dialect.ReasonNoFirstByte && o.Took > 0 {
		// It would have taken at least that long.
		average(&w.cell.LatencyEWMA, float64(o.Took)/float64(time.Millisecond))
	}
	failures := int(w.cell.Failures.Add(1))
	if v.Family {
		k.restFamily(w, o)
	} else {
		k.restAccount(w, o, failures)
	}
	if v.ExcludeModel {
		k.exclude(o.Candidate.Account.Channel, o.Model, o.Now)
	}
	if o.Permit != "" {
		k.probed(o, false)
	}
	if v.Healthy {
		return
	}
	// Whoever forgives the account sets its failures to 0, so no more of them are in a row than those.
	if bad := min(int(w.bad.Add(1)), failures); bad >= k.snapshots.Current().Settings().Breaker.ConsecutiveFailures || w.trouble.Load() != nil {
		k.trip(w, o, bad)
	}
}

// restAccount lets the account rest as the fault says, and its organisation with it where that is the one to blame.
func (k *Keeper) restAccount(w *ward, o *Outcome, failures int) {
	v, nowMS := o.Verdict, o.Now.UnixMilli()
	r := &rest{reason: v.Reason}
	cool := v.Cool.For(failures, o.Asked)
	switch over := v.Over.After(o.Now); {
	case !over.IsZero():
		r.until, r.ordered = over.UnixMilli(), true
	case v.Disable:
		r.until, r.ordered, r.disabled = o.Now.Add(k.o.DisableFor).UnixMilli(), true, true
	case cool > 0:
		r.until, r.ordered = nowMS+ms(cool), v.Cool.Ask && o.Asked > 0
	default:
		return
	}
	r.organization = v.Disable && v.Organization && o.Candidate.Account.Organization != ""
	if !k.lay(w, r) {
		return
	}
	if r.organization {
		k.restOrganization(o.Candidate.Account, r)
	}
	if r.disabled || r.ordered {
		k.hurry()
	}
}

// lay puts the account to rest; false = it rests longer already.
func (k *Keeper) lay(w *ward, r *rest) bool {
	before := w.cell.CooldownUntil.Load()
	if r.ordered {
		before = w.cell.HeldUntil.Load()
		w.cell.Hold(r.until)
	} else {
		w.cell.Cool(r.until)
	}
	if before >= r.until {
		return false
	}
	w.rest.Store(r)
	k.meters.rests.WithLabelValues(k.reasons.names[k.reasons.of(r.reason)]).Inc()
	return true
}

// restOrganization lets the other accounts of an organisation rest as r says. It looks at all accounts, once for each rest
// that is news.
func (k *Keeper) restOrganization(of *snapshot.Account, r *rest) {
	for a := range k.snapshots.Current().Serving {
		if a.Organization == of.Organization && a.Channel.Provider == of.Channel.Provider &&
			a.Channel.BaseURL.Host == of.Channel.BaseURL.Host && a.Cell != of.Cell {
			a.Cell.Hold(r.until)
		}
	}
}

// trip opens the account's breaker, or again if it was on its way back. While a verdict keeps the account out, the leader
// decides how it comes back.
func (k *Keeper) trip(w *ward, o *Outcome, bad int) {
	if w.cell.CooldownUntil.Load() == math.MaxInt64 {
		return
	}
	rules := k.snapshots.Current().Settings().Breaker
	t := w.trouble.Load()
	if t == nil {
		w.trouble.CompareAndSwap(nil, &trouble{})
		t = w.trouble.Load()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.Tick(o.Now, &rules)
	_, _, _, _, opens := t.b.Health()
	switch state := t.b.State(); {
	case state == halfOpen:
		t.b.Probed(o.Now, false, o.Verdict.Reason, o.Asked, &rules)
	case state == closed && bad >= rules.ConsecutiveFailures:
		t.b.Open(o.Now, consecutive, 0, &rules)
	default:
		return
	}
	_, _, _, until, now := t.b.Health()
	if now > opens {
		k.meters.opens.Inc()
	}
	k.lay(w, &rest{until: until.UnixMilli(), reason: consecutive})
	k.hurry()
}

// relieve tells the breaker of an account in trouble that it answered.
func (k *Keeper) relieve(t *trouble, o *Outcome) {
	rules := k.snapshots.Current().Settings().Breaker
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.Tick(o.Now, &rules)
	switch {
	case t.b.State() == halfOpen:
		t.b.Probed(o.Now, true, "", 0, &rules)
	case o.Panicked || o.Permit != "":
		t.b.Reset(o.Now)
	}
}

// accepted says whether a failure shows that the upstream has room for the model: it dealt with the request. Limits of one
// account are not the model's.
func accepted(v *dialect.Verdict) bool {
	switch v.Reason {
	case "overloaded", "server_error", "timeout", dialect.ReasonConnection, dialect.ReasonNoFirstByte:
		return false
	}
	return true
}

// ms is a span in ms, rounded up: nobody may undershoot what was asked for.
func ms(d time.Duration) int64 { return int64((d + time.Millisecond - 1) / time.Millisecond) }
