package admin

import (
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"fairway/controlplane/internal/model"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/testkit/etcdtest"
)

func TestTenants(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	create := func(in *resourcev1.Tenant) (*resourcev1.Tenant, error) {
		res, err := c.tenants.CreateTenant(t.Context(), &adminv1.CreateTenantRequest{Tenant: in})
		return res.GetTenant(), err
	}
	update := func(in *resourcev1.Tenant, paths ...string) (*resourcev1.Tenant, error) {
		res, err := c.tenants.UpdateTenant(t.Context(), &adminv1.UpdateTenantRequest{Tenant: in, UpdateMask: mask(paths...)})
		return res.GetTenant(), err
	}
	team, err := create(&resourcev1.Tenant{Metadata: named("team"), Description: "all of us"})
	if err != nil {
		t.Fatal(err)
	}
	if team.GetLimits() != nil || team.GetMetadata().GetId() == "" || team.GetMetadata().GetEtag() == "" {
		t.Errorf("created %v", team)
	}
	_, err = create(&resourcev1.Tenant{Metadata: named("team")})
	wantCode(t, err, connect.CodeAlreadyExists)
	_, err = create(&resourcev1.Tenant{Metadata: named("ann"), Parent: "crew"})
	if m := wantCode(t, err, connect.CodeInvalidArgument); !strings.Contains(m, `parent: there is no tenant "crew"`) {
		t.Errorf("message %q", m)
	}
	if _, err = create(&resourcev1.Tenant{Metadata: named("ann"), Parent: "team", Groups: []string{"default"}, Limits: &resourcev1.Limits{Rpm: 1}}); err != nil {
		t.Fatal(err)
	}

	got, err := c.tenants.GetTenant(t.Context(), &adminv1.GetTenantRequest{Name: team.GetMetadata().GetId()})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(team, got.GetTenant(), protocmp.Transform()); d != "" {
		t.Errorf("by id (-want +got):\n%s", d)
	}
	for _, tt := range []struct{ filter, order, want string }{
		{"", "", "ann team"},
		{"", "metadata.name desc", "team ann"},
		{`tenant.parent == "team"`, "", "ann"},
		{`"default" in tenant.groups`, "", "ann"},
		{`tenant.limits.rpm > 0`, "", "ann"},
		{"", "limits.rpm desc", "ann team"},
		{"", "limits.rpm", "team ann"},
	} {
		res, err := c.tenants.ListTenants(t.Context(), &adminv1.ListTenantsRequest{Filter: tt.filter, OrderBy: tt.order})
		if err != nil {
			t.Fatalf("list %q %q: %v", tt.filter, tt.order, err)
		}
		var names []string
		for _, r := range res.GetTenants() {
			names = append(names, r.GetMetadata().GetName())
		}
		if strings.Join(names, " ") != tt.want || int(res.GetTotalSize()) != len(names) {
			t.Errorf("list %q %q: %v of %d, want %q", tt.filter, tt.order, names, res.GetTotalSize(), tt.want)
		}
	}

	if _, err := update(&resourcev1.Tenant{Metadata: named("team"), Disabled: true}, "disabled"); err != nil {
		t.Fatal(err)
	}
	_, err = update(team, "description")
	wantCode(t, err, connect.CodeFailedPrecondition)
	if current := currentEtag(t, err); current == "" || current == team.GetMetadata().GetEtag() {
		t.Errorf("the detail names the etag %q", current)
	}
	_, err = update(&resourcev1.Tenant{Metadata: named("team"), Parent: "ann"}, "parent")
	if m := wantCode(t, err, connect.CodeInvalidArgument); !strings.Contains(m, "two levels") {
		t.Errorf("message %q", m)
	}
	_, err = update(&resourcev1.Tenant{Metadata: named("team")}, "metadata.name")
	wantCode(t, err, connect.CodeInvalidArgument)

	// Whatever refers to it keeps it.
	remove := func(name string) error {
		_, err := c.tenants.DeleteTenant(t.Context(), &adminv1.DeleteTenantRequest{Name: name})
		return err
	}
	if _, err := c.operators.CreateOperator(t.Context(), &adminv1.CreateOperatorRequest{Operator: &resourcev1.Operator{
		Metadata: named("boss"), Role: resourcev1.Role_ROLE_OPERATOR, Tenant: "ann",
	}}); err != nil {
		t.Fatal(err)
	}
	if m := wantCode(t, remove("team"), connect.CodeFailedPrecondition); !strings.Contains(m, `tenant "ann"`) {
		t.Errorf("message %q", m)
	}
	if m := wantCode(t, remove("ann"), connect.CodeFailedPrecondition); !strings.Contains(m, `operator "boss"`) {
		t.Errorf("message %q", m)
	}
	if _, err := c.operators.DeleteOperator(t.Context(), &adminv1.DeleteOperatorRequest{Name: "boss"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ann", "team"} {
		if err := remove(name); err != nil {
			t.Error(err)
		}
	}
	wantCode(t, remove("team"), connect.CodeNotFound)

	audit, err := c.audit.ListAuditRecords(t.Context(), &adminv1.ListAuditRecordsRequest{Kind: "tenant", ResourceName: "team"})
	if err != nil {
		t.Fatal(err)
	}
	var changes []string
	for _, r := range audit.GetRecords() {
		changes = append(changes, fmt.Sprint(r.GetAction(), r.GetChangedFields()))
	}
	want := []string{"ACTION_DELETE []", "ACTION_UPDATE [disabled]", "ACTION_CREATE []"}
	if d := cmp.Diff(want, changes); d != "" {
		t.Errorf("audit (-want +got):\n%s", d)
	}
}

// Limits are raised, lowered and removed by themselves, on each that has them.
func TestLimitsByPath(t *testing.T) {
	const day, month = resourcev1.BudgetWindow_BUDGET_WINDOW_DAY, resourcev1.BudgetWindow_BUDGET_WINDOW_MONTH
	w := newWorld(t)
	c := w.as(w.owner)
	budget := func(amount int64, window resourcev1.BudgetWindow) *resourcev1.Budget {
		return &resourcev1.Budget{AmountNanoUsd: amount, Window: window}
	}
	type limits = resourcev1.Limits
	steps := []struct {
		name, mask string
		in, want   *limits
		refused    string
	}{
		{name: "nothing", mask: "disabled"},
		{name: "none", mask: "limits", in: &limits{}},
		{name: "one", mask: "limits.rpm", in: &limits{Rpm: 10, Tpm: 5}, want: &limits{Rpm: 10}},
		{name: "another", mask: "limits.tpm,limits.fallback", in: &limits{Tpm: 100, Fallback: 3}, want: &limits{Rpm: 10, Tpm: 100, Fallback: 3}},
		{name: "raised", mask: "limits.rpm", in: &limits{Rpm: 20}, want: &limits{Rpm: 20, Tpm: 100, Fallback: 3}},
		{name: "lowered", mask: "limits.rpm", in: &limits{Rpm: 1}, want: &limits{Rpm: 1, Tpm: 100, Fallback: 3}},
		{name: "below nothing", mask: "limits.rpm", in: &limits{Rpm: -1}, want: &limits{Rpm: 1, Tpm: 100, Fallback: 3}, refused: "limits.rpm"},
		{name: "removed", mask: "limits.rpm", want: &limits{Tpm: 100, Fallback: 3}},
		{name: "budgets", mask: "limits.budgets,limits.time_zone", in: &limits{
			Budgets: []*resourcev1.Budget{budget(1, day), budget(2, month)}, TimeZone: "Europe/Berlin",
		}, want: &limits{Tpm: 100, Fallback: 3, Budgets: []*resourcev1.Budget{budget(1, day), budget(2, month)}, TimeZone: "Europe/Berlin"}},
		{name: "one window twice", mask: "limits.budgets", in: &limits{Budgets: []*resourcev1.Budget{budget(1, day), budget(2, day)}},
			want:    &limits{Tpm: 100, Fallback: 3, Budgets: []*resourcev1.Budget{budget(1, day), budget(2, month)}, TimeZone: "Europe/Berlin"},
			refused: "limits.budgets[1].window"},
		{name: "more than there is", mask: "limits.budgets", in: &limits{Budgets: []*resourcev1.Budget{budget(1e18+1, day)}},
			want:    &limits{Tpm: 100, Fallback: 3, Budgets: []*resourcev1.Budget{budget(1, day), budget(2, month)}, TimeZone: "Europe/Berlin"},
			refused: "limits.budgets[0].amount_nano_usd"},
		{name: "nowhere", mask: "limits.time_zone", in: &limits{TimeZone: "Europe/Nowhere"},
			want:    &limits{Tpm: 100, Fallback: 3, Budgets: []*resourcev1.Budget{budget(1, day), budget(2, month)}, TimeZone: "Europe/Berlin"},
			refused: `no time zone "Europe/Nowhere"`},
		{name: "one budget", mask: "limits.budgets", in: &limits{Budgets: []*resourcev1.Budget{budget(5, month)}},
			want: &limits{Tpm: 100, Fallback: 3, Budgets: []*resourcev1.Budget{budget(5, month)}, TimeZone: "Europe/Berlin"}},
		{name: "no budgets", mask: "limits.budgets", want: &limits{Tpm: 100, Fallback: 3, TimeZone: "Europe/Berlin"}},
		{name: "one by one", mask: "limits.tpm,limits.fallback,limits.time_zone", in: &limits{}},
		{name: "all at once", mask: "limits", in: &limits{Concurrency: 3, MaxRequestTokens: 4}, want: &limits{Concurrency: 3, MaxRequestTokens: 4}},
		{name: "another field", mask: "metadata.labels", want: &limits{Concurrency: 3, MaxRequestTokens: 4}},
		{name: "everything", mask: "*"},
	}
	for kind, change := range map[model.Kind]func(in *limits, paths []string) (*limits, error){
		model.KindTenant: func(in *limits, paths []string) (*limits, error) {
			res, err := c.tenants.UpdateTenant(t.Context(), &adminv1.UpdateTenantRequest{
				Tenant: &resourcev1.Tenant{Metadata: named("x"), Limits: in}, UpdateMask: mask(paths...),
			})
			return res.GetTenant().GetLimits(), err
		},
		model.KindGroup: func(in *limits, paths []string) (*limits, error) {
			if paths[0] == "disabled" {
				paths[0] = "strict"
			}
			res, err := c.groups.UpdateGroup(t.Context(), &adminv1.UpdateGroupRequest{
				Group: &resourcev1.Group{Metadata: named("x"), Limits: in}, UpdateMask: mask(paths...),
			})
			return res.GetGroup().GetLimits(), err
		},
		model.KindKey: func(in *limits, paths []string) (*limits, error) {
			res, err := c.keys.UpdateKey(t.Context(), &adminv1.UpdateKeyRequest{
				Key: &resourcev1.Key{Metadata: named("x"), Limits: in}, UpdateMask: mask(paths...),
			})
			return res.GetKey().GetLimits(), err
		},
	} {
		t.Run(string(kind), func(t *testing.T) {
			var err error
			switch kind {
			case model.KindTenant:
				_, err = c.tenants.CreateTenant(t.Context(), &adminv1.CreateTenantRequest{Tenant: &resourcev1.Tenant{Metadata: named("x")}})
			case model.KindGroup:
				_, err = c.groups.CreateGroup(t.Context(), &adminv1.CreateGroupRequest{Group: &resourcev1.Group{Metadata: named("x")}})
			default:
				_, err = c.keys.CreateKey(t.Context(), &adminv1.CreateKeyRequest{Key: &resourcev1.Key{Metadata: named("x")}})
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range steps {
				got, err := change(step.in, strings.Split(step.mask, ","))
				if step.refused != "" {
					if m := wantCode(t, err, connect.CodeInvalidArgument); !strings.Contains(m, step.refused) {
						t.Errorf("%s: %q does not say %q", step.name, m, step.refused)
					}
				} else if err != nil {
					t.Fatalf("%s: %v", step.name, err)
				} else if d := cmp.Diff(step.want, got, protocmp.Transform()); d != "" {
					t.Errorf("%s (-want +got):\n%s", step.name, d)
				}
				r, _ := w.store.State().ByName(kind, "x")
				if l, ok := r.(limited); !ok || !proto.Equal(l.GetLimits(), step.want) {
					t.Errorf("%s: stored is %v, want %v", step.name, r, step.want)
				}
			}
			audit, err := c.audit.ListAuditRecords(t.Context(), &adminv1.ListAuditRecordsRequest{Kind: string(kind), ResourceName: "x"})
			if err != nil || len(audit.GetRecords()) == 0 {
				t.Fatal(err)
			}
			if d := cmp.Diff([]string{"limits.concurrency", "limits.max_request_tokens"}, audit.GetRecords()[0].GetChangedFields()); d != "" {
				t.Errorf("the audit of the last change (-want +got):\n%s", d)
			}
		})
	}
}

// An account that a key is bound to stays, and with it its channel, of which nothing is gone.
func TestBoundAccountsStay(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	accounts := make([]*resourcev1.Account, 0, 3)
	for _, name := range []string{"a", "b", "c"} {
		accounts = append(accounts, &resourcev1.Account{Metadata: named(name)})
	}
	w.channel("c1", accounts...)
	if _, err := c.keys.CreateKey(t.Context(), &adminv1.CreateKeyRequest{Key: &resourcev1.Key{Metadata: named("k"), Accounts: []string{"c"}}}); err != nil {
		t.Fatal(err)
	}
	_, err := c.accounts.DeleteAccount(t.Context(), &adminv1.DeleteAccountRequest{Name: "c"})
	if m := wantCode(t, err, connect.CodeFailedPrecondition); !strings.Contains(m, `key "k"`) {
		t.Errorf("message %q", m)
	}
	_, err = c.channels.DeleteChannel(t.Context(), &adminv1.DeleteChannelRequest{Name: "c1", Cascade: true})
	if m := wantCode(t, err, connect.CodeFailedPrecondition); !strings.Contains(m, `account "c" is in use by key "k"`) {
		t.Errorf("message %q", m)
	}
	if n := w.store.State().Len(model.KindAccount); n != 3 {
		t.Errorf("%d accounts are left, want 3", n)
	}
	if _, err := c.keys.DeleteKey(t.Context(), &adminv1.DeleteKeyRequest{Name: "k"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.channels.DeleteChannel(t.Context(), &adminv1.DeleteChannelRequest{Name: "c1", Cascade: true}); err != nil {
		t.Error(err)
	}
}

// Before tenants were resources a key named any text. Such a key is read, changed and deleted as ever; only a tenant that
// it gets anew must be there, and one that is created under the old name takes it in.
func TestKeysOfOldTenants(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	aged := func(name, tenant string) {
		t.Helper()
		made, err := c.keys.CreateKey(t.Context(), &adminv1.CreateKeyRequest{Key: &resourcev1.Key{Metadata: named(name)}})
		if err != nil {
			t.Fatal(err)
		}
		k, err := w.store.Read(t.Context(), model.KindKey, made.GetKey().GetMetadata().GetId())
		if err != nil {
			t.Fatal(err)
		}
		old, ok := proto.Clone(k).(*resourcev1.Key)
		if !ok {
			t.Fatalf("the store holds a %T", k)
		}
		old.Tenant, old.Metadata.Etag = tenant, ""
		value, err := proto.Marshal(old)
		if err != nil {
			t.Fatal(err)
		}
		put, err := etcdtest.Client(t, w.etcd).Put(t.Context(), "/fairway/v1/r/key/"+old.GetMetadata().GetId(), string(value))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.store.WaitRevision(t.Context(), put.Header.GetRevision()); err != nil {
			t.Fatal(err)
		}
	}
	update := func(in *resourcev1.Key, paths ...string) (*resourcev1.Key, error) {
		res, err := c.keys.UpdateKey(t.Context(), &adminv1.UpdateKeyRequest{Key: in, UpdateMask: mask(paths...)})
		return res.GetKey(), err
	}
	aged("a", "Acme / Sons")
	aged("b", "acme")

	read, err := c.keys.GetKey(t.Context(), &adminv1.GetKeyRequest{Name: "a"})
	if err != nil || read.GetKey().GetTenant() != "Acme / Sons" {
		t.Fatalf("read %v, %v", read, err)
	}
	if _, err := update(&resourcev1.Key{Metadata: named("a"), Disabled: true}, "disabled"); err != nil {
		t.Errorf("another field: %v", err)
	}
	read.Key.Metadata.Etag = ""
	if got, err := update(read.GetKey()); err != nil || got.GetDisabled() || got.GetTenant() != "Acme / Sons" {
		t.Errorf("read and sent back: %v, %v", got, err)
	}
	for _, tenant := range []string{"Acme", "acme", "none"} {
		_, err := update(&resourcev1.Key{Metadata: named("a"), Tenant: tenant}, "tenant")
		if m := wantCode(t, err, connect.CodeInvalidArgument); !strings.Contains(m, "tenant: there is no tenant") {
			t.Errorf("message %q", m)
		}
	}
	_, err = c.keys.CreateKey(t.Context(), &adminv1.CreateKeyRequest{Key: &resourcev1.Key{Metadata: named("n"), Tenant: "acme"}})
	wantCode(t, err, connect.CodeInvalidArgument)
	if _, err := c.limits.GetLimits(t.Context(), &adminv1.GetLimitsRequest{Scope: "key", Name: "a"}); err != nil {
		t.Errorf("limits: %v", err)
	}

	if _, err := c.tenants.CreateTenant(t.Context(), &adminv1.CreateTenantRequest{Tenant: &resourcev1.Tenant{Metadata: named("acme")}}); err != nil {
		t.Fatal(err)
	}
	_, err = c.tenants.DeleteTenant(t.Context(), &adminv1.DeleteTenantRequest{Name: "acme"})
	if m := wantCode(t, err, connect.CodeFailedPrecondition); !strings.Contains(m, `key "b"`) {
		t.Errorf("message %q", m)
	}
	if _, err := update(&resourcev1.Key{Metadata: named("a")}, "tenant"); err != nil {
		t.Errorf("no tenant: %v", err)
	}
	for _, name := range []string{"a", "b"} {
		if _, err := c.keys.DeleteKey(t.Context(), &adminv1.DeleteKeyRequest{Name: name}); err != nil {
			t.Errorf("delete %s: %v", name, err)
		}
	}
	if _, err := c.tenants.DeleteTenant(t.Context(), &adminv1.DeleteTenantRequest{Name: "acme"}); err != nil {
		t.Error(err)
	}
}
