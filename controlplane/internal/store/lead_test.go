package store

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/testkit/etcdtest"
)

// term is one leadership as run saw it.
type term struct {
	ctx   context.Context
	fence Fence
}

// campaignAs leads until stop is called, and delivers each term; a term ends when its context does.
func campaignAs(t *testing.T, s *Store, role, value string) (terms <-chan term, stop func()) {
	t.Helper()
	ch := make(chan term, 16)
	stop = start(t, func(ctx context.Context) error {
		return s.Lead(ctx, role, value, func(ctx context.Context, f Fence) error {
			ch <- term{ctx, f}
			<-ctx.Done()
			return nil
		})
	})
	return ch, stop
}

func next(t *testing.T, terms <-chan term) term {
	t.Helper()
	select {
	case tm := <-terms:
		return tm
	case <-soon(t).Done():
		t.Fatal("nobody leads")
		return term{}
	}
}

// leading makes the store lead for the rest of the test.
func leading(t *testing.T, s *Store, role string) Fence {
	t.Helper()
	terms, _ := campaignAs(t, s, role, "v")
	return next(t, terms).fence
}

func TestLeadershipPassesOn(t *testing.T) {
	t.Parallel()
	endpoint := etcdtest.New(t)
	a, b := open(t, endpoint), open(t, endpoint)
	termsA, stopA := campaignAs(t, a, "r", "a")
	first := next(t, termsA)
	if v, ok := b.Leader(soon(t), "r"); !ok || v != "a" {
		t.Fatalf("leader %q, %t, want a", v, ok)
	}
	termsB, _ := campaignAs(t, b, "r", "b")
	stopA()
	second := next(t, termsB)
	if first.ctx.Err() == nil {
		t.Error("two lead at once")
	}
	if v, _ := a.Leader(soon(t), "r"); v != "b" {
		t.Errorf("leader %q, want b", v)
	}
	if first.fence == second.fence {
		t.Error("two terms have one fence")
	}
}

func TestStaleFenceCannotCommit(t *testing.T) {
	endpoint := etcdtest.New(t)
	a, b := open(t, endpoint), open(t, endpoint)
	ctx := soon(t)
	termsA, stopA := campaignAs(t, a, "r", "a")
	old := next(t, termsA).fence
	totals := map[UsageKey]*adminv1.UsageCounters{{Hour: 1, Key: "k"}: {Requests: 1}}
	if err := a.CommitUsage(ctx, old, "boot", 0, 1, totals, nil); err != nil {
		t.Fatal(err)
	}
	stopA()
	wantFault(t, a.CommitUsage(ctx, old, "boot", 1, 2, totals, nil), fault.Stale, CodeNotLeader)
	now := leading(t, b, "r")
	wantFault(t, a.CommitUsage(ctx, old, "boot", 1, 2, totals, nil), fault.Stale, CodeNotLeader)
	_, err := a.Commit(ctx, Write{Fence: old, Puts: []Put{{Resource: group(t, a, "g")}}})
	wantFault(t, err, fault.Stale, CodeNotLeader)
	if _, err := b.Commit(ctx, Write{Fence: now, Puts: []Put{{Resource: group(t, b, "g")}}}); err != nil {
		t.Error(err)
	}
	if err := b.CommitUsage(ctx, now, "boot", 1, 2, totals, nil); err != nil {
		t.Error(err)
	}
	wantFault(t, b.CommitUsage(ctx, Fence{}, "boot", 2, 3, totals, nil), fault.Stale, CodeNotLeader)
}

func TestCutOffLeaderStopsBeforeTheNextBegins(t *testing.T) {
	endpoint := etcdtest.New(t)
	link := etcdtest.NewLink(t, endpoint)
	a, b := open(t, link.Endpoint()), open(t, endpoint)
	termsA, _ := campaignAs(t, a, "r", "a")
	first := next(t, termsA)
	termsB, _ := campaignAs(t, b, "r", "b")
	link.Cut()
	next(t, termsB)
	if first.ctx.Err() == nil {
		t.Fatal("the old leader goes on while the new one leads")
	}
	link.Mend()
}

func TestDeletedLeaderKeyEndsTheTerm(t *testing.T) {
	t.Parallel()
	endpoint := etcdtest.New(t)
	s := open(t, endpoint)
	terms, _ := campaignAs(t, s, "r", "a")
	first := next(t, terms)
	if _, err := etcdtest.Client(t, endpoint).Delete(t.Context(), leaderPrefix+"r"); err != nil {
		t.Fatal(err)
	}
	ended(t, first.ctx)
	if second := next(t, terms); second.fence == first.fence {
		t.Error("the new term has the old fence")
	}
}

func TestReplicasComeAndGo(t *testing.T) {
	t.Parallel()
	endpoint := etcdtest.New(t)
	link := etcdtest.NewLink(t, endpoint)
	a, b := open(t, link.Endpoint()), open(t, endpoint)
	ra, rb := &adminv1.Replica{Id: "a", Version: "1"}, &adminv1.Replica{Id: "b", Version: "1"}
	start(t, func(ctx context.Context) error { return a.Register(ctx, ra) })
	stopB := start(t, func(ctx context.Context) error { return b.Register(ctx, rb) })
	terms, _ := campaignAs(t, b, "r", "b")
	next(t, terms)
	leader := &adminv1.Replica{Id: "b", Version: "1", Leader: true}
	await(t, b, []*adminv1.Replica{ra, leader})
	link.Cut()
	await(t, b, []*adminv1.Replica{leader})
	link.Mend()
	await(t, b, []*adminv1.Replica{ra, leader})
	stopB()
	await(t, b, []*adminv1.Replica{ra})
}

// await polls until the replicas are as wanted.
func await(t *testing.T, s *Store, want []*adminv1.Replica) {
	t.Helper()
	ctx := soon(t)
	for {
		got, err := s.Replicas(ctx)
		diff := cmp.Diff(want, got, protocmp.Transform())
		if err == nil && diff == "" {
			return
		}
		if newBackoff().sleep(ctx) != nil {
			t.Fatalf("replicas: %v (-want +got):\n%s", err, diff)
		}
	}
}
