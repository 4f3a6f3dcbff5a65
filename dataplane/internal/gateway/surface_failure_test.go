package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/responses"
	"google.golang.org/genai"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/fakellm"
)

// caught is a client of one dialect, by its official SDK, that says what became of a small question. heard is called for
// each event of a stream.
type caught struct {
	name string
	ask  func(ctx context.Context, t *testing.T, w *world, model string, stream bool, heard func()) (text string, err error)
	told func(t *testing.T, err error) told
}

func catchers() []caught {
	return []caught{
		{"chat", catchChat, toldOpenAI}, {"responses", catchResponses, toldOpenAI},
		{"messages", catchMessages, toldAnthropic}, {"generate", catchGenerate, toldGemini},
	}
}

func catchChat(ctx context.Context, _ *testing.T, w *world, model string, stream bool, heard func()) (text string, err error) {
	c := w.client()
	if !stream {
		got, err := c.Chat.Completions.New(ctx, hello(model))
		if err != nil {
			return "", err
		}
		return got.Choices[0].Message.Content, nil
	}
	s := c.Chat.Completions.NewStreaming(ctx, hello(model))
	defer func() { _ = s.Close() }()
	for s.Next() {
		for _, choice := range s.Current().Choices {
			text += choice.Delta.Content
		}
		heard()
	}
	return text, s.Err()
}

func catchResponses(ctx context.Context, _ *testing.T, w *world, model string, stream bool, heard func()) (text string, err error) {
	c := w.client()
	p := responses.ResponseNewParams{Model: model}
	p.Input.OfString = openai.String("one two three")
	if !stream {
		got, err := c.Responses.New(ctx, p)
		if err != nil {
			return "", err
		}
		return got.OutputText(), nil
	}
	s := c.Responses.NewStreaming(ctx, p)
	defer func() { _ = s.Close() }()
	for s.Next() {
		e := s.Current()
		switch e.Type {
		case "response.output_text.delta":
			text += e.Delta
		case "error":
			// The SDK hands this one on as an event like any other.
			err = fmt.Errorf("%s: %s", e.Code, e.Message)
		case "response.failed":
			err = fmt.Errorf("%s: %s", e.Response.Error.Code, e.Response.Error.Message)
		}
		heard()
	}
	return text, errors.Join(err, s.Err())
}

func catchMessages(ctx context.Context, t *testing.T, w *world, model string, stream bool, heard func()) (text string, err error) {
	c := w.claude(t)
	p := anthropic.MessageNewParams{
		Model: model, MaxTokens: 100, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("one two three"))},
	}
	if !stream {
		got, err := c.Messages.New(ctx, p)
		if err != nil {
			return "", err
		}
		return got.Content[0].Text, nil
	}
	s := c.Messages.NewStreaming(ctx, p)
	defer func() { _ = s.Close() }()
	for s.Next() {
		text += s.Current().Delta.Text
		heard()
	}
	return text, s.Err()
}

func catchGenerate(ctx context.Context, t *testing.T, w *world, model string, stream bool, heard func()) (text string, err error) {
	c := w.google(t)
	if !stream {
		got, err := c.Models.GenerateContent(ctx, model, genai.Text("one two three"), nil)
		if err != nil {
			return "", err
		}
		return got.Text(), nil
	}
	for got, err := range c.Models.GenerateContentStream(ctx, model, genai.Text("one two three"), nil) {
		if err != nil {
			return text, err
		}
		text += got.Text()
		heard()
	}
	return text, nil
}

// greeting is what the fake provider says, over and over where it has room for more.
const greeting = "Hello! This is the fake provider."

// pair is a proxy with two channels of a kind, of one account each; credentials are theirs as the fake provider knows them,
// that which is tried first before the other.
func pair(t *testing.T, k upstreamKind) (w *world, credentials [2]string) {
	t.Helper()
	w = newWorld(t)
	const second = "aws-secret-key-of-another"
	w.provider.AddAccessKey(fakellm.AccessKey{ID: "AKIATEST", Secret: "aws-secret-key-of-the-test", Account: secretB})
	w.provider.AddAccessKey(fakellm.AccessKey{ID: "AKIAOTHER", Secret: second, Account: secretC})
	credentials = [2]string{secretA, secretC}
	secrets, ids := credentials, [2]string{}
	if k.keyID != "" {
		credentials[0] = secretB
		secrets, ids = [2]string{k.secret, second}, [2]string{k.keyID, "AKIAOTHER"}
	}
	for i, name := range []string{"first", "second"} {
		w.put(syncv1.Kind_KIND_CHANNEL, "c-"+name, &syncv1.ChannelState{
			Name: "ch-" + name, Provider: int32(k.provider), BaseUrl: w.upstream, Models: []string{"m"}, ModelMapping: map[string]string{"m": k.model},
			GroupIds: []string{"g1"}, Weight: 100, PriceRatioPpm: 1_000_000, ApiVersion: k.version, Region: k.region, Priority: int32(100 - i),
		})
		w.put(syncv1.Kind_KIND_ACCOUNT, "a-"+name, &syncv1.AccountState{
			Name: "acc-" + name, ChannelId: "c-" + name, Secret: secrets[i], AccessKeyId: ids[i], Weight: 100,
		})
	}
	w.publish()
	return w, credentials
}

// eachWay runs a test for each client at each provider.
func eachWay(t *testing.T, do func(t *testing.T, k upstreamKind, c caught)) {
	t.Helper()
	for _, k := range upstreamKinds() {
		for _, c := range catchers() {
			t.Run(c.name+" to "+k.name, func(t *testing.T) { do(t, k, c) })
		}
	}
}

func ignore() {}

// A provider's error is the client's own kind of error, with its status; but what a provider thinks of our credentials is
// not the client's business.
func TestTrap12SurfaceErrors(t *testing.T) {
	type want struct {
		status                    int
		openai, anthropic, gemini string
	}
	wants := map[int]want{
		400: {400, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"},
		401: {503, "server_error", "overloaded_error", "UNAVAILABLE"},
		429: {429, "rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"},
		500: {500, "server_error", "api_error", "INTERNAL"},
		529: {529, "server_error", "overloaded_error", "UNAVAILABLE"},
	}
	eachWay(t, func(t *testing.T, k upstreamKind, c caught) {
		for status, want := range wants {
			for _, stream := range []bool{false, true} {
				w, credentials := pair(t, k)
				for _, credential := range credentials {
					w.provider.SetBehaviour(credential, fakellm.Status(status, "", 0))
				}
				_, err := c.ask(t.Context(), t, w, "m", stream, ignore)
				got := c.told(t, err)
				kind := map[string]string{"chat": want.openai, "responses": want.openai, "messages": want.anthropic, "generate": want.gemini}[c.name]
				if status == 529 && k.name == "gemini" && c.name == "generate" {
					kind = "INTERNAL" // Google has no such status; its own word passes
				}
				if got.status != want.status || got.kind != kind && c.name != "chat" && c.name != "responses" || got.message == "" {
					t.Errorf("%d, stream=%v: %+v, want %d %s", status, stream, got, want.status, kind)
				}
				if n := len(w.served()); n != map[bool]int{true: 1, false: 2}[status == 400] {
					t.Errorf("%d, stream=%v: %d attempts", status, stream, n)
				}
			}
		}
	})
}

// An account that fails before the first byte costs the client nothing: another one answers.
func TestSurfaceFailover(t *testing.T) {
	eachWay(t, func(t *testing.T, k upstreamKind, c caught) {
		for name, tc := range map[string]struct {
			fault      fakellm.Behaviour
			streamOnly bool
		}{
			"500":               {fault: fakellm.Status(500, "", 0)},
			"429":               {fault: fakellm.Status(429, "", 0)},
			"closed":            {fault: fakellm.CloseBeforeBytes()},
			"error first":       {fault: fakellm.ErrorFirstEvent(""), streamOnly: true},
			"died before event": {fault: fakellm.DieMidStream(0, fakellm.RST), streamOnly: true},
		} {
			for _, stream := range []bool{false, true} {
				if tc.streamOnly && !stream {
					continue
				}
				w, credentials := pair(t, k)
				w.provider.SetBehaviour(credentials[0], tc.fault)
				text, err := c.ask(t.Context(), t, w, "m", stream, ignore)
				if err != nil || !strings.HasPrefix(text, greeting) {
					t.Errorf("%s, stream=%v: %.99q, %v", name, stream, text, err)
				}
				if d := cmp.Diff(credentials[:], w.served()); d != "" {
					t.Errorf("%s, stream=%v: attempts (-want +got):\n%s", name, stream, d)
				}
				w.booksAgree(t)
				if r := w.record(); r.AccountID != "a-second" || r.Model != "m" {
					t.Errorf("%s, stream=%v: record %+v", name, stream, r)
				}
			}
		}
	})
}

// A stream that dies is an error to the SDK, however it died: none takes what it got for all.
func TestTrap02SurfaceStreamsDie(t *testing.T) {
	eachWay(t, func(t *testing.T, k upstreamKind, c caught) {
		for name, fault := range map[string]fakellm.Behaviour{
			"reset": fakellm.DieMidStream(5, fakellm.RST), "closed": fakellm.DieMidStream(5, fakellm.FIN),
			"clean end": fakellm.DieMidStream(5, fakellm.CleanEnd),
		} {
			w, credentials := pair(t, k)
			w.provider.SetBehaviour(credentials[0], fault)
			text, err := c.ask(t.Context(), t, w, "m", true, ignore)
			if err == nil || !strings.HasPrefix(greeting, text) {
				t.Errorf("%s: %.99q, %v", name, text, err)
			}
			if n := len(w.served()); n != 1 {
				t.Errorf("%s: %d attempts", name, n)
			}
			if r := w.record(); !r.Error {
				t.Errorf("%s: record %+v", name, r)
			}
			w.quiet()
			if n := len(w.books.all()); n != 1 {
				t.Errorf("%s: %d records", name, n)
			}
		}
	})
}

// An error event in the middle of a 200 is a failure to the client, to the books and to the account.
func TestTrap03ErrorInsideASuccess(t *testing.T) {
	eachWay(t, func(t *testing.T, k upstreamKind, c caught) {
		w, credentials := pair(t, k)
		// What came together with the error was not sent, and would be tried again.
		fault := fakellm.ErrorMidStream(5, "")
		fault.Interval = 5 * time.Millisecond
		w.provider.SetBehaviour(credentials[0], fault)
		text, err := c.ask(t.Context(), t, w, "m", true, ignore)
		if err == nil || !strings.HasPrefix(greeting, text) {
			t.Errorf("%.99q, %v", text, err)
		}
		if r := w.record(); !r.Error || r.AccountID != "a-first" {
			t.Errorf("record %+v", r)
		}
		w.quiet()
		w.eventually("the decision is logged", func() bool { return strings.Contains(w.log.String(), "error_event") })
		if n := len(w.books.all()); n != 1 {
			t.Errorf("%d records", n)
		}
	})
}

// A client that leaves a stream, converted or not, ends the upstream's; what was delivered is on the books.
func TestTrap11SurfaceCancel(t *testing.T) {
	eachWay(t, func(t *testing.T, k upstreamKind, c caught) {
		w, credentials := pair(t, k)
		gate := fakellm.NewGate()
		w.provider.SetBehaviour(credentials[0], fakellm.HangMidStream(6, gate))
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		left, delivered := make(chan struct{}), make(chan struct{}, 1)
		go func() {
			defer close(left)
			_, err := c.ask(ctx, t, w, "m", true, func() {
				select {
				case delivered <- struct{}{}:
				default:
				}
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("err = %v", err)
			}
		}()
		wait(t, "the upstream holds the stream", gate.Entered())
		wait(t, "something is delivered", delivered)
		leave()
		wait(t, "the upstream request is canceled", gate.Canceled())
		<-left
		if r := w.record(); r.Error || r.AccountID != "a-first" || r.Input == 0 {
			t.Errorf("record %+v", r)
		}
		w.quiet()
		if n := len(w.books.all()); n != 1 {
			t.Errorf("%d records", n)
		}
		if n := len(w.served()); n != 1 {
			t.Errorf("%d attempts", n)
		}
	})
}
