package publish

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/proto"

	"fairway/controlplane/internal/build"
	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// workbench is a publisher without Run: a test publishes by hand.
type workbench struct {
	*world
	p       *Publisher
	broken  bool // no secret opens
	entries uint64
}

func newWorkbench(t *testing.T) *workbench {
	t.Helper()
	b := &workbench{world: &world{state: model.Empty(lineage)}}
	builder := newBuilder()
	builder.Open = func(v *resourcev1.SealedValue, _, _, _ string) (string, error) {
		if b.broken {
			return "", errors.New("does not open")
		}
		return string(v.GetCiphertext()), nil
	}
	p, err := New(builder, Options{Lineage: lineage, ReplicaID: "r", Books: noBooks{}, Enroller: noEnroller{}})
	if err != nil {
		t.Fatal(err)
	}
	b.p = p
	b.put()
	return b
}

// put commits and publishes, and returns the resources that travel; nil when there is only progress.
func (b *workbench) put(put ...model.Resource) []ref {
	return b.commit(nil, put...)
}

func (b *workbench) commit(deleted []model.Resource, put ...model.Resource) []ref {
	pend := pending{}
	for _, r := range append(deleted, put...) {
		pend.order = append(pend.order, change{model.KindOf(r), r.GetMetadata().GetId()})
	}
	b.change(deleted, put...)
	pend.state = b.state
	b.p.publish(&pend)
	v := b.p.ring.view(b.entries)
	if v.entry == nil {
		return nil
	}
	b.entries++
	var travelled []ref
	for _, f := range v.entry.frames {
		var m syncv1.SyncResponse
		if proto.Unmarshal(f, &m) != nil {
			return nil
		}
		for _, c := range m.GetTxn().GetChanges() {
			travelled = append(travelled, ref{c.GetKind(), c.GetId()})
		}
	}
	return travelled
}

func (b *workbench) published(t *testing.T, k syncv1.Kind, id string, into proto.Message) bool {
	t.Helper()
	r := b.p.ring.current().resource(ref{k, id})
	if r == nil {
		return false
	}
	if err := proto.Unmarshal(r.body, into); err != nil {
		t.Fatal(err)
	}
	return true
}

func wantRefs(t *testing.T, got []ref, want ...ref) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%v travel, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%v travel, want %v", got, want)
		}
	}
}

func TestSettingsArePublishedOnce(t *testing.T) {
	b := newWorkbench(t)
	settings := ref{syncv1.Kind_KIND_SETTINGS, build.SettingsID}
	var state syncv1.SettingsState
	if !b.published(t, settings.kind, settings.id, &state) || string(state.GetPepper()) != "pepper" {
		t.Fatalf("without stored settings: %v", &state)
	}
	group := &resourcev1.Group{Metadata: &resourcev1.Metadata{Id: "g", Name: model.DefaultGroup}}
	b.put(group)
	stored := &resourcev1.Settings{
		Metadata: &resourcev1.Metadata{Id: "ulid", Name: model.SettingsName}, Retry: &resourcev1.RetryPolicy{MaxAttempts: 7},
	}
	wantRefs(t, b.put(stored), settings)
	if b.published(t, settings.kind, settings.id, &state); state.GetMaxAttempts() != 7 {
		t.Errorf("stored settings: %v", &state)
	}
	wantRefs(t, b.commit([]model.Resource{stored}), settings)
	if b.published(t, settings.kind, settings.id, &state); state.GetMaxAttempts() != 3 {
		t.Errorf("after their deletion: %v", &state)
	}
}

// The default strategy stands in the groups that name none, so they follow the settings.
func TestGroupsFollowTheSettings(t *testing.T) {
	b := newWorkbench(t)
	b.put(&resourcev1.Group{Metadata: &resourcev1.Metadata{Id: "g", Name: "g"}})
	settings := &resourcev1.Settings{
		Metadata: &resourcev1.Metadata{Id: "s", Name: model.SettingsName}, DefaultStrategy: 77,
	}
	wantRefs(t, b.put(settings), ref{syncv1.Kind_KIND_SETTINGS, build.SettingsID}, ref{syncv1.Kind_KIND_GROUP, "g"})
	var state syncv1.GroupState
	if b.published(t, syncv1.Kind_KIND_GROUP, "g", &state); state.GetStrategy() != 77 {
		t.Errorf("strategy = %d, want 77", state.GetStrategy())
	}
}

// What was built without a reference is built again when the reference comes.
func TestReferencesThatComeLater(t *testing.T) {
	b := newWorkbench(t)
	key := b.newKey("k")
	key.Group = "late"
	channel := b.newChannel("c")
	channel.Groups = []string{"late"}
	b.put(key, channel)
	var state syncv1.KeyState
	id := key.GetMetadata().GetId()
	if !b.published(t, syncv1.Kind_KIND_KEY, id, &state) || state.GetGroupId() != "" {
		t.Fatalf("published %v", &state)
	}
	got := b.put(&resourcev1.Group{Metadata: &resourcev1.Metadata{Id: "g", Name: "late"}})
	if len(got) != 3 {
		t.Errorf("%v travel, want the group and both that name it", got)
	}
	if b.published(t, syncv1.Kind_KIND_KEY, id, &state); state.GetGroupId() != "g" {
		t.Errorf("group = %q, want g", state.GetGroupId())
	}
	if len(b.p.missing) != 0 {
		t.Errorf("still missing: %v", b.p.missing)
	}
}

// A key of a tenant that is not there, from before tenants were resources, is nothing to complain of; it gets the tenant
// when that comes.
func TestOldTenantComesLater(t *testing.T) {
	b := newWorkbench(t)
	key := b.newKey("k")
	key.Tenant = "late"
	b.put(&resourcev1.Group{Metadata: &resourcev1.Metadata{Id: "g", Name: model.DefaultGroup}}, key)
	var state syncv1.KeyState
	id := key.GetMetadata().GetId()
	if !b.published(t, syncv1.Kind_KIND_KEY, id, &state) || state.GetTenantId() != "" || state.GetTenant() != "late" {
		t.Fatalf("published %v", &state)
	}
	tenant := &resourcev1.Tenant{Metadata: &resourcev1.Metadata{Id: "t", Name: "late"}}
	wantRefs(t, b.put(tenant), ref{syncv1.Kind_KIND_TENANT, "t"}, ref{syncv1.Kind_KIND_KEY, id})
	if b.published(t, syncv1.Kind_KIND_KEY, id, &state); state.GetTenantId() != "t" {
		t.Errorf("tenant = %q, want t", state.GetTenantId())
	}
	if n := testutil.ToFloat64(b.p.metrics.failures.WithLabelValues("key")); n != 0 || len(b.p.missing) != 0 {
		t.Errorf("%v failures, still missing: %v", n, b.p.missing)
	}
}

// In whatever order a key and what it names come, proxies end up with what a replica builds that sees all at once.
func TestOrdersOfTenancy(t *testing.T) {
	meta := func(id string) *resourcev1.Metadata { return &resourcev1.Metadata{Id: id, Name: id} }
	limits := &resourcev1.Limits{Rpm: 1}
	all := []model.Resource{
		&resourcev1.Key{Metadata: meta("key"), Group: "group", Tenant: "part", Accounts: []string{"account"}, Limits: limits},
		&resourcev1.Tenant{Metadata: meta("part"), Parent: "team", Limits: limits},
		&resourcev1.Tenant{Metadata: meta("team"), Disabled: true},
		&resourcev1.Group{Metadata: meta("group"), Limits: limits},
		&resourcev1.Account{Metadata: meta("account"), Channel: "channel"},
	}
	for first := range all {
		b := newWorkbench(t)
		channel := b.newChannel("channel")
		channel.Groups = []string{"group"}
		b.put(channel)
		for i := range all {
			b.put(clone(all[(first+i)%len(all)]))
		}
		whole := newWorkbench(t)
		whole.p.load(b.state)
		got, want := b.p.ring.current(), whole.p.ring.current()
		if got.sums.Root() != want.sums.Root() || got.count != want.count || len(b.p.missing) != 0 {
			t.Errorf("%s first: digest %x of %d, want %x of %d; missing %v", all[first].GetMetadata().GetName(),
				got.sums.Root(), got.count, want.sums.Root(), want.count, b.p.missing)
		}
		var key syncv1.KeyState
		if b.published(t, syncv1.Kind_KIND_KEY, "key", &key); key.GetTenantId() != "part" || len(key.GetAccountIds()) != 1 ||
			key.GetAccountIds()[0] != "account" || key.GetGroupId() != "group" {
			t.Errorf("%s first: %v", all[first].GetMetadata().GetName(), &key)
		}
	}
}

func TestNothingTravelsTwice(t *testing.T) {
	b := newWorkbench(t)
	key := b.newKey("k")
	if got := b.commit([]model.Resource{key}); got != nil {
		t.Errorf("%v travel for a key that never was there", got)
	}
	wantRefs(t, b.put(key), ref{syncv1.Kind_KIND_KEY, key.GetMetadata().GetId()})
	operator := &resourcev1.Operator{Metadata: &resourcev1.Metadata{Id: "o", Name: "o"}}
	if got := b.put(operator); got != nil {
		t.Errorf("%v travel for an operator", got)
	}
	if got, want := b.p.ring.current().revision, b.state.Revision(); got != want {
		t.Errorf("progress to %d, want %d", got, want)
	}
}

// The last good form of what cannot be built stays published, it is tried again, and a revocation gets through.
func TestWhatCannotBeBuilt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newWorkbench(t)
		channel := b.newChannel("c")
		account := &resourcev1.Account{
			Metadata: &resourcev1.Metadata{Id: "a", Name: "a"}, Channel: "c",
			Secret: &resourcev1.Secret{Sealed: &resourcev1.SealedValue{Ciphertext: []byte("one")}},
		}
		b.put(channel, account)
		time.Sleep(time.Minute)

		b.broken = true
		changed := clone(account)
		changed.Secret.Sealed.Ciphertext = []byte("two")
		if got := b.put(changed); got != nil {
			t.Errorf("%v travel although the account cannot be built", got)
		}
		var state syncv1.AccountState
		if !b.published(t, syncv1.Kind_KIND_ACCOUNT, "a", &state) || state.GetSecret() != "one" {
			t.Errorf("published %v, want the last good form", &state)
		}

		b.broken = false
		time.Sleep(retryBuilds)
		wantRefs(t, b.put(b.newKey("k")), ref{syncv1.Kind_KIND_KEY, "id00000002"}, ref{syncv1.Kind_KIND_ACCOUNT, "a"})
		if b.published(t, syncv1.Kind_KIND_ACCOUNT, "a", &state); state.GetSecret() != "two" {
			t.Errorf("published %v after another try", &state)
		}

		b.broken = true
		off := clone(changed)
		off.Disabled = true
		wantRefs(t, b.put(off), ref{syncv1.Kind_KIND_ACCOUNT, "a"})
		if b.published(t, syncv1.Kind_KIND_ACCOUNT, "a", &state) {
			t.Error("a disabled account is still published")
		}
	})
}

// A revision that goes back (it must not) makes the publisher start over instead of publishing nonsense.
func TestRevisionGoesBack(t *testing.T) {
	b := newWorkbench(t)
	b.put(b.newKey("k"))
	b.put(b.newKey("l"))
	early := &world{state: model.Empty(lineage)}
	early.change(nil, early.newKey("only"))
	b.p.publish(&pending{state: early.state})
	s := b.p.ring.current()
	if s.revision != early.state.Revision() || s.count != 2 {
		t.Errorf("state at %d with %d resources, want %d with 2", s.revision, s.count, early.state.Revision())
	}
}

func BenchmarkLoad(b *testing.B) {
	w := newWorld()
	w.fill(100000)
	p, err := New(newBuilder(), Options{Lineage: lineage, ReplicaID: "r", Books: noBooks{}, Enroller: noEnroller{}})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p.load(w.state)
	}
}
