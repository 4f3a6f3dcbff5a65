package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
	clientv3 "go.etcd.io/etcd/client/v3"
	"pgregory.net/rapid"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/testkit/etcdtest"
)

// plant writes records at the given times and returns their ids, newest first.
func plant(t *testing.T, s *Store, times []time.Time, operator func(i int) string) []string {
	t.Helper()
	var ids []string
	var ops []clientv3.Op
	for i, at := range times {
		id, err := s.newID(at)
		if err != nil {
			t.Fatal(err)
		}
		value, err := marshalAudit(id, &adminv1.AuditRecord{Operator: operator(i), Kind: "channel", ResourceName: "c"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id.String())
		ops = append(ops, clientv3.OpPut(auditKey(id), string(value)))
		if len(ops) == 100 || i == len(times)-1 {
			if _, err := s.client.Txn(soon(t)).Then(ops...).Commit(); err != nil {
				t.Fatal(err)
			}
			ops = nil
		}
	}
	slices.Sort(ids)
	slices.Reverse(ids)
	return ids
}

// pages reads everything, page by page.
func pages(t *testing.T, s *Store, q AuditQuery) (ids []string, n int) {
	t.Helper()
	for {
		records, next, err := s.Audit(soon(t), q)
		if err != nil {
			t.Fatal(err)
		}
		if q.PageSize > 0 && len(records) > q.PageSize {
			t.Fatalf("a page of %d, asked for %d", len(records), q.PageSize)
		}
		n++
		for _, r := range records {
			ids = append(ids, r.GetId())
		}
		if next == "" {
			return ids, n
		}
		q.PageToken = next
	}
}

func TestAuditPagesNewestFirst(t *testing.T) {
	t.Parallel()
	s := open(t, etcdtest.New(t))
	end := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	var times []time.Time
	rng := rand.New(rand.NewPCG(1, 2))
	for range 700 { // Spread over days, with gaps.
		times = append(times, end.Add(-time.Duration(rng.Int64N(int64(6*24*time.Hour)))))
	}
	for range 2*auditRead + 300 { // A burst in one millisecond, more than two reads return.
		times = append(times, end.Add(-50*time.Hour))
	}
	for range 900 { // A busy second.
		times = append(times, end.Add(-time.Hour-time.Duration(rng.Int64N(int64(time.Second)))))
	}
	ids := plant(t, s, times, func(i int) string { return fmt.Sprintf("op%d", i%7) })

	q := AuditQuery{Start: end.Add(-7 * 24 * time.Hour), End: end.Add(time.Millisecond), PageSize: 97}
	got, n := pages(t, s, q)
	if diff := cmp.Diff(ids, got); diff != "" {
		t.Errorf("all records (-want +got):\n%s", diff)
	}
	if want := (len(ids) + 96) / 97; n < want || n > want+1 {
		t.Errorf("%d pages, want %d", n, want)
	}
	q.Operator = "op3"
	got, _ = pages(t, s, q)
	var want []string
	for _, id := range ids {
		if rec := lookup(t, s, id); rec == "op3" {
			want = append(want, id)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records of one operator (-want +got):\n%s", diff)
	}
	q.Operator, q.Kind = "", "key"
	if got, _ = pages(t, s, q); len(got) != 0 {
		t.Errorf("%d records of a kind that has none", len(got))
	}
	q.Kind, q.Start, q.End = "", end.Add(-51*time.Hour), end.Add(-49*time.Hour)
	got, _ = pages(t, s, q)
	for _, id := range got {
		if at := ulid.Time(ulid.MustParse(id).Time()); at.Before(q.Start) || !at.Before(q.End) {
			t.Errorf("a record of %s is outside of [%s, %s)", at, q.Start, q.End)
		}
	}
	if len(got) < 2*auditRead+300 {
		t.Errorf("%d records in the range of the burst", len(got))
	}
}

func lookup(t *testing.T, s *Store, id string) string {
	t.Helper()
	key := auditKey(ulid.MustParse(id))
	records, _, err := s.readAudit(soon(t), key, key+"\x00", 1)
	if err != nil || len(records) != 1 {
		t.Fatalf("record %s: %v, %v", id, records, err)
	}
	return records[0].GetOperator()
}

func TestAuditRefusesForeignTokens(t *testing.T) {
	s := open(t, etcdtest.New(t))
	for _, token := range []string{"x", "!", "AAAA", "MDFBUlozTkRFS1RTVjRSUkZGUTY5RzVGQQ", "Li4vLi4vLi4vLi4vLi4vLi4vLi4vLi4"} {
		_, _, err := s.Audit(soon(t), AuditQuery{PageToken: token})
		wantFault(t, err, fault.Invalid, "")
	}
}

// The walk over any spread of records returns each once, in order, and never reads more than its limit at a time.
func TestAuditWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		end := time.UnixMilli(rapid.Int64Range(1, 1<<41).Draw(t, "end"))
		span := time.Duration(rapid.Int64Range(1, 10*24*3600*1000).Draw(t, "span")) * time.Millisecond
		ages := rapid.SliceOfN(rapid.Int64Range(1, span.Milliseconds()), 0, 300).Draw(t, "ages")
		crowd := rapid.IntRange(0, 3*auditRead).Draw(t, "crowd")
		var stored []*adminv1.AuditRecord
		entropy := ulid.Monotonic(zeros{}, 0)
		add := func(age int64) {
			at := end.Add(-time.Duration(age) * time.Millisecond)
			if at.UnixMilli() < 0 {
				return
			}
			stored = append(stored, &adminv1.AuditRecord{Id: ulid.MustNew(ulid.Timestamp(at), entropy).String()})
		}
		for _, age := range ages {
			add(age)
		}
		for range crowd {
			add(span.Milliseconds()/2 + 1)
		}
		slices.SortFunc(stored, func(a, b *adminv1.AuditRecord) int { return cmpString(a.GetId(), b.GetId()) })
		stored = slices.CompactFunc(stored, func(a, b *adminv1.AuditRecord) bool { return a.GetId() == b.GetId() })
		walk := auditWalk{
			read: func(_ context.Context, from, end string, limit int) (out []*adminv1.AuditRecord, more bool, err error) {
				for _, r := range stored {
					key := auditKey(ulid.MustParse(r.GetId()))
					if key >= from && key < end {
						if len(out) == limit {
							return out, true, nil
						}
						out = append(out, r)
					}
				}
				return out, false, nil
			},
			start: end.Add(-span), end: auditBound(end), until: end, width: auditFirstWindow,
		}
		for i := len(stored) - 1; i >= 0; i-- {
			rec, err := walk.next(context.Background())
			if err != nil || rec.GetId() != stored[i].GetId() {
				t.Fatalf("record %d: %v, %v, want %s", i, rec, err, stored[i].GetId())
			}
		}
		if rec, err := walk.next(context.Background()); rec != nil || err != nil {
			t.Fatalf("after the last: %v, %v", rec, err)
		}
	})
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	p[len(p)-1] = 1
	return len(p), nil
}
