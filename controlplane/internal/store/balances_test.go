package store

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/testkit/etcdtest"
)

func spentOf(nanoUSD int64) *resourcev1.Balances {
	return &resourcev1.Balances{Balances: []*resourcev1.Balance{{Period: 2, Window: 7, SpentNanoUsd: nanoUSD}}}
}

// balancesIn reads all of them.
func balancesIn(t *testing.T, s *Store) map[BalanceKey]int64 {
	t.Helper()
	all := map[BalanceKey]int64{}
	if err := s.Balances(soon(t), func(k BalanceKey, b *resourcev1.Balances) error {
		all[k] = b.GetBalances()[0].GetSpentNanoUsd()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// Balances change with the watermark or not at all, and once however often the answer is lost.
func TestBalancesGoWithTheUsage(t *testing.T) {
	t.Parallel()
	s, l := openLossy(t, etcdtest.New(t))
	ctx := soon(t)
	fence := leading(t, s, "books")
	key, group := BalanceKey{"key", "k"}, BalanceKey{"group", "g"}
	totals := map[UsageKey]*adminv1.UsageCounters{{Hour: 1, Key: "k"}: {Requests: 1}}
	l.after.Store(2)
	if err := s.CommitUsage(ctx, fence, "boot", 0, 5, totals, map[BalanceKey]*resourcev1.Balances{key: spentOf(3), group: spentOf(4)}); err != nil {
		t.Fatal(err)
	}
	// Nothing of this is written: the watermark is not there.
	wantFault(t, s.CommitUsage(ctx, fence, "boot", 0, 6, totals, map[BalanceKey]*resourcev1.Balances{key: spentOf(99)}), fault.Stale, "")
	if diff := cmp.Diff(map[BalanceKey]int64{key: 3, group: 4}, balancesIn(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := s.CommitUsage(ctx, fence, "boot", 5, 6, nil, map[BalanceKey]*resourcev1.Balances{key: {}}); err != nil {
		t.Fatal(err)
	}
	l.after.Store(1)
	if err := s.PutBalances(ctx, fence, map[BalanceKey]*resourcev1.Balances{{"tenant", "t"}: spentOf(5)}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[BalanceKey]int64{group: 4, {"tenant", "t"}: 5}, balancesIn(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := s.DropBalances(ctx, fence, []BalanceKey{group, {"tenant", "t"}, {"key", "never"}}); err != nil {
		t.Fatal(err)
	}
	if left := balancesIn(t, s); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestBalancesRefuse(t *testing.T) {
	t.Parallel()
	s := open(t, etcdtest.New(t))
	ctx := soon(t)
	fence := leading(t, s, "books")
	for _, k := range []BalanceKey{{"", "k"}, {"model", "k"}, {"key", ""}, {"key", "a/b"}, {"key", "a b"}, {"key", "ä"}, {"key/x", "k"}, {"key", strings.Repeat("x", 257)}} {
		one := map[BalanceKey]*resourcev1.Balances{k: spentOf(1)}
		wantFault(t, s.PutBalances(ctx, fence, one), fault.Invalid, "")
		wantFault(t, s.CommitUsage(ctx, fence, "boot", 0, 1, nil, one), fault.Invalid, "")
	}
	many, totals := map[BalanceKey]*resourcev1.Balances{}, map[UsageKey]*adminv1.UsageCounters{}
	for i := range maxUsageKeys + 1 {
		many[BalanceKey{"key", fmt.Sprint(i)}] = spentOf(1)
	}
	wantFault(t, s.PutBalances(ctx, fence, many), fault.Internal, "")
	for i := range 40 {
		delete(many, BalanceKey{"key", fmt.Sprint(i)})
		totals[UsageKey{Hour: int64(i)}] = &adminv1.UsageCounters{}
	}
	wantFault(t, s.CommitUsage(ctx, fence, "boot", 0, 1, totals, many), fault.Internal, "")
	delete(many, BalanceKey{"key", "50"})
	if err := s.CommitUsage(ctx, fence, "boot", 0, 1, totals, many); err != nil {
		t.Errorf("as many as allowed: %v", err)
	}
	old := Fence{key: fence.key, revision: fence.revision - 1}
	wantFault(t, s.PutBalances(ctx, old, map[BalanceKey]*resourcev1.Balances{{"key", "k"}: spentOf(1)}), fault.Stale, CodeNotLeader)
	wantFault(t, s.DropBalances(ctx, Fence{}, []BalanceKey{{"key", "60"}}), fault.Stale, CodeNotLeader)
	if n := len(balancesIn(t, s)); n != 60 {
		t.Errorf("%d balances are stored, want 60", n)
	}
	if _, err := s.client.Put(ctx, balancePrefix+"key/bad", "\xff"); err != nil {
		t.Fatal(err)
	}
	wantFault(t, s.Balances(ctx, func(BalanceKey, *resourcev1.Balances) error { return nil }), fault.Internal, "")
}

// Only who finds nothing lent, or all of it back, is told so; and it is told so again if the answer was lost.
func TestLendingMark(t *testing.T) {
	t.Parallel()
	s, l := openLossy(t, etcdtest.New(t))
	ctx := soon(t)
	as := func(role string, want bool) Fence {
		t.Helper()
		f := leading(t, s, role)
		l.before.Store(1)
		l.after.Store(2)
		defer func() { l.before.Store(0); l.after.Store(0) }()
		if first, err := s.BeginLending(ctx, f); err != nil || first != want {
			t.Fatalf("%s: first = %t, %v, want %t", role, first, err, want)
		}
		return f
	}
	one := as("one", true)
	two := as("two", false)
	if err := s.EndLending(ctx, two); err != nil {
		t.Fatal(err)
	}
	if err := s.EndLending(ctx, two); err != nil {
		t.Fatalf("again: %v", err)
	}
	as("three", true)
	as("four", false)

	if _, err := s.client.Delete(ctx, one.key); err != nil {
		t.Fatal(err)
	}
	for what, is := range map[string]struct {
		fence Fence
		want  bool
	}{"one that fell": {one, false}, "one that stands": {two, true}, "none": {Fence{}, false}, "of another time": {Fence{key: two.key, revision: 1}, false}} {
		if leads, err := s.Leads(ctx, is.fence); err != nil || leads != is.want {
			t.Errorf("%s: leads = %t, %v", what, leads, err)
		}
	}
	_, err := s.BeginLending(ctx, one)
	wantFault(t, err, fault.Stale, CodeNotLeader)
	wantFault(t, s.EndLending(ctx, one), fault.Stale, CodeNotLeader)
	if got, err := s.client.Get(ctx, lentKey, clientv3.WithCountOnly()); err != nil || got.Count != 1 {
		t.Errorf("the mark: %v, %v", got, err)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Leads(over, two); err == nil {
		t.Error("an answer without asking")
	}
}
