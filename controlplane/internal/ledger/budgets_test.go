package ledger

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// purse is a budget of every key, and of all together, as the leader keeps them: by what is certain to be stored.
type purse struct {
	ready   chan struct{}
	turn    chan struct{}
	hidden  bool // Owners does not tell: the budgets were set a moment later
	mu      sync.Mutex
	spent   map[store.BalanceKey]int64
	settled int
	undone  int
}

func newPurse() *purse {
	p := &purse{ready: make(chan struct{}), turn: make(chan struct{}, 1), spent: map[store.BalanceKey]int64{}}
	close(p.ready)
	return p
}

func (p *purse) Ready(ctx context.Context) error {
	select {
	case <-p.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *purse) owners(r *syncv1.UsageRecord) []store.BalanceKey {
	return []store.BalanceKey{{Scope: "key", ID: r.GetKeyId()}, {Scope: "group", ID: "all"}}
}

func (p *purse) Owners(r *syncv1.UsageRecord) []store.BalanceKey {
	if p.hidden {
		return nil
	}
	return p.owners(r)
}

type payment struct {
	p    *purse
	next map[store.BalanceKey]int64
}

func (p *purse) Charge(ctx context.Context, records []*syncv1.UsageRecord) (Charges, error) {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &payment{p: p, next: map[store.BalanceKey]int64{}}
	for _, r := range records {
		for _, o := range p.owners(r) {
			if _, there := c.next[o]; !there {
				c.next[o] = p.spent[o]
			}
			c.next[o] += r.GetCostNanoUsd()
		}
	}
	return c, nil
}

func (c *payment) Balances() map[store.BalanceKey]*resourcev1.Balances {
	all := map[store.BalanceKey]*resourcev1.Balances{}
	for k, n := range c.next {
		all[k] = &resourcev1.Balances{Balances: []*resourcev1.Balance{{SpentNanoUsd: n}}}
	}
	return all
}

func (c *payment) Done(_ string, committed bool) {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	c.p.undone++
	if committed {
		c.p.undone--
		c.p.settled++
		for k, n := range c.next {
			c.p.spent[k] = n
		}
	}
	<-c.p.turn
}

func charged(t *testing.T) (*books, *Ledger, *purse) {
	b, p := newBooks(), newPurse()
	l := New(replica{b, 1}, Options{Now: func() time.Time { return noon }, Budgets: p})
	l.pause = time.Microsecond
	lead(t, b, l, 1)
	return b, l, p
}

// agree checks that the store, what is in mind, and the records say the same.
func agree(t *testing.T, b *books, p *purse, all ...[]*syncv1.UsageRecord) {
	t.Helper()
	want := map[store.BalanceKey]int64{}
	for _, rs := range all {
		for _, r := range rs {
			for _, o := range p.owners(r) {
				want[o] += r.GetCostNanoUsd()
			}
		}
	}
	stored := map[store.BalanceKey]int64{}
	for k, s := range b.balances {
		stored[k] = s.GetBalances()[0].GetSpentNanoUsd()
	}
	if diff := cmp.Diff(want, stored); diff != "" {
		t.Errorf("stored balances (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, p.spent); diff != "" {
		t.Errorf("balances in mind (-want +got):\n%s", diff)
	}
}

// A transaction holds totals and balances, and no more of both together than fit.
func TestBalancesShareTheTransaction(t *testing.T) {
	b, l, p := charged(t)
	rs := make([]*syncv1.UsageRecord, 500)
	for i := range rs {
		rs[i] = record(1)
		rs[i].KeyId = fmt.Sprint("key", i/2)
	}
	mustReport(t, l, "boot", 1, rs, 500)
	// 49 keys have 49 totals and 49 balances, and the group has one.
	if b.largest != 99 || b.commits != 6 {
		t.Errorf("%d commits, the largest of %d; want 6 of at most 99", b.commits, b.largest)
	}
	agree(t, b, p, rs)
}

// Whatever becomes of a commit, it is Done once, and in mind what is stored.
func TestBalancesWhateverBecomesOfCommits(t *testing.T) {
	for _, m := range []mishap{lostBefore, lostAfter, happensLater} {
		for blind := range 3 {
			t.Run(fmt.Sprintf("mishap %d, watermark unreadable %d times", m, blind), func(t *testing.T) {
				b, l, p := charged(t)
				rs := records(60)
				mustReport(t, l, "boot", 1, rs[:20], 20)
				n := 0
				b.mishaps = func() mishap {
					if n++; n == 1 || n == 3 {
						b.blind = blind
						return m
					}
					return fine
				}
				mustReport(t, l, "boot", 1, rs[:40], 40)
				mustReport(t, l, "boot", 21, rs[20:], 60)
				agree(t, b, p, rs)
				if p.settled != 3 || p.undone != 0 {
					t.Errorf("%d commits are settled and %d are not, want 3 and none", p.settled, p.undone)
				}
			})
		}
	}
}

// A commit that can happen no more is not charged.
func TestBalancesOfALeadershipThatEnds(t *testing.T) {
	b, l, p := charged(t)
	rs := records(40)
	mustReport(t, l, "boot", 1, rs[:20], 20)
	b.mu.Lock()
	b.leader = 2
	b.mu.Unlock()
	if _, err := l.Report(context.Background(), "boot", 21, rs[20:]); err == nil {
		t.Error("a report under a fallen fence succeeded")
	}
	agree(t, b, p, rs[:20])
	if p.undone != 1 {
		t.Errorf("%d commits are undone, want 1", p.undone)
	}
}

func TestBudgetsThatWereSetMeanwhile(t *testing.T) {
	b, l, p := charged(t)
	p.hidden = true
	rs := make([]*syncv1.UsageRecord, 100)
	for i := range rs {
		rs[i] = record(1)
		rs[i].KeyId = fmt.Sprint("key", i)
	}
	if _, err := l.Report(context.Background(), "boot", 1, rs); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("error = %v, want Unavailable", err)
	}
	if b.commits != 0 || p.undone != 1 {
		t.Errorf("%d commits, %d undone", b.commits, p.undone)
	}
	p.hidden = false
	mustReport(t, l, "boot", 1, rs, 100)
	agree(t, b, p, rs)
}

// Nothing gets on the books while balances are not known.
func TestLedgerWaitsForBalances(t *testing.T) {
	b, p := newBooks(), newPurse()
	p.ready = make(chan struct{})
	l := New(replica{b, 1}, Options{Now: func() time.Time { return noon }, Budgets: p})
	b.leader = 1
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Lead(ctx, store.Fence{}) }()
	for range 100 {
		if _, err := l.Report(context.Background(), "boot", 1, records(1)); err == nil {
			t.Fatal("it was on the books too early")
		}
	}
	close(p.ready)
	for {
		if w, err := l.Report(context.Background(), "boot", 1, records(1)); err == nil && w == 1 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	p.ready = make(chan struct{})
	if err := l.Lead(ctx, store.Fence{}); err != nil {
		t.Errorf("Lead that ends before balances are known: %v", err)
	}
}
