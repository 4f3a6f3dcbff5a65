package model

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// tenancy is a data set of a team with one member, a tenant by itself, and keys of them; "old" names a tenant that is no
// resource.
func tenancy() *State {
	return state(
		&resourcev1.Group{Metadata: md("g0", DefaultGroup)},
		&resourcev1.Group{Metadata: md("g1", "vip")},
		&resourcev1.Group{Metadata: md("g2", "own")},
		validChannel("c1", "c"),
		&resourcev1.Account{Metadata: md("a1", "bound"), Channel: "c"},
		&resourcev1.Account{Metadata: md("a2", "free"), Channel: "c"},
		&resourcev1.Tenant{Metadata: md("t1", "team")},
		&resourcev1.Tenant{Metadata: md("t2", "ann"), Parent: "team"},
		&resourcev1.Tenant{Metadata: md("t3", "alone"), Groups: []string{"vip", "own"}},
		&resourcev1.Tenant{Metadata: md("t4", "told")},
		&resourcev1.Tenant{Metadata: md("t5", "ruled")},
		&resourcev1.Tenant{Metadata: md("t6", "idle")},
		&resourcev1.Key{Metadata: md("k1", "anns"), Tenant: "ann", Group: "vip"},
		&resourcev1.Key{Metadata: md("k2", "old"), Tenant: "Acme & Sons"},
		&resourcev1.Key{Metadata: md("k3", "older"), Tenant: "acme"},
		&resourcev1.Key{Metadata: md("k4", "bound"), Accounts: []string{"bound"}},
		&resourcev1.Operator{Metadata: md("o1", "owner"), Role: resourcev1.Role_ROLE_OWNER},
		&resourcev1.Operator{Metadata: md("o2", "boss"), Role: resourcev1.Role_ROLE_OPERATOR, Tenant: "ruled"},
		&resourcev1.Notifier{Metadata: md("n1", "mail"), Tenant: "told"},
	)
}

func TestCheckTenancy(t *testing.T) {
	type key = resourcev1.Key
	type tenant = resourcev1.Tenant
	k := func(change func(*key)) Resource { return with(&key{Metadata: md("n", "n")}, change) }
	stored := func(kind Kind, id string, change func(Resource)) Resource {
		r, _ := tenancy().Get(kind, id)
		c, _ := proto.Clone(r).(Resource)
		return with(c, change)
	}
	oldKey := func(change func(*key)) Resource {
		return stored(KindKey, "k2", func(r Resource) { change(r.(*key)) })
	}
	upd := func(id string, change func(*tenant)) Resource {
		return stored(KindTenant, id, func(r Resource) { change(r.(*tenant)) })
	}
	operator := func(role resourcev1.Role, tenant string) Resource {
		return &resourcev1.Operator{Metadata: md("n", "n"), Role: role, Tenant: tenant}
	}
	tests := []struct {
		name  string
		r     Resource
		param string // of the fault; "" = valid
		says  string
	}{
		{"tenant", &tenant{Metadata: md("n", "n"), Parent: "alone", Groups: []string{"vip"}}, "", ""},
		{"parent of no tenant", &tenant{Metadata: md("n", "n"), Parent: "none"}, "parent", `there is no tenant "none"`},
		{"group of no tenant", &tenant{Metadata: md("n", "n"), Groups: []string{"vip", "none"}}, "groups", `there is no group "none"`},
		{"its own parent", upd("t6", func(t *tenant) { t.Parent = "idle" }), "parent", "itself"},
		{"a third level below", &tenant{Metadata: md("n", "n"), Parent: "ann"}, "parent", `"ann" is itself a part of "team"`},
		{"a third level above", upd("t1", func(t *tenant) { t.Parent = "alone" }), "parent", `"ann" is a part of this one`},
		{"renamed", upd("t1", func(t *tenant) { t.Metadata.Name = "crew" }), "metadata.name", "fixed"},
		{"a part leaves", upd("t2", func(t *tenant) { t.Parent = "" }), "", ""},
		{"a part moves", upd("t2", func(t *tenant) { t.Parent = "idle" }), "", ""},
		{"the group of a key stays", upd("t2", func(t *tenant) { t.Groups = []string{"own", "vip"} }), "", ""},
		{"the group of a key goes", upd("t2", func(t *tenant) { t.Groups = []string{"own"} }), "groups", `key "anns" is in the group "vip"`},
		{"the group of a part's key goes", upd("t1", func(t *tenant) { t.Groups = []string{"own"} }), "groups", `key "anns" is in the group "vip"`},
		{"groups of nobody's keys", upd("t6", func(t *tenant) { t.Groups = []string{"own"} }), "", ""},
		{"a name that a key has in its group", &tenant{Metadata: md("n", "acme"), Groups: []string{DefaultGroup}}, "", ""},
		{"a name that a key has in another group", &tenant{Metadata: md("n", "acme"), Groups: []string{"vip"}}, "groups", `key "older"`},
		{"limits", upd("t1", func(t *tenant) { t.Limits = &resourcev1.Limits{TimeZone: "nowhere"} }), "limits.time_zone", ""},

		{"key", k(func(k *key) { k.Tenant, k.Accounts = "ann", []string{"free", "bound"} }), "", ""},
		{"key of no tenant", k(func(k *key) { k.Tenant = "none" }), "tenant", `there is no tenant "none"`},
		{"key of a tenant that an old key has", k(func(k *key) { k.Tenant = "acme" }), "tenant", "there is no tenant"},
		{"key of no account", k(func(k *key) { k.Accounts = []string{"bound", "none"} }), "accounts", `there is no account "none"`},
		{"key in its tenant's group", k(func(k *key) { k.Tenant, k.Group = "alone", "own" }), "", ""},
		{"key in no group of its tenant", k(func(k *key) { k.Tenant = "alone" }), "group", "vip, own"},
		{"old key", oldKey(func(k *key) { k.Disabled = true }), "", ""},
		{"old key leaves its tenant", oldKey(func(k *key) { k.Tenant = "" }), "", ""},
		{"old key moves", oldKey(func(k *key) { k.Tenant = "team" }), "", ""},
		{"old key moves to nowhere", oldKey(func(k *key) { k.Tenant = "Acme" }), "tenant", "there is no tenant"},
		{"denied pattern", k(func(k *key) { k.DeniedModels = []string{"gpt-*", "*"} }), "", ""},
		{"denied pattern inside", k(func(k *key) { k.DeniedModels = []string{"g*t"} }), "denied_models", "at the end"},
		{"key's limits", k(func(k *key) { k.Limits = &resourcev1.Limits{TimeZone: "nowhere"} }), "limits.time_zone", ""},
		{"group's limits", &resourcev1.Group{Metadata: md("n", "n"), Limits: &resourcev1.Limits{TimeZone: "nowhere"}}, "limits.time_zone", ""},

		{"operator of a tenant", operator(resourcev1.Role_ROLE_OPERATOR, "team"), "", ""},
		{"operator of no tenant", operator(resourcev1.Role_ROLE_OPERATOR, "none"), "tenant", "there is no tenant"},
		{"owner of a tenant", operator(resourcev1.Role_ROLE_OWNER, "team"), "tenant", "an owner is for everything"},
		{"notifier of no tenant", &resourcev1.Notifier{Metadata: md("n", "n"), Tenant: "none"}, "tenant", "there is no tenant"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Check(tenancy(), tt.r)
			if tt.param == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			f := fault.From(err)
			if f == nil || f.Kind != fault.Invalid || f.Param != tt.param || !strings.Contains(f.Error(), tt.says) {
				t.Fatalf("got %v, want an invalid %s that says %q", err, tt.param, tt.says)
			}
		})
	}
}

// A tenant that moves under another brings its keys along.
func TestParentsGroups(t *testing.T) {
	r, _ := tenancy().Get(KindTenant, "t2")
	moved, _ := proto.Clone(r).(*resourcev1.Tenant)
	moved.Parent = "strict"
	strict := &resourcev1.Tenant{Metadata: md("t9", "strict"), Groups: []string{"own"}}
	s := tenancy().Apply(2, []Change{{Kind: KindTenant, ID: "t9", New: strict}})
	if f := fault.From(Check(s, moved)); f == nil || f.Param != "parent" || !strings.Contains(f.Error(), `tenant "strict" would not allow`) {
		t.Errorf("moved under a tenant that does not allow its key: %v", f)
	}
	s = s.Apply(3, []Change{{Kind: KindTenant, ID: "t2", New: moved}})
	k := &resourcev1.Key{Metadata: md("n", "n"), Tenant: "ann", Group: "vip"}
	if f := fault.From(Check(s, k)); f == nil || f.Param != "group" || !strings.Contains(f.Error(), `tenant "strict"`) {
		t.Errorf("a key in a group that the parent does not allow: %v", f)
	}
	k.Group = "own"
	if err := Check(s, k); err != nil {
		t.Error(err)
	}
}

func TestDeleteInTenancy(t *testing.T) {
	for _, tt := range []struct {
		kind Kind
		id   string
		by   string // who refers to it; "" = nobody
	}{
		{KindTenant, "t1", `tenant "ann"`},
		{KindTenant, "t2", `key "anns"`},
		{KindTenant, "t3", ""},
		{KindTenant, "t4", `notifier "mail"`},
		{KindTenant, "t5", `operator "boss"`},
		{KindTenant, "t6", ""},
		{KindGroup, "g2", `tenant "alone"`},
		{KindAccount, "a1", `key "bound"`},
		{KindAccount, "a2", ""},
		{KindKey, "k2", ""},
		{KindNotifier, "n1", ""},
	} {
		f := fault.From(CheckDelete(tenancy(), tt.kind, tt.id))
		switch {
		case tt.by == "" && f != nil:
			t.Errorf("%s %s: %v", tt.kind, tt.id, f)
		case tt.by != "" && (f == nil || f.Code != CodeInUse || !strings.Contains(f.Error(), tt.by)):
			t.Errorf("%s %s: %v, want it in use by %s", tt.kind, tt.id, f, tt.by)
		}
	}
	// An old key holds the tenant of its name too.
	acme := &resourcev1.Tenant{Metadata: md("n", "acme")}
	s := tenancy().Apply(2, []Change{{Kind: KindTenant, ID: "n", New: acme}})
	if f := fault.From(CheckDelete(s, KindTenant, "n")); f == nil || f.Code != CodeInUse {
		t.Errorf("the tenant of an old key: %v", f)
	}
}

func TestTenantsOf(t *testing.T) {
	s := tenancy().Apply(2, []Change{
		{Kind: KindTenant, ID: "x1", New: &resourcev1.Tenant{Metadata: md("x1", "below"), Parent: "ann"}}, // a race made a third level
		{Kind: KindTenant, ID: "x2", New: &resourcev1.Tenant{Metadata: md("x2", "round"), Parent: "round"}},
	})
	for name, want := range map[string]string{
		"": "", "none": "", "team": "team", "ann": "ann team", "below": "below ann", "round": "round round",
	} {
		var got []string
		for _, t := range TenantsOf(s, name) {
			got = append(got, t.GetMetadata().GetName())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("tenants of %q: %v, want %q", name, got, want)
		}
	}
}
