package ctl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func testSession(env map[string]string) *session {
	return &session{o: Options{In: strings.NewReader(""), Getenv: func(k string) string { return env[k] }}}
}

const twoDocuments = `
kind: account
metadata: {name: a}
channel: c
secret: {env: CRED}
---
# the channel comes second here, and first when applied
kind: channel
metadata: {name: c, labels: {team: x}}
provider: openai
base_url: https://api.example.com
models: [m]
disabled: false
timeouts: {idle: 90s}
`

func TestParseDocuments(t *testing.T) {
	docs, err := testSession(map[string]string{"CRED": "upstream-secret"}).parseDocuments([]byte(twoDocuments))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range docs {
		got = append(got, d.kind.name+" "+d.r.GetMetadata().GetName()+": "+strings.Join(d.paths, ","))
	}
	want := []string{"channel c: base_url,disabled,metadata.labels,models,provider,timeouts.idle", "account a: channel,secret"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("documents (-want +got):\n%s", diff)
	}
	if got := docs[1].r.(*resourcev1.Account).GetSecret().GetValue(); got != "upstream-secret" {
		t.Errorf("secret from the environment = %q", got)
	}
}

func TestParseDocumentsErrors(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"no kind", "metadata: {name: a}", `document 1: kind "" is not one of group, tenant, model, channel, account, key, operator, notifier`},
		{"no name", "kind: group", `document 1: group: metadata.name is missing`},
		{"all are named", "kind: x\n---\nkind: group\nmetadata: {name: g}\n---\nkind: z", "document 1: kind \"x\" is not one of group, tenant, model, channel, account, key, operator, notifier\n" +
			"document 3: kind \"z\" is not one of group, tenant, model, channel, account, key, operator, notifier"},
		{"duplicate key", "kind: group\nkind: group", `document 1: error converting YAML to JSON: yaml: unmarshal errors:` + "\n  line 2: key \"kind\" already set in map"},
		{"in a nested secret", "kind: notifier\nmetadata: {name: oncall}\nslack: {url: {env: NOPE}}", `document 1: slack: url: the secret in variable NOPE is empty`},
		{"unknown event", "kind: notifier\nmetadata: {name: oncall}\nevents: [budget, rain]",
			`document 1: notifier: events[1]: "rain" is not one of budget, key_expiry, unknown_price, estimate_drift`},
		{"no list of events", "kind: notifier\nmetadata: {name: oncall}\nevents: [1]",
			`document 1: notifier: events[0]: want one of budget, key_expiry, unknown_price, estimate_drift`},
		{"missing variable", "kind: account\nmetadata: {name: a}\nsecret: {env: NOPE}", `document 1: secret: the secret in variable NOPE is empty`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := testSession(nil).parseDocuments([]byte(tt.in))
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
}

// A document says nothing about the fields that it does not name, and apply must not either.
func TestCompareLooksOnlyAtNamedFields(t *testing.T) {
	docs, err := testSession(map[string]string{"CRED": "s"}).parseDocuments([]byte(twoDocuments))
	if err != nil {
		t.Fatal(err)
	}
	stored := &resourcev1.Channel{
		Metadata: &resourcev1.Metadata{Name: "c", Id: "01", Etag: "7", Labels: map[string]string{"team": "x"}},
		Provider: resourcev1.Provider_PROVIDER_OPENAI, BaseUrl: "https://api.example.com", Models: []string{"m"},
		Weight: 100, Groups: []string{"default"}, PriceRatioPpm: 1_000_000,
		Timeouts: &resourcev1.Timeouts{Dial: durationpb.New(10 * time.Second), Idle: durationpb.New(90 * time.Second)},
	}
	if paths, _ := docs[0].compare(stored); len(paths) != 0 {
		t.Errorf("nothing differs, but compare names %v", paths)
	}
	changed := proto.CloneOf(stored)
	changed.Models, changed.Disabled, changed.Metadata.Labels, changed.Timeouts = []string{"m", "n"}, true, nil, nil
	paths, diff := docs[0].compare(changed)
	if d := cmp.Diff([]string{"disabled", "metadata.labels", "models", "timeouts.idle"}, paths); d != "" {
		t.Errorf("paths (-want +got):\n%s", d)
	}
	if want := []string{"disabled: true -> none", `metadata.labels: none -> {"team":"x"}`, `models: ["m","n"] -> ["m"]`, `timeouts.idle: none -> "90s"`}; cmp.Diff(want, diff) != "" {
		t.Errorf("diff = %q", diff)
	}
}

const tenantDocuments = `
kind: notifier
metadata: {name: oncall}
events: [budget, key-expiry]
webhook: {url: "https://h", secret: {env: CRED}}
---
kind: key
metadata: {name: k}
tenant: part
limits: {rpm: 60, budgets: [{amount_nano_usd: 5, window: day}, {amount_nano_usd: 6, window: rolling, rolling_minutes: 90}]}
---
kind: tenant
metadata: {name: part}
parent: whole
---
kind: notifier
metadata: {name: mail}
smtp: {address: "m:25", from: a@b.c, to: [d@e.f], password: {env: CRED}}
---
kind: tenant
metadata: {name: whole}
groups: [g]
---
kind: notifier
metadata: {name: chat}
slack: {url: {env: CRED}}
---
kind: group
metadata: {name: g}
limits: {}
`

// Tenants come before what is a part of them, and all of them before keys; secrets are found wherever they are.
func TestTenantDocuments(t *testing.T) {
	docs, err := testSession(map[string]string{"CRED": canary}).parseDocuments([]byte(tenantDocuments))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range docs {
		got = append(got, d.kind.name+" "+d.r.GetMetadata().GetName()+": "+strings.Join(d.paths, ","))
	}
	want := []string{"group g: ", "tenant whole: groups", "tenant part: parent", "key k: limits.budgets,limits.rpm,tenant",
		"notifier oncall: events,webhook.secret,webhook.url", "notifier mail: smtp.address,smtp.from,smtp.password,smtp.to", "notifier chat: slack.url"}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("documents (-want +got):\n%s", d)
	}
	n := docs[4].r.(*resourcev1.Notifier)
	if e := n.GetEvents(); len(e) != 2 || e[1] != resourcev1.NotificationEvent_NOTIFICATION_EVENT_KEY_EXPIRY {
		t.Errorf("events %v", e)
	}
	for _, got := range []string{n.GetWebhook().GetSecret().GetValue(), docs[5].r.(*resourcev1.Notifier).GetSmtp().GetPassword().GetValue(),
		docs[6].r.(*resourcev1.Notifier).GetSlack().GetUrl().GetValue()} {
		if got != canary {
			t.Errorf("a secret from the environment is %q", got)
		}
	}
	if l := docs[3].r.(*resourcev1.Key).GetLimits(); limitWords(l) != "60 rpm, $0.000000005/day, $0.000000006/90m" {
		t.Errorf("limits %s", limitWords(l))
	}

	shown := &resourcev1.Secret{Fingerprint: "0a1b2c3d"}
	stored := func(target *resourcev1.Notifier) resource {
		target.Metadata, target.Events = &resourcev1.Metadata{Name: "oncall", Etag: "3"}, n.GetEvents()
		return target
	}
	for _, tt := range []struct {
		name   string
		stored resource
		diff   string
	}{
		{"the same", stored(&resourcev1.Notifier{Target: &resourcev1.Notifier_Webhook{Webhook: &resourcev1.Webhook{Url: "https://h", Secret: shown}}}), ""},
		{"not signed yet", stored(&resourcev1.Notifier{Target: webhookTo("https://h", "")}), "webhook.secret: none -> set"},
		{"another target", stored(&resourcev1.Notifier{Target: &resourcev1.Notifier_Slack{Slack: &resourcev1.Slack{Url: shown}}}),
			`webhook.secret: none -> set; webhook.url: none -> "https://h"`},
	} {
		_, diff := docs[4].compare(tt.stored)
		if got := strings.Join(diff, "; "); got != tt.diff {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.diff)
		}
	}
	if _, diff := docs[3].compare(&resourcev1.Key{Tenant: "part", Limits: &resourcev1.Limits{Rpm: 60, Budgets: []*resourcev1.Budget{budget(5e-9, daily, 0)}}}); len(diff) != 1 ||
		diff[0] != `limits.budgets: [{"amount_nano_usd":5,"window":"day"}] -> [{"amount_nano_usd":5,"window":"day"},{"amount_nano_usd":6,"rolling_minutes":90,"window":"rolling"}]` {
		t.Errorf("budgets: %q", diff)
	}
}

// What get writes holds nothing of credentials, and apply takes it back.
func TestDeclareDropsSecrets(t *testing.T) {
	shown := &resourcev1.Secret{Fingerprint: "0a1b2c3d"}
	for _, r := range []resource{
		&resourcev1.Notifier{Metadata: &resourcev1.Metadata{Name: "oncall", Labels: map[string]string{"secret": "label"}},
			Target: &resourcev1.Notifier_Webhook{Webhook: &resourcev1.Webhook{Url: "https://h", Secret: shown}}},
		&resourcev1.Notifier{Metadata: &resourcev1.Metadata{Name: "oncall"}, Target: &resourcev1.Notifier_Slack{Slack: &resourcev1.Slack{Url: shown}}},
		&resourcev1.Notifier{Metadata: &resourcev1.Metadata{Name: "oncall"}, Target: &resourcev1.Notifier_Smtp{Smtp: &resourcev1.Smtp{Address: "m:25", Password: shown}}},
		&resourcev1.Account{Metadata: &resourcev1.Metadata{Name: "a"}, Secret: shown, ProxySecret: shown, Health: &resourcev1.AccountHealth{Opens: 2}},
	} {
		k := notifiers()
		if _, ok := r.(*resourcev1.Account); ok {
			k = accounts()
		}
		raw, err := encodeYAML(declare(k, r))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(raw), "0a1b2c3d") || strings.Contains(string(raw), "opens") {
			t.Errorf("it says too much:\n%s", raw)
		}
		docs, err := testSession(nil).parseDocuments(raw)
		if err != nil {
			t.Errorf("%v:\n%s", err, raw)
			continue
		}
		if paths, diff := docs[0].compare(r); len(paths) > 0 {
			t.Errorf("what was got differs from what is there: %q", diff)
		}
	}
}

func TestSecretSource(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "s")
	if err := os.WriteFile(file, []byte(" from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := testSession(map[string]string{"V": "from-env"})
	s.o.In = strings.NewReader("from-stdin\n")
	for _, tt := range []struct {
		src  secretSource
		want string
	}{
		{secretSource{file: file}, "from-file"},
		{secretSource{env: "V"}, "from-env"},
		{secretSource{stdin: true}, "from-stdin"},
	} {
		got, err := tt.src.read(s)
		if err != nil || got.GetValue() != tt.want {
			t.Errorf("%+v: got %q, %v", tt.src, got.GetValue(), err)
		}
	}
	if _, err := (&secretSource{env: "V", stdin: true}).read(s); err == nil {
		t.Error("two sources at once were accepted")
	}
	if _, err := (&secretSource{env: "UNSET"}).read(s); err == nil {
		t.Error("an empty secret was accepted")
	}
}

// FuzzParseDocuments: whatever a file holds, reading it does not panic, and what it yields has a kind and a name.
func FuzzParseDocuments(f *testing.F) {
	f.Add([]byte(twoDocuments))
	f.Add([]byte("---\n---\n"))
	f.Add([]byte("kind: model\nmetadata: {name: m}\nprices: {input: 1, cached_input: null}"))
	f.Add([]byte(tenantDocuments))
	f.Add([]byte("kind: notifier\nmetadata: {name: oncall}\nslack: {url: {url: {file: 3}}}\nwebhook: null\nevents: budget"))
	f.Add([]byte("kind: [group]\nmetadata: 3"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		docs, err := testSession(map[string]string{"CRED": "s"}).parseDocuments(raw)
		if err != nil {
			return
		}
		for _, d := range docs {
			if d.r.GetMetadata().GetName() == "" || d.kind.name == "" {
				t.Errorf("a document without kind or name got through: %q", raw)
			}
		}
	})
}
