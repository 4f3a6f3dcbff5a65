package store

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/testkit/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, etcdtest.LeakOptions()...) }

var quiet = slog.New(slog.DiscardHandler)

// patience bounds waits for things that must happen; no test expects them to take it.
const patience = 60 * time.Second

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func open(t testing.TB, endpoints ...string) *Store {
	t.Helper()
	s, err := Open(soon(t), Config{Endpoints: endpoints, LeaseTTL: 2 * time.Second}, quiet)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// follow runs the store until the test ends, and records what it publishes.
func follow(t testing.TB, s *Store) *recorder {
	t.Helper()
	rec := &recorder{store: s}
	rec.stop = start(t, func(ctx context.Context) error { return s.Run(ctx, rec.observe) })
	if err := s.WaitLoaded(soon(t)); err != nil {
		t.Fatal(err)
	}
	return rec
}

// start runs fn until stop is called or the test ends, whichever is first.
func start(t testing.TB, fn func(context.Context) error) (stop func()) {
	t.Helper()
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

type step struct {
	state   *model.State
	changes []model.Change
}

// recorder checks what every observer relies on, and keeps all steps.
type recorder struct {
	store *Store
	stop  func()

	mu    sync.Mutex
	steps []step
	bad   []string
}

func (r *recorder) observe(next *model.State, changes []model.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.steps); n > 0 {
		last := r.steps[n-1].state
		if last.Lineage() == next.Lineage() && next.Revision() <= last.Revision() {
			r.bad = append(r.bad, "the revision did not grow")
		}
		for _, c := range changes {
			old, _ := last.Get(c.Kind, c.ID)
			if last.Lineage() == next.Lineage() && old != c.Old {
				r.bad = append(r.bad, "a change's Old is not what was there")
			}
		}
	}
	for _, c := range changes {
		now, _ := next.Get(c.Kind, c.ID)
		if now != c.New || (c.Old == nil && c.New == nil) {
			r.bad = append(r.bad, "a change's New is not what is there")
		}
		if c.Old != nil && c.New != nil && model.Version(c.Old) == model.Version(c.New) {
			r.bad = append(r.bad, "a change without a difference")
		}
	}
	r.steps = append(r.steps, step{next, changes})
}

// all returns the steps up to the store's present state: a waiter hears of a revision before the observer does.
func (r *recorder) all() []step {
	for {
		r.mu.Lock()
		steps := slices.Clone(r.steps)
		r.mu.Unlock()
		if n := len(steps); n > 0 && steps[n-1].state.Revision() >= r.store.State().Revision() {
			return steps
		}
		time.Sleep(time.Millisecond)
	}
}

// changes counts the changes of all steps but the first.
func (r *recorder) changes() int {
	n := 0
	for _, s := range r.all()[1:] {
		n += len(s.changes)
	}
	return n
}

func (r *recorder) check(t testing.TB) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, bad := range r.bad {
		t.Errorf("observer: %s", bad)
	}
}

var tester = Actor{Operator: "tester", Procedure: "/test", RequestID: "req-1"}

func meta(t testing.TB, s *Store, name string) *resourcev1.Metadata {
	t.Helper()
	id, err := s.newID(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &resourcev1.Metadata{Id: id.String(), Name: name, CreateTime: timestamppb.Now(), UpdateTime: timestamppb.Now()}
}

func group(t testing.TB, s *Store, name string) *resourcev1.Group {
	t.Helper()
	return &resourcev1.Group{Metadata: meta(t, s, name)}
}

func channel(t testing.TB, s *Store, name string, groups ...string) *resourcev1.Channel {
	t.Helper()
	return &resourcev1.Channel{
		Metadata: meta(t, s, name), Provider: resourcev1.Provider_PROVIDER_OPENAI,
		BaseUrl: "https://api.example.com", Models: []string{"m"}, Groups: groups,
	}
}

func account(t testing.TB, s *Store, name, channel string) *resourcev1.Account {
	t.Helper()
	return &resourcev1.Account{Metadata: meta(t, s, name), Channel: channel}
}

func commit(t testing.TB, s *Store, w Write) int64 {
	t.Helper()
	w.Actor = tester
	revision, err := s.Commit(soon(t), w)
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	return revision
}

// create stores the resources and returns them as they can be updated: with their etags.
func create[R model.Resource](t testing.TB, s *Store, rs ...R) []R {
	t.Helper()
	out := make([]R, 0, len(rs))
	for _, r := range rs {
		out = append(out, at(r, commit(t, s, Write{Puts: []Put{{Resource: r}}})))
	}
	return out
}

func at[R model.Resource](r R, revision int64) R {
	c := clone(r)
	model.SetVersion(c, revision)
	return c
}

func clone[R model.Resource](r R) R {
	c, _ := proto.Clone(r).(R)
	return c
}

func update[R model.Resource](old R, change func(R)) Put {
	next := clone(old)
	change(next)
	return Put{Resource: next, Old: old, ChangedFields: []string{"changed"}}
}

func wantFault(t testing.TB, err error, kind fault.Kind, code string) {
	t.Helper()
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Kind != kind || f.Code != code {
		t.Fatalf("got %v (%v), want a fault of kind %q, code %q", err, fault.KindOf(err), kind, code)
	}
}
