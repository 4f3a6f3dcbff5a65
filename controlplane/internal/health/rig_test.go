package health

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, etcdtest.LeakOptions()...) }

const (
	closed   = resourcev1.HealthState_HEALTH_STATE_CLOSED
	open     = resourcev1.HealthState_HEALTH_STATE_OPEN
	halfOpen = resourcev1.HealthState_HEALTH_STATE_HALF_OPEN
	disabled = resourcev1.HealthState_HEALTH_STATE_DISABLED
)

// books is a store in memory. It fails as told.
type books struct {
	mu       sync.Mutex
	state    *model.State
	metas    map[string]string
	watching []*Health
	deaf     bool // changes are stored, but nobody hears of them until it is over
	missed   []model.Change
	puts     []*resourcev1.Verdict // that were stored by a leader
	actors   map[store.Actor]bool
	attempts int
	// What PutVerdict fails with; before = without having stored anything.
	before, after []error
	hold          chan struct{} // PutVerdict waits for it before it does anything; nil = does not
}

func newBooks() *books {
	b := &books{state: model.Empty("l"), metas: map[string]string{}, actors: map[store.Actor]bool{}}
	b.write(
		&resourcev1.Settings{
			Metadata: &resourcev1.Metadata{Id: "settings", Name: model.SettingsName},
			Recovery: &resourcev1.Recovery{Check: resourcev1.CheckMode_CHECK_MODE_OFF, SlowStart: durationpb.New(0)},
		},
		&resourcev1.Channel{
			Metadata: &resourcev1.Metadata{Id: "id-main", Name: "main"}, Provider: resourcev1.Provider_PROVIDER_OPENAI, Models: []string{"m"},
		},
	)
	return b
}

func account(name string) *resourcev1.Account {
	return &resourcev1.Account{
		Metadata: &resourcev1.Metadata{Id: "id-" + name, Name: name}, Channel: "main",
		Secret: &resourcev1.Secret{Fingerprint: "f-" + name},
	}
}

// write puts resources, as an operator does.
func (b *books) write(put ...model.Resource) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var changes []model.Change
	for _, r := range put {
		changes = append(changes, model.Change{Kind: model.KindOf(r), ID: r.GetMetadata().GetId(), New: r})
	}
	b.apply(changes)
}

func (b *books) remove(k model.Kind, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.apply([]model.Change{{Kind: k, ID: id}})
}

// apply is called with b.mu held.
func (b *books) apply(changes []model.Change) int64 {
	revision := b.state.Revision() + 1
	for i, c := range changes {
		if c.New != nil {
			model.SetVersion(c.New, revision)
		}
		changes[i].Old, _ = b.state.Get(c.Kind, c.ID)
	}
	b.state = b.state.Apply(revision, changes)
	b.missed = append(b.missed, changes...)
	b.deliver()
	return revision
}

func (b *books) deliver() {
	if b.deaf {
		return
	}
	for _, h := range b.watching {
		h.Observe(b.state, b.missed)
	}
	b.missed = nil
}

func (b *books) hear(yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deaf = !yes
	b.deliver()
}

func (b *books) State() *model.State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

func (b *books) WaitRevision(ctx context.Context, _ int64) error { return ctx.Err() }

func (b *books) CreateMeta(_ context.Context, name string, value []byte) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if there, ok := b.metas[name]; ok {
		return []byte(there), nil
	}
	b.metas[name] = string(value)
	return value, nil
}

func (b *books) PutVerdict(ctx context.Context, _ store.Fence, v *resourcev1.Verdict, before int64, a store.Actor) (int64, error) {
	if b.hold != nil {
		select {
		case <-b.hold:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attempts++
	if len(b.before) > 0 {
		err := b.before[0]
		b.before = b.before[1:]
		return 0, err
	}
	id := v.GetMetadata().GetId()
	if _, ok := b.state.Get(model.KindAccount, id); !ok {
		return 0, fault.New(fault.NotFound, "no account")
	}
	if old, ok := b.state.Get(model.KindVerdict, id); (ok && model.Version(old) != before) || (!ok && before != 0) {
		return 0, fault.New(fault.Stale, "changed meanwhile")
	}
	stored := proto.CloneOf(v)
	revision := b.apply([]model.Change{{Kind: model.KindVerdict, ID: id, New: stored}})
	b.puts, b.actors[a] = append(b.puts, stored), true
	if len(b.after) > 0 {
		err := b.after[0]
		b.after = b.after[1:]
		return 0, err
	}
	return revision, nil
}

// stored is what PutVerdict stored, in order: account and state.
func (b *books) stored() (list []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.puts {
		list = append(list, v.GetMetadata().GetId()+" "+stateName(v.GetHealth().GetState()))
	}
	return list
}

// rig is one Health over books, in a bubble whose time is virtual.
type rig struct {
	t        *testing.T
	books    *books
	health   *Health
	log      *lines
	registry *prometheus.Registry
	stop     func() // leads no more
}

// bubble runs a test in virtual time, on a Health that leads.
func bubble(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.lead()
		test(t, r)
		r.stop()
	})
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, books: newBooks(), log: &lines{}, registry: prometheus.NewRegistry()}
	r.health = New(r.books, Options{
		ReplicaID: "r1", Leader: func(context.Context) (string, bool) { return "10.0.0.1:8082", true },
		Log: slog.New(slog.NewTextHandler(r.log, nil)), Registry: r.registry,
	})
	r.books.watching = append(r.books.watching, r.health)
	r.books.write(account("a"), account("b"))
	return r
}

func (r *rig) lead() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.health.Lead(ctx, store.Fence{}) }()
	synctest.Wait()
	if r.health.current() == nil {
		r.t.Fatal("it does not lead")
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("lead: %v", err)
		}
	})
}

// pass lets time pass, and everything that is due happen.
func (r *rig) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// state is what the leader thinks of an account.
func (r *rig) state(name string) resourcev1.HealthState {
	r.t.Helper()
	r.pass(viewAge)
	v, err := r.health.View(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, a := range v.GetAccounts() {
		if a.GetName() == name {
			return a.GetHealth().GetState()
		}
	}
	r.t.Fatalf("the view has no account %q", name)
	return 0
}

// proxy is one stream, whose other end is the test.
type proxy struct {
	id       string
	sequence uint64
	reports  chan *syncv1.HealthReport
	updates  chan *syncv1.HealthUpdate // without a buffer when the test does not take them
	ended    chan error
	end      context.CancelFunc
}

var errGone = errors.New("stream is over")

// connect serves a stream. With buffer 0 it takes updates only when the test does.
func (r *rig) connect(id, boot string, buffer int) *proxy {
	ctx, cancel := context.WithCancel(r.t.Context())
	p := &proxy{
		id: id, reports: make(chan *syncv1.HealthReport, 1024), updates: make(chan *syncv1.HealthUpdate, buffer),
		ended: make(chan error, 1), end: cancel,
	}
	recv := func() (*syncv1.HealthReport, error) {
		select {
		case m, ok := <-p.reports:
			if !ok {
				return nil, io.EOF
			}
			return m, nil
		case <-ctx.Done():
			return nil, errGone
		}
	}
	send := func(u *syncv1.HealthUpdate) error {
		select {
		case p.updates <- u:
			return nil
		case <-ctx.Done():
			return errGone
		}
	}
	go func() {
		err := r.health.Serve(ctx, id, boot, recv, send)
		cancel() // as gRPC does when the handler has returned
		p.ended <- err
	}()
	synctest.Wait()
	return p
}

func (p *proxy) report(deltas ...*syncv1.AccountDelta) {
	p.sequence++
	p.reports <- &syncv1.HealthReport{Sequence: p.sequence, Accounts: deltas}
}

// refused is an account whose credential is of no use.
func refused(name string) *syncv1.AccountDelta {
	return &syncv1.AccountDelta{
		AccountId: "id-" + name, Disabled: true, RestReason: "credential",
		Faults: []*syncv1.FaultCount{{Reason: "credential", Count: 1, Unhealthy: true}},
	}
}

// named says whether any of the updates that have come speaks of an account.
func (p *proxy) named(name string) bool {
	found := false
	for {
		select {
		case u := <-p.updates:
			for _, a := range u.GetAccounts() {
				found = found || a.GetAccountId() == "id-"+name
			}
		default:
			return found
		}
	}
}

// lines collects a log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// with returns the lines that hold all the words.
func (l *lines) with(words ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
next:
	for line := range strings.Lines(l.buf.String()) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}

func reset(name string) *resourcev1.Verdict {
	return &resourcev1.Verdict{
		Metadata: &resourcev1.Metadata{Id: "id-" + name, Name: "id-" + name},
		Health:   &resourcev1.AccountHealth{State: closed, Reason: "reset"},
	}
}
