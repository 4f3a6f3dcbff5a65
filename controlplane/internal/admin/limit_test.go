package admin

import (
	"context"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// fakeLimits is a leader, or the lack of one. It answers each question with one limit that says what was asked.
type fakeLimits struct {
	mu    sync.Mutex
	away  bool
	asked []string
}

func (f *fakeLimits) GetLimits(_ context.Context, scope syncv1.LimitScope, id string) ([]*adminv1.LimitStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return nil, fault.New(fault.Unavailable, "no control-plane replica leads now")
	}
	f.asked = append(f.asked, scope.String()+" "+id)
	return []*adminv1.LimitStatus{{Scope: "whatever", Name: "old", What: "requests", Limit: 1}}, nil
}

func TestGetLimits(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.owner)
	limits := &resourcev1.Limits{Rpm: 1}
	ids := make(map[string]string)
	for _, tt := range []*resourcev1.Tenant{
		{Metadata: named("team"), Limits: limits},
		{Metadata: named("ann"), Parent: "team", Limits: limits},
		{Metadata: named("bob"), Parent: "team", Limits: &resourcev1.Limits{TimeZone: "Europe/Berlin"}},
	} {
		res, err := c.tenants.CreateTenant(t.Context(), &adminv1.CreateTenantRequest{Tenant: tt})
		if err != nil {
			t.Fatal(err)
		}
		ids[tt.GetMetadata().GetName()] = "LIMIT_SCOPE_TENANT " + res.GetTenant().GetMetadata().GetId()
	}
	g, err := c.groups.CreateGroup(t.Context(), &adminv1.CreateGroupRequest{Group: &resourcev1.Group{Metadata: named("vip"), Limits: limits}})
	if err != nil {
		t.Fatal(err)
	}
	ids["vip"] = "LIMIT_SCOPE_GROUP " + g.GetGroup().GetMetadata().GetId()
	for _, k := range []*resourcev1.Key{
		{Metadata: named("all"), Group: "vip", Tenant: "ann", Limits: limits},
		{Metadata: named("some"), Tenant: "bob"},
		{Metadata: named("none")},
	} {
		res, err := c.keys.CreateKey(t.Context(), &adminv1.CreateKeyRequest{Key: k})
		if err != nil {
			t.Fatal(err)
		}
		ids[k.GetMetadata().GetName()] = "LIMIT_SCOPE_KEY " + res.GetKey().GetMetadata().GetId()
	}
	for _, tt := range []struct {
		scope, name string
		want        []string // of whom, in order
	}{
		{"key", "all", []string{"key all", "group vip", "tenant ann", "tenant team"}},
		{"key", strings.Fields(ids["all"])[1], []string{"key all", "group vip", "tenant ann", "tenant team"}},
		{"key", "some", []string{"tenant team"}},
		{"key", "none", nil},
		{"group", "vip", []string{"group vip"}},
		{"group", "default", nil},
		{"tenant", "ann", []string{"tenant ann"}},
		{"tenant", "bob", nil},
	} {
		w.limits.asked = nil
		res, err := c.limits.GetLimits(t.Context(), &adminv1.GetLimitsRequest{Scope: tt.scope, Name: tt.name})
		if err != nil {
			t.Fatal(err)
		}
		var got, asked []string
		for _, l := range res.GetLimits() {
			got = append(got, l.GetScope()+" "+l.GetName())
			asked = append(asked, ids[l.GetName()])
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s %s (-want +got):\n%s", tt.scope, tt.name, d)
		}
		if d := cmp.Diff(asked, w.limits.asked); d != "" {
			t.Errorf("%s %s: the leader was asked about (-want +got):\n%s", tt.scope, tt.name, d)
		}
	}

	for _, tt := range []struct {
		scope, name string
		code        connect.Code
		says        string
	}{
		{"tenant", "nobody", connect.CodeNotFound, `there is no tenant "nobody"`},
		{"key", "team", connect.CodeNotFound, `there is no key "team"`},
		{"operator", "owner", connect.CodeInvalidArgument, "scope"},
		{"key", "", connect.CodeInvalidArgument, "name"},
	} {
		_, err := c.limits.GetLimits(t.Context(), &adminv1.GetLimitsRequest{Scope: tt.scope, Name: tt.name})
		if m := wantCode(t, err, tt.code); !strings.Contains(m, tt.says) {
			t.Errorf("%s %q: %q does not say %q", tt.scope, tt.name, m, tt.says)
		}
	}

	w.limits.away = true
	_, err = c.limits.GetLimits(t.Context(), &adminv1.GetLimitsRequest{Scope: "key", Name: "all"})
	if m := wantCode(t, err, connect.CodeUnavailable); !strings.Contains(m, "leads") {
		t.Errorf("without a leader: %q", m)
	}
	if _, err := c.limits.GetLimits(t.Context(), &adminv1.GetLimitsRequest{Scope: "key", Name: "none"}); err != nil {
		t.Errorf("a key without limits, without a leader: %v", err)
	}
	w.service.limits = nil
	_, err = c.limits.GetLimits(t.Context(), &adminv1.GetLimitsRequest{Scope: "key", Name: "all"})
	if m := wantCode(t, err, connect.CodeUnavailable); !strings.Contains(m, "account of limits") {
		t.Errorf("without anybody who knows: %q", m)
	}
}
