package lease

import (
	"math"
	"slices"

	"fairway/pkg/bank"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// balance is what was spent in one window of a budget.
type balance struct {
	kind   bank.Kind
	window int64
	spent  int64 // nano-USD
}

// account is all that an owner has spent. One that others see is never written to.
type account []balance

// accountOf reads what is stored.
func accountOf(b *resourcev1.Balances) account {
	a := make(account, 0, len(b.GetBalances()))
	for _, s := range b.GetBalances() {
		if p := s.GetPeriod(); p > 0 && p <= math.MaxUint8 && s.GetSpentNanoUsd() > 0 {
			k := bank.Kind{What: bank.Cost, Period: bank.Period(p), Minutes: s.GetRollingMinutes()}
			a = append(a, balance{kind: k, window: s.GetWindow(), spent: s.GetSpentNanoUsd()})
		}
	}
	return a
}

// stored is what is stored of it.
func (a account) stored() *resourcev1.Balances {
	b := &resourcev1.Balances{Balances: make([]*resourcev1.Balance, len(a))}
	for i, s := range a {
		b.Balances[i] = &resourcev1.Balance{
			Period: int32(s.kind.Period), RollingMinutes: s.kind.Minutes, Window: s.window, SpentNanoUsd: s.spent,
		}
	}
	return b
}

// add puts an amount into a window, and drops what is older than the oldest that counts. The sum stops at the end of
// int64.
func (a account) add(k bank.Kind, p bank.Place, amount int64) account {
	a = slices.DeleteFunc(a, func(s balance) bool { return s.kind == k && s.window < p.Oldest })
	for i := range a {
		if s := &a[i]; s.kind == k && s.window == p.Window {
			if s.spent > math.MaxInt64-amount {
				amount = math.MaxInt64 - s.spent
			}
			s.spent += amount
			return a
		}
	}
	return append(a, balance{kind: k, window: p.Window, spent: amount})
}

// sum is what was spent in some windows.
func (a account) sum(k bank.Kind, oldest, last int64) int64 {
	var sum int64
	for _, s := range a {
		if s.kind == k && s.window >= oldest && s.window <= last {
			if sum > math.MaxInt64-s.spent {
				return math.MaxInt64
			}
			sum += s.spent
		}
	}
	return sum
}

// windows are what was spent of one budget, by window.
func (a account) windows(k bank.Kind) map[int64]int64 {
	var by map[int64]int64
	for _, s := range a {
		if s.kind == k {
			if by == nil {
				by = map[int64]int64{}
			}
			by[s.window] = s.spent
		}
	}
	return by
}

// only returns what belongs to budgets that there are; a itself when that is all.
func (a account) only(l *resourcev1.Limits) account {
	gone := func(s balance) bool { return budgetOf(l, s.kind) == nil }
	if !slices.ContainsFunc(a, gone) {
		return a
	}
	return slices.DeleteFunc(slices.Clone(a), gone)
}
