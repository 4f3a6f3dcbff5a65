package health

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/judge"
	"fairway/pkg/testkit/etcdtest"
)

// patience bounds waits for things that must happen; no test expects them to take it.
const patience = 60 * time.Second

// fleet is a data set in a real etcd, replicas that may lead, proxies that report to whoever does, and a clock that the
// test moves on.
type fleet struct {
	t        *testing.T
	ahead    atomic.Int64 // by how much the clock is ahead of the real one, ns
	replicas []*replica
	proxies  []*member
	registry register
}

type replica struct {
	f      *fleet
	store  *store.Store
	health *Health
	stop   func() // leads no more, and does not try to
}

func (f *fleet) now() time.Time { return time.Now().Add(time.Duration(f.ahead.Load())) }

func (f *fleet) soon() context.Context {
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	f.t.Cleanup(cancel)
	return ctx
}

// until polls what is missing until nothing is, while the clock goes on.
func (f *fleet) until(missing func() string) {
	f.t.Helper()
	ctx := f.soon()
	for {
		why := missing()
		if why == "" {
			return
		}
		if ctx.Err() != nil {
			f.t.Fatalf("in vain: %s", why)
		}
		f.step()
	}
}

// step moves the clock on by a second, and lets every proxy that is connected report.
func (f *fleet) step() {
	f.ahead.Add(int64(time.Second))
	for _, p := range f.proxies {
		select {
		case p.due <- struct{}{}:
		default:
		}
	}
	// Those that can have reported before the clock goes on, so that it does not run away from them.
	for range 200 {
		time.Sleep(time.Millisecond)
		behind := 0
		for _, p := range f.proxies {
			if p.serving.Load() && len(p.due) > 0 {
				behind++
			}
		}
		if behind == 0 {
			return
		}
	}
}

// run runs fn until stop is called or the test ends.
func (f *fleet) run(fn func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.t.Context()))
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("run: %v", err)
		}
	})
	f.t.Cleanup(stop)
	return stop
}

func (f *fleet) join(endpoint, id string) *replica {
	f.t.Helper()
	s, err := store.Open(f.soon(), store.Config{Endpoints: []string{endpoint}, LeaseTTL: 2 * time.Second}, slog.New(slog.DiscardHandler))
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = s.Close() })
	r := &replica{f: f, store: s}
	r.health = New(s, Options{ReplicaID: id, Now: f.now})
	r.health.tickEvery, r.health.hurryAfter, r.health.reportEvery = 2*time.Millisecond, time.Millisecond, time.Microsecond
	r.health.configureEvery, r.health.viewAge = time.Millisecond, 0
	f.run(func(ctx context.Context) error { return s.Run(ctx, r.health.Observe) })
	if err := s.WaitLoaded(f.soon()); err != nil {
		f.t.Fatal(err)
	}
	f.replicas = append(f.replicas, r)
	return r
}

// campaign makes the replica lead, or wait for that.
func (r *replica) campaign() {
	r.stop = r.f.run(func(ctx context.Context) error { return r.store.Lead(ctx, "books", r.health.replica, r.health.Lead) })
}

func (r *replica) put(old, next model.Resource) {
	r.f.t.Helper()
	revision, err := r.store.Commit(r.f.soon(), store.Write{Puts: []store.Put{{Resource: next, Old: old}}})
	if err != nil {
		r.f.t.Fatal(err)
	}
	if err := r.store.WaitRevision(r.f.soon(), revision); err != nil {
		r.f.t.Fatal(err)
	}
}

// view is the replica's view of an account; nil where it does not lead.
func (r *replica) view(name string) *adminv1.AccountHealthView {
	v, err := r.health.View(r.f.t.Context())
	if err != nil {
		return nil
	}
	for _, a := range v.GetAccounts() {
		if a.GetName() == name {
			return a
		}
	}
	return nil
}

// register knows which permits are out, and notes when two of one account are.
type register struct {
	mu      sync.Mutex
	live    map[string]map[string]holder // by account and permit
	seen    map[string]string            // who has got a permit
	wrong   []string
	granted map[string]int // by term
}

type holder struct {
	proxy string
	until time.Time
}

func (g *register) granting(proxy, term string, p *syncv1.ProbePermit, now time.Time) (first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if who, ok := g.seen[p.GetId()]; ok {
		if who != proxy {
			g.wrong = append(g.wrong, fmt.Sprintf("permit %s went to %s and to %s", p.GetId(), who, proxy))
		}
		return false // a full update names it again
	}
	g.seen[p.GetId()] = proxy
	g.granted[term]++
	out := g.live[p.GetAccountId()]
	if out == nil {
		out = map[string]holder{}
		g.live[p.GetAccountId()] = out
	}
	for id, h := range out {
		if !now.Before(h.until) {
			delete(out, id)
			continue
		}
		g.wrong = append(g.wrong, fmt.Sprintf("%s has permit %s while %s of %s holds for %v",
			p.GetAccountId(), p.GetId(), id, h.proxy, h.until.Sub(now)))
	}
	out[p.GetId()] = holder{proxy, now.Add(p.GetTtl().AsDuration())}
	return true
}

// ended is called before a proxy says what became of a permit.
func (g *register) ended(accountID, permitID string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.live[accountID], permitID)
}

// count is how many are out.
func (g *register) count(now time.Time) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, out := range g.live {
		for _, h := range out {
			if now.Before(h.until) {
				n++
			}
		}
	}
	return n
}

// member is one proxy. It goes where the leader is, reports once a second, and uses what permits it gets: some answer,
// some fail, some it never says a word of.
type member struct {
	f       *fleet
	id      string
	due     chan struct{} // one place
	serving atomic.Bool

	mu       sync.Mutex
	sequence uint64
	deltas   []*syncv1.AccountDelta
	probes   []*syncv1.ProbeOutcome
}

func (m *member) live(ctx context.Context) error {
	for k := 0; ctx.Err() == nil; k++ {
		h := m.f.replicas[k%len(m.f.replicas)].health
		stream, cancel := context.WithCancel(ctx)
		err := h.Serve(stream, m.id, "boot", func() (*syncv1.HealthReport, error) { return m.report(stream) }, m.take)
		cancel()
		m.serving.Store(false)
		if _, ok := errors.AsType[*NotLeaderError](err); !ok && ctx.Err() == nil {
			m.f.t.Errorf("%s: %v", m.id, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(1+rand.IntN(5)) * time.Millisecond):
		}
	}
	return nil
}

func (m *member) report(ctx context.Context) (*syncv1.HealthReport, error) {
	m.serving.Store(true)
	select {
	case <-m.due:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sequence++
	r := &syncv1.HealthReport{Sequence: m.sequence, Accounts: m.deltas, Probes: m.probes}
	for _, o := range m.probes {
		m.f.registry.ended(o.GetAccountId(), o.GetPermitId())
	}
	m.deltas, m.probes = nil, nil
	return r, nil
}

func (m *member) take(u *syncv1.HealthUpdate) error {
	for _, p := range u.GetPermits() {
		if !m.f.registry.granting(m.id, u.GetTerm(), p, m.f.now()) {
			continue
		}
		outcome := &syncv1.ProbeOutcome{PermitId: p.GetId(), AccountId: p.GetAccountId()}
		switch n := rand.IntN(10); {
		case n < 2:
			continue // lost
		case n < 3:
			// It could not be used.
		case n < 6:
			outcome.Ok = true
		default:
			outcome.Failed, outcome.Reason = true, "server_error"
		}
		m.mu.Lock()
		m.probes = append(m.probes, outcome)
		m.mu.Unlock()
	}
	return nil
}

// say puts something into the proxy's next report.
func (m *member) say(d *syncv1.AccountDelta) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deltas = append(m.deltas, d)
}

// failing is an account that failed five times in a row.
func failing(id string) *syncv1.AccountDelta {
	return &syncv1.AccountDelta{
		AccountId: id, FailuresInRow: 5, Faults: []*syncv1.FaultCount{{Reason: "server_error", Count: 5, Unhealthy: true}},
	}
}

// TestLeaderChanges: while the leader changes again and again, no account is ever tried by two proxies at once, and what
// was decided stands.
func TestLeaderChanges(t *testing.T) {
	const accounts, proxies, changes = 12, 50, 3
	f := &fleet{t: t, registry: register{
		live: map[string]map[string]holder{}, seen: map[string]string{}, granted: map[string]int{},
	}}
	endpoint := etcdtest.New(t)
	a, b := f.join(endpoint, "a"), f.join(endpoint, "b")
	settings := a.store.State().Settings()
	quick := proto.CloneOf(settings)
	quick.Recovery = &resourcev1.Recovery{
		Open: durationpb.New(4 * time.Second), MaxOpen: durationpb.New(4 * time.Second), SlowStart: durationpb.New(0),
		Check: resourcev1.CheckMode_CHECK_MODE_OFF,
	}
	a.put(settings, quick)
	a.put(nil, &resourcev1.Channel{
		Metadata: &resourcev1.Metadata{Id: "id-main", Name: "main"}, Provider: resourcev1.Provider_PROVIDER_OPENAI,
		BaseUrl: "https://llm.example", Models: []string{"m"}, Groups: []string{model.DefaultGroup},
	})
	for i := range accounts {
		a.put(nil, account(fmt.Sprint("x", i)))
	}
	a.put(nil, account("bad"))
	a.campaign()
	f.until(func() string {
		if a.view("bad") == nil {
			return "nobody leads"
		}
		return ""
	})
	for i := range proxies {
		m := &member{f: f, id: fmt.Sprint("p", i), due: make(chan struct{}, 1)}
		f.proxies = append(f.proxies, m)
		f.run(m.live)
	}
	f.proxies[0].say(refused("bad"))
	stored := func(r *replica) *resourcev1.Verdict {
		got, ok := r.store.State().Get(model.KindVerdict, "id-bad")
		if !ok {
			return nil
		}
		return got.(*resourcev1.Verdict)
	}
	f.until(func() string {
		if stored(a) == nil || stored(b) == nil {
			return "the refused credential is not on the books"
		}
		return ""
	})
	decided := stored(a)

	leads, waits := a, b
	for change := range changes + 1 {
		term := ""
		enough := func() bool {
			f.registry.mu.Lock()
			defer f.registry.mu.Unlock()
			return f.registry.granted[term] >= 3*accounts
		}
		f.until(func() string {
			if t := leads.health.current(); t != nil {
				term = fmt.Sprint(t.fence.Revision())
			}
			// Those that serve fail again, so that there is always somebody to try.
			for i := range accounts {
				name := fmt.Sprint("x", i)
				if leads.view(name).GetHealth().GetState() == closed {
					f.proxies[rand.IntN(proxies)].say(failing("id-" + name))
				}
			}
			// The leader goes while permits are out, so that its successor could be wrong about them.
			if !enough() || f.registry.count(f.now()) == 0 {
				return fmt.Sprintf("too few permits in term %d (%s)", change, term)
			}
			return ""
		})
		if got := leads.view("bad").GetHealth(); got.GetState() != disabled || got.GetReason() != decided.GetHealth().GetReason() {
			t.Errorf("term %d: the refused credential is %v", change, got)
		}
		if change == changes {
			break
		}
		waits.campaign()
		leads.stop()
		leads, waits = waits, leads
	}
	if v := stored(leads); model.Version(v) != model.Version(decided) {
		t.Errorf("the same decision was stored again: %v, was %v", v, decided)
	}
	f.registry.mu.Lock()
	defer f.registry.mu.Unlock()
	for _, w := range f.registry.wrong {
		t.Error(w)
	}
	if len(f.registry.granted) != changes+1 {
		t.Errorf("permits by term: %v, want %d terms", f.registry.granted, changes+1)
	}
	t.Logf("permits by term: %v, PermitTTL %v", f.registry.granted, judge.PermitTTL)
}
