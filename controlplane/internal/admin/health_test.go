package admin

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

const (
	closed   = resourcev1.HealthState_HEALTH_STATE_CLOSED
	open     = resourcev1.HealthState_HEALTH_STATE_OPEN
	halfOpen = resourcev1.HealthState_HEALTH_STATE_HALF_OPEN
	out      = resourcev1.HealthState_HEALTH_STATE_DISABLED
)

func TestHealthOf(t *testing.T) {
	now := time.Unix(1000, 0)
	at := func(s int64) *timestamppb.Timestamp { return timestamppb.New(time.Unix(s, 0)) }
	rests := &resourcev1.AccountHealth{State: open, Reason: "rate_limit", Until: at(1030)}
	decided := &resourcev1.AccountHealth{State: open, Reason: "server_error", Since: at(900), Until: at(2000), Opens: 1}
	back := &resourcev1.AccountHealth{State: closed, Reason: "reset", Since: at(900)}
	plain := &resourcev1.AccountHealth{State: closed}
	tests := []struct {
		name          string
		disabled      bool
		verdict, soft *resourcev1.AccountHealth
		viewed        int64 // when the leader looked; 0 = never
		want          *resourcev1.AccountHealth
	}{
		{"nobody knows anything", false, nil, nil, 0, plain},
		{"the leader does not know it", false, nil, nil, 999, plain},
		{"the leader sees it serve", false, back, &resourcev1.AccountHealth{State: closed}, 999, back},
		{"it rests, as the leader sees it", false, nil, rests, 999, rests},
		{"it rests since it came back", false, back, rests, 999, rests},
		{"it came back since the leader looked", false, back, rests, 900, back},
		{"its rest has ended since the leader looked", false, nil, &resourcev1.AccountHealth{State: open, Until: at(1000)}, 999, plain},
		{"what was decided counts more", false, decided, rests, 999, decided},
		{"an operator counts most", true, decided, rests, 999, &resourcev1.AccountHealth{State: out, Reason: "operator"}},
		{"without a leader", false, decided, nil, 0, decided},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := account("a", "c", func(a *resourcev1.Account) { a.Disabled, a.Metadata.Id = tt.disabled, "a1" })
			rs := []model.Resource{a}
			if tt.verdict != nil {
				rs = append(rs, &resourcev1.Verdict{Metadata: &resourcev1.Metadata{Id: "a1", Name: "a1"}, Health: tt.verdict})
			}
			var v *view
			if tt.viewed != 0 {
				h := &adminv1.FleetHealth{Time: at(tt.viewed)}
				if tt.soft != nil {
					h.Accounts = []*adminv1.AccountHealthView{{Id: "a1", Health: tt.soft}, {Id: "another", Health: decided}}
				}
				v = newView(h, time.Time{})
			}
			if d := cmp.Diff(tt.want, healthOf(with(rs...), a, v, now), protocmp.Transform()); d != "" {
				t.Error(d)
			}
		})
	}
}

// Every answer that has an account says how it is; nothing of it is stored, and lists go by what they show.
func TestAccountsShowTheirHealth(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	created, err := c.channels.CreateChannel(t.Context(), &adminv1.CreateChannelRequest{
		Channel: goodChannel("c"), Accounts: []*resourcev1.Account{{Metadata: named("fine")}, {Metadata: named("limited")}, {Metadata: named("refused")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range created.GetAccounts() {
		if a.GetHealth().GetState() != closed {
			t.Errorf("the new account %s is %v", a.GetMetadata().GetName(), a.GetHealth())
		}
	}
	limited, refused := created.GetAccounts()[1], created.GetAccounts()[2]
	off, err := c.accounts.CreateAccount(t.Context(), &adminv1.CreateAccountRequest{Account: &resourcev1.Account{
		Metadata: named("off"), Channel: "c", Disabled: true,
		Health: &resourcev1.AccountHealth{State: open, Reason: "planted"},
	}})
	if err != nil || off.GetAccount().GetHealth().GetState() != out || off.GetAccount().GetHealth().GetReason() != "operator" {
		t.Fatalf("created disabled: %v, %v", off.GetAccount().GetHealth(), err)
	}
	w.decide(refused, &resourcev1.AccountHealth{State: out, Reason: "credential", Since: timestamppb.Now()})
	until := timestamppb.New(time.Now().Add(time.Hour))
	w.sees(&adminv1.AccountHealthView{Id: limited.GetMetadata().GetId(), Health: &resourcev1.AccountHealth{State: open, Reason: "rate_limit", Until: until}})

	want := map[string]string{"fine": "CLOSED", "limited": "OPEN rate_limit", "off": "DISABLED operator", "refused": "DISABLED credential"}
	said := func(a *resourcev1.Account) string {
		state := strings.TrimPrefix(a.GetHealth().GetState().String(), "HEALTH_STATE_")
		return strings.TrimSpace(state + " " + a.GetHealth().GetReason())
	}
	got := map[string]string{}
	for name := range want {
		got[name] = said(w.account(name))
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("got one by one (-want +got):\n%s", d)
	}
	updated, err := c.accounts.UpdateAccount(t.Context(), &adminv1.UpdateAccountRequest{
		Account: &resourcev1.Account{Metadata: named("refused"), Weight: 7}, UpdateMask: mask("weight"),
	})
	if err != nil || said(updated.GetAccount()) != want["refused"] {
		t.Errorf("updated: %v, %v", updated.GetAccount().GetHealth(), err)
	}

	for _, tt := range []struct {
		filter, order string
		want          []string
	}{
		{"", "", []string{"fine", "limited", "off", "refused"}},
		{"account.weight > 0u", "", []string{"fine", "limited", "off", "refused"}},
		{"account.health.state == 4", "", []string{"off", "refused"}},
		{"account.health.state != fairway.resource.v1.HealthState.HEALTH_STATE_CLOSED", "health.reason desc", []string{"limited", "off", "refused"}},
		{`account.health.reason == "credential" || account.health.reason.startsWith("rate")`, "", []string{"limited", "refused"}},
		{`has(account.health.until) && account.health.until > timestamp("2020-01-01T00:00:00Z")`, "", []string{"limited"}},
		{"", "health.state desc", nil},
		{"account.weight == 7u", "health.until", []string{"refused"}},
	} {
		var names []string
		req := &adminv1.ListAccountsRequest{Filter: tt.filter, OrderBy: tt.order, PageSize: 1}
		for {
			list, err := c.accounts.ListAccounts(t.Context(), req)
			if err != nil {
				t.Fatalf("%q by %q: %v", tt.filter, tt.order, err)
			}
			for _, a := range list.GetAccounts() {
				name := a.GetMetadata().GetName()
				names = append(names, name)
				if said(a) != want[name] {
					t.Errorf("%q by %q: %s is %q, want %q", tt.filter, tt.order, name, said(a), want[name])
				}
			}
			if tt.want != nil && int(list.GetTotalSize()) != len(tt.want) {
				t.Errorf("%q by %q: %d in all, want %d", tt.filter, tt.order, list.GetTotalSize(), len(tt.want))
			}
			if req.PageToken = list.GetNextPageToken(); req.PageToken == "" {
				break
			}
		}
		if tt.want == nil {
			if s := strings.Join(names, " "); s != "refused off limited fine" && s != "off refused limited fine" {
				t.Errorf("by %q: %s", tt.order, s)
			}
			continue
		}
		if d := cmp.Diff(tt.want, names); d != "" {
			t.Errorf("%q by %q (-want +got):\n%s", tt.filter, tt.order, d)
		}
	}
	for r := range w.store.State().All(model.KindAccount) {
		if a, ok := r.(*resourcev1.Account); !ok || a.GetHealth() != nil {
			t.Errorf("stored with its health: %v", r)
		}
	}
}

// Nobody sets a health: a mask that names it is refused, and one that comes along with the rest changes nothing.
func TestHealthIsOutputOnly(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	w.channel("c", &resourcev1.Account{Metadata: named("a")})
	before := w.account("a")
	for _, path := range []string{"health", "health.state", "health.until"} {
		_, err := c.accounts.UpdateAccount(t.Context(), &adminv1.UpdateAccountRequest{
			Account:    &resourcev1.Account{Metadata: named("a"), Health: &resourcev1.AccountHealth{State: out}},
			UpdateMask: mask("weight", path),
		})
		if m := wantCode(t, err, connect.CodeInvalidArgument); !strings.Contains(m, "is output only") {
			t.Errorf("%s: %q", path, m)
		}
	}
	back := proto.CloneOf(before)
	back.Health = &resourcev1.AccountHealth{State: out, Reason: "planted"}
	res, err := c.accounts.UpdateAccount(t.Context(), &adminv1.UpdateAccountRequest{Account: back})
	if err != nil || res.GetAccount().GetMetadata().GetEtag() != before.GetMetadata().GetEtag() {
		t.Errorf("sent back with another health: %v, %v", res, err)
	}
	if d := cmp.Diff(before, w.account("a"), protocmp.Transform()); d != "" {
		t.Errorf("it changed (-before +now):\n%s", d)
	}
	_, err = c.audit.ListAuditRecords(t.Context(), &adminv1.ListAuditRecordsRequest{Kind: "verdict"})
	if err != nil {
		t.Error(err)
	}
	if status, _, body := w.post(w.owner, "/fairway.admin.v1.AccountService/ListAccounts", `{"filter":"verdict.health.state == 1"}`); status != 400 {
		t.Errorf("a filter over verdicts: %d %s", status, body)
	}
}

func TestFleetHealth(t *testing.T) {
	w := newWorld(t)
	viewer := w.as(w.hire("vera", resourcev1.Role_ROLE_VIEWER))
	_, err := viewer.fleet.GetFleetHealth(t.Context(), &adminv1.GetFleetHealthRequest{})
	if m := wantCode(t, err, connect.CodeUnavailable); m != "nobody leads" {
		t.Errorf("without a leader: %q", m)
	}
	w.sees(&adminv1.AccountHealthView{Id: "a", InFlight: 3})
	got, err := viewer.fleet.GetFleetHealth(t.Context(), &adminv1.GetFleetHealthRequest{})
	if err != nil || got.GetHealth().GetLeader() != "r" || got.GetHealth().GetAccounts()[0].GetInFlight() != 3 {
		t.Errorf("%v, %v", got, err)
	}
	w.service.views.health = nil
	_, err = viewer.fleet.GetFleetHealth(t.Context(), &adminv1.GetFleetHealthRequest{})
	if m := wantCode(t, err, connect.CodeUnavailable); !strings.Contains(m, "does not watch") {
		t.Errorf("without a room for it: %q", m)
	}
}

func TestExplainOneRequest(t *testing.T) {
	w := newWorld(t)
	viewer := w.as(w.hire("vera", resourcev1.Role_ROLE_VIEWER))
	ask := func(id string) (*adminv1.ExplainResponse, error) {
		return viewer.diagnostics.Explain(t.Context(), &adminv1.ExplainRequest{RequestId: id})
	}
	got, err := ask("known")
	want := &adminv1.ExplainResponse{Decision: &adminv1.Decision{RequestId: "known", Proxy: "p", Status: 200, Outcome: "served"}}
	if d := cmp.Diff(want, got, protocmp.Transform()); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	for _, id := range []string{"unknown", "careless"} {
		_, err := ask(id)
		wantCode(t, err, connect.CodeNotFound)
	}
	_, err = viewer.diagnostics.Explain(t.Context(), &adminv1.ExplainRequest{RequestId: "known", Key: "k", Model: "m"})
	wantCode(t, err, connect.CodeInvalidArgument)
	_, err = viewer.diagnostics.Explain(t.Context(), &adminv1.ExplainRequest{Key: "k"})
	wantCode(t, err, connect.CodeInvalidArgument)
	w.service.lookups = nil
	_, err = ask("known")
	wantCode(t, err, connect.CodeUnavailable)
}

// slowHealth answers when it is let, or not in time.
type slowHealth struct {
	asked  atomic.Int32
	answer chan *adminv1.FleetHealth
}

func (s *slowHealth) FleetHealth(ctx context.Context) (*adminv1.FleetHealth, error) {
	s.asked.Add(1)
	select {
	case h := <-s.answer:
		if h == nil {
			return nil, errors.New("nobody leads")
		}
		return h, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A leader that does not answer costs nobody more than viewWait, and is left alone for a while; one that does is asked once
// for all.
func TestViewsDoNotHoldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowHealth{answer: make(chan *adminv1.FleetHealth)}
		v := &views{health: slow, now: time.Now, log: slog.New(slog.DiscardHandler)}
		crowd := func(n int) (got []*view, took time.Duration) {
			start := time.Now()
			got = make([]*view, n)
			var all sync.WaitGroup
			for i := range n {
				all.Go(func() { got[i] = v.get(t.Context()) })
			}
			all.Wait()
			return got, time.Since(start)
		}
		want := func(what string, got []*view, known bool, asked int32) {
			t.Helper()
			for _, g := range got {
				if (g != nil) != known {
					t.Errorf("%s: a view %v, want one: %v", what, g, known)
				}
			}
			if n := slow.asked.Load(); n != asked {
				t.Errorf("%s: the leader was asked %d times, want %d", what, n, asked)
			}
		}
		got, took := crowd(50)
		want("silence", got, false, 1)
		if took != viewWait {
			t.Errorf("silence held a reply up for %v", took)
		}
		got, took = crowd(50)
		want("silence, again", got, false, 1)
		if took != 0 {
			t.Errorf("known silence held a reply up for %v", took)
		}
		time.Sleep(viewAge)
		go func() { slow.answer <- &adminv1.FleetHealth{} }()
		got, _ = crowd(50)
		want("an answer", got, true, 2)
		time.Sleep(viewAge - time.Nanosecond)
		got, _ = crowd(50)
		want("the same answer", got, true, 2)
		time.Sleep(time.Nanosecond)
		go func() { slow.answer <- nil }()
		got, _ = crowd(50)
		want("a refusal", got, false, 3)
		v.forget()
		// Whoever asked goes; those who wait are answered.
		gone, leave := context.WithCancel(t.Context())
		var asking sync.WaitGroup
		asking.Go(func() { v.get(gone) })
		synctest.Wait()
		leave()
		go func() {
			time.Sleep(viewWait / 2)
			slow.answer <- &adminv1.FleetHealth{}
		}()
		got, _ = crowd(3)
		want("after its asker left", got, true, 4)
		asking.Wait()
	})
}

// resets counts the audit records of an account's resets.
func (w *world) resets(name string) (verdicts, enabled int) {
	w.t.Helper()
	records, _, err := w.store.Audit(w.t.Context(), store.AuditQuery{ResourceName: name, PageSize: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range records {
		if r.GetProcedure() != "/fairway.admin.v1.AccountService/ResetAccount" {
			continue
		}
		switch {
		case r.GetOperator() == "" || r.GetRequestId() == "":
			w.t.Errorf("nobody did it: %v", r)
		case r.GetKind() == "verdict" && cmp.Equal(r.GetChangedFields(), []string{"health"}):
			verdicts++
		case r.GetKind() == "account" && cmp.Equal(r.GetChangedFields(), []string{"disabled"}):
			enabled++
		default:
			w.t.Errorf("an unexpected record: %v", r)
		}
	}
	return verdicts, enabled
}
