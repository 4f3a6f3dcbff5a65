package admin

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"fairway/controlplane/internal/model"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/gen/fairway/admin/v1/adminv1connect"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func webhook(url, key string) *resourcev1.Notifier {
	n := &resourcev1.Notifier{Target: &resourcev1.Notifier_Webhook{Webhook: &resourcev1.Webhook{Url: url}}}
	if key != "" {
		n.GetWebhook().Secret = &resourcev1.Secret{Value: key}
	}
	return n
}

func slack(url string) *resourcev1.Notifier {
	return &resourcev1.Notifier{Target: &resourcev1.Notifier_Slack{Slack: &resourcev1.Slack{Url: &resourcev1.Secret{Value: url}}}}
}

func mailer(change ...func(*resourcev1.Smtp)) *resourcev1.Notifier {
	m := &resourcev1.Smtp{
		Address: "smtp.example.com:587", From: "fairway@example.com", To: []string{"ops@example.com"},
		Username: "fairway", Password: &resourcev1.Secret{Value: "canary-of-the-mail"},
	}
	for _, c := range change {
		c(m)
	}
	return &resourcev1.Notifier{Target: &resourcev1.Notifier_Smtp{Smtp: m}}
}

// notifierWorld is a world and its owner's client of notifiers.
func notifierWorld(t *testing.T) (*world, adminv1connect.NotifierServiceClient) {
	t.Helper()
	w := newWorld(t)
	return w, adminv1connect.NewNotifierServiceClient(w.client(w.owner))
}

// secretOf opens a stored secret as the one who sends does.
func (w *world) secretOf(name, field string, of func(*resourcev1.Notifier) *resourcev1.Secret) string {
	w.t.Helper()
	r, ok := w.store.State().ByName(model.KindNotifier, name)
	n, is := r.(*resourcev1.Notifier)
	if !ok || !is || of(n).GetSealed() == nil {
		return ""
	}
	if of(n).GetValue() != "" {
		w.t.Errorf("%s of %s is stored in the clear", field, name)
	}
	plain, err := w.service.sealer.Open(of(n).GetSealed(), string(model.KindNotifier), n.GetMetadata().GetId(), field)
	if err != nil {
		w.t.Fatalf("open %s: %v", field, err)
	}
	return string(plain)
}

func ofWebhook(n *resourcev1.Notifier) *resourcev1.Secret { return n.GetWebhook().GetSecret() }
func ofSlack(n *resourcev1.Notifier) *resourcev1.Secret   { return n.GetSlack().GetUrl() }
func ofSMTP(n *resourcev1.Notifier) *resourcev1.Secret    { return n.GetSmtp().GetPassword() }

// Secrets of notifiers go in, are sealed for their very place, stay where an update does not mention them, and come out
// nowhere.
func TestNotifiers(t *testing.T) {
	w, c := notifierWorld(t)
	for name, n := range map[string]*resourcev1.Notifier{
		"hook": webhook("https://hooks.example.com/x", "canary-of-the-hook"), "bare": webhook("https://hooks.example.com/x", ""),
		"chat": slack("https://slack.example.com/canary-of-the-chat"), "mail": mailer(),
	} {
		n.Metadata = named(name)
		res, err := c.CreateNotifier(t.Context(), &adminv1.CreateNotifierRequest{Notifier: n})
		if err != nil || res.GetRevision() == 0 {
			t.Fatalf("create %s: %v, %v", name, res, err)
		}
	}
	expect := func(hook, chat, mail string) {
		t.Helper()
		if got := w.secretOf("hook", "webhook.secret", ofWebhook); got != hook {
			t.Errorf("webhook.secret = %q, want %q", got, hook)
		}
		if got := w.secretOf("chat", "slack.url", ofSlack); got != chat {
			t.Errorf("slack.url = %q, want %q", got, chat)
		}
		if got := w.secretOf("mail", "smtp.password", ofSMTP); got != mail {
			t.Errorf("smtp.password = %q, want %q", got, mail)
		}
	}
	expect("canary-of-the-hook", "https://slack.example.com/canary-of-the-chat", "canary-of-the-mail")
	if w.secretOf("bare", "webhook.secret", ofWebhook) != "" {
		t.Error("a notifier without a secret has one")
	}
	all, err := c.ListNotifiers(t.Context(), &adminv1.ListNotifiersRequest{Filter: `notifier.metadata.name != "bare"`, OrderBy: "metadata.name"})
	if err != nil || all.GetTotalSize() != 3 {
		t.Fatalf("list: %v, %v", all, err)
	}
	for _, n := range all.GetNotifiers() {
		// Sent back as it was shown, nothing is another.
		before := n.GetMetadata().GetEtag()
		res, err := c.UpdateNotifier(t.Context(), &adminv1.UpdateNotifierRequest{Notifier: n})
		if err != nil || res.GetNotifier().GetMetadata().GetEtag() != before {
			t.Errorf("sent back %s: %v, %v", n.GetMetadata().GetName(), res, err)
		}
	}
	update := func(name string, n *resourcev1.Notifier, paths ...string) error {
		n.Metadata = named(name)
		_, err := c.UpdateNotifier(t.Context(), &adminv1.UpdateNotifierRequest{Notifier: n, UpdateMask: mask(paths...)})
		return err
	}
	for _, err := range []error{
		update("hook", webhook("https://hooks.example.com/y", ""), "webhook.url"),
		update("hook", webhook("https://hooks.example.com/z", ""), "*"),
		update("chat", &resourcev1.Notifier{Disabled: true}, "disabled"),
		update("mail", mailer(func(m *resourcev1.Smtp) { m.Password, m.To = nil, []string{"b@example.com"} }), "*"),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	expect("canary-of-the-hook", "https://slack.example.com/canary-of-the-chat", "canary-of-the-mail")
	if err := errors.Join(
		update("hook", webhook("https://hooks.example.com/z", "canary-of-another-hook"), "webhook.secret"),
		update("chat", webhook("https://hooks.example.com/z", ""), "*"),
		update("mail", mailer(func(m *resourcev1.Smtp) {
			m.Address, m.Password = "other.example.com:465", &resourcev1.Secret{Value: "canary-of-other-mail"}
		}), "*"),
	); err != nil {
		t.Fatal(err)
	}
	expect("canary-of-another-hook", "", "canary-of-other-mail")
	if err := update("hook", webhook("https://hooks.example.com/z", ""), "webhook"); err != nil || w.secretOf("hook", "webhook.secret", ofWebhook) != "" {
		t.Errorf("a secret that is taken away: %v", err)
	}
	if _, err := c.DeleteNotifier(t.Context(), &adminv1.DeleteNotifierRequest{Name: "hook"}); err != nil {
		t.Error(err)
	}
	_, err = c.GetNotifier(t.Context(), &adminv1.GetNotifierRequest{Name: "hook"})
	wantCode(t, err, connect.CodeNotFound)
	for where, text := range map[string]string{"a reply": w.replies.String(), "the log": w.log.String()} {
		if i := strings.Index(text, "canary"); i >= 0 {
			t.Errorf("%s holds a secret: …%q", where, text[max(0, i-60):min(len(text), i+40)])
		}
	}
}

// Every event that has a number can be asked for.
func TestNotifierEvents(t *testing.T) {
	_, c := notifierWorld(t)
	n := webhook("https://x.example", "")
	n.Metadata = named("all")
	for e := range resourcev1.NotificationEvent_name {
		if e != 0 {
			n.Events = append(n.Events, resourcev1.NotificationEvent(e))
		}
	}
	if _, err := c.CreateNotifier(t.Context(), &adminv1.CreateNotifierRequest{Notifier: n}); err != nil {
		t.Error(err)
	}
}

func TestNotifiersAreRefused(t *testing.T) {
	w, c := notifierWorld(t)
	mail := func(change func(*resourcev1.Smtp)) *resourcev1.Notifier { return mailer(change) }
	empty := webhook("https://x.example", "")
	empty.GetWebhook().Secret = &resourcev1.Secret{}
	unheard, lost := webhook("https://x.example", ""), webhook("https://x.example", "")
	unheard.Events = []resourcev1.NotificationEvent{99}
	lost.Tenant = "none"
	for name, tt := range map[string]struct {
		n    *resourcev1.Notifier
		says string
	}{
		"no target":                {&resourcev1.Notifier{}, "target"},
		"an URL of a file":         {webhook("file:///etc/passwd", ""), "webhook.url"},
		"an URL with a user":       {webhook("https://user:canary-of-the-hook@x.example", ""), "webhook.url"},
		"an URL of two lines":      {webhook("https://x.example\r\nHost: y", ""), "webhook.url"},
		"an URL of nowhere":        {webhook("https:///x", ""), "webhook.url"},
		"an empty secret":          {empty, "webhook.secret.value"},
		"a short secret":           {webhook("https://x.example", "canary-15-chars"), "webhook.secret.value"},
		"Slack without a URL":      {slack(""), "slack.url"},
		"Slack at a file":          {slack("file:///canary"), "slack.url.value"},
		"Slack with a user":        {slack("https://canary:x@slack.example"), "slack.url.value"},
		"mail to no port":          {mail(func(m *resourcev1.Smtp) { m.Address = "smtp.example.com:0" }), "smtp.address"},
		"mail to a far port":       {mail(func(m *resourcev1.Smtp) { m.Address = "smtp.example.com:65536" }), "smtp.address"},
		"mail from two lines":      {mail(func(m *resourcev1.Smtp) { m.From = "a@example.com\r\nBcc: b@example.com" }), "smtp.from"},
		"mail to nobody":           {mail(func(m *resourcev1.Smtp) { m.To = nil }), "smtp.to"},
		"mail to two in one":       {mail(func(m *resourcev1.Smtp) { m.To = []string{"a@example.com,b@example.com"} }), "smtp.to"},
		"a name without password":  {mail(func(m *resourcev1.Smtp) { m.Password = nil }), "smtp.password"},
		"a password without name":  {mail(func(m *resourcev1.Smtp) { m.Username = "" }), "smtp.username"},
		"a password in the clear":  {mail(func(m *resourcev1.Smtp) { m.Plain = true }), "smtp.plain"},
		"an event that nobody has": {unheard, "events"},
		"an unknown tenant":        {lost, "tenant"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.n.Metadata = named("bad")
			_, err := c.CreateNotifier(t.Context(), &adminv1.CreateNotifierRequest{Notifier: tt.n})
			if m := wantCode(t, err, connect.CodeInvalidArgument); !strings.Contains(m, tt.says) || strings.Contains(m, "canary") {
				t.Errorf("%q does not say %q", m, tt.says)
			}
		})
	}
	n := mailer()
	n.Metadata = named("mail")
	if _, err := c.CreateNotifier(t.Context(), &adminv1.CreateNotifierRequest{Notifier: n}); err != nil {
		t.Fatal(err)
	}
	// A password is not sent to a server that it was not given for.
	_, err := c.UpdateNotifier(t.Context(), &adminv1.UpdateNotifierRequest{
		Notifier:   &resourcev1.Notifier{Metadata: named("mail"), Target: &resourcev1.Notifier_Smtp{Smtp: &resourcev1.Smtp{Address: "evil.example:25"}}},
		UpdateMask: mask("smtp.address"),
	})
	if m := wantCode(t, err, connect.CodeInvalidArgument); !strings.Contains(m, "smtp.password.value") {
		t.Errorf("message %q", m)
	}
	for i := range maxNotifiers - 1 {
		n := webhook("https://x.example", "")
		n.Metadata = named(fmt.Sprint("n", i))
		if _, err := c.CreateNotifier(t.Context(), &adminv1.CreateNotifierRequest{Notifier: n}); err != nil {
			t.Fatal(err)
		}
	}
	more := webhook("https://x.example", "")
	more.Metadata = named("more")
	_, err = c.CreateNotifier(t.Context(), &adminv1.CreateNotifierRequest{Notifier: more})
	wantCode(t, err, connect.CodeResourceExhausted)
	if strings.Contains(w.replies.String(), "canary") {
		t.Error("a reply holds a secret")
	}
}

// tester answers as it is told.
type tester struct {
	asked string
	err   error
}

func (f *tester) Test(_ context.Context, name string) (string, time.Duration, error) {
	f.asked = name
	return "the endpoint answered 200", time.Second, f.err
}

func TestTestNotifier(t *testing.T) {
	w, c := notifierWorld(t)
	n := webhook("https://x.example", "")
	n.Metadata = named("hook")
	created, err := c.CreateNotifier(t.Context(), &adminv1.CreateNotifierRequest{Notifier: n})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.TestNotifier(t.Context(), &adminv1.TestNotifierRequest{Name: "hook"})
	wantCode(t, err, connect.CodeUnimplemented)
	f := &tester{}
	w.service.notifiers = f
	res, err := c.TestNotifier(t.Context(), &adminv1.TestNotifierRequest{Name: "hook"})
	if err != nil || !res.GetOk() || res.GetDetail() != "the endpoint answered 200" || res.GetTook().AsDuration() != time.Second {
		t.Errorf("a good test: %v, %v", res, err)
	}
	if want := created.GetNotifier().GetMetadata().GetId(); f.asked != want {
		t.Errorf("tested %q, want the one whose id is %q", f.asked, want)
	}
	f.err = errors.New("the endpoint answered 404")
	res, err = c.TestNotifier(t.Context(), &adminv1.TestNotifierRequest{Name: "hook"})
	if err != nil || res.GetOk() || res.GetDetail() != "the endpoint answered 404" {
		t.Errorf("a bad test: %v, %v", res, err)
	}
	_, err = c.TestNotifier(t.Context(), &adminv1.TestNotifierRequest{Name: "none"})
	wantCode(t, err, connect.CodeNotFound)
}
