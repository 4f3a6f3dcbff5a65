package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"fairway/controlplane/internal/ledger"
	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/bank"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, etcdtest.LeakOptions()...) }

// patience bounds waits for things that must happen; no test expects them to take it.
const patience = 60 * time.Second

const usd = int64(1e9)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// clock is one that tests set.
type clock struct {
	mu   sync.Mutex
	mono time.Duration
	set  time.Duration // by which the wall clock is off
}

func (c *clock) moment() bank.Moment {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bank.Moment{Mono: c.mono, Wall: noon.Add(c.mono + c.set)}
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mono += d
}

func (c *clock) turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.set += d
}

// flaky is a store that loses transactions, or their answers.
type flaky struct {
	*store.Store
	mishap func() mishap // asked before each commit; nil = none
	claim  atomic.Bool   // it denies that anybody leads
}

type mishap int

const (
	fine mishap = iota
	lostBefore
	lostAfter
)

var errLostOnTheWay = fault.New(fault.Unavailable, "lost")

func (f *flaky) CommitUsage(
	ctx context.Context, fence store.Fence, boot string, from, to uint64,
	totals map[store.UsageKey]*adminv1.UsageCounters, balances map[store.BalanceKey]*resourcev1.Balances,
) error {
	return f.meet(func() error { return f.Store.CommitUsage(ctx, fence, boot, from, to, totals, balances) })
}

func (f *flaky) PutBalances(ctx context.Context, fence store.Fence, b map[store.BalanceKey]*resourcev1.Balances) error {
	return f.meet(func() error { return f.Store.PutBalances(ctx, fence, b) })
}

func (f *flaky) Leads(ctx context.Context, fence store.Fence) (bool, error) {
	if f.claim.Load() {
		return false, nil
	}
	return f.Store.Leads(ctx, fence)
}

func (f *flaky) meet(do func() error) error {
	m := fine
	if f.mishap != nil {
		m = f.mishap()
	}
	if m == lostBefore {
		return errLostOnTheWay
	}
	err := do()
	if m == lostAfter && err == nil {
		return errLostOnTheWay
	}
	return err
}

// rig is a replica: a real store, leases and the ledger, as the door wires them.
type rig struct {
	t      *testing.T
	clock  *clock
	store  *flaky
	leases *Leases
	ledger *ledger.Ledger

	mu     sync.Mutex
	events []BudgetEvent
	first  map[string]int
	ends   error // of the newest leadership
}

type budgets struct{ *Leases }

func (b budgets) Charge(ctx context.Context, records []*syncv1.UsageRecord) (ledger.Charges, error) {
	return b.Leases.Charge(ctx, records)
}

func newRig(t *testing.T) *rig { return newReplica(t, etcdtest.New(t), &clock{}) }

func newReplica(t *testing.T, endpoint string, c *clock) *rig {
	t.Helper()
	s, err := store.Open(soon(t), store.Config{Endpoints: []string{endpoint}, LeaseTTL: 5 * time.Second}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r := &rig{t: t, clock: c, store: &flaky{Store: s}, first: map[string]int{}}
	r.leases = New(r.store, Options{
		Clock: r.clock.moment,
		OnBudget: func(e BudgetEvent) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, e)
		},
		OnFirstUse: func(key string, _ time.Time) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.first[key]++
		},
	})
	r.ledger = ledger.New(r.store, ledger.Options{Budgets: budgets{r.leases}, Now: func() time.Time { return r.clock.moment().Wall }})
	start(t, func(ctx context.Context) error { return s.Run(ctx, r.leases.Observe) })
	if err := s.WaitLoaded(soon(t)); err != nil {
		t.Fatal(err)
	}
	return r
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	t.Cleanup(cancel)
	return ctx
}

// start runs fn until stop is called or the test ends.
func start(t testing.TB, fn func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// lead makes the replica the leader until stop is called.
func (r *rig) lead() (stop func()) {
	r.t.Helper()
	stop = start(r.t, func(ctx context.Context) error {
		return r.store.Lead(ctx, "books", "r", func(ctx context.Context, f store.Fence) error {
			g, ctx := errgroup.WithContext(ctx)
			g.Go(func() error { return r.leases.Lead(ctx, f) })
			g.Go(func() error { return r.ledger.Lead(ctx, f) })
			err := g.Wait()
			r.mu.Lock()
			r.ends = err
			r.mu.Unlock()
			return err
		})
	})
	r.until("the ledger leads", func() bool {
		_, err := r.ledger.Report(soon(r.t), "nobody", 1, nil)
		return err == nil
	})
	return stop
}

// put stores resources and waits until the leases have heard of them.
func (r *rig) put(resources ...model.Resource) {
	r.t.Helper()
	w := store.Write{Actor: store.Actor{Operator: "test"}}
	for _, n := range resources {
		p := store.Put{Resource: n}
		if old, err := r.store.Read(soon(r.t), model.KindOf(n), n.GetMetadata().GetId()); err == nil {
			p.Old = old
		}
		w.Puts = append(w.Puts, p)
	}
	r.commit(w)
}

func (r *rig) remove(n model.Resource) {
	r.t.Helper()
	old, err := r.store.Read(soon(r.t), model.KindOf(n), n.GetMetadata().GetId())
	if err != nil {
		r.t.Fatal(err)
	}
	r.commit(store.Write{Actor: store.Actor{Operator: "test"}, Deletes: []store.Delete{{Resource: old}}})
}

func (r *rig) commit(w store.Write) {
	r.t.Helper()
	revision, err := r.store.Commit(soon(r.t), w)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.store.WaitRevision(soon(r.t), revision); err != nil {
		r.t.Fatal(err)
	}
	r.until("the leases heard of it", func() bool {
		t := r.leases.current()
		return t == nil || t.state.Load().Revision() >= revision
	})
}

func (r *rig) until(what string, is func() bool) {
	r.t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("it never came that %s", what)
		}
	}
}

func meta(name string) *resourcev1.Metadata {
	return &resourcev1.Metadata{Id: ulid.Make().String(), Name: name}
}

func key(name, group, tenant string, l *resourcev1.Limits) *resourcev1.Key {
	return &resourcev1.Key{Metadata: meta(name), Group: cmp.Or(group, "default"), Tenant: tenant, Limits: l}
}

func daily(nanoUSD int64) *resourcev1.Limits {
	return limitsWith(&resourcev1.Budget{AmountNanoUsd: nanoUSD, Window: resourcev1.BudgetWindow_BUDGET_WINDOW_DAY})
}

func limitsWith(b ...*resourcev1.Budget) *resourcev1.Limits { return &resourcev1.Limits{Budgets: b} }

func budget(nanoUSD int64, w resourcev1.BudgetWindow) *resourcev1.Budget {
	return &resourcev1.Budget{AmountNanoUsd: nanoUSD, Window: w}
}

// record is usage of a key that ends now.
func (r *rig) record(keyID string, cost int64) *syncv1.UsageRecord {
	now := r.clock.moment().Wall.UnixMilli()
	return &syncv1.UsageRecord{TimeMs: now, BeginMs: now, KeyId: keyID, ChannelId: "c", AccountId: "a", Model: "m", CostNanoUsd: cost}
}

func (r *rig) report(boot string, first uint64, records ...*syncv1.UsageRecord) {
	r.t.Helper()
	if w, err := r.ledger.Report(soon(r.t), boot, first, records); err != nil || w < first+uint64(len(records))-1 {
		r.t.Fatalf("report %s from %d: %d, %v", boot, first, w, err)
	}
}

// status is where an owner's limit of one window stands.
func (r *rig) status(n model.Resource, window string) *adminv1.LimitStatus {
	r.t.Helper()
	scope, _ := scopeOf(model.KindOf(n))
	all, err := r.leases.Status(soon(r.t), scope, n.GetMetadata().GetId())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range all {
		if s.GetWindow() == window {
			return s
		}
	}
	return nil
}

// stored is what the store has of an owner's balances, by period and window.
func (r *rig) stored() map[store.BalanceKey]map[posted]int64 {
	r.t.Helper()
	all := map[store.BalanceKey]map[posted]int64{}
	if err := r.store.Balances(soon(r.t), func(k store.BalanceKey, b *resourcev1.Balances) error {
		all[k] = map[posted]int64{}
		for _, s := range b.GetBalances() {
			all[k][posted{bank.Period(s.GetPeriod()), s.GetWindow()}] = s.GetSpentNanoUsd()
		}
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
	return all
}

type posted struct {
	period bank.Period
	window int64
}

// spent sums up what the store has of an owner in windows of a period.
func spent(all map[store.BalanceKey]map[posted]int64, n model.Resource, p bank.Period) int64 {
	var sum int64
	for at, s := range all[store.BalanceKey{Scope: string(model.KindOf(n)), ID: n.GetMetadata().GetId()}] {
		if at.period == p {
			sum += s
		}
	}
	return sum
}

// proxy is one end of a stream.
type proxy struct {
	t        testing.TB
	boot     string
	sequence uint64
	to       chan *syncv1.LeaseRequest
	from     chan *syncv1.LeaseResponse
	ended    chan error
	cancel   context.CancelFunc
}

// connect opens a stream of a proxy.
func (r *rig) connect(id, boot string) *proxy {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	p := &proxy{
		t: r.t, boot: boot, to: make(chan *syncv1.LeaseRequest), from: make(chan *syncv1.LeaseResponse, 1), ended: make(chan error, 1), cancel: cancel,
	}
	go func() {
		err := r.leases.Lease(ctx, id, func() (*syncv1.LeaseRequest, error) {
			select {
			case m, ok := <-p.to:
				if !ok {
					return nil, io.EOF
				}
				return m, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}, func(m *syncv1.LeaseResponse) error {
			select {
			case p.from <- m:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		p.ended <- err
		cancel()
	}()
	r.t.Cleanup(cancel)
	return p
}

// say sends a request, with the next sequence.
func (p *proxy) say(r *syncv1.LeaseRequest) {
	p.t.Helper()
	p.sequence++
	r.Sequence, r.BootId = p.sequence, cmp.Or(r.GetBootId(), p.boot)
	select {
	case p.to <- r:
	case err := <-p.ended:
		p.ended <- err
		p.t.Fatalf("%s: the stream has ended: %v", p.boot, err)
	case <-time.After(patience):
		p.t.Fatal("the request is not taken")
	}
}

// ask sends a request and waits for its answer, and for all that is granted of what it wants.
func (p *proxy) ask(r *syncv1.LeaseRequest) *syncv1.LeaseResponse {
	p.t.Helper()
	p.say(r)
	for {
		if m := p.hear(); m.GetSequence() == p.sequence && m.GetTtl() != nil || m.GetDeclare() {
			return m
		}
	}
}

func (p *proxy) hear() *syncv1.LeaseResponse {
	p.t.Helper()
	select {
	case m := <-p.from:
		return m
	case err := <-p.ended:
		p.ended <- err
		p.t.Fatalf("%s: the stream has ended: %v", p.boot, err)
	case <-time.After(patience):
		p.t.Fatal("no answer")
	}
	return nil
}

// end waits for the end of the stream.
func (p *proxy) end() error {
	p.t.Helper()
	for {
		select {
		case err := <-p.ended:
			p.ended <- err
			return err
		case <-p.from:
		case <-time.After(patience):
			p.t.Fatal("the stream does not end")
		}
	}
}

// granted asks for credits of a limit until some were granted, by an answer or a note.
func (p *proxy) granted(h *syncv1.Holding) *syncv1.Grant {
	p.t.Helper()
	p.say(&syncv1.LeaseRequest{Full: true, Holdings: []*syncv1.Holding{h}})
	for {
		for _, g := range p.hear().GetGrants() {
			if proto.Equal(g.GetLimit(), h.GetLimit()) && g.GetState() == syncv1.GrantState_GRANT_STATE_OPEN {
				return g
			}
		}
	}
}

func wantOf(n model.Resource, k bank.Kind, want int64) *syncv1.Holding {
	scope, _ := scopeOf(model.KindOf(n))
	return &syncv1.Holding{Want: want, Least: 1, Limit: &syncv1.LimitRef{
		Scope: syncv1.LimitScope(scope), Id: n.GetMetadata().GetId(), What: syncv1.LimitWhat(k.What), Period: syncv1.LimitPeriod(k.Period), RollingMinutes: k.Minutes,
	}}
}

var (
	dayCost = bank.Kind{What: bank.Cost, Period: bank.Day}
	slots   = bank.Kind{What: bank.Concurrency, Period: bank.None}
)

// memory is what the leader has in mind, as the store has it.
func (r *rig) memory() map[store.BalanceKey]map[posted]int64 {
	t := r.leases.current()
	t.mu.Lock()
	defer t.mu.Unlock()
	all := map[store.BalanceKey]map[posted]int64{}
	for who, a := range t.spent {
		by := map[posted]int64{}
		for _, s := range a {
			by[posted{s.kind.Period, s.window}] = s.spent
		}
		all[keyOf(who)] = maps.Clone(by)
	}
	return all
}

// stats are the bank's.
func (r *rig) stats() bank.Stats {
	t := r.leases.current()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bank.Stats()
}

func notLeader(err error) bool {
	_, ok := errors.AsType[*NotLeaderError](err)
	return ok
}

func bootID(n int) string { return fmt.Sprintf("boot%d", n) }
