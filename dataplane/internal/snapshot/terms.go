package snapshot

import (
	"errors"
	"fmt"

	"fairway/dataplane/internal/limit"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// mostBudgets is how many budgets one scope may have, as resource.v1.Limits says.
const mostBudgets = 5

// terms compiles the limits of a scope; nil = none. It refuses what it does not know rather than leave a limit out.
func terms(scope limit.Scope, id string, version int64, st *syncv1.LimitsState) (*limit.Terms, error) {
	if st == nil {
		return nil, nil
	}
	r := limit.Rules{Version: version, MaxTokens: st.GetMaxRequestTokens(), MaxCost: st.GetMaxRequestNanoUsd()}
	if min(st.GetRpm(), st.GetTpm(), st.GetConcurrency(), r.MaxTokens, r.MaxCost) < 0 {
		return nil, errors.New("limits: an amount is negative")
	}
	for _, l := range [...]limit.Limit{
		{What: limit.Requests, Over: limit.Minute, Amount: st.GetRpm()},
		{What: limit.Tokens, Over: limit.Minute, Amount: st.GetTpm()},
		{What: limit.Concurrency, Amount: st.GetConcurrency()},
	} {
		if l.Amount > 0 {
			r.Limits = append(r.Limits, l)
		}
	}
	if len(st.GetBudgets()) > mostBudgets {
		return nil, fmt.Errorf("limits: %d budgets, want %d at most", len(st.GetBudgets()), mostBudgets)
	}
	for _, b := range st.GetBudgets() {
		l, err := budget(b)
		if err != nil {
			return nil, err
		}
		r.Limits = append(r.Limits, l)
	}
	var err error
	if r.Away, err = policy(st.GetFallback()); err != nil {
		return nil, err
	}
	return limit.NewTerms(scope, id, r), nil
}

func budget(st *syncv1.BudgetState) (limit.Limit, error) {
	l := limit.Limit{What: limit.Cost, Amount: st.GetAmountNanoUsd()}
	if l.Amount <= 0 {
		return l, errors.New("limits: a budget is not positive")
	}
	switch resourcev1.BudgetWindow(st.GetWindow()) {
	case resourcev1.BudgetWindow_BUDGET_WINDOW_DAY:
		l.Over = limit.Day
	case resourcev1.BudgetWindow_BUDGET_WINDOW_WEEK:
		l.Over = limit.Week
	case resourcev1.BudgetWindow_BUDGET_WINDOW_MONTH:
		l.Over = limit.Month
	case resourcev1.BudgetWindow_BUDGET_WINDOW_TOTAL:
		l.Over = limit.Always
	case resourcev1.BudgetWindow_BUDGET_WINDOW_ROLLING:
		if l.Over, l.Minutes = limit.Rolling, st.GetRollingMinutes(); l.Minutes == 0 {
			return l, errors.New("limits: a rolling budget has no length")
		}
	default:
		return l, errors.New("limits: an unknown window of a budget")
	}
	return l, nil
}

func policy(fallback int32) (limit.Policy, error) {
	switch resourcev1.LimitFallback(fallback) {
	case resourcev1.LimitFallback_LIMIT_FALLBACK_UNSPECIFIED, resourcev1.LimitFallback_LIMIT_FALLBACK_CLOSED:
		return limit.Closed, nil
	case resourcev1.LimitFallback_LIMIT_FALLBACK_SAFE:
		return limit.Safe, nil
	case resourcev1.LimitFallback_LIMIT_FALLBACK_OPEN:
		return limit.Open, nil
	default:
		return limit.Closed, errors.New("limits: an unknown fallback")
	}
}
