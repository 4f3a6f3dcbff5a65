package lease

import (
	"time"
	_ "time/tzdata" // Days begin where the limit says, whatever the machine has installed.

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/bank"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// limited is a resource that can have limits.
type limited interface {
	GetLimits() *resourcev1.Limits
}

// limitless says whether a resource, nil included, has none.
func limitless(r model.Resource) bool {
	l, ok := r.(limited)
	return !ok || l.GetLimits() == nil
}

// scopeOf is the scope of the limits of a kind of resource.
func scopeOf(k model.Kind) (bank.Scope, bool) {
	switch k {
	case model.KindKey:
		return bank.Key, true
	case model.KindGroup:
		return bank.Group, true
	case model.KindTenant:
		return bank.Tenant, true
	}
	return 0, false
}

// kindOf is the reverse of scopeOf.
func kindOf(s bank.Scope) model.Kind {
	switch s {
	case bank.Key:
		return model.KindKey
	case bank.Group:
		return model.KindGroup
	default:
		return model.KindTenant
	}
}

// keyOf is where an owner's balances are stored.
func keyOf(who bank.Owner) store.BalanceKey {
	return store.BalanceKey{Scope: string(kindOf(who.Scope)), ID: who.ID}
}

// ownerOf is the reverse of keyOf.
func ownerOf(k store.BalanceKey) bank.Owner {
	s, _ := scopeOf(model.Kind(k.Scope))
	return bank.Owner{Scope: s, ID: k.ID}
}

// limitsOf returns an owner's limits; nil = none.
func limitsOf(s *model.State, who bank.Owner) *resourcev1.Limits {
	if r, ok := s.Get(kindOf(who.Scope), who.ID); ok {
		if l, ok := r.(limited); ok {
			return l.GetLimits()
		}
	}
	return nil
}

// budgetKind is what the bank calls a budget.
func budgetKind(b *resourcev1.Budget) bank.Kind {
	switch b.GetWindow() {
	case resourcev1.BudgetWindow_BUDGET_WINDOW_DAY:
		return bank.Kind{What: bank.Cost, Period: bank.Day}
	case resourcev1.BudgetWindow_BUDGET_WINDOW_WEEK:
		return bank.Kind{What: bank.Cost, Period: bank.Week}
	case resourcev1.BudgetWindow_BUDGET_WINDOW_MONTH:
		return bank.Kind{What: bank.Cost, Period: bank.Month}
	case resourcev1.BudgetWindow_BUDGET_WINDOW_TOTAL:
		return bank.Kind{What: bank.Cost, Period: bank.Total}
	case resourcev1.BudgetWindow_BUDGET_WINDOW_ROLLING:
		return bank.Kind{What: bank.Cost, Period: bank.Rolling, Minutes: b.GetRollingMinutes()}
	default:
		return bank.Kind{} // not valid
	}
}

// budgetOf finds the budget that the bank calls so; nil = there is none.
func budgetOf(l *resourcev1.Limits, k bank.Kind) *resourcev1.Budget {
	for _, b := range l.GetBudgets() {
		if budgetKind(b) == k {
			return b
		}
	}
	return nil
}

// zones are the time zones in use, by name.
type zones map[string]*time.Location

func (z zones) find(name string) *time.Location {
	if name == "" {
		return time.UTC
	}
	zone, ok := z[name]
	if !ok {
		var err error
		if zone, err = time.LoadLocation(name); err != nil {
			zone = time.UTC
		}
		z[name] = zone
	}
	return zone
}

// bankLimits are an owner's limits as the bank takes them, in the order in which they are shown.
func bankLimits(l *resourcev1.Limits, zone *time.Location) []bank.Limit {
	var all []bank.Limit
	add := func(k bank.Kind, amount int64) {
		if amount > 0 {
			all = append(all, bank.Limit{Kind: k, Amount: amount, Zone: zone})
		}
	}
	add(bank.Kind{What: bank.Requests, Period: bank.Minute}, l.GetRpm())
	add(bank.Kind{What: bank.Tokens, Period: bank.Minute}, l.GetTpm())
	add(bank.Kind{What: bank.Concurrency, Period: bank.None}, l.GetConcurrency())
	for _, b := range l.GetBudgets() {
		add(budgetKind(b), b.GetAmountNanoUsd())
	}
	return all
}
