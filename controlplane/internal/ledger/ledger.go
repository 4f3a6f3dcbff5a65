// Package ledger keeps the books: it adds the usage that proxies report to hourly counters per key, group, channel,
// account and model, exactly once, answers questions about them, takes corrections by operators, and after some months
// thins hours out to days.
//
// Only the elected leader writes what is reported, and thins out. A boot's records are numbered; one transaction moves the boot's watermark and puts the
// new totals, guarded by the old watermark and by the leader's fence. So a batch that comes twice, late, torn in pieces,
// or while the leader changes, counts once. Totals are absolute: nothing is ever added in the store.
// What the records add to the balances of budgets is in the same transaction.
// Corrections lie beside the totals, so that any replica can make them; the sum of both is never below zero.
//
// It refuses gaps in a boot's numbering, to wrap a sum (the record is left out and counted in
// fairway_ledger_refused_total), to believe times outside the last 31 days, and queries that would not fit in memory.
package ledger

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/money"
)

// maxBatch bounds the records of one Report; the sync protocol has the same bound.
const maxBatch = 10_000

// Store is the part of *store.Store that the ledger works on.
type Store interface {
	writer
	reader
	archive
	journal
}

// writer is how the leader puts usage on the books. CommitUsage is one transaction: it fails as fault.Stale if the boot's watermark is
// not from (code store.CodeNotLeader if the fence has fallen), and may fail in other ways without telling whether it took
// effect.
type writer interface {
	Watermark(ctx context.Context, bootID string) (uint64, error)
	CommitUsage(
		ctx context.Context, f store.Fence, bootID string, from, to uint64,
		totals map[store.UsageKey]*adminv1.UsageCounters, balances map[store.BalanceKey]*resourcev1.Balances,
	) error
	Usage(ctx context.Context, fromHour, toHour int64, fn func(store.UsageKey, *adminv1.UsageCounters) error) error
}

// reader shows everything that is kept; Books as of one revision.
type reader interface {
	Books(ctx context.Context, r store.BooksRange, fn func(store.UsageRow) error) (revision int64, err error)
	UsageRows(ctx context.Context, which []store.UsageRow) ([]store.UsageRow, error)
	OldestUsageHour(ctx context.Context) (hour int64, ok bool, err error)
}

// archive is how hours become days, and days go. MoveUsage is one transaction, which may happen although it fails, but
// not twice.
type archive interface {
	MoveUsage(ctx context.Context, f store.Fence, moves []store.UsageMove) error
	DropUsage(ctx context.Context, f store.Fence, beforeHour int64) error
}

// journal keeps corrections.
type journal interface {
	CorrectUsage(ctx context.Context, fix store.UsageFix) (*adminv1.UsageCorrection, error)
	UsageCorrection(ctx context.Context, hour int64, id string) (*adminv1.UsageCorrection, error)
	UsageCorrections(ctx context.Context, fromHour, toHour int64, size int, token string) ([]*adminv1.UsageCorrection, string, error)
}

// Budgets are spent by what gets on the books.
type Budgets interface {
	// Ready returns when balances are kept in this leadership: nothing gets on the books before. The error is that of ctx.
	Ready(ctx context.Context) error
	// Owners tells whose balances a record will probably change.
	Owners(r *syncv1.UsageRecord) []store.BalanceKey
	// Charge begins a commit of records. It may wait for another one to be Done.
	Charge(ctx context.Context, records []*syncv1.UsageRecord) (Charges, error)
}

// Charges are what one commit changes of balances.
type Charges interface {
	// Balances are to be stored in the very transaction.
	Balances() map[store.BalanceKey]*resourcev1.Balances
	// Done must be called once, when it is certain whether the commit happened, or that it cannot happen any more.
	Done(bootID string, committed bool)
}

// MinHourly is how long hours are kept at least: longer than a proxy's usage can be late.
const MinHourly = 40 * 24 * time.Hour

// Options of a Ledger. The zero value works for a single replica.
type Options struct {
	// Leader returns the sync address of the replica that leads; nil = never known.
	Leader func(ctx context.Context) (address string, ok bool)
	// Name returns the name of the resource with this id; nil or false = it is shown as its id.
	Name func(k model.Kind, id string) (name string, ok bool)
	// Find returns the id of the resource with this name or id; nil = none is known.
	Find func(k model.Kind, nameOrID string) (id string, ok bool)
	// Group returns the id of a key's group, for proxies that do not tell; nil or false = not known.
	Group func(keyID string) (groupID string, ok bool)

	// OnUnpriced hears of each record on the books whose model has no price; it must not block. nil = nobody does.
	OnUnpriced func(modelName, keyID string)
	// OnEstimate hears of each record on the books how many tokens were reserved for it, always above 0, and how many it
	// used, unless it failed or nobody told; it must not block. nil = nobody does.
	OnEstimate func(modelName string, reserved, used int64)
	// Budgets are charged with what gets on the books; nil = there are none.
	Budgets Budgets

	HourlyFor    time.Duration // how long usage is kept by hour, at least MinHourly; 0 = 90 days
	DailyFor     time.Duration // how long by day, from the usage on, at least HourlyFor; 0 = 3 years of 365 days
	QueryTimeout time.Duration // of one query; 0 = 20s
	SlowQuery    time.Duration // queries that take longer are logged; 0 = 1s
	MaxQueries   int           // at once, others wait; 0 = 4

	Now      func() time.Time      // nil = time.Now
	Log      *slog.Logger          // nil = none
	Registry prometheus.Registerer // nil = no metrics
}

// Ledger keeps the books. Safe for concurrent use.
type Ledger struct {
	store   Store
	o       Options
	log     *slog.Logger
	metrics *metrics
	queries chan struct{} // a place for each at once
	pause   time.Duration // the first one between attempts to learn what became of a commit

	mu   sync.Mutex
	term *term // nil while another replica leads
}

// New returns a ledger that answers queries and takes corrections; it puts usage on the books while Lead runs.
func New(s Store, o Options) *Ledger {
	o = o.complete()
	return &Ledger{
		store: s, o: o, log: o.Log, metrics: newMetrics(o.Registry, o.Log),
		queries: make(chan struct{}, o.MaxQueries), pause: 100 * time.Millisecond,
	}
}

// complete puts the defaults in.
func (o Options) complete() Options {
	if o.Leader == nil {
		o.Leader = func(context.Context) (string, bool) { return "", false }
	}
	if o.Name == nil {
		o.Name = func(model.Kind, string) (string, bool) { return "", false }
	}
	if o.Find == nil {
		o.Find = func(model.Kind, string) (string, bool) { return "", false }
	}
	if o.Group == nil {
		o.Group = func(string) (string, bool) { return "", false }
	}
	if o.OnUnpriced == nil {
		o.OnUnpriced = func(string, string) {}
	}
	if o.OnEstimate == nil {
		o.OnEstimate = func(string, int64, int64) {}
	}
	if o.Budgets == nil {
		o.Budgets = noBudgets{}
	}
	or := func(d *time.Duration, otherwise time.Duration) {
		if *d <= 0 {
			*d = otherwise
		}
	}
	or(&o.HourlyFor, 90*24*time.Hour)
	or(&o.DailyFor, 3*365*24*time.Hour)
	or(&o.QueryTimeout, 20*time.Second)
	or(&o.SlowQuery, time.Second)
	o.HourlyFor = max(o.HourlyFor, MinHourly)
	o.DailyFor = max(o.DailyFor, o.HourlyFor)
	if o.MaxQueries <= 0 {
		o.MaxQueries = 4
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// tell says what a record on the books has to say.
func (o *Options) tell(r *syncv1.UsageRecord) {
	if r.GetUnpriced() || r.GetDefaultPriced() {
		o.OnUnpriced(r.GetModel(), r.GetKeyId())
	}
	if r.GetReservedTokens() > 0 && !r.GetEstimated() && !r.GetError() {
		if used, err := money.Add(r.GetInputTokens(), r.GetOutputTokens()); err == nil {
			o.OnEstimate(r.GetModel(), r.GetReservedTokens(), used)
		}
	}
}

// name shows a resource as people know it: by its name, or by its id when it has none any more.
func (l *Ledger) name(k model.Kind, id string) string {
	if name, ok := l.o.Name(k, id); ok && name != "" {
		return name
	}
	return id
}

// Lead makes this the ledger that writes, under the fence, until ctx ends; it also thins out what is old. It returns when
// no report is under way any more, so that the next term begins with what the store holds.
func (l *Ledger) Lead(ctx context.Context, f store.Fence) error {
	if l.o.Budgets.Ready(ctx) != nil {
		return nil //nolint:nilerr // It fails when ctx has ended, and only then.
	}
	t := newTerm(ctx, l, f)
	l.mu.Lock()
	if l.term != nil {
		l.mu.Unlock()
		return fault.New(fault.Internal, "the ledger leads already")
	}
	l.term = t
	l.mu.Unlock()
	l.log.Info("ledger leads")

	t.keepThin(ctx)

	l.mu.Lock()
	l.term = nil
	l.mu.Unlock()
	t.reports.Wait()
	l.log.Info("ledger leads no more")
	return nil
}

// enter returns the term with its report counted; nil if another replica leads.
func (l *Ledger) enter() *term {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.term == nil || l.term.ctx.Err() != nil {
		return nil
	}
	l.term.reports.Add(1)
	return l.term
}

// Report puts the records of a boot on the books. first is the sequence of the first record; counting starts at 1, and
// no records is a question for the watermark. What was committed before is skipped.
//
// It returns the boot's watermark: up to there everything is on the books, also when err is not nil (0 = not known).
// Errors: *NotLeaderError; fault.Invalid for a gap (code "usage_gap": report again from watermark + 1) and for what no retry
// can mend; fault.Unavailable and the context's for what it can. It may outlast ctx by the time it takes to learn what
// became of a commit.
func (l *Ledger) Report(
	ctx context.Context, bootID string, first uint64, records []*syncv1.UsageRecord,
) (uint64, error) {
	if err := checkBatch(bootID, first, len(records)); err != nil {
		return 0, err
	}
	t := l.enter()
	if t == nil {
		return 0, l.notLeader(ctx)
	}
	defer t.reports.Done()
	watermark, err := t.report(ctx, bootID, first, records)
	if err != nil && t.over(err) {
		return watermark, l.notLeader(ctx)
	}
	return watermark, err
}

func checkBatch(bootID string, first uint64, n int) error {
	switch {
	case !plainID(bootID) || bootID == "":
		return fault.New(fault.Invalid, "boot id must be 1 to %d visible ASCII characters without a slash", maxID)
	case first == 0:
		return fault.New(fault.Invalid, "sequences start at 1")
	case n > maxBatch:
		return fault.New(fault.Invalid, "%d records in one report; at most %d", n, maxBatch)
	case first+uint64(n) < first:
		return fault.New(fault.Invalid, "sequence out of range")
	}
	return nil
}

// NotLeaderError is the error of a Report to a replica that keeps no books.
type NotLeaderError = store.NotLeaderError

func (l *Ledger) notLeader(ctx context.Context) error {
	address, _ := l.o.Leader(ctx)
	return &NotLeaderError{Address: address}
}
