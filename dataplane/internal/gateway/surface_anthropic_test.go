package gateway

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Who counts tokens is asked; where nobody does, the guess is never low and says that it is one.
func TestTrap09SurfaceCountTokens(t *testing.T) {
	w := manyWorlds(t)
	c := w.claude(t)
	const text = "one two three four"
	for _, tc := range []struct {
		model string
		exact bool
	}{{"claude-sonnet-4-5", true}, {"gemini-3-pro", true}, {"o-think", false}, {"c-plain", false}, {"amazon.nova-pro-v1", false}} {
		t.Run(tc.model, func(t *testing.T) {
			var head *http.Response
			got, err := c.Messages.CountTokens(t.Context(), anthropic.MessageCountTokensParams{
				Model: tc.model, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(text))},
				System: anthropic.MessageCountTokensParamsSystemUnion{OfString: anthropic.String("Be brief.")},
			}, anthropicoption.WithResponseInto(&head))
			if err != nil {
				t.Fatal(err)
			}
			const want = 6
			if lossy := head.Header.Get("X-Fairway-Lossy"); tc.exact && (got.InputTokens != want || lossy != "") ||
				!tc.exact && (got.InputTokens < want || lossy != "token_estimate") {
				t.Errorf("%d tokens, lossy %q", got.InputTokens, lossy)
			}
		})
	}
	if n := len(w.books.all()); n != 0 {
		t.Errorf("%d records for what costs nothing", n)
	}
}

func TestSurfaceAnthropicModels(t *testing.T) {
	w := manyWorlds(t)
	limited := w.anotherKey(func(k *syncv1.KeyState) { k.Models = []string{"claude-*", "gemini-3-pro"} })
	c := w.claude(t)
	var got []string
	pages := c.Models.ListAutoPaging(t.Context(), anthropic.ModelListParams{}, anthropicoption.WithAPIKey(limited))
	for pages.Next() {
		got = append(got, pages.Current().ID)
	}
	if pages.Err() != nil || !slices.Equal(got, []string{"claude-sonnet-4-5", "gemini-3-pro"}) {
		t.Errorf("%q, %v", got, pages.Err())
	}
	one, err := c.Models.Get(t.Context(), "claude-sonnet-4-5", anthropic.ModelGetParams{})
	if err != nil || one.ID != "claude-sonnet-4-5" || one.Type != "model" {
		t.Errorf("%s, %v", one.RawJSON(), err)
	}
	_, err = c.Models.Get(t.Context(), "o-think", anthropic.ModelGetParams{}, anthropicoption.WithAPIKey(limited))
	if e := toldAnthropic(t, err); e.status != 404 || e.kind != "not_found_error" {
		t.Errorf("%+v", e)
	}
}

func batchOf(model string) anthropic.MessageBatchNewParams {
	one := func(id string) anthropic.MessageBatchNewParamsRequest {
		return anthropic.MessageBatchNewParamsRequest{CustomID: id, Params: anthropic.MessageBatchNewParamsRequestParams{
			Model: model, MaxTokens: 100,
			Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("one two three"))},
		}}
	}
	return anthropic.MessageBatchNewParams{Requests: []anthropic.MessageBatchNewParamsRequest{one("first"), one("second")}}
}

// A batch stays with the account that has it, whether this proxy knows which, or another one made it.
func TestSurfaceBatches(t *testing.T) {
	for _, known := range []bool{true, false} {
		t.Run(map[bool]string{true: "owner known", false: "owner unknown"}[known], func(t *testing.T) {
			w := newWorld(t)
			for i, secret := range []string{secretA, secretB, secretC} {
				id := string(rune('a' + i))
				ch := w.offer(id, resourcev1.Provider_PROVIDER_ANTHROPIC, []string{"claude"}, secret)
				ch.Priority, ch.ModelMapping = int32(100-i), map[string]string{"claude": "claude-sonnet-4-5"}
				w.put(syncv1.Kind_KIND_CHANNEL, "c-"+id, ch)
			}
			w.debug()
			c := w.claude(t)
			make1 := func() string {
				w.lastServes()
				made, err := c.Messages.Batches.New(t.Context(), batchOf("claude"))
				if err != nil || made.ProcessingStatus != "in_progress" {
					t.Fatalf("%s, %v", made.RawJSON(), err)
				}
				return made.ID
			}
			var head *http.Response
			o := []anthropicoption.RequestOption{anthropicoption.WithResponseInto(&head)}
			forget := func() {
				if !known {
					w.gateway.owners = owners{} // as in another proxy
				}
			}
			served := func(what string) {
				t.Helper()
				if by, n := head.Header.Get("X-Fairway-Account"), head.Header.Get("X-Fairway-Attempts"); by != "acc-c0" || known && n != "1" {
					t.Errorf("%s: served by %q, at attempt %s", what, by, n)
				}
			}
			id := make1()
			forget()
			got, err := c.Messages.Batches.Get(t.Context(), id, anthropic.MessageBatchGetParams{}, o...)
			if err != nil || got.ProcessingStatus != "ended" || got.RequestCounts.Succeeded != 2 {
				t.Errorf("%s, %v", got.RawJSON(), err)
			}
			served("get")
			forget()
			results := c.Messages.Batches.ResultsStreaming(t.Context(), id, anthropic.MessageBatchResultsParams{}, o...)
			var ids []string
			for results.Next() {
				r := results.Current()
				ids = append(ids, r.CustomID)
				if m := r.Result.Message; len(m.Content) == 0 || !strings.HasPrefix(m.Content[0].Text, "Hello!") {
					t.Errorf("%s", r.RawJSON())
				}
			}
			if results.Err() != nil || !slices.Equal(ids, []string{"first", "second"}) {
				t.Errorf("%q, %v", ids, results.Err())
			}
			served("results")
			forget()
			deleted, err := c.Messages.Batches.Delete(t.Context(), id, anthropic.MessageBatchDeleteParams{}, o...)
			if err != nil || deleted.ID != id {
				t.Errorf("%s, %v", deleted.RawJSON(), err)
			}
			served("delete")

			id = make1()
			other := w.claude(t)
			_, err = other.Messages.Batches.Get(t.Context(), id, anthropic.MessageBatchGetParams{}, anthropicoption.WithAPIKey(w.anotherKey(nil)))
			if e := toldAnthropic(t, err); e.status != 404 || e.kind != "not_found_error" {
				t.Errorf("another key's: %+v", e)
			}
			forget()
			canceled, err := c.Messages.Batches.Cancel(t.Context(), id, anthropic.MessageBatchCancelParams{}, o...)
			if err != nil || canceled.ProcessingStatus != "canceling" {
				t.Errorf("%s, %v", canceled.RawJSON(), err)
			}
			served("cancel")
			_, err = c.Messages.Batches.List(t.Context(), anthropic.MessageBatchListParams{})
			if e := toldAnthropic(t, err); e.status != 501 || !strings.Contains(e.message, "batches cannot be listed") {
				t.Errorf("list: %+v", e)
			}
			_, err = c.Messages.Batches.Get(t.Context(), "msgbatch_nobody", anthropic.MessageBatchGetParams{})
			if e := toldAnthropic(t, err); e.status != 404 || e.kind != "not_found_error" {
				t.Errorf("nobody's: %+v", e)
			}
		})
	}
	t.Run("no provider has them", func(t *testing.T) {
		w := manyWorlds(t)
		c := w.claude(t)
		_, err := c.Messages.Batches.New(t.Context(), batchOf("o-think"))
		if e := toldAnthropic(t, err); e.status != 400 || e.kind != "invalid_request_error" || !strings.Contains(e.message, "not served") {
			t.Errorf("%+v", e)
		}
	})
}

// What a client may do wrong is told in its dialect.
func TestSurfaceAnthropicErrors(t *testing.T) {
	w := manyWorlds(t)
	c := w.claude(t)
	ask := func(model string, o ...anthropicoption.RequestOption) error {
		_, err := c.Messages.New(t.Context(), anthropic.MessageNewParams{
			Model: model, MaxTokens: 10, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("x"))},
		}, o...)
		return err
	}
	for _, tc := range []struct {
		name   string
		err    error
		status int
		kind   string
	}{
		{"no such model", ask("nobody"), 404, "not_found_error"},
		{"no such key", ask("claude-sonnet-4-5", anthropicoption.WithAPIKey("sk-ant-wrong")), 401, "authentication_error"},
		{"nonsense", ask("claude-sonnet-4-5", anthropicoption.WithJSONSet("messages", "x")), 400, "invalid_request_error"},
		{"nonsense that must be converted", ask("o-think", anthropicoption.WithJSONSet("messages", "x")), 400, "invalid_request_error"},
		{"no such URL", ask("o-think", anthropicoption.WithBaseURL("http://"+w.addr+"/v1/messages/")), 404, "not_found_error"},
	} {
		got := toldAnthropic(t, tc.err)
		if got.status != tc.status || got.kind != tc.kind || !strings.Contains(got.message, `"request_id":"`) {
			t.Errorf("%s: %+v", tc.name, got)
		}
	}
}
