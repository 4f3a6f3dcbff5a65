package ctl

import (
	"os"
	"path/filepath"
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

const canary = "canary-4kPz"

func webhookTo(url, secret string) *resourcev1.Notifier_Webhook {
	w := &resourcev1.Webhook{Url: url}
	if secret != "" {
		w.Secret = &resourcev1.Secret{Value: secret}
	}
	return &resourcev1.Notifier_Webhook{Webhook: w}
}

// secretFile holds the canary, and a line break as editors leave it.
func secretFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestNotifierCreate(t *testing.T) {
	file := secretFile(t)
	md := &resourcev1.Metadata{Name: "n"}
	for args, want := range map[string]*resourcev1.Notifier{
		"--webhook https://h.example.com/x": {Metadata: md, Target: webhookTo("https://h.example.com/x", "")},
		"--webhook https://h.example.com/x --secret-file FILE --events budget,key-expiry --tenant acme --budget-percents 50,80 --expiry-days 30 --disabled": {
			Metadata: md, Disabled: true, Tenant: "acme", BudgetPercents: []uint32{50, 80}, ExpiryDays: []uint32{30},
			Events: []resourcev1.NotificationEvent{resourcev1.NotificationEvent_NOTIFICATION_EVENT_BUDGET, resourcev1.NotificationEvent_NOTIFICATION_EVENT_KEY_EXPIRY},
			Target: webhookTo("https://h.example.com/x", canary)},
		"--slack-url-env CRED --events all": {Metadata: md, Target: &resourcev1.Notifier_Slack{Slack: &resourcev1.Slack{Url: &resourcev1.Secret{Value: canary}}}},
		"--smtp mail:587 --from a@example.com --to b@example.com,c@example.com --username u --password-file FILE": {Metadata: md,
			Target: &resourcev1.Notifier_Smtp{Smtp: &resourcev1.Smtp{Address: "mail:587", From: "a@example.com", To: []string{"b@example.com", "c@example.com"},
				Username: "u", Password: &resourcev1.Secret{Value: canary}}}},
		"--smtp mail:25 --from a@example.com --to b@example.com --plain": {Metadata: md,
			Target: &resourcev1.Notifier_Smtp{Smtp: &resourcev1.Smtp{Address: "mail:25", From: "a@example.com", To: []string{"b@example.com"}, Plain: true}}},
	} {
		w := newWorld(t)
		w.env["CRED"] = canary
		_, _, err := w.run(append([]string{"notifier", "create", "n"}, strings.Fields(strings.ReplaceAll(args, "FILE", file))...)...)
		if err != nil {
			t.Errorf("%s: %v", args, err)
			continue
		}
		if d := cmp.Diff([]proto.Message{&adminv1.CreateNotifierRequest{Notifier: want}}, w.asked, protocmp.Transform()); d != "" {
			t.Errorf("%s (-want +got):\n%s", args, d)
		}
	}
}

func TestNotifierUpdate(t *testing.T) {
	file := secretFile(t)
	md := &resourcev1.Metadata{Name: "n"}
	for args, want := range map[string]struct {
		n     *resourcev1.Notifier
		paths string
	}{
		"--secret-file FILE":       {&resourcev1.Notifier{Metadata: md, Target: webhookTo("", canary)}, "webhook.secret"},
		"--webhook https://h/y":    {&resourcev1.Notifier{Metadata: md, Target: webhookTo("https://h/y", "")}, "webhook.url"},
		"--username none":          {&resourcev1.Notifier{Metadata: md, Target: &resourcev1.Notifier_Smtp{Smtp: &resourcev1.Smtp{}}}, "smtp.username,smtp.password"},
		"--plain=false":            {&resourcev1.Notifier{Metadata: md, Target: &resourcev1.Notifier_Smtp{Smtp: &resourcev1.Smtp{}}}, "smtp.plain"},
		"--events all":             {&resourcev1.Notifier{Metadata: md}, "events"},
		"--tenant none --disabled": {&resourcev1.Notifier{Metadata: md, Disabled: true}, "tenant,disabled"},
	} {
		w := newWorld(t)
		if _, _, err := w.run(append([]string{"notifier", "update", "n"}, strings.Fields(strings.ReplaceAll(args, "FILE", file))...)...); err != nil {
			t.Errorf("%s: %v", args, err)
			continue
		}
		got := w.asked[0].(*adminv1.UpdateNotifierRequest)
		if d := cmp.Diff(want.n, got.GetNotifier(), protocmp.Transform()); d != "" {
			t.Errorf("%s (-want +got):\n%s", args, d)
		}
		if d := cmp.Diff(want.paths, strings.Join(got.GetUpdateMask().GetPaths(), ",")); d != "" {
			t.Errorf("%s: mask (-want +got):\n%s", args, d)
		}
	}
}

func TestNotifierRefused(t *testing.T) {
	file := secretFile(t)
	const oneTarget = "a notifier has one target: --webhook, --slack-url-file or --smtp, each with its own flags"
	for args, want := range map[string]string{
		"--events budget":                                          "give whom to tell: --webhook, --slack-url-file (or -env, -stdin) or --smtp",
		"--secret-file FILE":                                       "a secret is of a webhook: give its URL with --webhook",
		"--webhook hooks.example.com":                              `--webhook: "hooks.example.com": want https://HOST/PATH`,
		"--webhook https://h --smtp m:25":                          oneTarget,
		"--webhook https://h --slack-url-file FILE":                oneTarget,
		"--webhook https://h --password-file FILE":                 oneTarget,
		"--webhook https://h --to a@example.com":                   oneTarget,
		"--webhook https://h --secret-file=":                       "--secret-file, --secret-env or --secret-stdin names nothing",
		"--webhook https://h --secret-env NOPE":                    "the secret in variable NOPE is empty",
		"--webhook https://h --secret-stdin":                       "the secret in standard input is empty",
		"--webhook https://h --secret-file /nope/x":                "read secret: open /nope/x: no such file or directory",
		"--slack-url-file FILE --slack-url-stdin":                  "give only one of --slack-url-file, --slack-url-env and --slack-url-stdin",
		"--smtp m:25 --from a@example.com":                         "a mail needs --smtp, --from and --to",
		"--smtp m:25 --from a@b.c --to d@e.f --username":           "flag needs an argument",
		"--smtp m:25 --from a@b.c --to d@e.f --username u":         "--username and a password, from --password-file, --password-env or --password-stdin, go together",
		"--smtp m:25 --from a@b.c --to d@e.f --password-file FILE": "--username and a password, from --password-file, --password-env or --password-stdin, go together",
		"--webhook https://h --events weather":                     `--events: "weather" is not one of budget, key_expiry, unknown_price, estimate_drift, all`,
		"--webhook https://h --events budget,all":                  `"all" is not one of`,
		"--webhook https://h --budget-percents 80,101":             "--budget-percents: 101 is not between 1 and 100",
		"--webhook https://h --budget-percents 0":                  "--budget-percents: 0 is not between 1 and 100",
		"--webhook https://h --expiry-days 366":                    "--expiry-days: 366 is not between 1 and 365",
		"--webhook https://h --tenant=":                            `--tenant: an empty name; give "none" to name none`,
	} {
		w := newWorld(t)
		_, _, err := w.run(append([]string{"notifier", "create", "n"}, strings.Fields(strings.ReplaceAll(args, "FILE", file))...)...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error = %v, want one with %q", args, err, want)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the secret is in the error: %v", args, err)
		}
		if len(w.asked) > 0 {
			t.Errorf("%s was sent", args)
		}
	}
}

// A test that did not get there is an error, after its answer.
func TestNotifyTest(t *testing.T) {
	took := durationpb.New(120 * time.Millisecond)
	for _, tt := range []struct {
		name, output string
		res          *adminv1.TestNotifierResponse
		out, err     string
	}{
		{"there", "table", &adminv1.TestNotifierResponse{Ok: true, Detail: "https://h answered 204", Took: took}, "https://h answered 204 (120ms)\n", ""},
		{"not there", "table", &adminv1.TestNotifierResponse{Detail: "https://h answered 500", Took: took}, "", "notifier n: https://h answered 500"},
		{"with something for the terminal", "table", &adminv1.TestNotifierResponse{Detail: "\x1b[2J", Took: took}, "", "notifier n: \ufffd[2J"},
		{"not there, as JSON", "json", &adminv1.TestNotifierResponse{Detail: "refused", Took: took},
			"{\n  \"detail\": \"refused\",\n  \"ok\": false,\n  \"took\": \"0.120s\"\n}\n", "notifier n: refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, word := range []string{"notify", "notifier"} {
				w := newWorld(t)
				w.tested = tt.res
				out, _, err := w.run(word, "test", "n", "-o", tt.output)
				if out != tt.out || said(err) != tt.err {
					t.Errorf("%q, %q; want %q, %q", out, said(err), tt.out, tt.err)
				}
				if d := cmp.Diff([]proto.Message{&adminv1.TestNotifierRequest{Name: "n"}}, w.asked, protocmp.Transform()); d != "" {
					t.Errorf("(-want +got):\n%s", d)
				}
			}
		})
	}
}

func TestNotifierRow(t *testing.T) {
	for _, tt := range []struct {
		n    *resourcev1.Notifier
		want string
	}{
		{&resourcev1.Notifier{Target: webhookTo("https://h/x", "")}, "|https://h/x|all|-|enabled"},
		{&resourcev1.Notifier{Target: &resourcev1.Notifier_Slack{Slack: &resourcev1.Slack{Url: &resourcev1.Secret{Fingerprint: "0a1b2c3d"}}}, Tenant: "acme", Disabled: true,
			Events: []resourcev1.NotificationEvent{1, 3}}, "|slack|budget,unknown_price|acme|disabled"},
		{&resourcev1.Notifier{Target: &resourcev1.Notifier_Smtp{Smtp: &resourcev1.Smtp{Address: "m:25", To: []string{"a@b.c", "d@e.f"}}}}, "|a@b.c,d@e.f by m:25|all|-|enabled"},
		{&resourcev1.Notifier{}, "|-|all|-|enabled"}, // of a newer control plane
	} {
		if got := strings.Join(notifiers().row(tt.n), "|"); got != tt.want {
			t.Errorf("got  %s\nwant %s", got, tt.want)
		}
	}
}
