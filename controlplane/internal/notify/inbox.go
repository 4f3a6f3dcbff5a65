package notify

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxBudgets bounds the budgets that wait to be looked at, and maxModels the models of a day: those without a price, with
	// their keys, and those whose estimates are looked at.
	maxBudgets = 4096
	maxModels  = 1000
)

// inbox takes in what other rooms tell, without making them wait, and keeps of each budget the newest.
type inbox struct {
	wake  chan struct{} // one place
	least atomic.Uint32 // the lowest percent that anybody wants to hear of; 0 = nobody wants any

	mu        sync.Mutex
	budgets   map[budgetKey]BudgetEvent
	day       int64
	seen      map[unpricedUse]bool
	models    []unpricedUse
	estimates map[string]*drift // of the day, by model
	drifts    []drift
}

// budgetKey names a window of a budget.
type budgetKey struct {
	scope, id, window string
	number            int64
}

// unpricedUse is a model without a price, and who asked for it.
type unpricedUse struct{ model, key string }

func newInbox() *inbox {
	return &inbox{
		wake: make(chan struct{}, 1), budgets: map[budgetKey]BudgetEvent{}, seen: map[unpricedUse]bool{}, estimates: map[string]*drift{},
	}
}

func (i *inbox) wakeUp() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

func (i *inbox) budget(e BudgetEvent) {
	if least := i.least.Load(); least == 0 || e.Percent < least {
		return
	}
	k := budgetKey{e.Scope, e.ID, e.Window, e.WindowNumber}
	i.mu.Lock()
	defer i.mu.Unlock()
	if old, ok := i.budgets[k]; ok && old.Percent >= e.Percent || !ok && len(i.budgets) >= maxBudgets {
		return
	}
	i.budgets[k] = e
	i.wakeUp()
}

func (i *inbox) unpriced(model, key string, now time.Time) {
	use := unpricedUse{model, key}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.turn(now)
	if i.seen[use] || len(i.seen) >= maxModels {
		return
	}
	i.seen[use] = true
	i.models = append(i.models, use)
	i.wakeUp()
}

func (i *inbox) estimate(model string, reserved, used int64, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.turn(now)
	d := i.estimates[model]
	if d == nil {
		if len(i.estimates) >= maxModels {
			return
		}
		d = &drift{model: model, day: i.day}
		i.estimates[model] = d
	}
	if d.heard {
		return
	}
	d.add(reserved, used)
	if d.heard = d.far(); d.heard {
		i.drifts = append(i.drifts, *d)
		i.wakeUp()
	}
}

// turn forgets what belongs to another day. The caller holds mu.
func (i *inbox) turn(now time.Time) {
	if day := dayOf(now); day != i.day {
		i.day = day
		clear(i.seen)
		clear(i.estimates)
	}
}

// take empties the inbox.
func (i *inbox) take() (budgets []BudgetEvent, models []unpricedUse, drifts []drift) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range i.budgets {
		budgets = append(budgets, e)
	}
	clear(i.budgets)
	models, i.models = i.models, nil
	drifts, i.drifts = i.drifts, nil
	return budgets, models, drifts
}

// clear forgets everything: whoever leads next hears of it.
func (i *inbox) clear() {
	i.mu.Lock()
	defer i.mu.Unlock()
	clear(i.budgets)
	clear(i.seen)
	clear(i.estimates)
	i.models, i.drifts = nil, nil
}

// dayOf numbers days of UTC.
func dayOf(t time.Time) int64 { return t.Unix() / int64(24*time.Hour/time.Second) }
