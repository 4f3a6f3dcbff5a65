package gateway

import (
	"context"
	"sync"
	"testing"
	"time"

	"fairway/dataplane/internal/limit"
	"fairway/pkg/bank"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// leader lends credits as the control plane's does, without a network on the way: it is noon when it begins, whatever the
// machine's clock says, so that no window turns during a test.
type leader struct {
	t      testing.TB
	keeper *limit.Keeper
	books  *books
	began  time.Time
	stop   func()

	mu       sync.Mutex
	bank     *bank.Bank
	budgets  []bank.ID
	acked    uint64
	messages int
	generous bool // it lends a thousand credits to who wants one
}

// patience is for tests in which nobody is refused for waiting too long.
const patience = 20 * time.Second

// lend gives the world a leader, which lends while it runs. Requests wait for it so long.
func (w *world) lend(wait time.Duration) *leader {
	w.t.Helper()
	l := &leader{t: w.t, books: w.books, began: time.Now(), bank: bank.New(bank.Options{Term: 1, FirstEver: true, TTL: time.Hour})}
	l.keeper = limit.New(limit.Options{BootID: "me", Wait: wait, Spooled: l.spooled, Acked: l.booked})
	w.gateway.limits = l.keeper
	l.bank.Begin(l.now())
	l.run()
	return l
}

func (l *leader) now() bank.Moment {
	d := time.Since(l.began)
	return bank.Moment{Mono: d, Wall: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC).Add(d)}
}

func (l *leader) spooled() uint64 { return uint64(len(l.books.all())) }

func (l *leader) booked() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked
}

// run has the leader listen until stop is called.
func (l *leader) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var listening sync.WaitGroup
	l.stop = func() {
		cancel()
		listening.Wait()
	}
	l.t.Cleanup(func() { l.stop() })
	listening.Go(func() {
		ticks := time.NewTicker(2 * time.Millisecond)
		defer ticks.Stop()
		for ctx.Err() == nil {
			l.exchange()
			select {
			case <-ticks.C:
				l.keeper.Tick(time.Now())
			case <-l.keeper.Wake():
			case <-ctx.Done():
			}
		}
	})
}

// exchange has the keeper say what it has to say, and the bank answer.
func (l *leader) exchange() {
	for _, r := range l.keeper.Ask(time.Now()) {
		for _, answer := range l.hear(r) {
			l.keeper.Apply(answer, time.Now())
		}
	}
}

func (l *leader) hear(r *syncv1.LeaseRequest) (answers []*syncv1.LeaseResponse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages++
	for _, h := range r.GetHoldings() {
		if l.generous && h.GetWant() > 0 {
			h.Want = 1000 * h.GetLeast()
		}
	}
	answer, err := l.bank.Handle("me", r, l.now())
	if err != nil {
		l.t.Error(err)
	}
	if answer != nil {
		answers = append(answers, answer)
	}
	for _, wanted := range l.bank.Wanted(100, l.now()) {
		l.bank.Open(wanted.ID, nil, l.now())
	}
	for _, n := range l.bank.Tick(l.now()) {
		answers = append(answers, n.Response)
	}
	return answers
}

// heard is how many messages came.
func (l *leader) heard() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.messages
}

// commit puts all records on the books of all budgets, and says so.
func (l *leader) commit() {
	all := l.books.all()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range all[l.acked:] {
		for _, id := range l.budgets {
			l.bank.Settled("me", id, l.now().Wall, r.CostNanoUSD, l.now())
		}
	}
	l.acked = uint64(len(all))
}

// view is where a limit stands, as the leader knows it.
func (l *leader) view(who bank.Owner, kind bank.Kind) bank.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, _ := l.bank.Outstanding(bank.ID{Owner: who, Kind: kind}, l.now())
	return v
}

// Who has limits in these tests, and what they count.
var (
	theKey    = bank.Owner{Scope: bank.Key, ID: "k1"}
	theGroup  = bank.Owner{Scope: bank.Group, ID: "g1"}
	theTenant = bank.Owner{Scope: bank.Tenant, ID: "t1"}
	theParent = bank.Owner{Scope: bank.Tenant, ID: "t0"}

	requestsAMinute = bank.Kind{What: bank.Requests, Period: bank.Minute}
	tokensAMinute   = bank.Kind{What: bank.Tokens, Period: bank.Minute}
	slots           = bank.Kind{What: bank.Concurrency, Period: bank.None}
	costInAll       = bank.Kind{What: bank.Cost, Period: bank.Total}
)

// budgetOf is a budget for ever, or of a day.
func budgetOf(nano int64, window resourcev1.BudgetWindow) []*syncv1.BudgetState {
	return []*syncv1.BudgetState{{AmountNanoUsd: nano, Window: int32(window)}}
}

// limits sets the limits above the world's key, for the state and for the leader, and publishes.
func (w *world) limits(l *leader, of map[bank.Owner]*syncv1.LimitsState) {
	w.t.Helper()
	for _, st := range of {
		st.Fallback = int32(resourcev1.LimitFallback_LIMIT_FALLBACK_CLOSED)
	}
	key := keyState(w.key, "g1")
	key.TenantId, key.Limits = "t1", of[theKey]
	w.put(syncv1.Kind_KIND_TENANT, "t0", &syncv1.TenantState{Name: "whole", Limits: of[theParent]})
	w.put(syncv1.Kind_KIND_TENANT, "t1", &syncv1.TenantState{Name: "part", ParentId: "t0", Limits: of[theTenant]})
	w.put(syncv1.Kind_KIND_GROUP, "g1", &syncv1.GroupState{Name: "default", Strategy: 1, PriceRatioPpm: 2_000_000, Limits: of[theGroup]})
	w.put(syncv1.Kind_KIND_KEY, "k1", key)
	w.publish()
	l.mu.Lock()
	defer l.mu.Unlock()
	for who, st := range of {
		l.bank.Configure(who, l.configure(who, st), l.now())
	}
}

func (l *leader) configure(who bank.Owner, st *syncv1.LimitsState) []bank.Limit {
	var all []bank.Limit
	add := func(k bank.Kind, amount int64) {
		if amount > 0 {
			all = append(all, bank.Limit{Kind: k, Amount: amount})
		}
	}
	add(requestsAMinute, st.GetRpm())
	add(tokensAMinute, st.GetTpm())
	add(slots, st.GetConcurrency())
	for _, b := range st.GetBudgets() {
		k := costInAll
		if resourcev1.BudgetWindow(b.GetWindow()) == resourcev1.BudgetWindow_BUDGET_WINDOW_DAY {
			k.Period = bank.Day
		}
		add(k, b.GetAmountNanoUsd())
		l.budgets = append(l.budgets, bank.ID{Owner: who, Kind: k})
	}
	return all
}

// billed is a proxy with one account whose model costs 1 nano-USD a token that goes in and 2 for one that comes out, twice
// that for the group: cheapBody costs 30 nano-USD, of 3 tokens and 6, and is estimated at about 40.
func billed(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	w.put(syncv1.Kind_KIND_MODEL, "m1", &syncv1.ModelState{
		Name: "gpt-x", Priced: true, Input: 1_000_000, CachedInput: 500_000, Output: 2_000_000,
	})
	w.tiers(secretA)
	return w
}

const (
	cheapBody   = `{"model":"gpt-x","max_tokens":6,"messages":[{"role":"user","content":"one two three"}]}`
	cheapStream = `{"model":"gpt-x","max_tokens":6,"stream":true,"messages":[{"role":"user","content":"one two three"}]}`
)
