package judge

import (
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/pkg/breaker"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// View is the fleet as operators see it. It shares nothing with the judge.
func (j *Judge) View(now time.Time) *adminv1.FleetHealth {
	m := j.tell(now)
	v := &adminv1.FleetHealth{
		Time: timestamppb.New(now), Leader: j.o.Leader, LeadingSince: timestamppb.New(j.clock(j.time(beginning))),
		Proxies: make([]*adminv1.ProxyHealth, 0, len(j.fleet)), Accounts: make([]*adminv1.AccountHealthView, 0, len(j.list)),
	}
	for _, p := range j.fleet {
		v.Proxies = append(v.Proxies, p.view(m))
	}
	for _, a := range j.list {
		v.Accounts = append(v.Accounts, j.viewOf(a, m))
	}
	return v
}

func (p *proxy) view(m moment) *adminv1.ProxyHealth {
	s := p.stats
	v := &adminv1.ProxyHealth{
		Id: p.id, Hostname: strings.ToValidUTF8(p.host, "?"), Requests: s.GetRequests(), Failures: s.GetFailures(), Unavailable: s.GetUnavailable(),
		Attempts: s.GetAttempts(), AttemptFailures: s.GetAttemptFailures(), Retries: s.GetRetries(), Spilled: s.GetSpilled(),
		Panicked: s.GetPanicked(), MissedFound: s.GetMissedFound(), MissedFinal: s.GetMissedFinal(), Hedges: s.GetHedges(),
		Throttled: s.GetThrottled(), InFlight: s.GetInFlight(), InputTokens: s.GetInputTokens(), OutputTokens: s.GetOutputTokens(),
		Uptime: durationpb.New(span(s.GetUptime(), 1<<62)),
	}
	if p.reported != 0 {
		v.Age = durationpb.New(m.sub(p.reported))
	}
	v.RequestRate, v.FailureRate = p.rates(m)
	return v
}

func (j *Judge) viewOf(a *account, m moment) *adminv1.AccountHealthView {
	v := &adminv1.AccountHealthView{
		Id: a.ID, Name: a.Name, Channel: a.Channel, Health: j.condition(a, m), InFlight: a.inFlight(nil),
	}
	if t := a.traffic; t != nil {
		j.turn(t, m)
		v.Ok, v.Failed = t.counts()
		v.RequestRate = t.perSecond()
		if d, ok := t.quantile(0.5); ok {
			v.TtftP50 = durationpb.New(d)
		}
		if d, ok := t.quantile(0.95); ok {
			v.TtftP95 = durationpb.New(d)
		}
		v.Faults = t.faults()
	}
	if a.headroom >= 0 && (a.headroomReset == 0 || a.headroomReset > m) {
		v.Headroom = proto.Float64(float64(a.headroom))
	}
	for _, f := range a.families {
		if left := f.until.sub(m); left > 0 {
			if v.RestingFamilies == nil {
				v.RestingFamilies = map[string]*durationpb.Duration{}
			}
			v.RestingFamilies[f.name] = durationpb.New(left)
		}
	}
	if j.coming(a, m) && !a.Disabled {
		v.SlowStart = a.breaker.Share(j.time(m), &j.rules)
	}
	return v
}

// condition is an account's health with its short rests, which are nobody's verdict.
func (j *Judge) condition(a *account, m moment) *resourcev1.AccountHealth {
	s := a.verdict()
	h := j.health(s)
	if a.Disabled {
		return &resourcev1.AccountHealth{State: resourcev1.HealthState_HEALTH_STATE_DISABLED, Reason: "operator"}
	}
	if s.state != breaker.Closed {
		return h
	}
	if left, ordered, reason := a.resting(j, m); left > 0 {
		h.State, h.Reason, h.Ordered = resourcev1.HealthState_HEALTH_STATE_OPEN, reason, ordered
		h.Until, h.Since = timestamppb.New(j.clock(j.time(m.add(left)))), nil
	}
	return h
}
