package judge

import (
	"cmp"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// maxFacts bounds the accounts in one update; the rest follows in the next.
const maxFacts = 5000

// bump makes a the newest of those that proxies have to hear of.
func (j *Judge) bump(a *account) {
	if a.gone {
		return
	}
	j.revision++
	if a == j.newest {
		a.revision = j.revision
		return
	}
	j.unlink(a)
	a.revision = j.revision
	a.prev = j.newest
	if j.newest != nil {
		j.newest.next = a
	} else {
		j.oldest = a
	}
	j.newest = a
}

func (j *Judge) unlink(a *account) {
	if a.revision == 0 {
		return
	}
	if a.prev != nil {
		a.prev.next = a.next
	} else {
		j.oldest = a.next
	}
	if a.next != nil {
		a.next.prev = a.prev
	} else {
		j.newest = a.prev
	}
	a.prev, a.next, a.revision = nil, nil, 0
}

// Update is what the proxy has not heard since the revision of the update before: 0, or a revision of another judge,
// is answered with everything, as is a proxy that is unknown. nil = there is nothing. Ask again at once after an update
// of many accounts: the rest comes with the next.
func (j *Judge) Update(proxyID string, since uint64, now time.Time) *syncv1.HealthUpdate {
	m := j.tell(now)
	p := j.proxies[proxyID]
	full := since == 0 || since > j.revision || p == nil
	if full {
		since = 0
	}
	u := &syncv1.HealthUpdate{Term: j.o.Term, Revision: j.revision, Full: full}
	a := j.oldest
	if !full {
		for a = j.newest; a != nil && a.revision > since && a.prev != nil && a.prev.revision > since; a = a.prev {
		}
		if a != nil && a.revision <= since {
			a = nil
		}
	}
	for ; a != nil; a = a.next {
		if len(u.Accounts) == maxFacts {
			u.Revision = a.prev.revision
			break
		}
		u.Accounts = append(u.Accounts, j.facts(a, p, m))
	}
	for _, s := range j.models {
		if s.revision > since {
			u.Latencies = append(u.Latencies, &syncv1.ModelLatency{Model: s.name, BaseMs: s.base, MsPerToken: s.slope})
		}
	}
	slices.SortFunc(u.Latencies, func(a, b *syncv1.ModelLatency) int { return cmp.Compare(a.Model, b.Model) })
	if j.fleetSince > since || full {
		u.ProxiesChanged = true
		for _, p := range j.fleet {
			u.Proxies = append(u.Proxies, p.id)
		}
	}
	u.Permits = j.tellPermits(p, full, m)
	if !full && len(u.Accounts) == 0 && len(u.Latencies) == 0 && !u.ProxiesChanged && len(u.Permits) == 0 {
		return nil
	}
	return u
}

// tellPermits are those that p has not heard of; a full update names all, for the one before may be lost.
func (j *Judge) tellPermits(p *proxy, full bool, m moment) []*syncv1.ProbePermit {
	if p == nil {
		return nil
	}
	var all []*syncv1.ProbePermit
	for _, o := range p.permits {
		ttl := o.ends.sub(m) - margin
		if o.told && !full || ttl < time.Second {
			continue
		}
		o.told = true
		permit := &syncv1.ProbePermit{Id: o.id, AccountId: o.account.ID, Ttl: durationpb.New(ttl), Active: o.active}
		if o.active {
			permit.Check = int32(j.rules.Check)
			if len(o.account.Models) > 0 {
				permit.Model = o.account.Models[0]
			}
		}
		all = append(all, permit)
	}
	return all
}

// facts are what p has to know of a.
func (j *Judge) facts(a *account, p *proxy, m moment) *syncv1.AccountFacts {
	f := &syncv1.AccountFacts{AccountId: a.ID, UseFactor: float64(a.use)}
	if t := a.traffic; t != nil {
		f.Ok, f.Failed = t.counts()
		f.TtftRatio = t.ratio()
		if mean := t.mean(); mean > 0 {
			f.MeanDuration = durationpb.New(mean)
		}
	}
	f.InFlightOthers = uint32(min(a.inFlight(p), 1<<31)) //nolint:gosec // bounded in this line
	if a.Capped && len(j.fleet) > 0 {
		f.SharePpm = uint32(max(j.portion(a, p, m)*1e6, 1)) //nolint:gosec // at most a million
	}
	if left, ordered, reason := a.resting(j, m); left > 0 {
		f.Rest, f.RestOrdered, f.RestReason = durationpb.New(left), ordered, reason
	}
	for _, r := range a.families {
		if left := r.until.sub(m); left > 0 {
			f.Families = append(f.Families, &syncv1.FamilyRest{Family: r.name, Rest: durationpb.New(left), Reason: r.reason})
		}
	}
	if age, coming := a.breaker.Coming(j.time(m), &j.rules); coming {
		f.SlowStartAge = durationpb.New(age)
	}
	if a.headroom >= 0 && (a.headroomReset == 0 || a.headroomReset > m) {
		f.Headroom = proto.Float64(float64(a.headroom))
		if a.headroomReset != 0 {
			f.HeadroomReset = durationpb.New(a.headroomReset.sub(m))
		}
	}
	if a.session != 0 && m.sub(a.session) < a.Session {
		f.SessionAge = durationpb.New(m.sub(a.session))
		f.SessionRequests, f.SessionTokens = a.requests, a.tokens
		for i := range a.seats {
			if s := &a.seats[i]; s.proxy == p {
				f.SessionRequests -= min(s.requests, a.requests)
				f.SessionTokens -= min(s.tokens, a.tokens)
			}
		}
	}
	return f
}
