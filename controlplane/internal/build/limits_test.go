package build

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"fairway/controlplane/internal/model"
	"fairway/pkg/digest"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// tenancy is a team with one member, and two accounts.
func tenancy(more ...model.Resource) *model.State {
	return newState(append([]model.Resource{
		&resourcev1.Tenant{Metadata: meta("t0", "team"), Disabled: true},
		&resourcev1.Tenant{Metadata: meta("t1", "ann"), Parent: "team"},
		&resourcev1.Account{Metadata: meta("a0", "one"), Channel: "main"},
		&resourcev1.Account{Metadata: meta("a1", "two"), Channel: "main"},
	}, more...)...)
}

func change(t *testing.T, s *model.State, r model.Resource) (*syncv1.Change, error) {
	t.Helper()
	stored := proto.Clone(r)
	c, ok, err := newBuilder().Change(s, model.Change{Kind: model.KindOf(r), ID: r.GetMetadata().GetId(), New: r})
	if !ok || c == nil {
		t.Fatalf("change = %v, %v, %v", c, ok, err)
	}
	if !proto.Equal(stored, r) {
		t.Error("building wrote into the stored resource")
	}
	return c, err
}

func TestTenancy(t *testing.T) {
	full := &resourcev1.Limits{
		Rpm: 1, Tpm: 2, Concurrency: 3, MaxRequestTokens: 4, MaxRequestNanoUsd: 5, TimeZone: "Europe/Berlin",
		Fallback: resourcev1.LimitFallback_LIMIT_FALLBACK_SAFE,
		Budgets: []*resourcev1.Budget{
			{AmountNanoUsd: 6, Window: resourcev1.BudgetWindow_BUDGET_WINDOW_MONTH},
			{AmountNanoUsd: 7, Window: resourcev1.BudgetWindow_BUDGET_WINDOW_ROLLING, RollingMinutes: 300},
		},
	}
	limits := &syncv1.LimitsState{
		Rpm: 1, Tpm: 2, Concurrency: 3, MaxRequestTokens: 4, MaxRequestNanoUsd: 5, Fallback: 2,
		Budgets: []*syncv1.BudgetState{{AmountNanoUsd: 6, Window: 3}, {AmountNanoUsd: 7, Window: 5, RollingMinutes: 300}},
	}
	group := &syncv1.GroupState{Name: "g", Strategy: int32(resourcev1.Strategy_STRATEGY_BALANCED), Affinity: 2, PriceRatioPpm: 1_000_000}
	tests := []struct {
		name    string
		in      model.Resource
		kind    syncv1.Kind
		want    proto.Message
		missing []Ref
	}{
		{"tenant", &resourcev1.Tenant{Metadata: meta("x", "t")}, syncv1.Kind_KIND_TENANT, &syncv1.TenantState{Name: "t"}, nil},
		{"tenant with everything", &resourcev1.Tenant{
			Metadata: meta("x", "t"), Description: "d", Parent: "team", Disabled: true, Groups: []string{"vip"}, Limits: full,
		}, syncv1.Kind_KIND_TENANT, &syncv1.TenantState{Name: "t", ParentId: "t0", Disabled: true, Limits: limits}, nil},
		{"tenant of an unknown one", &resourcev1.Tenant{Metadata: meta("x", "t"), Parent: "none"}, syncv1.Kind_KIND_TENANT,
			&syncv1.TenantState{Name: "t"}, []Ref{{model.KindTenant, "none"}}},
		{"group", &resourcev1.Group{Metadata: meta("x", "g"), Limits: full}, syncv1.Kind_KIND_GROUP,
			with(group, func(g *syncv1.GroupState) { g.Limits = limits }), nil},
		{"group without limits", &resourcev1.Group{Metadata: meta("x", "g"), Limits: &resourcev1.Limits{TimeZone: "UTC", Fallback: 3}},
			syncv1.Kind_KIND_GROUP, group, nil},
		{"key with everything", &resourcev1.Key{
			Metadata: meta("x", "k"), Tenant: "ann", Limits: full, DeniedModels: []string{"m*"},
			Clients: []string{"OpenAI/Python", "curl/"}, Accounts: []string{"two", "one"},
		}, syncv1.Kind_KIND_KEY, &syncv1.KeyState{
			Name: "k", GroupId: "g0", Tenant: "ann", TenantId: "t1", Limits: limits, DeniedModels: []string{"m*"},
			Clients: []string{"openai/python", "curl/"}, AccountIds: []string{"a1", "a0"},
		}, nil},
		{"the fallback is never 0", &resourcev1.Key{Metadata: meta("x", "k"), Limits: &resourcev1.Limits{Rpm: 1}},
			syncv1.Kind_KIND_KEY, &syncv1.KeyState{Name: "k", GroupId: "g0", Limits: &syncv1.LimitsState{Rpm: 1, Fallback: 1}}, nil},
		{"key of an unknown tenant", &resourcev1.Key{Metadata: meta("x", "k"), Tenant: "none"}, syncv1.Kind_KIND_KEY,
			&syncv1.KeyState{Name: "k", GroupId: "g0", Tenant: "none"}, []Ref{{model.KindTenant, "none"}}},
		{"key of an unknown account", &resourcev1.Key{Metadata: meta("x", "k"), Accounts: []string{"none", "two"}}, syncv1.Kind_KIND_KEY,
			&syncv1.KeyState{Name: "k", GroupId: "g0", AccountIds: []string{"a1"}}, []Ref{{model.KindAccount, "none"}}},
		{"key of unknown accounts only", &resourcev1.Key{Metadata: meta("x", "k"), Accounts: []string{"none"}}, syncv1.Kind_KIND_KEY,
			&syncv1.KeyState{Name: "k", GroupId: "g0", AccountIds: []string{noAccount}}, []Ref{{model.KindAccount, "none"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := change(t, tenancy(tt.in), tt.in)
			unresolved, partly := errors.AsType[*UnresolvedError](err)
			if partly != (tt.missing != nil) || err != nil && !partly {
				t.Fatalf("error %v, want %v missing", err, tt.missing)
			}
			if partly {
				if d := cmp.Diff(tt.missing, unresolved.Refs); d != "" {
					t.Error(d)
				}
			}
			body := tt.want.ProtoReflect().New().Interface()
			if err := proto.Unmarshal(got.GetBody(), body); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, body, protocmp.Transform()); d != "" || got.GetKind() != tt.kind {
				t.Errorf("kind %s (-want +got):\n%s", got.GetKind(), d)
			}
		})
	}
}

func with[M proto.Message](m M, change func(M)) M {
	c := proto.CloneOf(m)
	change(c)
	return c
}

// Only a key may name a tenant that is not there, and nothing else that is not.
func TestExpected(t *testing.T) {
	for name, tt := range map[string]struct {
		in   model.Resource
		want bool
	}{
		"a key's tenant":             {&resourcev1.Key{Metadata: meta("x", "k"), Tenant: "none"}, true},
		"a key's tenant and account": {&resourcev1.Key{Metadata: meta("x", "k"), Tenant: "none", Accounts: []string{"none"}}, false},
		"a tenant's parent":          {&resourcev1.Tenant{Metadata: meta("x", "t"), Parent: "none"}, false},
	} {
		_, err := change(t, tenancy(tt.in), tt.in)
		if e, ok := errors.AsType[*UnresolvedError](err); !ok || e.Expected != tt.want {
			t.Errorf("%s: %v, want it expected: %v", name, err, tt.want)
		}
	}
}

// A limit that changes, is removed, or was never set gives another digest each; what is said of how it works without
// limiting anything gives none.
func TestDigestsOfLimits(t *testing.T) {
	sum := func(l *resourcev1.Limits) uint64 {
		k := &resourcev1.Key{Metadata: meta("x", "k"), Limits: l}
		c, err := change(t, tenancy(k), k)
		if err != nil {
			t.Fatal(err)
		}
		var sums digest.Sums
		sums.Add(int32(c.GetKind()), c.GetId(), c.GetVersion(), c.GetBody())
		return sums.Root()
	}
	none := sum(nil)
	if sum(&resourcev1.Limits{}) != none || sum(&resourcev1.Limits{TimeZone: "UTC"}) != none {
		t.Error("no limits have a digest of their own")
	}
	seen := map[uint64]string{none: "none"}
	for name, l := range map[string]*resourcev1.Limits{
		"rpm": {Rpm: 1}, "more": {Rpm: 2}, "tpm": {Tpm: 1}, "open": {Rpm: 1, Fallback: resourcev1.LimitFallback_LIMIT_FALLBACK_OPEN},
		"day":   {Budgets: []*resourcev1.Budget{{AmountNanoUsd: 1, Window: 1}}},
		"month": {Budgets: []*resourcev1.Budget{{AmountNanoUsd: 1, Window: 3}}},
	} {
		if other, ok := seen[sum(l)]; ok {
			t.Errorf("limits %q have the digest of %q", name, other)
		}
		seen[sum(l)] = name
	}
	if sum(&resourcev1.Limits{Rpm: 1, Fallback: resourcev1.LimitFallback_LIMIT_FALLBACK_CLOSED}) != sum(&resourcev1.Limits{Rpm: 1}) {
		t.Error("the default fallback is not the one that is not set")
	}
}

// What a key of an old tenant is to proxies changes when that comes, although the key does not.
func TestOldTenantComes(t *testing.T) {
	k := &resourcev1.Key{Metadata: meta("x", "k"), Tenant: "acme"}
	before, _ := change(t, tenancy(k), k)
	after, err := change(t, tenancy(k, &resourcev1.Tenant{Metadata: meta("t9", "acme")}), k)
	if err != nil || bytes.Equal(before.GetBody(), after.GetBody()) || before.GetVersion() != after.GetVersion() {
		t.Errorf("before %v, after %v, %v", before, after, err)
	}
}
