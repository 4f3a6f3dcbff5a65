package admin

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func TestResetAccount(t *testing.T) {
	w := newWorld(t)
	w.channel("c", &resourcev1.Account{Metadata: named("a"), Secret: hidden("sk-1")}, &resourcev1.Account{Metadata: named("b"), Disabled: true})
	a, b := w.account("a"), w.account("b")
	omar := w.as(w.hire("omar", resourcev1.Role_ROLE_OPERATOR))
	reset := func(name string, enable bool) (*resourcev1.Account, int64) {
		t.Helper()
		res, err := omar.accounts.ResetAccount(t.Context(), &adminv1.ResetAccountRequest{Name: name, Enable: enable})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetAccount(), res.GetRevision()
	}
	stored := func(id string) *resourcev1.Verdict {
		t.Helper()
		r, err := w.store.Read(t.Context(), model.KindVerdict, id)
		if err != nil {
			t.Fatal(err)
		}
		v, _ := r.(*resourcev1.Verdict)
		return v
	}

	for _, token := range []string{w.hire("vera", resourcev1.Role_ROLE_VIEWER), ""} {
		_, err := w.as(token).accounts.ResetAccount(t.Context(), &adminv1.ResetAccountRequest{Name: "a"})
		if code := connect.CodeOf(err); code != connect.CodePermissionDenied && code != connect.CodeUnauthenticated {
			t.Errorf("a reset without the role: %v", err)
		}
	}
	if n := w.store.State().Len(model.KindVerdict); n != 0 {
		t.Fatalf("%d verdicts before any reset", n)
	}
	_, err := omar.accounts.ResetAccount(t.Context(), &adminv1.ResetAccountRequest{Name: "nobody"})
	wantCode(t, err, connect.CodeNotFound)
	_, err = omar.accounts.ResetAccount(t.Context(), &adminv1.ResetAccountRequest{})
	wantCode(t, err, connect.CodeInvalidArgument)

	// Over a verdict, and over what only the leader knows.
	w.decide(a, &resourcev1.AccountHealth{State: out, Reason: "credential", Since: timestamppb.Now(), Opens: 3})
	decided := stored(a.GetMetadata().GetId())
	got, first := reset("a", false)
	if h := got.GetHealth(); h.GetState() != closed || h.GetReason() != model.ReasonReset || h.GetOpens() != 0 || h.GetSince() == nil {
		t.Errorf("after the reset: %v", h)
	}
	if got.GetMetadata().GetEtag() != a.GetMetadata().GetEtag() || got.GetSecret().GetSealed() != nil {
		t.Errorf("the account changed, or shows too much: %v", got)
	}
	if v := stored(a.GetMetadata().GetId()); model.Version(v) != first || model.Version(v) <= model.Version(decided) {
		t.Errorf("version %d of revision %d", model.Version(v), first)
	}
	w.health.mu.Lock()
	w.health.view = &adminv1.FleetHealth{Time: timestamppb.New(time.Now().Add(-time.Minute)), Accounts: []*adminv1.AccountHealthView{
		{Id: a.GetMetadata().GetId(), Health: &resourcev1.AccountHealth{State: open, Reason: "rate_limit"}},
	}}
	w.health.mu.Unlock()
	w.service.views.forget()
	if h := w.account("a").GetHealth(); h.GetState() != closed {
		t.Errorf("what the leader saw before the reset is shown after it: %v", h)
	}
	if _, again := reset(a.GetMetadata().GetId(), true); again <= first {
		t.Errorf("a second reset is of revision %d, the first of %d", again, first)
	}

	// A disabled account stays disabled, unless asked; then both happen at once.
	got, _ = reset("b", false)
	if !got.GetDisabled() || got.GetHealth().GetState() != out || got.GetHealth().GetReason() != model.ReasonOperator {
		t.Errorf("disabled, after a reset: %v", got)
	}
	got, revision := reset("b", true)
	if got.GetDisabled() || got.GetHealth().GetState() != closed {
		t.Errorf("enabled: %v", got)
	}
	if v := stored(b.GetMetadata().GetId()); model.Version(v) != revision || got.GetMetadata().GetEtag() != fmt.Sprint(revision) {
		t.Errorf("revision %d has the verdict %d and the account %s", revision, model.Version(v), got.GetMetadata().GetEtag())
	}
	for name, want := range map[string][2]int{"a": {2, 0}, "b": {2, 1}} {
		if verdicts, enabled := w.resets(name); verdicts != want[0] || enabled != want[1] {
			t.Errorf("%s: audited %d resets and %d times enabled, want %v", name, verdicts, enabled, want)
		}
	}
}

// Resets that race, with each other and with decisions, all happen, one after the other; one of them enables.
func TestResetsRace(t *testing.T) {
	w := newWorld(t)
	w.channel("c", &resourcev1.Account{Metadata: named("a"), Disabled: true})
	a := w.account("a")
	clients := []clients{w.as(w.owner), w.as(w.hire("omar", resourcev1.Role_ROLE_OPERATOR))}
	const each = 4
	var all sync.WaitGroup
	var mu sync.Mutex
	revisions := map[int64]bool{}
	for _, c := range clients {
		for range each {
			all.Go(func() {
				res, err := c.accounts.ResetAccount(t.Context(), &adminv1.ResetAccountRequest{Name: "a", Enable: true})
				if err != nil {
					t.Error(err)
					return
				}
				if res.GetAccount().GetDisabled() || res.GetAccount().GetHealth().GetState() != closed {
					t.Errorf("after a reset: %v", res.GetAccount())
				}
				mu.Lock()
				defer mu.Unlock()
				revisions[res.GetRevision()] = true
			})
		}
	}
	all.Wait()
	if len(revisions) != len(clients)*each {
		t.Errorf("%d revisions of %d resets", len(revisions), len(clients)*each)
	}
	if verdicts, enabled := w.resets("a"); verdicts != len(clients)*each || enabled != 1 {
		t.Errorf("audited %d resets and %d times enabled", verdicts, enabled)
	}
	// An account that goes meanwhile is reported as gone, and leaves nothing behind.
	if _, err := clients[0].accounts.DeleteAccount(t.Context(), &adminv1.DeleteAccountRequest{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	_, err := clients[1].accounts.ResetAccount(t.Context(), &adminv1.ResetAccountRequest{Name: a.GetMetadata().GetId()})
	wantCode(t, err, connect.CodeNotFound)
	if n := w.store.State().Len(model.KindVerdict); n != 0 {
		t.Errorf("%d verdicts on nobody", n)
	}
}
