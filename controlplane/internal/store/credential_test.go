package store

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/testkit/etcdtest"
)

func credential(id, keyID string) *resourcev1.Credential {
	return &resourcev1.Credential{Metadata: &resourcev1.Metadata{Id: id, Name: id}, AccessKeyId: keyID}
}

// A credential is written under the fence, over the version before it, beside its account; the copy follows, and nothing
// is audited.
func TestCredentials(t *testing.T) {
	endpoint := etcdtest.New(t)
	s, other := open(t, endpoint), open(t, endpoint)
	follow(t, s)
	ctx := soon(t)
	create(t, s, channel(t, s, "c"))
	account := &resourcev1.Account{Metadata: &resourcev1.Metadata{Id: "a1", Name: "a"}, Channel: "c"}
	create(t, s, account)
	termsA, stopA := campaignAs(t, other, "r", "a")
	old := next(t, termsA).fence
	first, err := s.PutCredential(ctx, old, credential("a1", "one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, s, first)
	got, ok := s.State().Get(model.KindCredential, "a1")
	want := credential("a1", "one")
	model.SetVersion(want, first)
	if d := cmp.Diff(model.Resource(want), got, protocmp.Transform()); !ok || d != "" {
		t.Fatalf("the copy holds (-want +got):\n%s", d)
	}
	_, err = s.PutCredential(ctx, old, credential("a1", "two"), 0)
	wantFault(t, err, fault.Stale, "")
	second, err := s.PutCredential(ctx, old, credential("a1", "two"), first)
	if err != nil || second <= first {
		t.Fatalf("version %d, %v", second, err)
	}
	_, err = s.PutCredential(ctx, old, credential("nobody", "one"), 0)
	wantFault(t, err, fault.NotFound, "")
	_, err = s.PutCredential(ctx, old, credential("a/1", "one"), 0)
	wantFault(t, err, fault.Internal, "")
	_, err = s.PutCredential(ctx, Fence{}, credential("a1", "three"), second)
	wantFault(t, err, fault.Stale, CodeNotLeader)

	stopA()
	_, err = s.PutCredential(ctx, old, credential("a1", "three"), second)
	wantFault(t, err, fault.Stale, CodeNotLeader)
	now := leading(t, s, "r")
	if now.Revision() <= second {
		t.Errorf("a term of revision %d follows a write of revision %d", now.Revision(), second)
	}
	stored := credential("a1", "two")
	model.SetVersion(stored, first)
	wantFault(t, s.DeleteCredential(ctx, now, stored), fault.Stale, "")
	model.SetVersion(stored, second)
	wantFault(t, s.DeleteCredential(ctx, old, stored), fault.Stale, CodeNotLeader)
	if err := s.DeleteCredential(ctx, now, stored); err != nil {
		t.Fatal(err)
	}
	_, err = s.Read(ctx, model.KindCredential, "a1")
	wantFault(t, err, fault.NotFound, "")
	for k, v := range etcdtest.Dump(t, endpoint) {
		if strings.HasPrefix(k, auditPrefix) && strings.Contains(v, "credential") {
			t.Errorf("%s tells of a credential", k)
		}
	}
}

// An answer that was lost is asked for again, and the write counts once.
func TestCredentialLostAnswer(t *testing.T) {
	endpoint := etcdtest.New(t)
	s, lost := openLossy(t, endpoint)
	follow(t, s)
	create(t, s, channel(t, s, "c"))
	create(t, s, &resourcev1.Account{Metadata: &resourcev1.Metadata{Id: "a1", Name: "a"}, Channel: "c"})
	fence, ctx := leading(t, s, "r"), soon(t)
	version := int64(0)
	for _, keyID := range []string{"one", "two"} {
		lost.before.Store(1)
		lost.after.Store(1)
		got, err := s.PutCredential(ctx, fence, credential("a1", keyID), version)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := s.Read(ctx, model.KindCredential, "a1")
		if err != nil || model.Version(stored) != got || got <= version {
			t.Fatalf("version %d, stored is %v, %v", got, stored, err)
		}
		version = got
	}
	last := credential("a1", "two")
	model.SetVersion(last, version)
	lost.after.Store(1)
	if err := s.DeleteCredential(ctx, fence, last); err != nil {
		t.Fatal(err)
	}

	put := credentialTxn{value: []byte("v")}
	for name, tt := range map[string]struct {
		txn    credentialTxn
		stored []*kv
		want   bool
	}{
		"put and there":       {put, []*kv{{Value: []byte("v")}}, true},
		"put and another":     {put, []*kv{{Value: []byte("w")}}, false},
		"put and nothing":     {put, nil, false},
		"deleted and gone":    {credentialTxn{}, nil, true},
		"deleted and another": {credentialTxn{}, []*kv{{Value: []byte("w")}}, false},
	} {
		if got := tt.txn.done(tt.stored); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
