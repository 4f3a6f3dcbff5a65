package lease

import (
	"math"
	"math/bits"
	"time"

	"fairway/pkg/bank"
	"fairway/pkg/money"
)

// BudgetEvent says how much of a budget is spent, on the books, in the window that is now.
type BudgetEvent struct {
	Scope        string // key, group or tenant
	ID, Name     string
	Window       string // day, week, month, total or rolling
	WindowNumber int64
	Percent      uint32 // that is reached
	Spent, Limit money.NanoUSD
	Ends         time.Time // of the window; zero = never
}

// reached says whether a whole percent more of a budget is spent than before. next is its owner's account with the posting
// in it. t.mu is held.
func (t *term) reached(p posting, next account, now bank.Moment) (BudgetEvent, bool) {
	b := budgetOf(limitsOf(t.state.Load(), p.Owner), p.Kind)
	if b == nil || p.place.Window != p.place.Last && p.Period != bank.Rolling {
		return BudgetEvent{}, false
	}
	spent := next.sum(p.Kind, p.place.Oldest, p.place.Last)
	before := t.spent[p.Owner].sum(p.Kind, p.place.Oldest, p.place.Last)
	limit := b.GetAmountNanoUsd()
	reached := percent(spent, limit)
	if reached <= percent(before, limit) {
		return BudgetEvent{}, false
	}
	w, _ := t.bank.Now(p.ID, now)
	return BudgetEvent{
		Scope: string(kindOf(p.Scope)), ID: p.Owner.ID, Name: t.nameOf(p.Owner),
		Window: periodName(p.Period), WindowNumber: p.place.Last, Percent: reached,
		Spent: money.NanoUSD(spent), Limit: money.NanoUSD(limit), Ends: w.To,
	}, true
}

// percent is how many whole percent of a limit are spent.
func percent(spent, limit int64) uint32 {
	if spent <= 0 || limit <= 0 {
		return 0
	}
	hi, lo := bits.Mul64(uint64(spent), 100)
	if hi >= uint64(limit) {
		return math.MaxUint32
	}
	q, _ := bits.Div64(hi, lo, uint64(limit))
	return uint32(min(q, math.MaxUint32))
}
