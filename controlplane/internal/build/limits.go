package build

import (
	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// tenant has no defaults to fill in. What groups its keys may name is settled where keys are written.
func tenant(s *model.State, t *resourcev1.Tenant, missing *[]Ref) *syncv1.TenantState {
	parent := ""
	if t.GetParent() != "" {
		parent, _ = resolve(s, model.KindTenant, t.GetParent(), missing)
	}
	return &syncv1.TenantState{
		Name:     t.GetMetadata().GetName(),
		ParentId: parent,
		Disabled: t.GetDisabled(),
		Limits:   limits(t.GetLimits()),
	}
}

// limits is nil where nothing is limited, whatever is said of how.
func limits(l *resourcev1.Limits) *syncv1.LimitsState {
	if !model.Limited(l) {
		return nil
	}
	fallback := l.GetFallback()
	if fallback == resourcev1.LimitFallback_LIMIT_FALLBACK_UNSPECIFIED {
		fallback = resourcev1.LimitFallback_LIMIT_FALLBACK_CLOSED
	}
	budgets := make([]*syncv1.BudgetState, 0, len(l.GetBudgets()))
	for _, b := range l.GetBudgets() {
		budgets = append(budgets, &syncv1.BudgetState{
			AmountNanoUsd: b.GetAmountNanoUsd(), Window: int32(b.GetWindow()), RollingMinutes: b.GetRollingMinutes(),
		})
	}
	return &syncv1.LimitsState{
		Rpm:               l.GetRpm(),
		Tpm:               l.GetTpm(),
		Concurrency:       l.GetConcurrency(),
		Budgets:           budgets,
		MaxRequestTokens:  l.GetMaxRequestTokens(),
		MaxRequestNanoUsd: l.GetMaxRequestNanoUsd(),
		Fallback:          int32(fallback),
	}
}
