package admin

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/google/go-cmp/cmp"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/operator"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/gen/fairway/admin/v1/adminv1connect"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// client speaks as one operator, to whatever service.
func (w *world) client(token string) *connect.Client {
	bearer := func(next connect.ClientFunc) connect.ClientFunc {
		return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
			if info, ok := connect.CallInfoForClientContext(ctx); ok {
				info.RequestHeader().Set("Authorization", "Bearer "+token)
			}
			return next(ctx, spec)
		}
	}
	return connect.NewClient(connecthttp.NewTransport(w.httpClient(true), w.url, connecthttp.WithCompressors()), bearer)
}

// estate is a world with tenants: team with its part ann, and rivals. Each has keys, as has nobody.
type estate struct {
	*world
	all     clients
	team    clients // an operator of team
	token   string
	tenants adminv1connect.TenantServiceClient
	limits  adminv1connect.LimitServiceClient
	asked   *askedLimits
	keys    map[string]*resourcev1.Key
}

// askedLimits answers for everybody.
type askedLimits struct{ ids []string }

func (a *askedLimits) GetLimits(_ context.Context, scope syncv1.LimitScope, id string) ([]*adminv1.LimitStatus, error) {
	a.ids = append(a.ids, id)
	return []*adminv1.LimitStatus{{What: scope.String(), Used: 7}}, nil
}

func newEstate(t *testing.T) *estate {
	t.Helper()
	w := newWorld(t)
	e := &estate{world: w, all: w.as(w.owner), asked: &askedLimits{}, keys: map[string]*resourcev1.Key{}}
	w.service.limits = e.asked
	w.channel("c", &resourcev1.Account{Metadata: named("secret-account")})
	limits := &resourcev1.Limits{Rpm: 10}
	tenants := adminv1connect.NewTenantServiceClient(w.client(w.owner))
	for _, tenant := range []*resourcev1.Tenant{
		{Metadata: named("team"), Limits: limits}, {Metadata: named("ann"), Parent: "team", Limits: limits}, {Metadata: named("rivals"), Limits: limits},
	} {
		if _, err := tenants.CreateTenant(t.Context(), &adminv1.CreateTenantRequest{Tenant: tenant}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.all.groups.UpdateGroup(t.Context(), &adminv1.UpdateGroupRequest{
		Group: &resourcev1.Group{Metadata: named("default"), Limits: limits}, UpdateMask: mask("limits"),
	}); err != nil {
		t.Fatal(err)
	}
	for _, k := range []*resourcev1.Key{
		{Metadata: named("a-rivals"), Tenant: "rivals", Limits: limits}, {Metadata: named("b-team"), Tenant: "team", Limits: limits},
		{Metadata: named("c-ann"), Tenant: "ann", Limits: limits, Accounts: []string{"secret-account"}, DebugHeaders: true},
		{Metadata: named("d-nobodys"), Limits: limits}, {Metadata: named("e-team"), Tenant: "team"}, {Metadata: named("f-rivals"), Tenant: "rivals"},
	} {
		res, err := e.all.keys.CreateKey(t.Context(), &adminv1.CreateKeyRequest{Key: k})
		if err != nil {
			t.Fatal(err)
		}
		e.keys[k.GetMetadata().GetName()] = res.GetKey()
	}
	e.token = e.hireFor("tina", resourcev1.Role_ROLE_OPERATOR, "team")
	e.team = w.as(e.token)
	e.tenants, e.limits = adminv1connect.NewTenantServiceClient(w.client(e.token)), adminv1connect.NewLimitServiceClient(w.client(e.token))
	return e
}

// hireFor creates an operator of a tenant.
func (e *estate) hireFor(name string, role resourcev1.Role, tenant string) string {
	e.t.Helper()
	res, err := e.all.operators.CreateOperator(e.t.Context(), &adminv1.CreateOperatorRequest{
		Operator: &resourcev1.Operator{Metadata: named(name), Role: role, Tenant: tenant},
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return res.GetToken()
}

// scoped are the procedures that operators of a tenant may call. Whatever else there is, and comes, is closed to them.
var scoped = []string{
	"/fairway.admin.v1.KeyService/CreateKey", "/fairway.admin.v1.KeyService/DeleteKey", "/fairway.admin.v1.KeyService/GetKey",
	"/fairway.admin.v1.KeyService/ListKeys", "/fairway.admin.v1.KeyService/UpdateKey",
	"/fairway.admin.v1.LimitService/GetLimits", "/fairway.admin.v1.TenantService/GetTenant", "/fairway.admin.v1.TenantService/ListTenants",
	"/fairway.admin.v1.UsageService/QueryUsage",
}

// Every procedure is walked as an operator and a viewer of a tenant.
func TestEveryProcedureOfATenant(t *testing.T) {
	e := newEstate(t)
	viewer := e.hireFor("vic", resourcev1.Role_ROLE_VIEWER, "team")
	rules := operator.Procedures()
	for _, p := range procedures(t) {
		for _, c := range []struct {
			name, token string
			role        resourcev1.Role
		}{{"an operator", e.token, resourcev1.Role_ROLE_OPERATOR}, {"a viewer", viewer, resourcev1.Role_ROLE_VIEWER}} {
			status, _, body := e.post(c.token, p, `{"no such field":1}`)
			let := rules[p].Open || slices.Contains(scoped, p) && c.role >= rules[p].Role
			if refused := status == http.StatusForbidden; refused == let {
				t.Errorf("%s as %s of a tenant: %d %s", p, c.name, status, body)
			}
			if status == http.StatusForbidden && !strings.Contains(body, "tenant") && c.role >= rules[p].Role {
				t.Errorf("%s as %s of a tenant: %s does not say why", p, c.name, body)
			}
		}
	}
}

// What is not the tenant's is not there: not under its name nor its id, not to read, to change nor to delete.
func TestForeignKeysAreNotThere(t *testing.T) {
	e := newEstate(t)
	for _, name := range []string{"a-rivals", "d-nobodys", "no-such-key"} {
		names := []string{name}
		if k := e.keys[name]; k != nil {
			names = append(names, k.GetMetadata().GetId())
		}
		for _, n := range names {
			_, get := e.team.keys.GetKey(t.Context(), &adminv1.GetKeyRequest{Name: n})
			_, change := e.team.keys.UpdateKey(t.Context(), &adminv1.UpdateKeyRequest{
				Key: &resourcev1.Key{Metadata: &resourcev1.Metadata{Name: n, Etag: "1"}, Disabled: true}, UpdateMask: mask("disabled"),
			})
			_, take := e.team.keys.UpdateKey(t.Context(), &adminv1.UpdateKeyRequest{Key: &resourcev1.Key{Metadata: named(n), Tenant: "team"}, UpdateMask: mask("tenant")})
			_, remove := e.team.keys.DeleteKey(t.Context(), &adminv1.DeleteKeyRequest{Name: n, Etag: "1"})
			_, limits := e.limits.GetLimits(t.Context(), &adminv1.GetLimitsRequest{Scope: "key", Name: n})
			_, usage := e.team.usage.QueryUsage(t.Context(), &adminv1.QueryUsageRequest{Keys: []string{"b-team", n}})
			for what, err := range map[string]error{"get": get, "update": change, "take": take, "delete": remove, "limits": limits, "usage": usage} {
				if m := wantCode(t, err, connect.CodeNotFound); m != fmt.Sprintf("there is no key %q", n) {
					t.Errorf("%s %s: %q", what, n, m)
				}
			}
		}
	}
	for _, tt := range [][2]string{{"tenant", "rivals"}, {"tenant", "no-such-tenant"}, {"group", "default"}, {"group", "no-such-group"}} {
		_, err := e.limits.GetLimits(t.Context(), &adminv1.GetLimitsRequest{Scope: tt[0], Name: tt[1]})
		wantCode(t, err, connect.CodeNotFound)
	}
	_, err := e.tenants.GetTenant(t.Context(), &adminv1.GetTenantRequest{Name: "rivals"})
	wantCode(t, err, connect.CodeNotFound)
	for name, k := range e.keys {
		now, err := e.all.keys.GetKey(t.Context(), &adminv1.GetKeyRequest{Name: name})
		if err != nil || now.GetKey().GetMetadata().GetEtag() != k.GetMetadata().GetEtag() {
			t.Errorf("%s was changed: %v, %v", name, now, err)
		}
	}
}

// Lists show and count the tenant's alone, whatever they are filtered and ordered by and whichever page is asked for.
func TestListsOfATenant(t *testing.T) {
	e := newEstate(t)
	for _, tt := range []struct {
		filter, order string
		want          []string
	}{
		{"", "", []string{"b-team", "c-ann", "e-team"}},
		{"", "metadata.name desc", []string{"e-team", "c-ann", "b-team"}},
		{"", "tenant", []string{"c-ann", "b-team", "e-team"}},
		{`key.tenant == "rivals"`, "", nil},
		{`key.tenant != "team"`, "", []string{"c-ann"}},
		{`key.metadata.name.endsWith("s")`, "", nil},
		{`key.tenant == "rivals" ? true : true`, "", []string{"b-team", "c-ann", "e-team"}},
		{`key.accounts.exists(a, a.startsWith("s"))`, "", nil},
		{`size(key.accounts) > 0`, "", nil},
	} {
		for _, size := range []int32{1, 2, 10} {
			var got []string
			for token := ""; ; {
				res, err := e.team.keys.ListKeys(t.Context(), &adminv1.ListKeysRequest{Filter: tt.filter, OrderBy: tt.order, PageSize: size, PageToken: token})
				if err != nil {
					t.Fatalf("%q by %q: %v", tt.filter, tt.order, err)
				}
				if int(res.GetTotalSize()) != len(tt.want) {
					t.Errorf("%q by %q: total %d, want %d", tt.filter, tt.order, res.GetTotalSize(), len(tt.want))
				}
				for _, k := range res.GetKeys() {
					got = append(got, k.GetMetadata().GetName())
					if len(k.GetAccounts()) > 0 {
						t.Errorf("%s shows its accounts", k.GetMetadata().GetName())
					}
				}
				if token = res.GetNextPageToken(); token == "" {
					break
				}
				raw, err := base64.RawURLEncoding.DecodeString(token)
				if err != nil {
					t.Fatal(err)
				}
				for name, k := range e.keys {
					if foreign := !model.Within(e.store.State(), k.GetTenant(), "team"); foreign &&
						(strings.Contains(string(raw), name) || strings.Contains(string(raw), k.GetMetadata().GetId())) {
						t.Errorf("the page token knows %s", name)
					}
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("%q by %q, pages of %d (-want +got):\n%s", tt.filter, tt.order, size, d)
			}
		}
	}
	// The token of a list of everything is a position, and shows no more than any other.
	whole, err := e.all.keys.ListKeys(t.Context(), &adminv1.ListKeysRequest{PageSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	res, err := e.team.keys.ListKeys(t.Context(), &adminv1.ListKeysRequest{PageToken: whole.GetNextPageToken()})
	if err != nil || len(res.GetKeys()) != 3 || res.GetTotalSize() != 3 {
		t.Errorf("with somebody else's token: %v, %v", res, err)
	}
	tenants, err := e.tenants.ListTenants(t.Context(), &adminv1.ListTenantsRequest{})
	if err != nil || tenants.GetTotalSize() != 2 || tenants.GetTenants()[0].GetMetadata().GetName() != "ann" {
		t.Errorf("tenants: %v, %v", tenants, err)
	}
}

// A key comes into the tenant, stays in it, and says nothing of the fleet.
func TestWritesOfATenant(t *testing.T) {
	e := newEstate(t)
	created, err := e.team.keys.CreateKey(t.Context(), &adminv1.CreateKeyRequest{Key: &resourcev1.Key{Metadata: named("new"), Limits: &resourcev1.Limits{Rpm: 5}}})
	if err != nil || created.GetKey().GetTenant() != "team" || created.GetSecret() == "" {
		t.Fatalf("created %v, %v", created, err)
	}
	if _, err := e.team.keys.CreateKey(t.Context(), &adminv1.CreateKeyRequest{Key: &resourcev1.Key{Metadata: named("anns"), Tenant: "ann"}}); err != nil {
		t.Fatal(err)
	}
	refused := map[string]error{}
	for what, k := range map[string]*resourcev1.Key{
		"for rivals": {Tenant: "rivals"}, "for who is not there": {Tenant: "no-such-tenant"},
		"with accounts": {Accounts: []string{"secret-account"}}, "with accounts that are not there": {Accounts: []string{"none"}}, "with headers": {DebugHeaders: true},
	} {
		k.Metadata = named("bad")
		_, refused[what] = e.team.keys.CreateKey(t.Context(), &adminv1.CreateKeyRequest{Key: k})
	}
	for what, u := range map[string]struct {
		key  *resourcev1.Key
		mask string
	}{
		"to rivals": {&resourcev1.Key{Tenant: "rivals"}, "tenant"}, "to who is not there": {&resourcev1.Key{Tenant: "no-such-tenant"}, "tenant"},
		"to nobody": {&resourcev1.Key{}, "tenant"}, "to nobody, with everything": {&resourcev1.Key{}, "*"},
		"accounts": {&resourcev1.Key{Tenant: "team", Accounts: []string{"secret-account"}}, "accounts"}, "accounts, with everything": {&resourcev1.Key{Tenant: "team", Accounts: []string{"secret-account"}}, "*"},
		"headers": {&resourcev1.Key{DebugHeaders: true}, "debug_headers"}, "headers, with everything": {&resourcev1.Key{Tenant: "team", DebugHeaders: true}, "*"},
		"no accounts": {&resourcev1.Key{}, "accounts"},
	} {
		u.key.Metadata = named("new")
		_, refused["update: "+what] = e.team.keys.UpdateKey(t.Context(), &adminv1.UpdateKeyRequest{Key: u.key, UpdateMask: mask(u.mask)})
	}
	for what, err := range refused {
		m := wantCode(t, err, connect.CodePermissionDenied)
		if strings.Contains(what, "not there") && strings.Contains(m, "no tenant") {
			t.Errorf("%s: %q tells who is there", what, m)
		}
	}
	// What it is not shown stays, though it sends everything back as it was shown.
	shown, err := e.team.keys.GetKey(t.Context(), &adminv1.GetKeyRequest{Name: "c-ann"})
	if err != nil || len(shown.GetKey().GetAccounts()) != 0 {
		t.Fatalf("shown %v, %v", shown, err)
	}
	back := shown.GetKey()
	back.Strict, back.Tenant = true, "team"
	changed, err := e.team.keys.UpdateKey(t.Context(), &adminv1.UpdateKeyRequest{Key: back})
	if err != nil || len(changed.GetKey().GetAccounts()) != 0 || !changed.GetKey().GetStrict() {
		t.Errorf("changed %v, %v", changed, err)
	}
	now, err := e.all.keys.GetKey(t.Context(), &adminv1.GetKeyRequest{Name: "c-ann"})
	if err != nil || !slices.Equal(now.GetKey().GetAccounts(), []string{"secret-account"}) || !now.GetKey().GetDebugHeaders() || now.GetKey().GetTenant() != "team" {
		t.Errorf("stored %v, %v", now, err)
	}
	if _, err := e.team.keys.DeleteKey(t.Context(), &adminv1.DeleteKeyRequest{Name: "new"}); err != nil {
		t.Error(err)
	}
	if strings.Contains(e.log.String(), "panic") {
		t.Error("something panicked")
	}
}

// Usage is that of the tenant's keys, by their ids, and never that of all.
func TestUsageOfATenant(t *testing.T) {
	e := newEstate(t)
	var asked []string
	e.usage.query = func(req *adminv1.QueryUsageRequest) (*adminv1.QueryUsageResponse, error) {
		asked = req.GetKeys()
		return &adminv1.QueryUsageResponse{}, nil
	}
	id := func(name string) string { return e.keys[name].GetMetadata().GetId() }
	lonely := e.hireFor("lee", resourcev1.Role_ROLE_VIEWER, "ann")
	if _, err := e.all.keys.DeleteKey(t.Context(), &adminv1.DeleteKeyRequest{Name: "c-ann"}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		as   clients
		req  *adminv1.QueryUsageRequest
		want []string
	}{
		{"all of it", e.team, &adminv1.QueryUsageRequest{}, []string{id("b-team"), id("e-team")}},
		{"by name", e.team, &adminv1.QueryUsageRequest{Keys: []string{"e-team"}}, []string{id("e-team")}},
		{"by id", e.team, &adminv1.QueryUsageRequest{Keys: []string{id("e-team")}, GroupBy: []adminv1.UsageDimension{adminv1.UsageDimension_USAGE_DIMENSION_MODEL}}, []string{id("e-team")}},
		{"without keys", e.as(lonely), &adminv1.QueryUsageRequest{}, []string{nobody}},
		{"an owner", e.all, &adminv1.QueryUsageRequest{}, nil},
	} {
		if _, err := tt.as.usage.QueryUsage(t.Context(), tt.req); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if d := cmp.Diff(tt.want, asked); d != "" {
			t.Errorf("%s: the books were asked for (-want +got):\n%s", tt.name, d)
		}
	}
	for _, req := range []*adminv1.QueryUsageRequest{
		{Channels: []string{"c"}}, {Accounts: []string{"secret-account"}},
		{GroupBy: []adminv1.UsageDimension{adminv1.UsageDimension_USAGE_DIMENSION_CHANNEL}},
		{GroupBy: []adminv1.UsageDimension{adminv1.UsageDimension_USAGE_DIMENSION_MODEL, adminv1.UsageDimension_USAGE_DIMENSION_ACCOUNT}},
	} {
		_, err := e.team.usage.QueryUsage(t.Context(), req)
		wantCode(t, err, connect.CodePermissionDenied)
	}
}

// Where limits stand is told of the tenant's keys and of itself, and not of groups, nor of what it is a part of.
func TestLimitsOfATenant(t *testing.T) {
	e := newEstate(t)
	anns := adminv1connect.NewLimitServiceClient(e.client(e.hireFor("ann", resourcev1.Role_ROLE_VIEWER, "ann")))
	for _, tt := range []struct {
		name  string
		as    adminv1connect.LimitServiceClient
		scope string
		of    string
		want  []string
	}{
		{"a key", e.limits, "key", "b-team", []string{"key b-team", "tenant team"}},
		{"a part's key", e.limits, "key", "c-ann", []string{"key c-ann", "tenant ann", "tenant team"}},
		{"itself", e.limits, "tenant", "team", []string{"tenant team"}},
		{"a part", e.limits, "tenant", "ann", []string{"tenant ann"}},
		{"a part's own", anns, "key", "c-ann", []string{"key c-ann", "tenant ann"}},
	} {
		res, err := tt.as.GetLimits(t.Context(), &adminv1.GetLimitsRequest{Scope: tt.scope, Name: tt.of})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		var got []string
		for _, l := range res.GetLimits() {
			got = append(got, l.GetScope()+" "+l.GetName())
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
	}
	_, err := anns.GetLimits(t.Context(), &adminv1.GetLimitsRequest{Scope: "tenant", Name: "team"})
	wantCode(t, err, connect.CodeNotFound)
}

// A key that is moved away is gone for the tenant with the same write.
func TestKeyLeavesTheTenant(t *testing.T) {
	e := newEstate(t)
	if _, err := e.all.keys.UpdateKey(t.Context(), &adminv1.UpdateKeyRequest{Key: &resourcev1.Key{Metadata: named("b-team"), Tenant: "rivals"}, UpdateMask: mask("tenant")}); err != nil {
		t.Fatal(err)
	}
	_, err := e.team.keys.UpdateKey(t.Context(), &adminv1.UpdateKeyRequest{Key: &resourcev1.Key{Metadata: named("b-team"), Disabled: true}, UpdateMask: mask("disabled")})
	wantCode(t, err, connect.CodeNotFound)
	_, err = e.team.keys.DeleteKey(t.Context(), &adminv1.DeleteKeyRequest{Name: "b-team"})
	wantCode(t, err, connect.CodeNotFound)
}
