package notify

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairway/controlplane/internal/model"
	"fairway/pkg/egress"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/secret"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

// asked is one request that an endpoint got.
type asked struct {
	header http.Header
	body   []byte
}

// endpoint is a server that remembers the last request.
func endpoint(t *testing.T, answer http.HandlerFunc) (url string, last *atomic.Pointer[asked]) {
	t.Helper()
	last = &atomic.Pointer[asked]{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		last.Store(&asked{r.Header, body})
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, last
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, _ := contextOf(t)
	return ctx
}

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx, cancel
}

// A webhook gets the event as it is documented, with a signature that the documented example takes.
func TestWebhook(t *testing.T) {
	ring := keyring(t)
	url, last := endpoint(t, nil)
	n := hook("ops", url)
	n.GetWebhook().Secret = sealed(t, ring, "id-ops", "webhook.secret", "correct-horse-battery")
	p := newPost(ring, Options{Allow: loopback}, at(noon))
	e := budgetEvent(n, "0123456789abcdef", BudgetEvent{
		Scope: "key", ID: "01J", Name: "team-a", Window: "day", WindowNumber: 20_516, Percent: 83,
		Spent: 8_312_000_000, Limit: 10_000_000_000, Ends: noon.Add(12 * time.Hour),
	}, 0, 80, "team", noon)
	detail, err := p.send(soon(t), n, e)
	if err != nil || detail != "the endpoint answered 200" {
		t.Fatalf("send = %q, %v", detail, err)
	}
	got := last.Load()
	if err := verify("correct-horse-battery", got.header.Get(SignatureHeader), got.body, noon); err != nil {
		t.Errorf("signature %q: %v", got.header.Get(SignatureHeader), err)
	}
	if err := verify("another-secret-altogether", got.header.Get(SignatureHeader), got.body, noon); err == nil {
		t.Error("the signature does not depend on the secret")
	}
	if err := verify("correct-horse-battery", got.header.Get(SignatureHeader), append(got.body, ' '), noon); err == nil {
		t.Error("the signature does not depend on the body")
	}
	if err := verify("correct-horse-battery", got.header.Get(SignatureHeader), got.body, noon.Add(time.Hour)); err == nil {
		t.Error("the signature has no time")
	}
	if ct := got.header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("content type %q", ct)
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "notifications.md"))
	if err != nil {
		t.Fatal(err)
	}
	var shown, sent map[string]any
	if err := json.Unmarshal([]byte(fenced(t, string(page), "json")), &shown); err != nil {
		t.Fatalf("the page's message: %v", err)
	}
	if err := json.Unmarshal(got.body, &sent); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(shown, sent); d != "" {
		t.Errorf("message (-documented +sent):\n%s", d)
	}
}

// fenced is the first block of a language in a page.
func fenced(t *testing.T, page, language string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "```"+language+"\n")
	block, _, end := strings.Cut(rest, "```")
	if !ok || !end {
		t.Fatalf("docs/notifications.md has no block of %s", language)
	}
	return block
}

// The page's example is the one that these tests run.
func TestDocumentedExample(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "notifications.md"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	if block := fenced(t, string(page), "go"); !strings.Contains(string(source), block) {
		t.Errorf("docs/notifications.md shows what no test runs:\n%s", block)
	}
}

func TestWebhookWithoutSecret(t *testing.T) {
	url, last := endpoint(t, nil)
	p := newPost(nil, Options{Allow: loopback}, at(noon))
	if _, err := p.send(soon(t), hook("ops", url), testEvent(hook("ops", url), noon)); err != nil {
		t.Fatal(err)
	}
	if got := last.Load().header.Get(SignatureHeader); got != "" {
		t.Errorf("signed with nothing: %q", got)
	}
}

// What an answer means, and that nothing of it is repeated.
func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		status          int
		fine, permanent bool
	}{
		{200, true, false},
		{204, true, false},
		{301, false, true},
		{307, false, true},
		{400, false, true},
		{401, false, true},
		{404, false, true},
		{408, false, false},
		{410, false, true},
		{429, false, false},
		{500, false, false},
		{503, false, false},
	} {
		t.Run(http.StatusText(tt.status), func(t *testing.T) {
			var followed atomic.Bool
			elsewhere, _ := endpoint(t, func(http.ResponseWriter, *http.Request) { followed.Store(true) })
			url, _ := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", elsewhere)
				w.WriteHeader(tt.status)
				if tt.status != http.StatusNoContent {
					_, _ = io.WriteString(w, "canary-of-the-answer "+strings.Repeat("x", 1<<20))
				}
			})
			p := newPost(nil, Options{Allow: loopback}, at(noon))
			detail, err := p.send(soon(t), hook("ops", url+"/canary-of-the-url"), testEvent(hook("ops", url), noon))
			if (err == nil) != tt.fine || hopeless(err) != tt.permanent {
				t.Errorf("answer %d: %q, %v, permanent %t", tt.status, detail, err, hopeless(err))
			}
			if err != nil && strings.Contains(err.Error(), "canary") || strings.Contains(detail, "canary") {
				t.Errorf("repeated what is not ours: %q, %v", detail, err)
			}
			if followed.Load() {
				t.Error("a redirect was followed")
			}
		})
	}
}

// Addresses that only this host can reach are refused, whatever the name was, for good, and without a connection.
func TestRefusedAddresses(t *testing.T) {
	url, last := endpoint(t, nil)
	ring := keyring(t)
	for _, to := range []string{url, strings.Replace(url, "127.0.0.1", "localhost", 1), "http://169.254.169.254/latest", "http://[::1]:1/", "http://0.0.0.0:1/"} {
		slack := &resourcev1.Notifier{Metadata: metadata("s"), Target: &resourcev1.Notifier_Slack{Slack: &resourcev1.Slack{Url: sealed(t, ring, "id-s", "slack.url", to)}}}
		for _, n := range []*resourcev1.Notifier{hook("ops", to), slack} {
			_, err := newPost(ring, Options{}, at(noon)).send(soon(t), n, testEvent(n, noon))
			if !errors.Is(err, egress.ErrRefused) || !hopeless(err) {
				t.Errorf("%s: %v", to, err)
			}
		}
	}
	_, err := newPost(nil, Options{Allow: append(loopback, linkLocal)}, at(noon)).send(soon(t), hook("ops", "http://169.254.169.254/"), testEvent(hook("ops", ""), noon))
	if !errors.Is(err, egress.ErrRefused) {
		t.Errorf("metadata services, though their range is allowed: %v", err)
	}
	for _, m := range []*resourcev1.Smtp{{Address: "127.0.0.1:25"}, {Address: "localhost:465"}} {
		m.From, m.To = "a@example.com", []string{"b@example.com"}
		n := &resourcev1.Notifier{Metadata: metadata("m"), Target: &resourcev1.Notifier_Smtp{Smtp: m}}
		if _, err := newPost(nil, Options{}, at(noon)).send(soon(t), n, testEvent(n, noon)); !errors.Is(err, egress.ErrRefused) || !hopeless(err) {
			t.Errorf("mail to %s: %v", m.GetAddress(), err)
		}
	}
	if last.Load() != nil {
		t.Error("a refused endpoint was asked")
	}
}

// Slack's markup is nobody's to use who only asks for a model.
func TestSlack(t *testing.T) {
	ring := keyring(t)
	url, last := endpoint(t, nil)
	n := &resourcev1.Notifier{Metadata: metadata("s"), Target: &resourcev1.Notifier_Slack{Slack: &resourcev1.Slack{Url: sealed(t, ring, "id-s", "slack.url", url+"/services/T/B/canary")}}}
	p := newPost(ring, Options{Allow: loopback}, at(noon))
	if _, err := p.send(soon(t), n, unpricedEvent(n, "id", "<!channel> <https://evil.example|x> & \u202egpt\r\nüber", nil, noon)); err != nil {
		t.Fatal(err)
	}
	want := `{"text":"Model \"\u0026lt;!channel\u0026gt; \u0026lt;https://evil.example|x\u0026gt; \u0026amp; \u202egpt\r\nüber\" has no price: its usage is on the books without a cost, or at the default rates"}`
	if d := cmp.Diff(want, strings.ReplaceAll(string(last.Load().body), `\\`, `\`)); d != "" {
		t.Errorf("body (-want +got):\n%s", d)
	}
	if got := last.Load().header.Get(SignatureHeader); got != "" {
		t.Errorf("Slack got a signature: %q", got)
	}
	// The whole URL is the credential: it is in no error.
	broken := sealed(t, ring, "id-s", "slack.url", "http://127.0.0.1:1/services/T/B/canary")
	for _, address := range []*resourcev1.Secret{broken, sealed(t, ring, "id-s", "slack.url", "ftp://canary"), sealed(t, ring, "id-s", "slack.url", "http://%zz/canary"), sealed(t, ring, "elsewhere", "slack.url", "canary")} {
		n.GetSlack().Url = address
		if _, err := p.send(soon(t), n, testEvent(n, noon)); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("error = %v", err)
		}
	}
}

// A test says what came of it, on a replica that leads nothing.
func TestTest(t *testing.T) {
	ring := keyring(t)
	url, last := endpoint(t, nil)
	off := hook("ops", url)
	off.Disabled = true
	n := New(newMemory(off, hook("away", "http://127.0.0.1:1/")), ring, Options{Allow: loopback, Now: at(noon)})
	detail, took, err := n.Test(soon(t), "ops")
	if err != nil || detail != "the endpoint answered 200" || took <= 0 {
		t.Errorf("Test = %q, %s, %v", detail, took, err)
	}
	var e Event
	if err := json.Unmarshal(last.Load().body, &e); err != nil || e.Event != "test" || e.ID == "" || e.Notifier != "ops" || !e.Time.Equal(noon) {
		t.Errorf("a test is %s, %v", last.Load().body, err)
	}
	if _, _, err := n.Test(soon(t), "away"); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("a notifier that is away: %v", err)
	}
	if _, _, err := n.Test(soon(t), "none"); err == nil {
		t.Error("a notifier that is not there was tested")
	}
	if _, _, err := New(&memory{}, ring, Options{}).Test(soon(t), "ops"); err == nil {
		t.Error("tested before the state was loaded")
	}
}

// An endpoint that takes the request and says nothing ends with the attempt.
func TestSilentEndpoint(t *testing.T) {
	release := make(chan struct{})
	url, last := endpoint(t, func(http.ResponseWriter, *http.Request) { <-release })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := newPost(nil, Options{Allow: loopback}, at(noon)).send(ctx, hook("ops", url), testEvent(hook("ops", url), noon))
		done <- err
	}()
	until(t, "the request", func() bool { return last.Load() != nil })
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) || hopeless(err) {
			t.Errorf("error = %v", err)
		}
	case <-time.After(patience):
		t.Error("the attempt outlived its context")
	}
	close(release)
}

// Secrets that are sealed for one place open nowhere else, and are in no log.
func TestSecretsOfOthers(t *testing.T) {
	var ring Opener = keyring(t)
	n := hook("ops", "http://127.0.0.1:1/")
	n.GetWebhook().Secret = sealed(t, ring.(*secret.Keyring), "id-other", "webhook.secret", "canary-secret")
	_, err := newPost(ring, Options{Allow: loopback}, at(noon)).send(soon(t), n, testEvent(n, noon))
	if err == nil || strings.Contains(err.Error(), "canary") || model.KindOf(n) != model.KindNotifier {
		t.Errorf("error = %v", err)
	}
}
