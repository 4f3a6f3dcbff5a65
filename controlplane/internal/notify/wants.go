package notify

import (
	"slices"
	"time"

	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// notifiers are those that are not disabled and want to hear of such events.
func notifiers(s *model.State, of resourcev1.NotificationEvent) []*resourcev1.Notifier {
	var all []*resourcev1.Notifier
	for r := range s.All(model.KindNotifier) {
		n, ok := r.(*resourcev1.Notifier)
		if ok && !n.GetDisabled() && (len(n.GetEvents()) == 0 || slices.Contains(n.GetEvents(), of)) {
			all = append(all, n)
		}
	}
	return all
}

// concerns says whether what belongs to a tenant, or to nobody (empty), is a notifier's concern.
func concerns(s *model.State, n *resourcev1.Notifier, tenant string) bool {
	return n.GetTenant() == "" || model.Within(s, tenant, n.GetTenant())
}

// tenantOf is the tenant that the owner of a budget belongs to; empty for groups, and for what is gone.
func tenantOf(s *model.State, scope, id string) string {
	r, ok := s.Get(model.Kind(scope), id)
	if !ok {
		return ""
	}
	switch r := r.(type) {
	case *resourcev1.Key:
		return r.GetTenant()
	case *resourcev1.Tenant:
		return r.GetMetadata().GetName()
	default:
		return ""
	}
}

// rollingOf is how long the rolling budget of a key, group or tenant is; 0 = it has none.
func rollingOf(s *model.State, scope, id string) time.Duration {
	r, _ := s.Get(model.Kind(scope), id)
	limited, ok := r.(interface{ GetLimits() *resourcev1.Limits })
	if !ok {
		return 0
	}
	for _, b := range limited.GetLimits().GetBudgets() {
		if b.GetWindow() == resourcev1.BudgetWindow_BUDGET_WINDOW_ROLLING {
			return time.Duration(b.GetRollingMinutes()) * time.Minute
		}
	}
	return 0
}

// percentsOf are the percents of budgets that a notifier wants to hear of.
func percentsOf(n *resourcev1.Notifier) []uint32 {
	if p := n.GetBudgetPercents(); len(p) > 0 {
		return p
	}
	return []uint32{80, 100}
}

// reached is the highest of a notifier's percents that a budget has come to; 0 = none.
func reached(n *resourcev1.Notifier, percent uint32) uint32 {
	highest := uint32(0)
	for _, p := range percentsOf(n) {
		if p <= percent {
			highest = max(highest, p)
		}
	}
	return highest
}

// leastPercent is the lowest percent that anybody wants to hear of; 0 = nobody wants any.
func leastPercent(s *model.State) uint32 {
	least := uint32(0)
	for _, n := range notifiers(s, resourcev1.NotificationEvent_NOTIFICATION_EVENT_BUDGET) {
		if p := slices.Min(percentsOf(n)); least == 0 || p < least {
			least = p
		}
	}
	return least
}

// daysOf are how many days before a key's end a notifier wants to hear of it.
func daysOf(n *resourcev1.Notifier) []uint32 {
	if d := n.GetExpiryDays(); len(d) > 0 {
		return d
	}
	return []uint32{7, 1}
}

// dueDays is how many of a notifier's days are left of a key at most; 0 = more than all of them, or none at all. A key
// that was made to live no longer than that is no news.
func dueDays(n *resourcev1.Notifier, k *resourcev1.Key, now time.Time) uint32 {
	if k.GetExpireTime() == nil || k.GetDisabled() {
		return 0
	}
	ends := k.GetExpireTime().AsTime()
	left, life := ends.Sub(now), ends.Sub(k.GetMetadata().GetCreateTime().AsTime())
	if d := k.GetExpireAfterFirstUse(); d != nil {
		life = min(life, d.AsDuration())
	}
	if left <= 0 {
		return 0
	}
	due := uint32(0)
	for _, days := range daysOf(n) {
		span := time.Duration(days) * 24 * time.Hour
		if left <= span && span < life && (due == 0 || days < due) {
			due = days
		}
	}
	return due
}
