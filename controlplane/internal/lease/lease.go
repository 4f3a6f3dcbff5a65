// Package lease lends shares of limits to proxies: it is the leader's side of what pkg/bank works out. It gives the bank
// the limits that keys, groups and tenants have, the time, and what proxies say over their streams; it keeps what was
// spent of budgets (the balances), in memory and, in the transaction that puts the usage on the books, in the store.
//
// A balance in memory is always what the store has: it changes when a commit is certain, and those who change balances
// take turns. So a lease never waits for the store, and a new leader goes on with exactly what is on the books. A budget
// counts from the moment that it is set; when it is removed, its balance goes.
//
// It refuses to lend where it does not lead, to let more than one stream or another proxy speak for a boot, to wait for a
// proxy that is slow, to keep more of an unfinished declaration than a bound, and to step down because a proxy says that
// there is a later leader: the store is asked.
package lease

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/bank"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Store is where limits come from, and where balances are kept.
type Store interface {
	limits
	balances
	lending
}

// limits is this replica's copy of the data set.
type limits interface {
	State() *model.State
	WaitRevision(ctx context.Context, revision int64) error
}

// balances are what was spent. PutBalances is idempotent and may have happened although it fails, unless the fault is of
// kind Stale with store.CodeNotLeader.
type balances interface {
	Balances(ctx context.Context, fn func(store.BalanceKey, *resourcev1.Balances) error) error
	PutBalances(ctx context.Context, f store.Fence, balances map[store.BalanceKey]*resourcev1.Balances) error
}

// lending tells leaders of each other.
type lending interface {
	BeginLending(ctx context.Context, f store.Fence) (first bool, err error)
	EndLending(ctx context.Context, f store.Fence) error
	Leads(ctx context.Context, f store.Fence) (bool, error)
}

// Options of Leases. The zero value works for a single replica.
type Options struct {
	// Leader returns the sync address of the replica that leads; nil = never known.
	Leader func(ctx context.Context) (address string, ok bool)
	// OnBudget hears each time that a whole percent more of a budget is spent. It must not block; nil = nobody hears.
	OnBudget func(BudgetEvent)
	// OnFirstUse hears of records of keys whose life begins with their first use and whose end is not set, with when the
	// request began. It must not block; nil = nobody hears.
	OnFirstUse func(keyID string, at time.Time)
	Clock      func() bank.Moment    // nil = the machine's clocks
	Log        *slog.Logger          // nil = none
	Registry   prometheus.Registerer // nil = no metrics
}

// Leases lends while it leads. Safe for concurrent use.
type Leases struct {
	store   Store
	o       Options
	log     *slog.Logger
	metrics *metrics

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when term is
	begins  *term         // told of changes; nil while another replica leads
	term    *term         // begins, once it can lend
}

// New returns Leases that lend nothing before Lead.
func New(s Store, o Options) *Leases {
	if o.Leader == nil {
		o.Leader = func(context.Context) (string, bool) { return "", false }
	}
	if o.OnBudget == nil {
		o.OnBudget = func(BudgetEvent) {}
	}
	if o.OnFirstUse == nil {
		o.OnFirstUse = func(string, time.Time) {}
	}
	if o.Clock == nil {
		start := time.Now()
		o.Clock = func() bank.Moment {
			now := time.Now()
			return bank.Moment{Mono: now.Sub(start), Wall: now}
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Leases{store: s, o: o, log: o.Log, changed: make(chan struct{})}
	l.metrics = newMetrics(l, o.Registry)
	return l
}

// Observe takes note of changes of the data set. It never blocks. The calls must be in the order of the states.
func (l *Leases) Observe(next *model.State, changes []model.Change) {
	l.mu.Lock()
	t := l.begins
	l.mu.Unlock()
	if t != nil {
		t.inbox.put(next, changes)
	}
}

// Lead makes these the Leases that lend, under the fence, until ctx ends. Then all streams end with a NotLeaderError, and
// it returns when nothing is being written any more. It fails with bank.ErrDeposed when a later leader was heard of: the
// leadership is to be given up.
func (l *Leases) Lead(ctx context.Context, f store.Fence) error {
	// What whoever led before has stored must be known first.
	if l.store.WaitRevision(ctx, f.Revision()) != nil {
		return nil //nolint:nilerr // It fails when ctx has ended, and only then.
	}
	t := newTerm(l, f)
	if !l.begin(t) {
		return fault.New(fault.Internal, "limits are lent here already")
	}
	if !t.open(ctx) {
		l.become(nil, nil)
		return nil
	}
	l.log.Info("limits are lent here", "term", f.Revision(), "nothing_is_out", t.first, "owners", t.bank.Stats().Owners, "balances", len(t.spent))
	l.become(t, t)

	err := t.run(ctx)

	l.become(nil, nil)
	t.end(ctx)
	l.log.Info("limits are lent here no more", "term", f.Revision(), "reason", err)
	return err
}

// begin makes a term the one that hears of changes, unless there is one.
func (l *Leases) begin(t *term) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begins != nil {
		return false
	}
	l.begins = t
	return true
}

func (l *Leases) become(begins, t *term) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begins, l.term = begins, t
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Leases) current() *term {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term
}

// Ready returns when balances are known and kept, which is when usage may be put on the books. The error is that of ctx.
func (l *Leases) Ready(ctx context.Context) error {
	for {
		l.mu.Lock()
		t, changed := l.term, l.changed
		l.mu.Unlock()
		if t != nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// NotLeaderError is the error of a replica that does not lead.
type NotLeaderError = store.NotLeaderError

func (l *Leases) notLeader(ctx context.Context) error {
	address, _ := l.o.Leader(ctx)
	return &NotLeaderError{Address: address}
}

// lost says whether an error means that the leadership has ended.
func lost(err error) bool {
	f, ok := errors.AsType[*fault.Error](err)
	return ok && f.Kind == fault.Stale && f.Code == store.CodeNotLeader
}
