package gateway

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"google.golang.org/genai"

	"fairway/pkg/clientkey"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/fakellm"
)

// offer adds a channel of a provider, the first of them all in its turn, with one account for each secret. It is not
// published.
func (w *world) offer(id string, provider resourcev1.Provider, models []string, secrets ...string) *syncv1.ChannelState {
	w.t.Helper()
	ch := w.channel(id, 100, secrets...)
	ch.Provider, ch.Models, ch.ModelMapping = int32(provider), models, nil
	w.put(syncv1.Kind_KIND_CHANNEL, "c-"+id, ch)
	w.provider.AddModel(models...)
	return ch
}

// update changes a channel that offer made, and publishes.
func (w *world) update(id string, ch *syncv1.ChannelState) {
	w.t.Helper()
	w.put(syncv1.Kind_KIND_CHANNEL, "c-"+id, ch)
	w.publish()
}

// trio is a proxy with three accounts at OpenAI, of which a is tried first and c last.
func trio(t testing.TB, models ...string) *world {
	t.Helper()
	w := newWorld(t)
	for i, secret := range []string{secretA, secretB, secretC} {
		id := string(rune('a' + i))
		ch := w.offer(id, resourcev1.Provider_PROVIDER_OPENAI, models, secret)
		ch.Priority = int32(100 - i)
		w.put(syncv1.Kind_KIND_CHANNEL, "c-"+id, ch)
	}
	w.publish()
	return w
}

// lastServes has the next request fail at the accounts a and b, so that c serves it.
func (w *world) lastServes() {
	for _, secret := range []string{secretA, secretB} {
		b := fakellm.Status(500, "", 0)
		b.Times = 1
		w.provider.SetBehaviour(secret, b)
	}
}

// anotherKey makes a second key of the group.
func (w *world) anotherKey(change func(*syncv1.KeyState)) string {
	w.t.Helper()
	key := clientkey.New().Reveal()
	state := keyState(key, "g1")
	if change != nil {
		change(state)
	}
	w.put(syncv1.Kind_KIND_KEY, "k2", state)
	w.publish()
	return key
}

// call is a request without an SDK, for what none of them would send.
func (w *world) call(t testing.TB, method, target, body string, headers ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+w.addr+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	got, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = got.Body.Close() }()
	all, err := io.ReadAll(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got, string(all)
}

// booksAgree says that what is on our books is what the provider has on its own, and that nothing was guessed.
func (w *world) booksAgree(t *testing.T) {
	t.Helper()
	w.quiet()
	var got fakellm.Counters
	for _, r := range w.books.all() {
		if r.Estimated || r.Error {
			t.Errorf("record %+v", r)
		}
		got.Input += r.Input
		got.Cached += r.Cached
		got.Output += r.Output
	}
	want := w.provider.Books().Total
	if got.Input != want.Input || got.Cached != want.Cached || got.Output != want.Output {
		t.Errorf("books = %+v, the provider's = %+v", got, want)
	}
}

// told is an error as an SDK of any dialect sees it.
type told struct {
	status  int
	kind    string // OpenAI's and Anthropic's type, Gemini's status
	code    string // OpenAI's
	message string
}

// toldAnthropic reads an error of Anthropic's SDK.
func toldAnthropic(t *testing.T, err error) told {
	t.Helper()
	var e *anthropic.Error
	if !errors.As(err, &e) {
		t.Fatalf("error = %v, want one of the API", err)
	}
	return told{status: e.StatusCode, kind: string(e.Type()), message: e.RawJSON()}
}

// toldGemini reads an error of Google's SDK.
func toldGemini(t *testing.T, err error) told {
	t.Helper()
	var e genai.APIError
	if !errors.As(err, &e) {
		t.Fatalf("error = %v, want one of the API", err)
	}
	return told{status: e.Code, kind: e.Status, message: e.Message}
}

// toldOpenAI reads an error of OpenAI's SDK.
func toldOpenAI(t *testing.T, err error) told {
	t.Helper()
	e := apiError(t, err)
	return told{status: e.StatusCode, kind: e.Type, code: e.Code, message: e.Message}
}
