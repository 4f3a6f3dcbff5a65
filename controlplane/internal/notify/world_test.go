package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/secret"
	"fairway/pkg/testkit/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, etcdtest.LeakOptions()...) }

// patience bounds waits for things that must happen; no test expects them to take it.
const patience = 60 * time.Second

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

var linkLocal = netip.MustParsePrefix("169.254.0.0/16")

// keyring is one that seals and opens.
func keyring(t testing.TB) *secret.Keyring {
	t.Helper()
	id, key := secret.NewDataKey()
	ring, err := secret.NewKeyring(id, map[string][]byte{id: key})
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// sealed is a notifier's secret as it is stored.
func sealed(t testing.TB, ring *secret.Keyring, id, field, value string) *resourcev1.Secret {
	t.Helper()
	v, err := ring.Seal([]byte(value), string(model.KindNotifier), id, field)
	if err != nil {
		t.Fatal(err)
	}
	return &resourcev1.Secret{Sealed: v}
}

func metadata(name string) *resourcev1.Metadata {
	return &resourcev1.Metadata{Id: "id-" + name, Name: name}
}

// hook is a notifier with a webhook.
func hook(name, url string) *resourcev1.Notifier {
	return &resourcev1.Notifier{
		Metadata: metadata(name), Target: &resourcev1.Notifier_Webhook{Webhook: &resourcev1.Webhook{Url: url}},
	}
}

// changes makes resources changes of a data set.
func changes(all ...model.Resource) []model.Change {
	var out []model.Change
	for _, r := range all {
		out = append(out, model.Change{Kind: model.KindOf(r), ID: r.GetMetadata().GetId(), New: r})
	}
	return out
}

// memory is a store without etcd, whose writes can fail.
type memory struct {
	mu      sync.Mutex
	state   *model.State
	notices map[string]store.Notice
	fails   error
}

func newMemory(all ...model.Resource) *memory {
	return &memory{state: model.Empty("lineage").Apply(1, changes(all...)), notices: map[string]store.Notice{}}
}

func (m *memory) State() *model.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// apply changes the data set, and gives what changed versions.
func (m *memory) apply(all ...model.Change) *model.State {
	m.mu.Lock()
	defer m.mu.Unlock()
	revision := m.state.Revision() + 1
	for _, c := range all {
		if c.New != nil {
			model.SetVersion(c.New, revision)
		}
	}
	m.state = m.state.Apply(revision, all)
	return m.state
}

func (*memory) WaitRevision(context.Context, int64) error { return nil }

func (m *memory) PutNotice(_ context.Context, _ store.Fence, n store.Notice) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails == nil {
		m.notices[n.Notifier+"/"+n.Event] = n
	}
	return m.fails
}

func (m *memory) DropNotices(_ context.Context, _ store.Fence, all []store.Notice) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range all {
		delete(m.notices, n.Notifier+"/"+n.Event)
	}
	return m.fails
}

func (m *memory) Notices(_ context.Context, fn func(store.Notice) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.notices {
		if err := fn(n); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) kept() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.notices)
}

// attempt is one that a recorder was asked for.
type attempt struct {
	notifier, event, id, text string
	at                        time.Time
}

// recorder is a sender that answers as it is told.
type recorder struct {
	mu     sync.Mutex
	all    []attempt
	answer func(n *resourcev1.Notifier, e *Event) error // nil = all is well
}

func (r *recorder) send(ctx context.Context, n *resourcev1.Notifier, e *Event) (string, error) {
	r.mu.Lock()
	r.all = append(r.all, attempt{n.GetMetadata().GetName(), e.Event, e.ID, e.Text, time.Now()})
	answer := r.answer
	r.mu.Unlock()
	if answer == nil {
		return "fine", nil
	}
	if err := answer(n, e); !errors.Is(err, errHang) {
		return "", err
	}
	<-ctx.Done()
	return "", ctx.Err()
}

// errHang makes a recorder wait for the end.
var errHang = errors.New("hang")

// of are the attempts of one notifier.
func (r *recorder) of(notifier string) []attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.all), func(a attempt) bool { return a.notifier != notifier })
}

// texts are those of the attempts of one notifier.
func (r *recorder) texts(notifier string) []string {
	var out []string
	for _, a := range r.of(notifier) {
		out = append(out, a.text)
	}
	return out
}

// told runs a leader over a memory and a recorder, for tests in a bubble of time. stop ends it.
func told(t *testing.T, m *memory, r *recorder, change ...func(*Notify)) (n *Notify, stop func()) {
	t.Helper()
	n = New(m, nil, Options{})
	n.sender = r
	for _, c := range change {
		c(n)
	}
	n.Observe(m.State(), changes(&resourcev1.Notifier{Metadata: metadata("any")}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Lead(ctx, store.Fence{}) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Lead: %v", err)
		}
	})
	t.Cleanup(stop)
	return n, stop
}

// day is a budget's event in a daily window.
func day(key string, percent uint32, number int64) BudgetEvent {
	return BudgetEvent{
		Scope: "key", ID: "id-" + key, Name: key, Window: "day", WindowNumber: number, Percent: percent,
		Spent: 1_000_000_000 * 8, Limit: 1_000_000_000 * 10, Ends: time.Now().Add(10 * time.Hour),
	}
}

// ending is a key that ends after so long, and was made a year ago.
func ending(name string, in time.Duration) *resourcev1.Key {
	k := &resourcev1.Key{Metadata: metadata(name), ExpireTime: timestamppb.New(time.Now().Add(in))}
	k.Metadata.CreateTime = timestamppb.New(time.Now().Add(-365 * 24 * time.Hour))
	return k
}

// replica is one control plane's part of a data set in a real etcd.
type replica struct {
	t      *testing.T
	store  *store.Store
	notify *Notify
	sent   *recorder
	stop   func()
}

func newReplica(t *testing.T, endpoint string) *replica {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s, err := store.Open(ctx, store.Config{Endpoints: []string{endpoint}, LeaseTTL: 2 * time.Second}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{t: t, store: s, sent: &recorder{}}
	r.notify = New(s, nil, Options{})
	r.notify.sender, r.notify.firstPause, r.notify.lookEvery = r.sent, time.Millisecond, 5*time.Millisecond
	t.Cleanup(func() { _ = s.Close() })
	r.run(func(ctx context.Context) error { return s.Run(ctx, r.notify.Observe) })
	if err := s.WaitLoaded(ctx); err != nil {
		t.Fatal(err)
	}
	return r
}

// run runs fn until stop is called or the test ends.
func (r *replica) run(fn func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("run: %v", err)
		}
	})
	r.t.Cleanup(stop)
	return stop
}

func (r *replica) lead() *replica {
	r.stop = r.run(func(ctx context.Context) error { return r.store.Lead(ctx, "test", "r", r.notify.Lead) })
	return r
}

// put stores new resources.
func (r *replica) put(all ...model.Resource) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	w := store.Write{Actor: store.Actor{Operator: "test"}}
	for _, one := range all {
		w.Puts = append(w.Puts, store.Put{Resource: one})
	}
	revision, err := r.store.Commit(ctx, w)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.store.WaitRevision(ctx, revision); err != nil {
		r.t.Fatal(err)
	}
}

// until waits for something that must happen.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// notices counts what is remembered: what is still to be sent, and what was.
func (r *replica) notices() (waiting, sent int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	err := r.store.Notices(ctx, func(n store.Notice) error {
		if bytes.Contains(n.Body, []byte(`"event":{`)) {
			waiting++
		} else {
			sent++
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return waiting, sent
}

// idOf makes texts shorter.
func idOf(n int) string { return fmt.Sprintf("k%03d", n) }
