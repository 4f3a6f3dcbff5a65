// Package ledger keeps the books: it adds the usage that proxies report to hourly counters per key, channel, account
// and model, exactly once, and answers questions about them.
//
// Only the elected leader writes. A boot's records are numbered; one transaction moves the boot's watermark and puts the
// new totals, guarded by the old watermark and by the leader's fence. So a batch that comes twice, late, torn in pieces,
// or while the leader changes, counts once. Totals are absolute: nothing is ever added in the store.
//
// It refuses gaps in a boot's numbering, to wrap a sum (the record is left out and counted in
// fairway_ledger_refused_total), to believe times outside the last 31 days, and queries that would not fit in memory.
package ledger

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// maxBatch bounds the records of one Report; the sync protocol has the same bound.
const maxBatch = 10_000

// Store is where the books lie. CommitUsage is one transaction: it fails as fault.Stale if the boot's watermark is not
// from (code store.CodeNotLeader if the fence has fallen), and may fail in other ways without telling whether it took
// effect.
type Store interface {
	Watermark(ctx context.Context, bootID string) (uint64, error)
	CommitUsage(
		ctx context.Context, f store.Fence, bootID string, from, to uint64,
		totals map[store.UsageKey]*adminv1.UsageCounters,
	) error
	Usage(ctx context.Context, fromHour, toHour int64, fn func(store.UsageKey, *adminv1.UsageCounters) error) error
}

// Options of a Ledger. The zero value works for a single replica.
type Options struct {
	// Leader returns the sync address of the replica that leads; nil = never known.
	Leader func(ctx context.Context) (address string, ok bool)
	// Name returns the name of the resource with this id; nil or false = it is shown as its id.
	Name     func(k model.Kind, id string) (name string, ok bool)
	Now      func() time.Time      // nil = time.Now
	Log      *slog.Logger          // nil = none
	Registry prometheus.Registerer // nil = no metrics
}

// Ledger keeps the books. Safe for concurrent use.
type Ledger struct {
	store   Store
	leader  func(ctx context.Context) (string, bool)
	name    func(model.Kind, string) (string, bool)
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics
	pause   time.Duration // the first one between attempts to learn what became of a commit

	mu   sync.Mutex
	term *term // nil while another replica leads
}

// New returns a ledger that answers queries; it writes while Lead runs.
func New(s Store, o Options) *Ledger {
	l := &Ledger{store: s, leader: o.Leader, name: o.Name, now: o.Now, log: o.Log, pause: 100 * time.Millisecond}
	if l.leader == nil {
		l.leader = func(context.Context) (string, bool) { return "", false }
	}
	if l.name == nil {
		l.name = func(model.Kind, string) (string, bool) { return "", false }
	}
	if l.now == nil {
		l.now = time.Now
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	l.metrics = newMetrics(o.Registry, l.log)
	return l
}

// Lead makes this the ledger that writes, under the fence, until ctx ends. It returns when no report is under way any
// more, so that the next term begins with what the store holds.
func (l *Ledger) Lead(ctx context.Context, f store.Fence) error {
	t := newTerm(ctx, l, f)
	l.mu.Lock()
	if l.term != nil {
		l.mu.Unlock()
		return fault.New(fault.Internal, "the ledger leads already")
	}
	l.term = t
	l.mu.Unlock()
	l.log.Info("ledger leads")

	<-ctx.Done()

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
type NotLeaderError struct {
	Address string // the leader's sync listener; empty = not known
}

// Error names the leader.
func (e *NotLeaderError) Error() string {
	if e.Address == "" {
		return "not the leader, which is not known now"
	}
	return fmt.Sprintf("not the leader, which is %s", e.Address)
}

// LeaderSyncAddress returns where the leader's sync listener is; empty = not known.
func (e *NotLeaderError) LeaderSyncAddress() string { return e.Address }

// Unwrap gives it the kind of an operation that the current state forbids.
func (e *NotLeaderError) Unwrap() error { return fault.New(fault.Stale, "%s", e.Error()) }

func (l *Ledger) notLeader(ctx context.Context) error {
	address, _ := l.leader(ctx)
	return &NotLeaderError{Address: address}
}
