package ledger

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
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
	totals  map[store.UsageKey]amounts
	late    []txn
	mishaps func() mishap // asked before each transaction; nil = none
	commits int
	reads   int
	largest int // keys in one transaction
}

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
}

func newBooks() *books {
	return &books{marks: map[string]uint64{}, totals: map[store.UsageKey]amounts{}}
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
	for k, sum := range t.totals {
		b.totals[k] = sum
	}
	b.commits++
	b.largest = max(b.largest, len(t.totals))
	return nil
}

// happen lets one of the late transactions happen.
func (b *books) happen() {
	if len(b.late) > 0 {
		t := b.late[0]
		b.late = b.late[1:]
		_ = b.apply(t)
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
	return r.marks[boot], nil
}

func (r replica) CommitUsage(
	ctx context.Context, _ store.Fence, boot string, from, to uint64, totals map[store.UsageKey]*adminv1.UsageCounters,
) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := txn{leader: r.id, boot: boot, from: from, to: to, totals: map[store.UsageKey]amounts{}}
	for k, c := range totals {
		t.totals[k] = amountsOf(c)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := fine
	if r.mishaps != nil {
		m = r.mishaps()
	}
	lost := fault.New(fault.Unavailable, "lost")
	switch m {
	case lostBefore:
		return lost
	case lostAfter:
		_ = r.apply(t)
		return lost
	case happensLater:
		r.late = append(r.late, t)
		return lost
	}
	err := r.apply(t)
	r.happen()
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
