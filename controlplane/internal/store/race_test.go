package store

import (
	"context"
	"errors"
	"sync"
	"testing"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/testkit/etcdtest"
)

// contend calls fn n times at once and returns the errors by call.
func contend(n int, fn func(i int) error) []error {
	errs := make([]error, n)
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-begin
			errs[i] = fn(i)
		})
	}
	close(begin)
	wg.Wait()
	return errs
}

// winners returns the calls without an error; every other error must be a fault of one of the kinds.
func winners(t *testing.T, errs []error, kinds ...fault.Kind) []int {
	t.Helper()
	var won []int
	for i, err := range errs {
		if err == nil {
			won = append(won, i)
			continue
		}
		known := false
		for _, k := range kinds {
			known = known || fault.KindOf(err) == k
		}
		if !known {
			t.Errorf("call %d: %v (%v), want a kind of %v", i, err, fault.KindOf(err), kinds)
		}
	}
	return won
}

func TestOneOfAHundredEqualEtagsWins(t *testing.T) {
	const rounds, updates = 5, 100
	endpoint := etcdtest.New(t)
	stores := []*Store{open(t, endpoint), open(t, endpoint)}
	ctx := soon(t)
	c := create(t, stores[0], channel(t, stores[0], "c"))[0]
	want := map[string]bool{} // request ids that won
	for round := range rounds {
		revisions := make([]int64, updates)
		request := func(i int) string { return string(rune('a'+round)) + "-" + string(rune(0x4e00+i)) }
		errs := contend(updates, func(i int) (err error) {
			revisions[i], err = stores[i%2].Commit(ctx, Write{
				Actor: Actor{Operator: "tester", RequestID: request(i)},
				Puts:  []Put{update(c, func(c *resourcev1.Channel) { c.Weight = uint32(i + 1) })},
			})
			return err
		})
		won := winners(t, errs, fault.Stale)
		if len(won) != 1 {
			t.Fatalf("round %d: %d updates won, want 1", round, len(won))
		}
		for i, err := range errs {
			if i == won[0] {
				continue
			}
			stale, ok := errors.AsType[*StaleError](err)
			if !ok || stale.Current != at(c, revisions[won[0]]).GetMetadata().GetEtag() {
				t.Fatalf("loser %d got %v, want the winner's etag", i, err)
			}
		}
		want[request(won[0])] = true
		now, err := stores[0].Read(ctx, model.KindChannel, c.GetMetadata().GetId())
		if err != nil {
			t.Fatal(err)
		}
		var ok bool
		if c, ok = now.(*resourcev1.Channel); !ok || c.GetWeight() != uint32(won[0]+1) {
			t.Fatalf("round %d: stored weight %d, the winner wrote %d", round, c.GetWeight(), won[0]+1)
		}
	}
	records, _, err := stores[0].Audit(ctx, AuditQuery{ResourceName: "c", PageSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	updatesSeen := 0
	for _, r := range records {
		if r.GetAction() == adminv1.AuditRecord_ACTION_UPDATE {
			updatesSeen++
			if !want[r.GetRequestId()] {
				t.Errorf("audit shows request %s, which lost", r.GetRequestId())
			}
		}
	}
	if updatesSeen != rounds {
		t.Errorf("audit shows %d updates, want %d", updatesSeen, rounds)
	}
}

func TestOneOfManyEqualNamesWins(t *testing.T) {
	endpoint := etcdtest.New(t)
	stores := []*Store{open(t, endpoint), open(t, endpoint)}
	ctx := soon(t)
	errs := contend(40, func(i int) error {
		_, err := stores[i%2].Commit(ctx, Write{Puts: []Put{{Resource: channel(t, stores[i%2], "c")}}})
		return err
	})
	if won := winners(t, errs, fault.Exists); len(won) != 1 {
		t.Fatalf("%d creations won, want 1", len(won))
	}
}

func TestNoReferenceDanglesUnderRaces(t *testing.T) {
	endpoint := etcdtest.New(t)
	s := open(t, endpoint)
	ctx := soon(t)
	deleted, kept := 0, 0
	for range 40 {
		c := create(t, s, channel(t, s, "c"))[0]
		var a *resourcev1.Account
		errs := contend(2, func(i int) error {
			if i == 0 {
				_, err := s.Commit(ctx, Write{Deletes: []Delete{{Resource: c}}})
				return err
			}
			acc := account(t, s, "a", "c")
			revision, err := s.Commit(ctx, Write{Puts: []Put{{Resource: acc}}})
			a = at(acc, revision)
			return err
		})
		if won := winners(t, errs, fault.Stale, fault.Invalid); len(won) != 1 {
			t.Fatalf("%d of deletion and reference won, want 1: %v", len(won), errs)
		}
		if errs[0] == nil {
			deleted++
			continue
		}
		kept++
		commit(t, s, Write{Deletes: []Delete{{Resource: a}}})
		commit(t, s, Write{Deletes: []Delete{{Resource: c}}})
	}
	t.Logf("the deletion won %d times, the reference %d times", deleted, kept)
}

func TestFirstOpenersAgree(t *testing.T) {
	endpoint := etcdtest.New(t)
	ctx := soon(t)
	var mu sync.Mutex
	lineages := map[string]bool{}
	errs := contend(5, func(int) error {
		s, err := Open(ctx, Config{Endpoints: []string{endpoint}}, quiet)
		if err != nil {
			return err
		}
		mu.Lock()
		lineages[s.Lineage()] = true
		mu.Unlock()
		return s.Close()
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if len(lineages) != 1 {
		t.Errorf("%d lineages, want 1", len(lineages))
	}
}

func TestCreateMetaHasOneWinner(t *testing.T) {
	s := open(t, etcdtest.New(t))
	ctx := soon(t)
	if _, ok, err := s.Meta(ctx, "dek/1"); ok || err != nil {
		t.Fatalf("meta before creation: %t, %v", ok, err)
	}
	got := make([]string, 20)
	errs := contend(len(got), func(i int) error {
		v, err := s.CreateMeta(ctx, "dek/1", []byte{byte(i)})
		got[i] = string(v)
		return err
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	stored, ok, err := s.Meta(ctx, "dek/1")
	if !ok || err != nil {
		t.Fatalf("meta: %t, %v", ok, err)
	}
	for i, v := range got {
		if v != string(stored) {
			t.Errorf("caller %d was told %x, stored is %x", i, v, stored)
		}
	}
	for _, name := range []string{"lineage", "schema", "", "a//b", "a b"} {
		if _, err := s.CreateMeta(ctx, name, nil); err == nil {
			t.Errorf("meta name %q was accepted", name)
		}
	}
}

func TestJoinTokenIsUsedNoMoreThanAllowed(t *testing.T) {
	s := open(t, etcdtest.New(t))
	ctx := soon(t)
	token := &adminv1.JoinToken{Id: "t", MaxUses: 3}
	if err := s.CreateJoinToken(ctx, token, tester); err != nil {
		t.Fatal(err)
	}
	wantFault(t, s.CreateJoinToken(ctx, token, tester), fault.Exists, "")
	usedUp := fault.New(fault.Denied, "used up")
	errs := contend(10, func(int) error {
		return s.UseJoinToken(ctx, "t", func(t *adminv1.JoinToken) error {
			if t.GetUses() >= t.GetMaxUses() {
				return usedUp
			}
			return nil
		})
	})
	if won := winners(t, errs, fault.Denied); len(won) != 3 {
		t.Errorf("%d uses, want 3", len(won))
	}
	tokens, err := s.JoinTokens(ctx)
	if err != nil || len(tokens) != 1 || tokens[0].GetUses() != 3 {
		t.Errorf("tokens: %v, %v", tokens, err)
	}
	if err := s.DeleteJoinToken(ctx, "t", tester); err != nil {
		t.Fatal(err)
	}
	wantFault(t, s.DeleteJoinToken(ctx, "t", tester), fault.NotFound, "")
	wantFault(t, s.UseJoinToken(ctx, "t", func(*adminv1.JoinToken) error { return nil }), fault.NotFound, "")
	records, _, err := s.Audit(ctx, AuditQuery{Kind: kindJoinToken})
	if err != nil || len(records) != 2 {
		t.Errorf("audit of the token: %v, %v", records, err)
	}
}

// ended returns when ctx has; it fails the test if that takes too long.
func ended(t *testing.T, ctx context.Context) {
	t.Helper()
	select {
	case <-ctx.Done():
	case <-soon(t).Done():
		t.Fatal("it did not end")
	}
}
