package limit

import (
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// limitName is a LimitRef that can be compared.
type limitName struct {
	scope   syncv1.LimitScope
	id      string
	what    syncv1.LimitWhat
	period  syncv1.LimitPeriod
	minutes uint32
}

func name(r *syncv1.LimitRef) limitName {
	return limitName{r.GetScope(), r.GetId(), r.GetWhat(), r.GetPeriod(), r.GetRollingMinutes()}
}

// ref is what the leader calls a purse's limit.
func ref(w *wallet, p *purse) *syncv1.LimitRef {
	r := &syncv1.LimitRef{Id: w.id, RollingMinutes: p.minutes}
	switch w.scope {
	case Tenant:
		r.Scope = syncv1.LimitScope_LIMIT_SCOPE_TENANT
	case Group:
		r.Scope = syncv1.LimitScope_LIMIT_SCOPE_GROUP
	case Key:
		r.Scope = syncv1.LimitScope_LIMIT_SCOPE_KEY
	}
	switch p.what {
	case Requests:
		r.What = syncv1.LimitWhat_LIMIT_WHAT_REQUESTS
	case Tokens:
		r.What = syncv1.LimitWhat_LIMIT_WHAT_TOKENS
	case Concurrency:
		r.What = syncv1.LimitWhat_LIMIT_WHAT_CONCURRENCY
	case Cost:
		r.What = syncv1.LimitWhat_LIMIT_WHAT_COST
	}
	switch p.over {
	case Minute:
		r.Period = syncv1.LimitPeriod_LIMIT_PERIOD_MINUTE
	case Day:
		r.Period = syncv1.LimitPeriod_LIMIT_PERIOD_DAY
	case Week:
		r.Period = syncv1.LimitPeriod_LIMIT_PERIOD_WEEK
	case Month:
		r.Period = syncv1.LimitPeriod_LIMIT_PERIOD_MONTH
	case Rolling:
		r.Period = syncv1.LimitPeriod_LIMIT_PERIOD_ROLLING
	case Always:
		r.Period = syncv1.LimitPeriod_LIMIT_PERIOD_TOTAL
		if p.what == Concurrency {
			r.Period = syncv1.LimitPeriod_LIMIT_PERIOD_NONE
		}
	}
	return r
}
