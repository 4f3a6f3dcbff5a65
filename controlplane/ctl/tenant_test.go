package ctl

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func TestTenantAndKeyFlags(t *testing.T) {
	md := &resourcev1.Metadata{}
	tagged := &resourcev1.Metadata{Labels: map[string]string{"team": "x"}}
	tests := []struct {
		name  string
		kind  kind
		args  string
		want  resource
		paths string
	}{
		{"tenant", tenants(), "--description a --parent acme --groups default,premium --disabled --label team=x",
			&resourcev1.Tenant{Metadata: tagged, Description: "a", Parent: "acme", Groups: []string{"default", "premium"}, Disabled: true},
			"description,parent,disabled,groups,metadata.labels"},
		{"no part, any group", tenants(), "--parent none --groups *", &resourcev1.Tenant{Metadata: md}, "parent,groups"},
		{"operator", operators(), "--role viewer --tenant acme",
			&resourcev1.Operator{Metadata: md, Role: resourcev1.Role_ROLE_VIEWER, Tenant: "acme"}, "role,tenant"},
		{"operator of everything", operators(), "--tenant none", &resourcev1.Operator{Metadata: md}, "tenant"},
		{"key", keys(), "--tenant acme --allow-models a,b* --deny-models b1 --allow-ips 10.0.0.0/8 --clients claude-cli/,codex --accounts a1,a2 --tag team=x",
			&resourcev1.Key{Metadata: tagged, Tenant: "acme", Models: []string{"a", "b*"}, DeniedModels: []string{"b1"}, AllowedIps: []string{"10.0.0.0/8"},
				Clients: []string{"claude-cli/", "codex"}, Accounts: []string{"a1", "a2"}},
			"tenant,models,denied_models,allowed_ips,clients,accounts,metadata.labels"},
		{"by their former names", keys(), "--models a --allowed-ips 10.0.0.1 --label team=x",
			&resourcev1.Key{Metadata: tagged, Models: []string{"a"}, AllowedIps: []string{"10.0.0.1"}}, "models,allowed_ips,metadata.labels"},
		{"by both names", keys(), "--models a --allow-models b", &resourcev1.Key{Metadata: md, Models: []string{"a", "b"}}, "models"},
		{"nothing any more", keys(), "--tenant none --deny-models none --clients * --accounts * --expires never --expires-after-first-use never",
			&resourcev1.Key{Metadata: md}, "tenant,expire_time,expire_after_first_use,denied_models,clients,accounts"},
		{"first use", keys(), "--expires-after-first-use 30d",
			&resourcev1.Key{Metadata: md, ExpireAfterFirstUse: durationpb.New(720 * time.Hour)}, "expire_after_first_use"},
		{"everything denied", keys(), "--deny-models *", &resourcev1.Key{Metadata: md, DeniedModels: []string{"*"}}, "denied_models"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, paths, err := given(t, tt.kind, strings.Fields(tt.args)...)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got, protocmp.Transform()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.paths, strings.Join(paths, ",")); d != "" {
				t.Errorf("paths (-want +got):\n%s", d)
			}
		})
	}
}

func TestExpiresIn(t *testing.T) {
	before := time.Now()
	got, paths, err := given(t, keys(), "--expires-in", "30d")
	if err != nil || !slices.Equal(paths, []string{"expire_time"}) {
		t.Fatalf("%v, %v", paths, err)
	}
	if left := got.(*resourcev1.Key).GetExpireTime().AsTime().Sub(before.Add(30 * day)); left < 0 || left > time.Since(before) {
		t.Errorf("it is %v off", left)
	}
}

func TestLengths(t *testing.T) {
	for in, want := range map[string]string{"30d": "30d", "720h": "30d", "36h": "36h", "90m": "1h30m", "1h0m5s": "1h0m5s", "65535d": "65535d"} {
		d, err := length(in)
		if err != nil || lengthText(d) != want {
			t.Errorf("%s is %v, %v; want %s", in, lengthText(d), err, want)
		}
		if again, err := length(lengthText(d)); err != nil || again != d {
			t.Errorf("%s is %v, %v when it is read again", in, again, err)
		}
	}
	for _, in := range []string{"", "d", "1.5d", "-1d", "65536d", "1d2h", "soon"} {
		if d, err := length(in); err == nil {
			t.Errorf("%q is read as %v", in, d)
		}
	}
}

func TestTenantCommands(t *testing.T) {
	w := newWorld(t)
	out, _, err := w.run(strings.Fields("tenant create acme --budget 100/month --groups default")...)
	if err != nil || out != "tenant acme created\n" {
		t.Fatalf("%q, %v", out, err)
	}
	want := &adminv1.CreateTenantRequest{Tenant: &resourcev1.Tenant{Metadata: &resourcev1.Metadata{Name: "acme"}, Groups: []string{"default"},
		Limits: &resourcev1.Limits{Budgets: []*resourcev1.Budget{budget(100, monthly, 0)}}}}
	if d := cmp.Diff([]proto.Message{want}, w.asked, protocmp.Transform()); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	list, _, err := w.run("tenant", "list")
	if err != nil {
		t.Fatal(err)
	}
	asJSON, _, err := w.run("tenant", "list", "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "tenants.golden", list+asJSON)
}

// The limits of a key are part of its answer, and its secret is where it was.
func TestKeyCreated(t *testing.T) {
	w := newWorld(t)
	out, _, err := w.run(strings.Fields("key create k --tenant acme --rpm 60 --budget 2.5/day -o json")...)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "key.golden", out)
}

func TestKeyRow(t *testing.T) {
	soon := afterNoon(time.Hour)
	for _, tt := range []struct {
		key  *resourcev1.Key
		want string
	}{
		{&resourcev1.Key{Group: "g"}, "|g|-|all|-|-|enabled"},
		{&resourcev1.Key{Group: "g", Models: []string{"a*"}, DeniedModels: []string{"a1", "a2"}, ExpireAfterFirstUse: durationpb.New(7 * day)},
			"|g|-|a* but a1,a2|7d after first use|-|enabled"},
		{&resourcev1.Key{Group: "g", Tenant: "t", DeniedModels: []string{"a"}, ExpireAfterFirstUse: durationpb.New(day), ExpireTime: soon, Limits: &resourcev1.Limits{Rpm: 1}},
			"|g|t|all but a|2026-03-01 13:00:00|1 rpm|enabled"},
	} {
		if got := strings.Join(keys().row(tt.key), "|"); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}

// Values complete: of flags that name resources, whatever the arguments are, and in lists after their commas.
func TestCompletions(t *testing.T) {
	w := newWorld(t)
	w.hold("a1", "a2")
	for line, want := range map[string]string{
		"key create k --tenant ":         "acme\nacme-alice\n:4\n",
		"operator create o --tenant ":    "acme\nacme-alice\n:4\n",
		"tenant update acme --parent ":   "acme\nacme-alice\n:4\n",
		"tenant get ":                    "acme\nacme-alice\n:4\n",
		"limits tenant ":                 "acme\nacme-alice\n:4\n",
		"limits tenant acme ":            ":4\n",
		"key create k --accounts ":       "a1\na2\n:6\n",
		"key create k --accounts a1,":    "a1,a2\n:6\n",
		"key create k --budget 5":        "5/day\n5/week\n5/month\n5/total\n:4\n",
		"key create k --budget x":        ":4\n",
		"key create k --limit-fallback ": "closed\nsafe\nopen\n:4\n",
		"notifier create n --events ":    "budget\nkey_expiry\nunknown_price\nestimate_drift\nall\n:4\n",
		"operator create o --role ":      "viewer\noperator\nowner\n:4\n",
		"get ":                           "group\ntenant\nmodel\nchannel\naccount\nkey\noperator\nnotifier\n:4\n",
	} {
		words := append(strings.Fields(line), "")
		if !strings.HasSuffix(line, " ") {
			words = words[:len(words)-1]
		}
		out, _, err := w.run(append([]string{"__complete"}, words...)...)
		if err != nil {
			t.Fatal(err)
		}
		if out != want {
			t.Errorf("%q completes to %q, want %q", line, out, want)
		}
	}
}
