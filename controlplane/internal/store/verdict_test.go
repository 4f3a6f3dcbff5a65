package store

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/testkit/etcdtest"
)

var judge = Actor{Operator: "system", Procedure: "/fairway.health/Decide"}

func verdict(id, reason string) *resourcev1.Verdict {
	return &resourcev1.Verdict{
		Metadata: &resourcev1.Metadata{Id: id, Name: id},
		Health:   &resourcev1.AccountHealth{State: resourcev1.HealthState_HEALTH_STATE_OPEN, Reason: reason},
	}
}

// judged is a store with one account, which nothing was decided about yet.
func judged(t *testing.T, s *Store) *resourcev1.Account {
	t.Helper()
	create(t, s, channel(t, s, "c"))
	return create(t, s, &resourcev1.Account{Metadata: &resourcev1.Metadata{Id: "a1", Name: "a"}, Channel: "c"})[0]
}

// wantCurrent checks that an error tells which version is there now.
func wantCurrent(t *testing.T, err error, version string) {
	t.Helper()
	wantFault(t, err, fault.Stale, "")
	var stale *StaleError
	if !errors.As(err, &stale) || stale.Current != version {
		t.Errorf("%v: does not say that the version is %s now", err, version)
	}
}

// A verdict is written under the fence, over the version before it, beside its account, with its audit record; it goes
// with its account, and none comes after.
func TestVerdicts(t *testing.T) {
	endpoint := etcdtest.New(t)
	s, other := open(t, endpoint), open(t, endpoint)
	rec := follow(t, s)
	ctx := soon(t)
	account := judged(t, s)
	wait(t, s, model.Version(account)) // the record's name comes from the copy
	termsA, stopA := campaignAs(t, other, "r", "a")
	old := next(t, termsA).fence
	first, err := s.PutVerdict(ctx, old, verdict("a1", "one"), 0, judge)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, s, first)
	want := verdict("a1", "one")
	model.SetVersion(want, first)
	if d := cmp.Diff(want, model.VerdictOf(s.State(), account), protocmp.Transform()); d != "" {
		t.Fatalf("the copy holds (-want +got):\n%s", d)
	}
	_, err = s.PutVerdict(ctx, old, verdict("a1", "two"), 0, judge)
	wantCurrent(t, err, want.GetMetadata().GetEtag())
	_, err = s.PutVerdict(ctx, old, verdict("a1", "two"), first-1, judge)
	wantCurrent(t, err, want.GetMetadata().GetEtag())
	second, err := s.PutVerdict(ctx, old, verdict("a1", "two"), first, judge)
	if err != nil || second <= first {
		t.Fatalf("version %d, %v", second, err)
	}
	_, err = s.PutVerdict(ctx, old, verdict("nobody", "one"), 0, judge)
	wantFault(t, err, fault.NotFound, "")
	for _, v := range []*resourcev1.Verdict{verdict("a/1", "one"), {}, {Metadata: &resourcev1.Metadata{Id: "a1", Name: "a"}}} {
		_, err = s.PutVerdict(ctx, old, v, second, judge)
		wantFault(t, err, fault.Internal, "")
	}
	_, err = s.PutVerdict(ctx, Fence{}, verdict("a1", "three"), second, judge)
	wantFault(t, err, fault.Stale, CodeNotLeader)
	stopA()
	_, err = s.PutVerdict(ctx, old, verdict("a1", "three"), second, judge)
	wantFault(t, err, fault.Stale, CodeNotLeader)

	// The next leader's fence does not help over an operator's word that it has not seen.
	now := leading(t, s, "r")
	seen := verdict("a1", "two")
	model.SetVersion(seen, second)
	reset := commit(t, s, Write{Actor: tester, Puts: []Put{{Resource: verdict("a1", "reset"), Old: seen}}})
	_, err = s.PutVerdict(ctx, now, verdict("a1", "three"), second, judge)
	wantFault(t, err, fault.Stale, "")
	if _, err = s.PutVerdict(ctx, now, verdict("a1", "three"), reset, judge); err != nil {
		t.Fatal(err)
	}

	gone := commit(t, s, Write{Actor: tester, Deletes: []Delete{{Resource: account}}})
	_, err = s.Read(ctx, model.KindVerdict, "a1")
	wantFault(t, err, fault.NotFound, "")
	_, err = s.PutVerdict(ctx, now, verdict("a1", "late"), 0, judge)
	wantFault(t, err, fault.NotFound, "")
	wait(t, s, gone)
	if s.State().Len(model.KindVerdict) != 0 {
		t.Error("the copy holds the verdict on an account that is gone")
	}
	for _, st := range rec.all() {
		if st.state.Len(model.KindVerdict) > st.state.Len(model.KindAccount) {
			t.Errorf("at revision %d there was a verdict on nobody", st.state.Revision())
		}
	}
	for key, value := range etcdtest.Dump(t, endpoint) {
		if !isAudit(key) && strings.Contains(key, "verdict") {
			t.Errorf("%s = %q is left", key, value)
		}
	}
	records, _, err := s.Audit(ctx, AuditQuery{Kind: "verdict"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range records {
		if r.GetResourceName() != "a" || r.GetResourceId() != "a1" {
			t.Errorf("a record of %q, %q; want the account's name and id", r.GetResourceName(), r.GetResourceId())
		}
		got = append(got, r.GetOperator()+" "+r.GetProcedure()+" "+r.GetAction().String())
	}
	decided := judge.Operator + " " + judge.Procedure + " "
	if d := cmp.Diff([]string{
		decided + adminv1.AuditRecord_ACTION_UPDATE.String(),
		tester.Operator + " " + tester.Procedure + " " + adminv1.AuditRecord_ACTION_UPDATE.String(),
		decided + adminv1.AuditRecord_ACTION_UPDATE.String(), decided + adminv1.AuditRecord_ACTION_CREATE.String(),
	}, got); d != "" {
		t.Errorf("audit of verdicts (-want +got):\n%s", d)
	}
}

// An answer that was lost is asked for again, and the decision and its record count once.
func TestVerdictLostAnswer(t *testing.T) {
	endpoint := etcdtest.New(t)
	s, lost := openLossy(t, endpoint)
	follow(t, s)
	judged(t, s)
	fence, ctx := leading(t, s, "r"), soon(t)
	version := int64(0)
	for _, reason := range []string{"one", "two"} {
		lost.before.Store(1)
		lost.after.Store(2)
		got, err := s.PutVerdict(ctx, fence, verdict("a1", reason), version, judge)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := s.Read(ctx, model.KindVerdict, "a1")
		if err != nil || model.Version(stored) != got || got <= version {
			t.Fatalf("version %d, stored is %v, %v", got, stored, err)
		}
		version = got
	}
	records, _, err := s.Audit(ctx, AuditQuery{Kind: "verdict"})
	if err != nil || len(records) != 2 {
		t.Errorf("%d records of two decisions (%v)", len(records), err)
	}
}

// Of a deletion and many decisions at once, whatever the order, nothing is left over; of equal decisions one counts.
func TestVerdictsRace(t *testing.T) {
	endpoint := etcdtest.New(t)
	s := open(t, endpoint)
	account := judged(t, s)
	fence, ctx := leading(t, s, "r"), soon(t)
	errs := contend(8, func(int) error {
		_, err := s.PutVerdict(ctx, fence, verdict("a1", "x"), 0, judge)
		return err
	})
	if won := winners(t, errs, fault.Stale); len(won) != 1 {
		t.Fatalf("%d of equal decisions counted", len(won))
	}
	stored, err := s.Read(ctx, model.KindVerdict, "a1")
	if err != nil {
		t.Fatal(err)
	}
	winners(t, contend(9, func(i int) error {
		if i == 4 {
			_, err := s.Commit(ctx, Write{Actor: tester, Deletes: []Delete{{Resource: account}}})
			return err
		}
		_, err := s.PutVerdict(ctx, fence, proto.CloneOf(verdict("a1", "y")), model.Version(stored), judge)
		return err
	}), fault.Stale, fault.NotFound)
	if _, err := s.Read(ctx, model.KindVerdict, "a1"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("after the account has gone: %v", err)
	}
}
