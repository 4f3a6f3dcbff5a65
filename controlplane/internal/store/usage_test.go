package store

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/testkit/etcdtest"
)

func TestUsageIsCommittedOnceUnderDuplicates(t *testing.T) {
	endpoint := etcdtest.New(t)
	s := open(t, endpoint)
	ctx := soon(t)
	fence := leading(t, s, "ledger")
	k := UsageKey{Hour: 7, Key: "k", Channel: "c", Account: "a", Model: "vendor/model"}
	var mark uint64
	for batch := range uint64(10) {
		totals := map[UsageKey]*adminv1.UsageCounters{k: {Requests: int64(batch + 1)}}
		errs := contend(8, func(int) error { return s.CommitUsage(ctx, fence, "boot", mark, mark+10, totals, nil) })
		if won := winners(t, errs, fault.Stale); len(won) != 1 {
			t.Fatalf("batch %d was committed %d times", batch, len(won))
		}
		mark += 10
		if got, err := s.Watermark(ctx, "boot"); err != nil || got != mark {
			t.Fatalf("watermark %d, %v, want %d", got, err, mark)
		}
	}
	// Of a batch from another place nothing is written, its counters neither.
	totals := map[UsageKey]*adminv1.UsageCounters{k: {Requests: 999}, {Hour: 8}: {Requests: 1}}
	wantFault(t, s.CommitUsage(ctx, fence, "boot", mark-10, mark+10, totals, nil), fault.Stale, "")
	wantFault(t, s.CommitUsage(ctx, fence, "boot", mark+10, mark+20, totals, nil), fault.Stale, "")
	got := map[UsageKey]int64{}
	err := s.Usage(ctx, 0, 100, func(k UsageKey, c *adminv1.UsageCounters) error {
		got[k] = c.GetRequests()
		return nil
	})
	if diff := cmp.Diff(map[UsageKey]int64{k: 10}, got); err != nil || diff != "" {
		t.Errorf("books: %v (-want +got):\n%s", err, diff)
	}
}

func TestUsageRefusesWhatItCannotKeep(t *testing.T) {
	s := open(t, etcdtest.New(t))
	ctx := soon(t)
	fence := leading(t, s, "ledger")
	many := map[UsageKey]*adminv1.UsageCounters{}
	for i := range int64(maxUsageKeys + 1) {
		many[UsageKey{Hour: i}] = &adminv1.UsageCounters{}
	}
	wantFault(t, s.CommitUsage(ctx, fence, "boot", 0, 1, many, nil), fault.Internal, "")
	delete(many, UsageKey{})
	if err := s.CommitUsage(ctx, fence, "boot", 0, 1, many, nil); err != nil {
		t.Errorf("as many counters as allowed: %v", err)
	}
	wantFault(t, s.CommitUsage(ctx, fence, "boot", 5, 5, nil, nil), fault.Internal, "")
	wantFault(t, s.CommitUsage(ctx, fence, "a/b", 0, 1, nil, nil), fault.Invalid, "")
	slash := map[UsageKey]*adminv1.UsageCounters{{Key: "a/b"}: {}}
	wantFault(t, s.CommitUsage(ctx, fence, "other", 0, 1, slash, nil), fault.Invalid, "")
	_, err := s.Watermark(ctx, "a/b")
	wantFault(t, err, fault.Invalid, "")
}

func TestUsageComesByHour(t *testing.T) {
	s := open(t, etcdtest.New(t))
	ctx := soon(t)
	fence := leading(t, s, "ledger")
	totals := map[UsageKey]*adminv1.UsageCounters{}
	for hour := int64(95); hour <= 105; hour++ {
		for i := range 3 {
			totals[UsageKey{Hour: hour, Key: fmt.Sprintf("k%d", i), Model: "m"}] = &adminv1.UsageCounters{Requests: hour, InputTokens: int64(i)}
		}
	}
	if err := s.CommitUsage(ctx, fence, "boot", 0, 1, totals, nil); err != nil {
		t.Fatal(err)
	}
	last := UsageKey{}
	got := map[UsageKey]*adminv1.UsageCounters{}
	err := s.Usage(ctx, 98, 101, func(k UsageKey, c *adminv1.UsageCounters) error {
		if k.Hour < last.Hour || (k.Hour == last.Hour && k.Key <= last.Key) {
			t.Errorf("%v came after %v", k, last)
		}
		last = k
		got[k], _ = proto.Clone(c).(*adminv1.UsageCounters)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[UsageKey]*adminv1.UsageCounters{}
	for k, c := range totals {
		if k.Hour >= 98 && k.Hour < 101 {
			want[k] = c
		}
	}
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
	stop := errors.New("enough")
	if err := s.Usage(ctx, 0, 1000, func(UsageKey, *adminv1.UsageCounters) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("usage: %v, want the callback's error", err)
	}
	if err := s.Usage(ctx, 101, 98, func(UsageKey, *adminv1.UsageCounters) error { return stop }); err != nil {
		t.Errorf("an empty range: %v", err)
	}
}
