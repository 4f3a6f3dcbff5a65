package ledger

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, etcdtest.LeakOptions()...) }

// books are a store that can be asked to fail as a real one does: before a transaction, after it, or by letting it
// happen later than the error.
type books struct {
	mu      sync.Mutex
	leader  int // which replica's fence stands
	marks   map[string]uint64
	totals  map[store.UsageKey]amounts // by hour, as reported
	others  map[spot]store.UsageRow    // days, and corrections
	records map[string]*adminv1.UsageCorrection
	changes int64          // a revision
	touched map[spot]int64 // when a total was last written
	born    map[spot]int64 // when it came
	late    []func()
	mishaps func() mishap // asked before each transaction; nil = none
	commits int
	reads   int
	largest int   // keys and balances in one transaction
	moves   int   // transactions that moved
	oldest  int64 // the first revision that is kept
	audited []store.UsageFix

	balances map[store.BalanceKey]*resourcev1.Balances
	blind    int // watermarks that cannot be read
}

// spot is where a row lies.
type spot struct {
	store.UsageKey
	day, correction bool
}

func spotOf(r store.UsageRow) spot { return spot{r.UsageKey, r.Day, r.Correction} }

type mishap int

const (
	fine mishap = iota
	lostBefore
	lostAfter
	happensLater
)

type txn struct {
	leader   int
	boot     string
	from, to uint64
	totals   map[store.UsageKey]amounts
	balances map[store.BalanceKey]*resourcev1.Balances
}

func newBooks() *books {
	return &books{
		marks: map[string]uint64{}, totals: map[store.UsageKey]amounts{}, others: map[spot]store.UsageRow{},
		records: map[string]*adminv1.UsageCorrection{}, touched: map[spot]int64{}, born: map[spot]int64{},
		balances: map[store.BalanceKey]*resourcev1.Balances{},
	}
}

// apply is the transaction: its guards, then its writes.
func (b *books) apply(t txn) error {
	if t.leader != b.leader {
		return fault.New(fault.Stale, "fence").WithCode(store.CodeNotLeader)
	}
	if b.marks[t.boot] != t.from {
		return fault.New(fault.Stale, "watermark")
	}
	b.marks[t.boot] = t.to
	b.changes++
	for k, sum := range t.totals {
		b.put(k, sum)
	}
	b.commits++
	b.largest = max(b.largest, len(t.totals)+len(t.balances))
	maps.Copy(b.balances, t.balances)
	return nil
}

// put stores a total and notes when.
func (b *books) put(k store.UsageKey, sum amounts) {
	at := spot{UsageKey: k}
	if _, there := b.totals[k]; !there {
		b.born[at] = b.changes
	}
	b.totals[k], b.touched[at] = sum, b.changes
}

// happen lets one of the late transactions happen.
func (b *books) happen() {
	if len(b.late) > 0 {
		f := b.late[0]
		b.late = b.late[1:]
		f()
	}
}

// replica is a control-plane replica's view of the books.
type replica struct {
	*books
	id int
}

func (r replica) Watermark(_ context.Context, boot string) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.blind > 0 {
		r.blind--
		return 0, fault.New(fault.Unavailable, "lost")
	}
	return r.marks[boot], nil
}

func (r replica) CommitUsage(
	ctx context.Context, _ store.Fence, boot string, from, to uint64, totals map[store.UsageKey]*adminv1.UsageCounters,
	balances map[store.BalanceKey]*resourcev1.Balances,
) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := txn{leader: r.id, boot: boot, from: from, to: to, totals: map[store.UsageKey]amounts{}, balances: balances}
	for k, c := range totals {
		t.totals[k] = amountsOf(c)
	}
	return r.transact(func() error { return r.apply(t) })
}

// transact makes a transaction happen, or not, or later.
func (b *books) transact(apply func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := fine
	if b.mishaps != nil {
		m = b.mishaps()
	}
	lost := fault.New(fault.Unavailable, "lost")
	switch m {
	case lostBefore:
		return lost
	case lostAfter:
		_ = apply()
		return lost
	case happensLater:
		b.late = append(b.late, func() { _ = apply() })
		return lost
	}
	err := apply()
	b.happen()
	return err
}

func (r replica) Usage(_ context.Context, from, to int64, fn func(store.UsageKey, *adminv1.UsageCounters) error) error {
	r.mu.Lock()
	r.reads++
	rows := map[store.UsageKey]amounts{}
	for k, sum := range r.totals {
		if from <= k.Hour && k.Hour < to {
			rows[k] = sum
		}
	}
	r.mu.Unlock()
	for k, sum := range rows {
		if err := fn(k, sum.counters()); err != nil {
			return err
		}
	}
	return nil
}

// sum adds up the books by everything but the hour, which depends on when a record was committed.
func (b *books) sum() map[store.UsageKey]amounts {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[store.UsageKey]amounts{}
	for k, a := range b.totals {
		k.Hour = 0
		out[k], _ = out[k].plus(a)
	}
	return out
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

// newLedger returns a ledger over one replica of the books; lead makes it the leader until the returned func is called.
func newLedger(b *books, id int) *Ledger {
	l := New(replica{b, id}, Options{
		Now:    func() time.Time { return noon },
		Leader: func(context.Context) (string, bool) { return "leader:8082", true },
	})
	l.pause = time.Microsecond
	return l
}

func lead(t testing.TB, b *books, l *Ledger, id int) (stop func()) {
	t.Helper()
	b.mu.Lock()
	b.leader = id
	b.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Lead(ctx, store.Fence{}) }()
	for {
		l.mu.Lock()
		ready := l.term != nil
		l.mu.Unlock()
		if ready {
			break
		}
		time.Sleep(10 * time.Microsecond)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Lead: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func leader(t testing.TB) (*books, *Ledger) {
	b := newBooks()
	l := newLedger(b, 1)
	lead(t, b, l, 1)
	return b, l
}

func record(i int) *syncv1.UsageRecord {
	return &syncv1.UsageRecord{
		TimeMs: noon.UnixMilli() - int64(i%3)*time.Hour.Milliseconds(),
		KeyId:  fmt.Sprintf("key%d", i%7), ChannelId: fmt.Sprintf("ch%d", i%2), AccountId: fmt.Sprintf("acc%d", i%3),
		Model: "gpt/x", Error: i%5 == 0,
		InputTokens: int64(i), CachedTokens: int64(i / 2), OutputTokens: int64(3 * i), CostNanoUsd: int64(7 * i),
		Estimated: i%4 == 0, Unpriced: i%6 == 0,
	}
}

func records(n int) []*syncv1.UsageRecord {
	out := make([]*syncv1.UsageRecord, n)
	for i := range out {
		out[i] = record(i)
	}
	return out
}

// expected adds the records up, each once.
func expected(boots ...[]*syncv1.UsageRecord) map[store.UsageKey]amounts {
	out := map[store.UsageKey]amounts{}
	for _, rs := range boots {
		for _, r := range rs {
			k := store.UsageKey{Key: r.KeyId, Channel: r.ChannelId, Account: r.AccountId, Model: r.Model}
			out[k], _ = out[k].plus(amountsIn(r))
		}
	}
	return out
}
