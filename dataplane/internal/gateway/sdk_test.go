package gateway

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared"

	"fairway/dataplane/internal/report"
	"fairway/pkg/clientkey"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

var ignoreTime = cmpopts.IgnoreFields(report.Record{}, "TimeMS", "BeginMS", "GroupID")

func hello(model string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:    model,
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("one two three")},
	}
}

func TestSDKChat(t *testing.T) {
	w := newWorld(t)
	w.put(syncv1.Kind_KIND_MODEL, "m1", &syncv1.ModelState{
		Name: "gpt-x", Priced: true, Input: 1_000_000, CachedInput: 500_000, Output: 2_000_000,
	})
	w.tiers(secretA)
	client := w.client()
	got, err := client.Chat.Completions.New(context.Background(), hello("gpt-x"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Choices[0].Message.Content != "Hello! This is the fake provider." {
		t.Errorf("content = %q", got.Choices[0].Message.Content)
	}
	want := report.Record{
		KeyID: "k1", ChannelID: "c-a", AccountID: "a-a0", Model: "gpt-x", Input: 3, Output: 6,
		CostNanoUSD: 2 * (3*1 + 6*2), // the group's ratio is 2
	}
	r := w.record()
	want.PriceVersion = r.PriceVersion
	if d := cmp.Diff(want, r, ignoreTime); d != "" || r.PriceVersion == 0 {
		t.Errorf("record (-want +got, version %d):\n%s", r.PriceVersion, d)
	}
}

func TestSDKStream(t *testing.T) {
	for _, ask := range []bool{false, true} {
		t.Run(map[bool]string{false: "usage not asked", true: "usage asked"}[ask], func(t *testing.T) {
			w := newWorld(t)
			w.tiers(secretA)
			p := hello("gpt-x")
			if ask {
				p.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
			}
			client := w.client()
			stream := client.Chat.Completions.NewStreaming(context.Background(), p)
			var text strings.Builder
			usages := 0
			for stream.Next() {
				chunk := stream.Current()
				for _, c := range chunk.Choices {
					text.WriteString(c.Delta.Content)
				}
				if len(chunk.Choices) == 0 {
					usages++
				}
			}
			if err := stream.Err(); err != nil {
				t.Fatal(err)
			}
			if text.String() != "Hello! This is the fake provider." {
				t.Errorf("text = %q", text.String())
			}
			if want := map[bool]int{false: 0, true: 1}[ask]; usages != want {
				t.Errorf("usage chunks = %d, want %d", usages, want)
			}
			want := report.Record{
				KeyID: "k1", ChannelID: "c-a", AccountID: "a-a0", Model: "gpt-x", Input: 3, Output: 6, Unpriced: true,
			}
			if d := cmp.Diff(want, w.record(), ignoreTime); d != "" {
				t.Errorf("record (-want +got):\n%s", d)
			}
		})
	}
}

func TestSDKTools(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA)
	p := hello("gpt-x")
	p.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
		Name: "weather",
		Parameters: shared.FunctionParameters{
			"type": "object", "properties": map[string]any{"city": map[string]string{"type": "string"}},
		},
	})}
	client := w.client()
	stream := client.Chat.Completions.NewStreaming(context.Background(), p)
	acc := openai.ChatCompletionAccumulator{}
	for stream.Next() {
		acc.AddChunk(stream.Current())
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	calls := acc.Choices[0].Message.ToolCalls
	if len(calls) == 0 || calls[0].Function.Name != "weather" {
		t.Errorf("tool calls = %+v", calls)
	}
	if r := w.record(); r.Estimated || r.Output == 0 {
		t.Errorf("record = %+v", r)
	}
}

func TestSDKCompletionsAndEmbeddings(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA)
	client := w.client()
	completion, err := client.Completions.New(context.Background(), openai.CompletionNewParams{
		Model: "gpt-x", Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("a b")},
	})
	if err != nil || completion.Choices[0].Text == "" {
		t.Fatalf("completion = %+v, %v", completion, err)
	}
	if r := w.record(); r.Input != 2 || r.Output == 0 || r.Estimated {
		t.Errorf("record of completion = %+v", r)
	}
	embedding, err := client.Embeddings.New(context.Background(), openai.EmbeddingNewParams{
		Model: "embed-x", Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"a b", "c d e"}},
	})
	if err != nil || len(embedding.Data) != 2 {
		t.Fatalf("embedding = %+v, %v", embedding, err)
	}
	if r := w.record(); r.Input != 5 || r.Output != 0 || r.Estimated {
		t.Errorf("record of embedding = %+v", r)
	}
}

func TestSDKMappedModel(t *testing.T) {
	w := newWorld(t)
	w.tiers(secretA)
	client := w.client()
	if _, err := client.Chat.Completions.New(context.Background(), hello("alias-z")); err != nil {
		t.Fatal(err)
	}
	if got := w.provider.Requests()[0].Model; got != "up-z" {
		t.Errorf("the upstream was asked for %q", got)
	}
	if r := w.record(); r.Model != "alias-z" {
		t.Errorf("on the books: %q", r.Model)
	}
}

func TestSDKModels(t *testing.T) {
	w := newWorld(t)
	limited := clientkey.New().Reveal()
	k := keyState(limited, "g1")
	k.Models = []string{"gpt-*"}
	w.put(syncv1.Kind_KIND_KEY, "k2", k)
	w.tiers(secretA)
	for _, tc := range []struct {
		name, key string
		want      []string
	}{
		{"all", w.key, []string{"alias-z", "embed-x", "gpt-x", "gpt-y"}},
		{"by the key's rule", limited, []string{"gpt-x", "gpt-y"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client := w.client(option.WithAPIKey(tc.key))
			var got []string
			pages := client.Models.ListAutoPaging(context.Background())
			for pages.Next() {
				got = append(got, pages.Current().ID)
			}
			if pages.Err() != nil {
				t.Fatal(pages.Err())
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("models (-want +got):\n%s", d)
			}
		})
	}
	client := w.client(option.WithAPIKey(limited))
	if m, err := client.Models.Get(context.Background(), "gpt-x"); err != nil || m.ID != "gpt-x" {
		t.Errorf("model = %+v, %v", m, err)
	}
	for _, model := range []string{"embed-x", "no-such"} {
		_, err := client.Models.Get(context.Background(), model)
		if e := apiError(t, err); e.StatusCode != http.StatusNotFound || e.Code != "model_not_found" {
			t.Errorf("%s: %v", model, err)
		}
	}
	if n := len(w.books.all()); n != 0 {
		t.Errorf("%d usage records for lists of models", n)
	}
}

func apiError(t *testing.T, err error) *openai.Error {
	t.Helper()
	var e *openai.Error
	if !errors.As(err, &e) {
		t.Fatalf("error = %v, want one of the API", err)
	}
	return e
}
