package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/testkit/etcdtest"
)

func FuzzCounterKey(f *testing.F) {
	f.Add(int64(1), "k", "g", "c", "a", "m")
	f.Add(int64(490_000), "01J", "", "01K", "", "vendor/m")
	f.Add(int64(2), "k@", "", "c", "a", "m@x")
	f.Add(int64(2), "k@l", "g", "c", "a", "m")
	f.Fuzz(func(t *testing.T, n int64, key, group, channel, account, model string) {
		in := UsageKey{Hour: n, Key: key, Group: group, Channel: channel, Account: account, Model: model}
		stored, err := counterKey(dayPrefix, n, in)
		if err != nil {
			return
		}
		if out, ok := parseCounterKey(dayPrefix, stored); !ok || out != in {
			t.Errorf("%+v came back as %+v, %t", in, out, ok)
		}
		if _, ok := parseCounterKey(hourPrefix, stored); ok {
			t.Errorf("%q is read as an hour's", stored)
		}
	})
}

// collect reads a range of the books.
func collect(t *testing.T, s *Store, r BooksRange) ([]UsageRow, int64) {
	t.Helper()
	var rows []UsageRow
	revision, err := s.Books(t.Context(), r, func(row UsageRow) error {
		rows = append(rows, row)
		return nil
	})
	if err != nil {
		t.Fatalf("books: %v", err)
	}
	return rows, revision
}

// brief is a row without its versions.
func brief(rows []UsageRow) []string {
	var out []string
	for _, r := range rows {
		out = append(out, fmt.Sprintf("%d %s@%s day=%t fix=%t %d/%d", r.Hour, r.Key, r.Group, r.Day, r.Correction, r.Counters.GetRequests(), r.Corrections))
	}
	return out
}

// Books of before groups were kept are read beside those of now.
func TestBooksOfBothFormsAreRead(t *testing.T) {
	s := open(t, etcdtest.New(t))
	ctx := soon(t)
	fence := leading(t, s, "ledger")
	old := hourPrefix + "0000000048/k/c/a/vendor/m"
	value, err := (UsageRow{UsageKey: UsageKey{Hour: 48, Key: "k", Channel: "c", Account: "a", Model: "vendor/m"}, Counters: &adminv1.UsageCounters{Requests: 3}}).put()
	if err != nil || string(value.KeyBytes()) != old {
		t.Fatalf("the old form is now %s, %v", value.KeyBytes(), err)
	}
	if _, err := s.client.Do(ctx, value); err != nil {
		t.Fatal(err)
	}
	k := UsageKey{Hour: 48, Key: "k", Group: "g", Channel: "c", Account: "a", Model: "vendor/m"}
	if err := s.CommitUsage(ctx, fence, "boot", 0, 1, map[UsageKey]*adminv1.UsageCounters{k: {Requests: 4}}, nil); err != nil {
		t.Fatal(err)
	}
	rows, _ := collect(t, s, BooksRange{FromHour: 48, ToHour: 49})
	if diff := cmp.Diff([]string{"48 k@ day=false fix=false 3/0", "48 k@g day=false fix=false 4/0"}, brief(rows)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestMoveUsage(t *testing.T) {
	s := open(t, etcdtest.New(t))
	ctx := soon(t)
	fence := leading(t, s, "ledger")
	k := UsageKey{Hour: 50, Key: "k", Group: "g", Model: "m"}
	if err := s.CommitUsage(ctx, fence, "boot", 0, 1, map[UsageKey]*adminv1.UsageCounters{k: {Requests: 4}}, nil); err != nil {
		t.Fatal(err)
	}
	if hour, ok, err := s.OldestUsageHour(ctx); hour != 50 || !ok || err != nil {
		t.Errorf("oldest = %d, %t, %v", hour, ok, err)
	}
	day := k
	day.Hour = 48
	got, err := s.UsageRows(ctx, []UsageRow{{UsageKey: k}, {UsageKey: day, Day: true}})
	if err != nil || got[0].Version == 0 || got[1].Version != 0 {
		t.Fatalf("rows = %+v, %v", got, err)
	}
	to := got[1]
	to.Counters = &adminv1.UsageCounters{Requests: 4}
	move := []UsageMove{{From: got[0], To: to}}
	wantFault(t, s.MoveUsage(ctx, Fence{key: fence.key, revision: fence.revision + 1}, move), fault.Stale, CodeNotLeader)
	wantFault(t, s.MoveUsage(ctx, Fence{}, move), fault.Stale, CodeNotLeader)
	if won := winners(t, contend(8, func(int) error { return s.MoveUsage(ctx, fence, move) }), fault.Stale); len(won) != 1 {
		t.Errorf("the move happened %d times", len(won))
	}
	// Again from a row that has come again: the day has moved on.
	if err := s.CommitUsage(ctx, fence, "boot", 1, 2, map[UsageKey]*adminv1.UsageCounters{k: {Requests: 1}}, nil); err != nil {
		t.Fatal(err)
	}
	again, err := s.UsageRows(ctx, []UsageRow{{UsageKey: k}})
	if err != nil {
		t.Fatal(err)
	}
	wantFault(t, s.MoveUsage(ctx, fence, []UsageMove{{From: again[0], To: to}}), fault.Stale, "")
	rows, _ := collect(t, s, BooksRange{FromHour: 48, ToHour: 72})
	if diff := cmp.Diff([]string{"50 k@g day=false fix=false 1/0", "48 k@g day=true fix=false 4/0"}, brief(rows)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	// A day belongs to a range if its first hour does.
	if rows, _ := collect(t, s, BooksRange{FromHour: 49, ToHour: 72}); len(rows) != 1 || rows[0].Day {
		t.Errorf("from the second hour: %v", brief(rows))
	}
	if rows, _ := collect(t, s, BooksRange{FromHour: 48, ToHour: 49}); len(rows) != 1 || !rows[0].Day {
		t.Errorf("the first hour: %v", brief(rows))
	}
	wantFault(t, s.DropUsage(ctx, Fence{}, 1000), fault.Stale, CodeNotLeader)
	if err := s.DropUsage(ctx, fence, 48); err != nil {
		t.Error(err)
	}
	if rows, _ := collect(t, s, BooksRange{FromHour: 0, ToHour: 72}); len(rows) != 2 {
		t.Errorf("after dropping what is before: %v", brief(rows))
	}
	if err := s.DropUsage(ctx, fence, 72); err != nil {
		t.Error(err)
	}
	if rows, _ := collect(t, s, BooksRange{FromHour: 0, ToHour: 72}); len(rows) != 1 || rows[0].Day {
		t.Errorf("after dropping the day: %v", brief(rows))
	}
}

// A counter moves with its correction, also when that was made after it was read.
func TestMoveUsageLeavesNoCorrectionBehind(t *testing.T) {
	s := open(t, etcdtest.New(t))
	ctx := soon(t)
	fence := leading(t, s, "ledger")
	k := UsageKey{Hour: 50, Key: "k", Group: "g", Model: "m"}
	day := k
	day.Hour = 48
	if err := s.CommitUsage(ctx, fence, "boot", 0, 1, map[UsageKey]*adminv1.UsageCounters{k: {Requests: 4}}, nil); err != nil {
		t.Fatal(err)
	}
	read := func() []UsageRow {
		rows, err := s.UsageRows(ctx, []UsageRow{{UsageKey: k}, {UsageKey: k, Correction: true}})
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	before := read()
	sum := before[1]
	sum.Counters, sum.Corrections = &adminv1.UsageCounters{Requests: -4}, 1
	if _, err := s.CorrectUsage(ctx, UsageFix{
		Record: &adminv1.UsageCorrection{Id: "one", Hour: timestamppb.New(time.Unix(50*3600, 0)), Key: "k", Group: "g", Model: "m"},
		Base:   before[0], Sum: sum,
	}); err != nil {
		t.Fatal(err)
	}
	counter := UsageMove{From: before[0], To: UsageRow{UsageKey: day, Day: true, Counters: before[0].Counters}}
	wantFault(t, s.MoveUsage(ctx, fence, []UsageMove{counter}), fault.Stale, "")
	fix := read()[1]
	both := []UsageMove{counter, {From: fix, To: UsageRow{UsageKey: day, Day: true, Correction: true, Counters: fix.Counters, Corrections: 1}}}
	if err := s.MoveUsage(ctx, fence, both); err != nil {
		t.Fatal(err)
	}
	rows, _ := collect(t, s, BooksRange{FromHour: 48, ToHour: 72})
	if diff := cmp.Diff([]string{"48 k@g day=true fix=true -4/1", "48 k@g day=true fix=false 4/0"}, brief(rows)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

// As many moves as are allowed are not too much for a cluster that was left as it comes.
func TestMoveUsageFitsADefaultCluster(t *testing.T) {
	s := open(t, etcdtest.New(t))
	ctx := soon(t)
	fence := leading(t, s, "ledger")
	totals := map[UsageKey]*adminv1.UsageCounters{}
	var which []UsageRow
	for i := range maxMoves + 1 {
		k := UsageKey{Hour: 50, Key: fmt.Sprint("k", i)}
		totals[k] = &adminv1.UsageCounters{Requests: 1}
		which = append(which, UsageRow{UsageKey: k})
	}
	if err := s.CommitUsage(ctx, fence, "boot", 0, 1, totals, nil); err != nil {
		t.Fatal(err)
	}
	rows, err := s.UsageRows(ctx, which)
	if err != nil {
		t.Fatal(err)
	}
	var moves []UsageMove
	for _, r := range rows {
		to := UsageRow{UsageKey: r.UsageKey, Day: true, Counters: r.Counters}
		to.Hour = 48
		moves = append(moves, UsageMove{From: r, To: to})
	}
	wantFault(t, s.MoveUsage(ctx, fence, moves), fault.Internal, "")
	if err := s.MoveUsage(ctx, fence, moves[1:]); err != nil {
		t.Error(err)
	}
}

// Pages of a query see the books as they were at the first.
func TestBooksOfARevision(t *testing.T) {
	s := open(t, etcdtest.New(t))
	ctx := soon(t)
	fence := leading(t, s, "ledger")
	k := UsageKey{Hour: 50, Key: "k"}
	put := func(from uint64, n int64) {
		if err := s.CommitUsage(ctx, fence, "boot", from, from+1, map[UsageKey]*adminv1.UsageCounters{k: {Requests: n}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	put(0, 1)
	_, revision := collect(t, s, BooksRange{FromHour: 50, ToHour: 51})
	put(1, 2)
	if rows, _ := collect(t, s, BooksRange{FromHour: 50, ToHour: 51, Revision: revision}); rows[0].Counters.GetRequests() != 1 {
		t.Errorf("then: %v", brief(rows))
	}
	if rows, _ := collect(t, s, BooksRange{FromHour: 50, ToHour: 51}); rows[0].Counters.GetRequests() != 2 {
		t.Errorf("now: %v", brief(rows))
	}
	nothing := func(UsageRow) error { return nil }
	_, err := s.Books(ctx, BooksRange{FromHour: 50, ToHour: 51, Revision: revision + 1000}, nothing)
	wantFault(t, err, fault.Invalid, "")
	if _, err := s.client.Compact(ctx, revision+1, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	_, err = s.Books(ctx, BooksRange{FromHour: 50, ToHour: 51, Revision: revision}, nothing)
	wantFault(t, err, fault.Invalid, "")
}

func TestCorrectUsage(t *testing.T) {
	s := open(t, etcdtest.New(t))
	ctx := soon(t)
	fence := leading(t, s, "ledger")
	k := UsageKey{Hour: 50, Key: "k", Channel: "c", Account: "a", Model: "m"}
	if err := s.CommitUsage(ctx, fence, "boot", 0, 1, map[UsageKey]*adminv1.UsageCounters{k: {Requests: 4}}, nil); err != nil {
		t.Fatal(err)
	}
	read := func() (base, sum UsageRow) {
		rows, err := s.UsageRows(ctx, []UsageRow{{UsageKey: k}, {UsageKey: k, Correction: true}})
		if err != nil {
			t.Fatal(err)
		}
		return rows[0], rows[1]
	}
	record := func(id string, n int64) *adminv1.UsageCorrection {
		return &adminv1.UsageCorrection{
			Id: id, Hour: timestamppb.New(time.Unix(50*3600, 0)), Key: "k", Channel: "c", Account: "a", Model: "m",
			Delta: &adminv1.UsageDelta{Requests: n}, Reason: "because",
		}
	}
	base, sum := read()
	sum.Counters, sum.Corrections = &adminv1.UsageCounters{Requests: -1}, 1
	fix := UsageFix{
		Actor: Actor{Operator: "ada", Procedure: "/p", RequestID: "r"}, Record: record("one", -1), KeyName: "k-name",
		Fields: []string{"requests"}, Base: base, Sum: sum,
	}
	// What proxies report meanwhile is no change of the base.
	if err := s.CommitUsage(ctx, fence, "boot", 1, 2, map[UsageKey]*adminv1.UsageCounters{k: {Requests: 5}}, nil); err != nil {
		t.Fatal(err)
	}
	first, err := s.CorrectUsage(ctx, fix)
	if err != nil || first.GetOperator() != "ada" || first.GetTime() == nil {
		t.Fatalf("corrected: %v, %v", first, err)
	}
	same, err := s.CorrectUsage(ctx, fix)
	if diff := cmp.Diff(first, same, protocmp.Transform()); err != nil || diff != "" {
		t.Errorf("again: %v %s", err, diff)
	}
	fix.Record = record("one", -2)
	_, err = s.CorrectUsage(ctx, fix)
	wantFault(t, err, fault.Exists, "")
	fix.Record = record("two", -1) // based on the sum before the first
	_, err = s.CorrectUsage(ctx, fix)
	wantFault(t, err, fault.Stale, "")
	_, fix.Sum = read()
	fix.Sum.Counters, fix.Sum.Corrections = &adminv1.UsageCounters{Requests: -2}, 2
	created := fix.Base.Created
	fix.Base.Created = 0 // as if nothing had been reported
	_, err = s.CorrectUsage(ctx, fix)
	wantFault(t, err, fault.Stale, "")
	fix.Base.Created = created
	if _, err = s.CorrectUsage(ctx, fix); err != nil {
		t.Error(err)
	}
	rows, _ := collect(t, s, BooksRange{FromHour: 50, ToHour: 51})
	if diff := cmp.Diff([]string{"50 k@ day=false fix=true -2/2", "50 k@ day=false fix=false 5/0"}, brief(rows)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}

	if got, err := s.UsageCorrection(ctx, 50, "one"); err != nil || got.GetDelta().GetRequests() != -1 {
		t.Errorf("one = %v, %v", got, err)
	}
	if got, err := s.UsageCorrection(ctx, 50, "three"); err != nil || got != nil {
		t.Errorf("three = %v, %v", got, err)
	}
	page, next, err := s.UsageCorrections(ctx, 0, 100, 1, "")
	if err != nil || len(page) != 1 || page[0].GetId() != "one" || next == "" {
		t.Fatalf("first page: %v, %q, %v", page, next, err)
	}
	page, next, err = s.UsageCorrections(ctx, 0, 100, 1, next)
	if err != nil || len(page) != 1 || page[0].GetId() != "two" || next != "" {
		t.Errorf("second page: %v, %q, %v", page, next, err)
	}
	_, _, err = s.UsageCorrections(ctx, 0, 100, 1, "!")
	wantFault(t, err, fault.Invalid, "")

	audit, _, err := s.Audit(ctx, AuditQuery{Kind: usageKind})
	if err != nil || len(audit) != 2 {
		t.Fatalf("audit: %v, %v", audit, err)
	}
	last := audit[1] // newest first
	if last.GetResourceId() != "one" || last.GetResourceName() != "k-name" || last.GetOperator() != "ada" ||
		last.GetProcedure() != "/p" || last.GetRequestId() != "r" || !cmp.Equal(last.GetChangedFields(), []string{"requests"}) {
		t.Errorf("audit record: %v", last)
	}
}
