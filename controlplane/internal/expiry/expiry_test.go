package expiry

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/testkit/etcdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, etcdtest.LeakOptions()...) }

const patience = 60 * time.Second

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// rig is an expiry on a real store.
type rig struct {
	t      *testing.T
	store  *racing
	expiry *Expiry
	mu     sync.Mutex
	time   time.Time
}

// racing is a store in which others may be faster.
type racing struct {
	*store.Store
	before func(model.Resource) // called before each commit; nil = nothing
}

func (s *racing) Commit(ctx context.Context, w store.Write) (int64, error) {
	if s.before != nil {
		s.before(w.Puts[0].Old)
	}
	return s.Store.Commit(ctx, w)
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, time: noon}
	s, err := store.Open(r.soon(), store.Config{Endpoints: []string{etcdtest.New(t)}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	r.store = &racing{Store: s}
	r.expiry = New(r.store, Options{Now: r.now})
	return r
}

func (r *rig) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.time
}

func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.time = r.time.Add(d)
}

func (r *rig) soon() context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.t.Context()), patience)
	r.t.Cleanup(cancel)
	return ctx
}

// lead makes it the leader until the test ends.
func (r *rig) lead() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.store.Lead(ctx, "books", "r", r.expiry.Lead) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	r.until("it leads", func() bool {
		r.expiry.mu.Lock()
		defer r.expiry.mu.Unlock()
		return r.expiry.leads
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

func (r *rig) key(name string, change func(*resourcev1.Key)) string {
	r.t.Helper()
	k := &resourcev1.Key{
		Metadata: &resourcev1.Metadata{Id: ulid.Make().String(), Name: name, CreateTime: timestamppb.New(noon.Add(-time.Hour))},
		Group:    "default", ExpireAfterFirstUse: durationpb.New(24 * time.Hour),
	}
	change(k)
	r.write(store.Put{Resource: k})
	return k.GetMetadata().GetId()
}

func (r *rig) write(p store.Put) {
	r.t.Helper()
	if _, err := r.store.Store.Commit(r.soon(), store.Write{Actor: store.Actor{Operator: "ada"}, Puts: []store.Put{p}}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) read(id string) *resourcev1.Key {
	r.t.Helper()
	k, err := r.store.Read(r.soon(), model.KindKey, id)
	if err != nil {
		r.t.Fatal(err)
	}
	return k.(*resourcev1.Key)
}

func plain(*resourcev1.Key) {}

// The end is set once, from the use on, and says in the audit trail who did it.
func TestFirstUseSetsTheEnd(t *testing.T) {
	r := newRig(t)
	id := r.key("k", plain)
	r.expiry.FirstUse(id, noon) // nobody leads: it is heard of again
	r.lead()
	for range 3 {
		r.expiry.FirstUse(id, noon.Add(-time.Minute))
	}
	r.until("the end is set", func() bool { return r.read(id).GetExpireTime() != nil })
	k := r.read(id)
	if want := noon.Add(24*time.Hour - time.Minute); !k.GetExpireTime().AsTime().Equal(want) || !k.GetMetadata().GetUpdateTime().AsTime().Equal(noon) {
		t.Errorf("the key is %v, want its end at %v", k, want)
	}
	r.pass(quiet + time.Second)
	other := r.key("other", plain)
	r.expiry.FirstUse(id, noon.Add(time.Hour)) // the replica's copy lags
	r.expiry.FirstUse(other, noon)
	r.until("the other's end is set", func() bool { return r.read(other).GetExpireTime() != nil })
	if now := r.read(id); !proto.Equal(k, now) {
		t.Errorf("the key changed again: %v", now)
	}
	records, _, err := r.store.Audit(r.soon(), store.AuditQuery{ResourceName: "k"})
	if err != nil || len(records) != 2 || records[0].GetOperator() != "system" {
		t.Errorf("audit: %v, %v", records, err)
	}
}

func TestWhatIsNotAFirstUse(t *testing.T) {
	r := newRig(t)
	end := timestamppb.New(noon.Add(time.Minute))
	ids := []string{
		r.key("ends already", func(k *resourcev1.Key) { k.ExpireTime = end }),
		r.key("lives on", func(k *resourcev1.Key) { k.ExpireAfterFirstUse = nil }),
	}
	before := []*resourcev1.Key{r.read(ids[0]), r.read(ids[1])}
	r.lead()
	r.expiry.FirstUse("gone", noon)
	for _, id := range ids {
		r.expiry.FirstUse(id, noon)
	}
	last := r.key("last", plain)
	r.until("the last one's end is set", func() bool {
		r.pass(quiet + time.Second)
		r.expiry.FirstUse(last, noon)
		return r.read(last).GetExpireTime() != nil
	})
	r.until("nothing waits", func() bool {
		r.expiry.mu.Lock()
		defer r.expiry.mu.Unlock()
		return len(r.expiry.waiting) == 0
	})
	for i, id := range ids {
		if now := r.read(id); !proto.Equal(before[i], now) {
			t.Errorf("%s changed: %v", before[i].GetMetadata().GetName(), now)
		}
	}
}

// An operator who changes the key at that very moment keeps the change; one who sets the end wins.
func TestFirstUseAgainstOperators(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*resourcev1.Key)
		want   time.Time
	}{
		"changes something": {func(k *resourcev1.Key) { k.Disabled = true }, noon.Add(24 * time.Hour)},
		"sets the end":      {func(k *resourcev1.Key) { k.ExpireTime = timestamppb.New(noon.Add(time.Hour)) }, noon.Add(time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			id := r.key("k", plain)
			var once sync.Once
			r.store.before = func(old model.Resource) {
				once.Do(func() {
					k := proto.CloneOf(old.(*resourcev1.Key))
					tt.change(k)
					r.write(store.Put{Resource: k, Old: old})
				})
			}
			r.lead()
			r.expiry.FirstUse(id, noon)
			r.until("the end is set", func() bool { return r.read(id).GetExpireTime() != nil })
			got := r.read(id)
			want := proto.CloneOf(got)
			tt.change(want)
			want.ExpireTime = timestamppb.New(tt.want)
			if !proto.Equal(got, want) {
				t.Errorf("the key is %v, want %v", got, want)
			}
		})
	}
}

func TestFirstUseIsBounded(t *testing.T) {
	e := New(nil, Options{})
	e.become(true)
	for i := range maxWaiting + 10 {
		e.FirstUse(fmt.Sprint(i), noon)
	}
	e.FirstUse("5", noon.Add(-time.Hour))
	e.FirstUse("6", noon.Add(time.Hour))
	if len(e.waiting) != maxWaiting || !e.waiting["5"].Equal(noon.Add(-time.Hour)) || !e.waiting["6"].Equal(noon) {
		t.Errorf("%d wait; 5 since %v, 6 since %v", len(e.waiting), e.waiting["5"], e.waiting["6"])
	}
	e.become(false)
	if len(e.waiting) != 0 {
		t.Error("what is left would be written in another leadership")
	}
}

func TestUsed(t *testing.T) {
	created := noon.Add(-time.Hour)
	for _, tt := range []struct {
		name              string
		at, created, want time.Time
	}{
		{"now", noon, created, noon},
		{"before it was made", noon.Add(-2 * time.Hour), created, created},
		{"in the future", noon.Add(time.Hour), created, noon},
		{"long ago", time.Unix(0, 0), time.Unix(0, 0), noon.Add(-maxAge)},
		{"made in the future", noon, noon.Add(time.Hour), noon},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := used(tt.at, tt.created, noon); !got.Equal(tt.want) {
				t.Errorf("used %v, want %v", got, tt.want)
			}
		})
	}
}
