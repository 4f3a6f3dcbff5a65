package store

import (
	"errors"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/testkit/etcdtest"
)

func TestDataSetIsBornOnce(t *testing.T) {
	endpoint := etcdtest.New(t)
	a, b := open(t, endpoint), open(t, endpoint)
	if a.Lineage() != b.Lineage() || a.Lineage() == "" {
		t.Fatalf("lineages %q and %q", a.Lineage(), b.Lineage())
	}
	follow(t, b)
	for _, k := range []model.Kind{model.KindSettings, model.KindGroup} {
		if n := b.State().Len(k); n != 1 {
			t.Errorf("%d of kind %s at birth, want 1", n, k)
		}
	}
	g, ok := b.State().ByName(model.KindGroup, model.DefaultGroup)
	if !ok {
		t.Fatal("no default group")
	}
	_, err := a.Commit(soon(t), Write{Deletes: []Delete{{Resource: g}}})
	wantFault(t, err, fault.Stale, model.CodeProtected)
}

func TestNewerSchemaIsRefused(t *testing.T) {
	endpoint := etcdtest.New(t)
	open(t, endpoint)
	if _, err := etcdtest.Client(t, endpoint).Put(t.Context(), schemaKey, strconv.Itoa(schema+1)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(soon(t), Config{Endpoints: []string{endpoint}}, quiet); !errors.Is(err, errSchema) {
		t.Fatalf("open: %v, want %v", err, errSchema)
	}
}

func TestCreateReadUpdateDelete(t *testing.T) {
	s := open(t, etcdtest.New(t))
	ctx := soon(t)
	c := create(t, s, channel(t, s, "c"))[0]
	got, err := s.Read(ctx, model.KindChannel, c.GetMetadata().GetId())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got, protocmp.Transform()); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	put := update(c, func(c *resourcev1.Channel) { c.Weight = 7 })
	revision := commit(t, s, Write{Puts: []Put{put}})
	got, err = s.Read(ctx, model.KindChannel, c.GetMetadata().GetId())
	if err != nil || model.Version(got) != revision {
		t.Fatalf("read after the update: %v, %v", got, err)
	}
	commit(t, s, Write{Deletes: []Delete{{Resource: got}}})
	_, err = s.Read(ctx, model.KindChannel, c.GetMetadata().GetId())
	wantFault(t, err, fault.NotFound, "")
	// The name is free again.
	create(t, s, channel(t, s, "c"))
}

func TestGuards(t *testing.T) {
	s := open(t, etcdtest.New(t))
	c := create(t, s, channel(t, s, "c"))[0]
	newer := at(c, commit(t, s, Write{Puts: []Put{update(c, func(c *resourcev1.Channel) { c.Weight = 1 })}}))
	a := create(t, s, account(t, s, "a", "c"))[0]
	gone := create(t, s, group(t, s, "gone"))[0]
	commit(t, s, Write{Deletes: []Delete{{Resource: gone}}})
	sameID := group(t, s, "other")
	sameID.Metadata.Id = create(t, s, group(t, s, "taken"))[0].GetMetadata().GetId()
	renamed := clone(newer)
	renamed.Metadata.Name = "d"
	unversioned := clone(newer)
	unversioned.Metadata.Etag = ""

	tests := []struct {
		name  string
		write Write
		kind  fault.Kind
		code  string
	}{
		{"stale update", Write{Puts: []Put{update(c, func(c *resourcev1.Channel) { c.Weight = 2 })}}, fault.Stale, ""},
		{"stale delete", Write{Deletes: []Delete{{Resource: c}}}, fault.Stale, ""},
		{"taken name", Write{Puts: []Put{{Resource: channel(t, s, "c")}}}, fault.Exists, ""},
		{"taken id", Write{Puts: []Put{{Resource: sameID}}}, fault.Exists, ""},
		{"update of what is gone", Write{Puts: []Put{update(gone, func(*resourcev1.Group) {})}}, fault.NotFound, ""},
		{"delete of what is gone", Write{Deletes: []Delete{{Resource: gone}}}, fault.NotFound, ""},
		{"account of no channel", Write{Puts: []Put{{Resource: account(t, s, "b", "none")}}}, fault.Invalid, ""},
		{"channel of no group", Write{Puts: []Put{{Resource: channel(t, s, "d", "none")}}}, fault.Invalid, ""},
		{"key of a deleted group", Write{Puts: []Put{{Resource: &resourcev1.Key{Metadata: meta(t, s, "k"), Group: "gone"}}}}, fault.Invalid, ""},
		{"delete of what is in use", Write{Deletes: []Delete{{Resource: newer}}}, fault.Stale, model.CodeInUse},
		{"rename", Write{Puts: []Put{{Resource: renamed, Old: newer}}}, fault.Invalid, ""},
		{"update without a version", Write{Puts: []Put{{Resource: newer, Old: unversioned}}}, fault.Internal, ""},
		{"the same twice", Write{Puts: []Put{update(a, func(*resourcev1.Account) {}), update(a, func(*resourcev1.Account) {})}}, fault.Invalid, ""},
		{"nothing", Write{}, fault.Invalid, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.Commit(soon(t), tt.write)
			wantFault(t, err, tt.kind, tt.code)
		})
	}
	t.Run("a stale fault names the current etag", func(t *testing.T) {
		_, err := s.Commit(soon(t), tests[0].write)
		stale, ok := errors.AsType[*StaleError](err)
		if !ok || stale.Current != newer.GetMetadata().GetEtag() {
			t.Fatalf("got %v, want the etag %s", err, newer.GetMetadata().GetEtag())
		}
	})
}

func TestReferencesMoveWithUpdates(t *testing.T) {
	s := open(t, etcdtest.New(t))
	g1 := create(t, s, group(t, s, "g1"))[0]
	g2 := create(t, s, group(t, s, "g2"))[0]
	c := create(t, s, channel(t, s, "c", "g1", "default"))[0]
	c = at(c, commit(t, s, Write{Puts: []Put{update(c, func(c *resourcev1.Channel) { c.Groups = []string{"g2", "default"} })}}))
	c.Groups = []string{"g2", "default"}
	commit(t, s, Write{Deletes: []Delete{{Resource: g1}}})
	_, err := s.Commit(soon(t), Write{Deletes: []Delete{{Resource: g2}}})
	wantFault(t, err, fault.Stale, model.CodeInUse)
	commit(t, s, Write{Deletes: []Delete{{Resource: c}}})
	commit(t, s, Write{Deletes: []Delete{{Resource: g2}}})
}

func TestOneWriteCreatesAndDeletesWhatBelongsTogether(t *testing.T) {
	endpoint := etcdtest.New(t)
	s := open(t, endpoint)
	before := etcdtest.Dump(t, endpoint)
	c, a, b := channel(t, s, "c"), account(t, s, "a", "c"), account(t, s, "b", "c")
	revision := commit(t, s, Write{Puts: []Put{{Resource: a}, {Resource: c}}})
	b = at(b, commit(t, s, Write{Puts: []Put{{Resource: b}}}))
	c, a = at(c, revision), at(a, revision)

	// b stays, so c may not go.
	_, err := s.Commit(soon(t), Write{Deletes: []Delete{{Resource: c}, {Resource: a}}})
	wantFault(t, err, fault.Stale, model.CodeInUse)
	commit(t, s, Write{Deletes: []Delete{{Resource: c}, {Resource: b}, {Resource: a}}})

	after := etcdtest.Dump(t, endpoint)
	for key := range after {
		if _, ok := before[key]; !ok && !isAudit(key) {
			t.Errorf("left behind: %s", key)
		}
	}
}

func isAudit(key string) bool {
	return len(key) > len(auditPrefix) && key[:len(auditPrefix)] == auditPrefix
}

func TestRecreatedTargetIsFoundAgain(t *testing.T) {
	endpoint := etcdtest.New(t)
	s, other := open(t, endpoint), open(t, endpoint)
	c := create(t, s, channel(t, s, "c"))[0]
	rec := follow(t, s)
	if err := s.WaitRevision(soon(t), model.Version(c)); err != nil {
		t.Fatal(err)
	}
	rec.stop() // From here on the copy is old.
	commit(t, other, Write{Deletes: []Delete{{Resource: c}}})
	again := create(t, other, channel(t, other, "c"))[0]
	create(t, s, account(t, s, "a", "c"))
	_, err := other.Commit(soon(t), Write{Deletes: []Delete{{Resource: again}}})
	wantFault(t, err, fault.Stale, model.CodeInUse)
}

func TestEveryChangeIsAudited(t *testing.T) {
	s := open(t, etcdtest.New(t))
	c := create(t, s, channel(t, s, "c"))[0]
	revision := commit(t, s, Write{Puts: []Put{update(c, func(c *resourcev1.Channel) { c.Weight = 3 })}})
	commit(t, s, Write{Deletes: []Delete{{Resource: at(c, revision)}}})
	got, next, err := s.Audit(soon(t), AuditQuery{ResourceName: "c"})
	if err != nil || next != "" {
		t.Fatalf("audit: %v, next %q", err, next)
	}
	record := func(a adminv1.AuditRecord_Action, fields ...string) *adminv1.AuditRecord {
		return &adminv1.AuditRecord{
			Operator: "tester", Procedure: "/test", RequestId: "req-1", Kind: "channel",
			ResourceId: c.GetMetadata().GetId(), ResourceName: "c", Action: a, ChangedFields: fields,
		}
	}
	want := []*adminv1.AuditRecord{
		record(adminv1.AuditRecord_ACTION_DELETE),
		record(adminv1.AuditRecord_ACTION_UPDATE, "changed"),
		record(adminv1.AuditRecord_ACTION_CREATE),
	}
	if diff := cmp.Diff(want, got, protocmp.Transform(),
		protocmp.IgnoreFields(&adminv1.AuditRecord{}, "id", "time", "revision")); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	if got[1].GetRevision() != revision {
		t.Errorf("the update's record says revision %d, it was %d", got[1].GetRevision(), revision)
	}
}
