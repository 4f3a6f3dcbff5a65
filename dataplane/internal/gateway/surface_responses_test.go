package gateway

import (
	"net/http"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
)

// respond makes a response with the last account.
func (w *world) respond(t *testing.T, p responses.ResponseNewParams) *responses.Response {
	t.Helper()
	w.lastServes()
	c := w.client()
	p.Model = "gpt-x"
	p.Input.OfString = openai.String("one two three")
	made, err := c.Responses.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// What one account holds is asked of that account: at once where this proxy made it, and by a search where another one did.
func TestSurfaceResponsesStick(t *testing.T) {
	for _, tc := range []struct {
		name       string
		background bool
		do         func(t *testing.T, c openai.Client, id string, o ...option.RequestOption)
	}{
		{name: "retrieve", do: func(t *testing.T, c openai.Client, id string, o ...option.RequestOption) {
			got, err := c.Responses.Get(t.Context(), id, responses.ResponseGetParams{}, o...)
			if err != nil || got.ID != id || got.OutputText() == "" {
				t.Errorf("%s, %v", got.RawJSON(), err)
			}
		}},
		{name: "retrieve as a stream", do: func(t *testing.T, c openai.Client, id string, o ...option.RequestOption) {
			stream := c.Responses.GetStreaming(t.Context(), id, responses.ResponseGetParams{StartingAfter: openai.Int(1)},
				// The SDK says that it wants a stream in the body of a GET.
				append(o, option.WithQuery("stream", "true"))...)
			number, last := int64(2), ""
			for ; stream.Next(); number++ {
				e := stream.Current()
				if e.SequenceNumber != number {
					t.Errorf("event %d has the number %d", number, e.SequenceNumber)
				}
				if last = e.Type; e.Type == "response.completed" && e.Response.ID != id {
					t.Errorf("the response of the stream is %s", e.Response.ID)
				}
			}
			if stream.Err() != nil || last != "response.completed" {
				t.Errorf("the last event is %q: %v", last, stream.Err())
			}
		}},
		{name: "cancel", background: true, do: func(t *testing.T, c openai.Client, id string, o ...option.RequestOption) {
			got, err := c.Responses.Cancel(t.Context(), id, o...)
			if err != nil || got.Status != "cancelled" {
				t.Errorf("%s, %v", got.RawJSON(), err)
			}
		}},
		{name: "input items", do: func(t *testing.T, c openai.Client, id string, o ...option.RequestOption) {
			got, err := c.Responses.InputItems.List(t.Context(), id, responses.InputItemListParams{Limit: openai.Int(1)}, o...)
			if err != nil || len(got.Data) != 1 || !strings.Contains(got.Data[0].RawJSON(), "one two three") {
				t.Errorf("%s, %v", got.RawJSON(), err)
			}
		}},
		{name: "delete", do: func(t *testing.T, c openai.Client, id string, o ...option.RequestOption) {
			if err := c.Responses.Delete(t.Context(), id, o...); err != nil {
				t.Error(err)
			}
			_, err := c.Responses.Get(t.Context(), id, responses.ResponseGetParams{})
			if got := toldOpenAI(t, err); got.status != http.StatusNotFound {
				t.Errorf("after it was deleted: %+v", got)
			}
		}},
		{name: "follow", do: func(t *testing.T, c openai.Client, id string, o ...option.RequestOption) {
			p := responses.ResponseNewParams{Model: "gpt-x", PreviousResponseID: openai.String(id)}
			p.Input.OfString = openai.String("four")
			got, err := c.Responses.New(t.Context(), p, o...)
			if err != nil || got.PreviousResponseID != id || got.Usage.InputTokens != 10 {
				t.Errorf("%s, %v", got.RawJSON(), err)
			}
		}},
		{name: "follow as a stream", do: func(t *testing.T, c openai.Client, id string, o ...option.RequestOption) {
			p := responses.ResponseNewParams{Model: "gpt-x", PreviousResponseID: openai.String(id)}
			p.Input.OfString = openai.String("four")
			stream := c.Responses.NewStreaming(t.Context(), p, o...)
			var last responses.ResponseStreamEventUnion
			for stream.Next() {
				last = stream.Current()
			}
			if stream.Err() != nil || last.Response.PreviousResponseID != id || last.Response.Usage.InputTokens != 10 {
				t.Errorf("%s, %v", last.RawJSON(), stream.Err())
			}
		}},
	} {
		for _, known := range []bool{true, false} {
			t.Run(tc.name+map[bool]string{true: ", owner known", false: ", owner unknown"}[known], func(t *testing.T) {
				w := trio(t, "gpt-x")
				w.debug()
				made := w.respond(t, responses.ResponseNewParams{Background: openai.Bool(tc.background)})
				if !known {
					w.gateway.owners = owners{} // as in another proxy
				}
				var head *http.Response
				tc.do(t, w.client(), made.ID, option.WithResponseInto(&head))
				if head.Header.Get("X-Fairway-Account") != "acc-c0" {
					t.Errorf("it was served by %q", head.Header.Get("X-Fairway-Account"))
				}
				if n := head.Header.Get("X-Fairway-Attempts"); known && n != "1" {
					t.Errorf("%s accounts were asked for what is known", n)
				}
				// Whoever was asked in vain has not failed.
				for _, account := range []string{"acc-a0", "acc-b0"} {
					if n := w.cell(account).Failures.Load(); n != 1 {
						t.Errorf("%s has %d failures, want that of the first request", account, n)
					}
				}
				if !tc.background {
					w.booksAgree(t)
				}
			})
		}
	}
}

// What another key made does not exist, and what nobody made is nobody's.
func TestSurfaceResponsesOfOthers(t *testing.T) {
	w := trio(t, "gpt-x")
	made := w.respond(t, responses.ResponseNewParams{})
	other := w.client(option.WithAPIKey(w.anotherKey(nil)))
	for name, tc := range map[string]struct {
		c  openai.Client
		id string
	}{"another key's": {other, made.ID}, "nobody's": {w.client(), "resp_nobody"}} {
		t.Run(name, func(t *testing.T) {
			_, err := tc.c.Responses.Get(t.Context(), tc.id, responses.ResponseGetParams{})
			if got := toldOpenAI(t, err); got.status != 404 || got.code != "not_found" || got.kind != "invalid_request_error" {
				t.Errorf("retrieve: %+v", got)
			}
			stream := tc.c.Responses.GetStreaming(t.Context(), tc.id, responses.ResponseGetParams{})
			for stream.Next() {
				t.Errorf("retrieve as a stream: %+v", stream.Current())
			}
			if got := toldOpenAI(t, stream.Err()); got.status != 404 {
				t.Errorf("retrieve as a stream: %+v", got)
			}
			if got := toldOpenAI(t, tc.c.Responses.Delete(t.Context(), tc.id)); got.status != 404 {
				t.Errorf("delete: %+v", got)
			}
			_, err = tc.c.Responses.Cancel(t.Context(), tc.id)
			if got := toldOpenAI(t, err); got.status != 404 {
				t.Errorf("cancel: %+v", got)
			}
			_, err = tc.c.Responses.InputItems.List(t.Context(), tc.id, responses.InputItemListParams{})
			if got := toldOpenAI(t, err); got.status != 404 {
				t.Errorf("input items: %+v", got)
			}
			p := responses.ResponseNewParams{Model: "gpt-x", PreviousResponseID: openai.String(tc.id)}
			p.Input.OfString = openai.String("four")
			_, err = tc.c.Responses.New(t.Context(), p)
			if got := toldOpenAI(t, err); got.status != 400 || got.code != "previous_response_not_found" {
				t.Errorf("follow: %+v", got)
			}
		})
	}
	// It is still there for its own key.
	c := w.client()
	if got, err := c.Responses.Get(t.Context(), made.ID, responses.ResponseGetParams{}); err != nil || got.ID != made.ID {
		t.Errorf("%s, %v", got.RawJSON(), err)
	}
}

// Only OpenAI counts what a response would take in; for others it is estimated, never low, and said to be.
func TestTrap09SurfaceResponseInputTokens(t *testing.T) {
	w := manyWorlds(t)
	c := w.client()
	for model, want := range map[string]struct {
		tokens int64
		lossy  string
	}{
		"o-think": {3, ""}, "claude-sonnet-4-5": {0, "token_estimate"}, "gemini-3-pro": {0, "token_estimate"},
		"amazon.nova-pro-v1": {0, "token_estimate"},
	} {
		p := responses.InputTokenCountParams{Model: openai.String(model)}
		p.Input.OfString = openai.String("one two three")
		var head *http.Response
		got, err := c.Responses.InputTokens.Count(t.Context(), p, option.WithResponseInto(&head))
		if err != nil {
			t.Errorf("%s: %v", model, err)
			continue
		}
		if lossy := head.Header.Get("X-Fairway-Lossy"); lossy != want.lossy || want.tokens != 0 && got.InputTokens != want.tokens ||
			got.InputTokens < 3 || got.Object != "response.input_tokens" {
			t.Errorf("%s: %+v, lossy %q", model, got, lossy)
		}
	}
	if n := len(w.books.all()); n != 0 {
		t.Errorf("%d records for what costs nothing", n)
	}
}
