package judge

import (
	"cmp"
	"strings"
	"time"

	"fairway/pkg/breaker"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// lasting is from when on what a provider ordered is kept; shorter rests are soft.
const lasting = 5 * time.Minute

// rests takes what p says of rests and refusals. Right after the past was forgotten, only new faults are believed: the
// rest is an echo.
func (j *Judge) rests(a *account, p *proxy, d *syncv1.AccountDelta, faults bool, m moment) {
	if a.forgiven != 0 && m.sub(a.forgiven) < grace && !faults {
		return
	}
	reason := j.reason(d.GetRestReason())
	if d.GetDisabled() {
		j.refuse(a, cmp.Or(reason, "credential"))
		if d.GetOrganization() && a.Organization != "" {
			j.refuseAll(a, cmp.Or(reason, "organization_limit"), m)
		}
		return
	}
	if asked := span(d.GetRest(), breaker.MaxAsked); asked > 0 {
		if d.GetRestOrdered() {
			j.order(a, asked, cmp.Or(reason, "rate_limit"), m)
		} else if a.breaker.State() == breaker.Closed && !a.contested(p, m) && a.soft.raise(m, min(asked, longest), reason) {
			j.bump(a)
		}
	}
	for _, f := range first(d.GetFamilies(), maxFamilies) {
		rest := span(f.GetRest(), breaker.MaxAsked)
		if rest > 0 && f.GetFamily() != "" && len(f.GetFamily()) <= 256 && a.restFamily(f.GetFamily(), j.reason(f.GetReason()), rest, m) {
			j.bump(a)
		}
	}
}

// refuse disables an account whose credential is of no use.
func (j *Judge) refuse(a *account, reason string) {
	if a.Disabled {
		return
	}
	a.breaker.Disable(j.time(j.now), reason)
	j.after(a, "its provider refuses it")
}

// refuseAll disables the accounts of a's organisation, which share its limits.
func (j *Judge) refuseAll(a *account, reason string, m moment) {
	o := j.organizations[organizationID{a.Provider, a.Organization}]
	if o == nil || o.refused == m {
		return // said more than once in one report
	}
	o.refused = m
	for _, b := range o.members {
		j.refuse(b, reason)
	}
}

// order takes a rest that the provider asked for: nobody undershoots it. A short one is over soon and nothing to keep.
func (j *Judge) order(a *account, asked time.Duration, reason string, m moment) {
	if !a.ordered.raise(m, asked, reason) {
		return
	}
	_, _, _, until, _ := a.breaker.Health()
	if now := j.time(m); asked >= lasting && until.Before(now.Add(asked-echo)) {
		a.breaker.Open(now, reason, asked, &j.rules)
		j.after(a, "its provider asked for it")
	}
	j.bump(a)
}

// raise makes the rest longer; it reports whether that is news.
func (r *rest) raise(m moment, d time.Duration, reason string) bool {
	until := m.add(d)
	if r.until >= m && until <= r.until.add(echo) {
		return false
	}
	*r = rest{until, reason}
	return true
}

func (a *account) restFamily(name, reason string, d time.Duration, m moment) bool {
	for i := range a.families {
		if a.families[i].name == name {
			return a.families[i].raise(m, d, reason)
		}
	}
	if len(a.families) >= maxFamilies {
		return false
	}
	a.families = append(a.families, family{strings.ToValidUTF8(strings.Clone(name), "?"), rest{m.add(d), reason}})
	return true
}

// resting is for how long a rests from now, because its provider ordered it or for other reasons; 0 = it does not.
func (a *account) resting(j *Judge, m moment) (left time.Duration, ordered bool, reason string) {
	state, why, _, until, _ := a.breaker.Health()
	switch state {
	case breaker.Disabled:
		return breaker.MaxAsked, true, why
	case breaker.HalfOpen:
		// Told again with each batch, so that a fleet without the verdict keeps off as well.
		left, reason = 3*factsEvery, why
	case breaker.Open:
		left, ordered, reason = max(until.Sub(j.time(m)), time.Millisecond), a.breaker.Ordered(), why
	default:
		left, reason = max(a.soft.until.sub(m), 0), a.soft.reason
	}
	if o := a.ordered.until.sub(m); o > 0 {
		// An order stands above what is merely wise, whichever is longer; the other is told again when it is over.
		return o, true, a.ordered.reason
	}
	return left, ordered, reason
}

// settle forgets rests that are over.
func (a *account) settle(m moment) (changed bool) {
	if a.ordered.until != 0 && a.ordered.until <= m {
		a.ordered, changed = rest{}, true
	}
	if a.soft.until != 0 && a.soft.until <= m {
		a.soft = rest{}
	}
	kept := a.families[:0]
	for _, f := range a.families {
		if f.until > m {
			kept = append(kept, f)
		}
	}
	clear(a.families[len(kept):])
	a.families = kept
	if len(kept) == 0 {
		a.families = nil
	}
	return changed
}
