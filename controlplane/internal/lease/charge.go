package lease

import (
	"context"
	"slices"
	"strings"
	"time"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/bank"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Owners returns whose balances a record adds to: those of its key, its group, its tenant and what that is a part of, as
// far as they have budgets. Where the record does not tell the group or tenant, they are the key's. It is for planning a
// commit: Charge has the last word.
func (l *Leases) Owners(r *syncv1.UsageRecord) []store.BalanceKey {
	t := l.current()
	if t == nil {
		return nil
	}
	var all []store.BalanceKey
	for _, who := range payers(t.state.Load(), r) {
		all = append(all, keyOf(who))
	}
	return all
}

// payers are the owners whose budgets a record counts for.
func payers(s *model.State, r *syncv1.UsageRecord) []bank.Owner {
	if r.GetCostNanoUsd() <= 0 {
		return nil
	}
	var all []bank.Owner
	add := func(scope bank.Scope, id string) {
		who := bank.Owner{Scope: scope, ID: id}
		if id != "" && len(limitsOf(s, who).GetBudgets()) > 0 {
			all = append(all, who)
		}
	}
	key := keyIn(s, r.GetKeyId())
	add(bank.Key, r.GetKeyId())
	group, tenant := r.GetGroupId(), r.GetTenantId()
	if group == "" && key != nil {
		group = idOf(s, model.KindGroup, orDefault(key.GetGroup()))
	}
	add(bank.Group, group)
	if tenant == "" {
		tenant = idOf(s, model.KindTenant, key.GetTenant())
	}
	add(bank.Tenant, tenant)
	add(bank.Tenant, parentOf(s, tenant))
	return all
}

func keyIn(s *model.State, id string) *resourcev1.Key {
	r, _ := s.Get(model.KindKey, id)
	key, _ := r.(*resourcev1.Key)
	return key
}

// idOf is the id of what has a name; empty = nothing has.
func idOf(s *model.State, k model.Kind, name string) string {
	if name == "" {
		return ""
	}
	r, ok := s.ByName(k, name)
	if !ok {
		return ""
	}
	return r.GetMetadata().GetId()
}

// parentOf is the id of what a tenant is a part of; empty = nothing.
func parentOf(s *model.State, tenant string) string {
	r, _ := s.Get(model.KindTenant, tenant)
	t, _ := r.(*resourcev1.Tenant)
	if parent := idOf(s, model.KindTenant, t.GetParent()); parent != tenant {
		return parent
	}
	return ""
}

func orDefault(group string) string {
	if group == "" {
		return model.DefaultGroup
	}
	return group
}

// begun is when a record's request began, and its credits were taken.
func begun(r *syncv1.UsageRecord) time.Time {
	if ms := r.GetBeginMs(); ms > 0 {
		return time.UnixMilli(ms)
	}
	return time.UnixMilli(r.GetTimeMs())
}

// Charges are what the records of one commit add to balances.
type Charges struct {
	t       *term
	records []*syncv1.UsageRecord
	turn    bool // ours until Done
	next    map[bank.Owner]account
	docs    map[store.BalanceKey]*resourcev1.Balances
	entries map[posting]amount
}

// posting is one window of one budget.
type posting struct {
	bank.ID
	place bank.Place
}

// amount is what a commit adds there, with when the last of it was taken.
type amount struct {
	nanoUSD int64
	at      time.Time
}

// Charge works out what the records of a commit add to balances. If that is anything, it waits for its turn, which lasts
// until Done: balances are absolute, so that commits of them go one at a time. Done must be called when it is certain
// what became of the commit, or that it can happen no more.
func (l *Leases) Charge(ctx context.Context, records []*syncv1.UsageRecord) (*Charges, error) {
	t := l.current()
	if t == nil {
		return nil, l.notLeader(ctx)
	}
	c := &Charges{t: t, records: records}
	state := t.state.Load()
	if !slices.ContainsFunc(records, func(r *syncv1.UsageRecord) bool { return len(payers(state, r)) > 0 }) {
		return c, nil
	}
	select {
	case t.turn <- struct{}{}:
		c.turn = true
	case <-t.over:
		return nil, &NotLeaderError{}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c.compute()
	return c, nil
}

// compute makes the balances that are to be.
func (c *Charges) compute() {
	t := c.t
	t.mu.Lock()
	defer t.mu.Unlock()
	now, state := t.l.o.Clock(), t.state.Load()
	c.next, c.entries = map[bank.Owner]account{}, map[posting]amount{}
	for _, r := range c.records {
		at := begun(r)
		for _, who := range payers(state, r) {
			for _, b := range limitsOf(state, who).GetBudgets() {
				id := bank.ID{Owner: who, Kind: budgetKind(b)}
				p, ok := t.bank.Place(id, at, now)
				if !ok || p.Window == 0 {
					continue
				}
				a, mine := c.next[who]
				if !mine {
					a = slices.Clone(t.spent[who])
				}
				c.next[who] = a.add(id.Kind, p, r.GetCostNanoUsd())
				taken := p.At
				p.At = time.Time{} // all of a window are one posting
				e := c.entries[posting{id, p}]
				c.entries[posting{id, p}] = amount{nanoUSD: add(e.nanoUSD, r.GetCostNanoUsd()), at: taken}
			}
		}
	}
	c.docs = make(map[store.BalanceKey]*resourcev1.Balances, len(c.next))
	for who, a := range c.next {
		c.docs[keyOf(who)] = a.stored()
	}
}

// Balances are what the transaction is to store along with the usage. They do not change any more.
func (c *Charges) Balances() map[store.BalanceKey]*resourcev1.Balances { return c.docs }

// Done ends the commit: if it happened, the balances count from now on. boot is whose records they were. It must be
// called before the boot hears of it.
func (c *Charges) Done(boot string, committed bool) {
	t := c.t
	var events []BudgetEvent
	if committed && c.turn {
		events = t.settle(boot, c)
	}
	if c.turn {
		<-t.turn
	}
	for _, e := range events {
		t.l.o.OnBudget(e)
	}
	if committed {
		t.l.firstUses(t.state.Load(), c.records)
	}
}

// settle makes a commit's balances those that count.
func (t *term) settle(boot string, c *Charges) []BudgetEvent {
	// After a backup was restored under it, a boot reports as "<boot>.<epoch>", and leases as ever.
	boot, _, _ = strings.Cut(boot, ".")
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.l.o.Clock()
	var events []BudgetEvent
	told := map[bank.ID]bool{}
	for p, sum := range c.entries {
		t.bank.Settled(boot, p.ID, sum.at, sum.nanoUSD, now)
		if told[p.ID] {
			continue // another slice of the same rolling budget
		}
		if e, ok := t.reached(p, c.next[p.Owner], now); ok {
			told[p.ID] = true
			events = append(events, e)
		}
	}
	for who, a := range c.next {
		// A budget may have been removed meanwhile; what was stored of it has to go.
		kept := a.only(limitsOf(t.state.Load(), who))
		if len(kept) < len(a) {
			t.dirty[who] = struct{}{}
			t.cleanUp()
		}
		t.remember(who, kept)
	}
	return events
}

// add is the sum of two amounts, or the greatest there is.
func add(a, b int64) int64 {
	if s := a + b; s >= a {
		return s
	}
	return 1<<63 - 1
}

// firstUses tells of records of keys whose life begins with their first use.
func (l *Leases) firstUses(s *model.State, records []*syncv1.UsageRecord) {
	for _, r := range records {
		if key := keyIn(s, r.GetKeyId()); key.GetExpireAfterFirstUse() != nil && key.GetExpireTime() == nil {
			l.o.OnFirstUse(key.GetMetadata().GetId(), begun(r))
		}
	}
}
