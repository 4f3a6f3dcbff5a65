package lease

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/pkg/bank"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// Status tells where the limits of a key, group or tenant stand. Where another replica leads it fails with a
// NotLeaderError.
func (l *Leases) Status(ctx context.Context, scope bank.Scope, id string) ([]*adminv1.LimitStatus, error) {
	t := l.current()
	if t == nil {
		return nil, l.notLeader(ctx)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	who, now := bank.Owner{Scope: scope, ID: id}, t.l.o.Clock()
	var all []*adminv1.LimitStatus
	for _, limit := range bankLimits(limitsOf(t.state.Load(), who), nil) {
		if s := t.status(bank.ID{Owner: who, Kind: limit.Kind}, now); s != nil {
			all = append(all, s)
		}
	}
	return all, nil
}

// status is where one limit stands; nil = the bank does not know of it yet.
func (t *term) status(id bank.ID, now bank.Moment) *adminv1.LimitStatus {
	if id.Booked() {
		// The bank knows only the balances of limits that are in use.
		t.bank.Open(id, t.spent[id.Owner].windows(id.Kind), now)
	}
	v, ok := t.bank.Outstanding(id, now)
	if !ok {
		return nil
	}
	s := &adminv1.LimitStatus{
		Scope: string(kindOf(id.Scope)), Name: t.nameOf(id.Owner), What: whatName(id.What),
		Window: periodName(id.Period), RollingMinutes: id.Minutes,
		Limit: v.Amount, Used: add(v.Booked, add(v.Spent, v.Ended)), Lent: v.Held, Left: v.Left, Excess: v.Excess, Late: v.Late,
		Waiting: v.Waiting, Proxies: int32(min(v.Proxies, 1<<30)),
	}
	if w, ok := t.bank.Now(id, now); ok && !w.To.IsZero() {
		s.ResetTime = timestamppb.New(w.To)
	}
	return s
}

func whatName(w bank.What) string {
	switch w {
	case bank.Requests:
		return "requests"
	case bank.Tokens:
		return "tokens"
	case bank.Concurrency:
		return "concurrency"
	default:
		return "cost"
	}
}

// periodName is the window's name; slots have none.
func periodName(p bank.Period) string {
	switch p {
	case bank.Minute:
		return "minute"
	case bank.Day:
		return "day"
	case bank.Week:
		return "week"
	case bank.Month:
		return "month"
	case bank.Total:
		return "total"
	case bank.Rolling:
		return "rolling"
	default:
		return ""
	}
}
