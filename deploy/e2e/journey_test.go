package e2e

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"fairway/pkg/testkit/fakellm"
)

// journey is what a user of the API does, with the official SDK, through one proxy: every operation, streaming and not,
// and every error. It returns how many requests of it must be on the books.
func journey(t *testing.T, in *installation, p *proxy, key string) int64 {
	t.Helper()
	c := p.client(key)
	ctx := t.Context()

	got, err := c.Chat.Completions.New(ctx, chat("m1", "one two three"))
	if err != nil {
		t.Fatalf("chat: %v", err)
	}
	if got.Choices[0].Message.Content == "" || got.Usage.PromptTokens == 0 || got.Model != "m1" {
		t.Errorf("chat answered %s", got.RawJSON())
	}

	stream := c.Chat.Completions.NewStreaming(ctx, chat("m1", "one two three"))
	acc := openai.ChatCompletionAccumulator{}
	for stream.Next() {
		acc.AddChunk(stream.Current())
	}
	if err := stream.Err(); err != nil {
		t.Fatalf("stream: %v", err)
	}
	if acc.Choices[0].Message.Content != got.Choices[0].Message.Content {
		t.Errorf("streamed %q, plain %q", acc.Choices[0].Message.Content, got.Choices[0].Message.Content)
	}
	if acc.Usage.TotalTokens != 0 {
		t.Errorf("usage came with a stream that did not ask for it: %+v", acc.Usage)
	}

	params := chat("m1", "one two three")
	params.StreamOptions = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}
	stream = c.Chat.Completions.NewStreaming(ctx, params)
	acc = openai.ChatCompletionAccumulator{}
	for stream.Next() {
		acc.AddChunk(stream.Current())
	}
	if err := stream.Err(); err != nil {
		t.Fatalf("stream with usage: %v", err)
	}
	if acc.Usage.PromptTokens != got.Usage.PromptTokens || acc.Usage.CompletionTokens != got.Usage.CompletionTokens {
		t.Errorf("streamed usage %+v, plain %+v", acc.Usage, got.Usage)
	}

	params = chat("m1", "what is the weather")
	params.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
		Name:       "weather",
		Parameters: openai.FunctionParameters{"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}},
	})}
	stream = c.Chat.Completions.NewStreaming(ctx, params)
	acc = openai.ChatCompletionAccumulator{}
	for stream.Next() {
		acc.AddChunk(stream.Current())
	}
	if err := stream.Err(); err != nil {
		t.Fatalf("tools: %v", err)
	}
	calls := acc.Choices[0].Message.ToolCalls
	if len(calls) == 0 || calls[0].Function.Name != "weather" || !strings.HasPrefix(calls[0].Function.Arguments, "{") {
		t.Errorf("tool calls: %+v", calls)
	}

	completion, err := c.Completions.New(ctx, openai.CompletionNewParams{Model: "m1", Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("a b")}})
	if err != nil || completion.Choices[0].Text == "" {
		t.Errorf("completion: %v, %v", completion, err)
	}

	embedded, err := c.Embeddings.New(ctx, openai.EmbeddingNewParams{Model: "m1",
		Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"x", "y z"}}})
	if err != nil || len(embedded.Data) != 2 || len(embedded.Data[1].Embedding) == 0 {
		t.Errorf("embeddings: %v, %v", embedded, err)
	}

	models, err := c.Models.List(ctx)
	if err != nil {
		t.Fatalf("models: %v", err)
	}
	var names []string
	for _, m := range models.Data {
		names = append(names, m.ID)
	}
	if strings.Join(names, ",") != "m1,m2" {
		t.Errorf("models of the key's group: %v", names)
	}
	if m, err := c.Models.Get(ctx, "m2"); err != nil || m.ID != "m2" {
		t.Errorf("model: %v, %v", m, err)
	}
	wrongs(t, p, key)
	return 6
}

// wrongs are the errors that a client can cause, each in OpenAI's envelope and with a request id.
func wrongs(t *testing.T, p *proxy, key string) {
	t.Helper()
	ctx := t.Context()
	tests := []struct {
		name, key string
		do        func(c *openai.Client) error
		status    int
		code      string
	}{
		{"no such key", "sk-nonsense", func(c *openai.Client) error { _, err := c.Chat.Completions.New(ctx, chat("m1", "x")); return err }, 401, "invalid_api_key"},
		{"unknown model", key, func(c *openai.Client) error { _, err := c.Chat.Completions.New(ctx, chat("nope", "x")); return err }, 404, "model_not_found"},
		{"model that is not there", key, func(c *openai.Client) error { _, err := c.Models.Get(ctx, "nope"); return err }, 404, "model_not_found"},
		{"malformed body", key, func(c *openai.Client) error {
			return c.Post(ctx, "chat/completions", nil, nil, option.WithRequestBody("application/json", bytes.NewBufferString("{nope")))
		}, 400, ""},
		{"the provider's own refusal", key, func(c *openai.Client) error {
			return c.Post(ctx, "chat/completions", map[string]any{"model": "m1", "messages": "no list"}, nil)
		}, 400, ""},
		{"unknown path", key, func(c *openai.Client) error { return c.Post(ctx, "chat/nowhere", map[string]any{}, nil) }, 404, ""},
	}
	for _, tt := range tests {
		err := tt.do(p.client(tt.key))
		e := apiError(t, err)
		if e.StatusCode != tt.status || tt.code != "" && e.Code != tt.code || e.Message == "" {
			t.Errorf("%s: got %d %q %q, want %d %q", tt.name, e.StatusCode, e.Code, e.Message, tt.status, tt.code)
		}
		if e.Response.Header.Get("X-Request-Id") == "" {
			t.Errorf("%s: no request id", tt.name)
		}
	}
}

func TestUp(t *testing.T) {
	in := up(t)
	for file, want := range map[string]string{"operator.token": "-rw-------", "join.token": "-rw-------", "kek": "-rw-------", ".": "-rwx------", "etcd": "-rwx------"} {
		if got := mode(t, in.dataDir+"/"+file).String(); got != want {
			t.Errorf("%s has mode %s, want %s", file, got, want)
		}
	}
	fake, url := provider(t, fakellm.Options{
		Accounts: map[string]fakellm.Behaviour{"sk-up-1": fakellm.Healthy()}, Models: []string{"m1", "m2", "m3"}})
	in.channel("main", url, "sk-up-1", "m1,m2", "--wait")
	in.channel("other", url, "sk-up-1", "m3", "--group", "closed", "--wait")
	in.must("model", "create", "m1", "--input-price", "1", "--output-price", "2", "--wait")
	key := in.key("alice")
	wanted := journey(t, in, in.proxies[0], key)

	// A key without the right, and one for another group.
	narrow := in.key("narrow", "--models", "m2*")
	_, err := in.proxies[0].client(narrow).Chat.Completions.New(t.Context(), chat("m1", "x"))
	if e := apiError(t, err); e.StatusCode != 403 {
		t.Errorf("a model that the key may not use: %d %s", e.StatusCode, e.Message)
	}
	_, err = in.proxies[0].client(key).Chat.Completions.New(t.Context(), chat("m3", "x"))
	if e := apiError(t, err); e.StatusCode != 404 {
		t.Errorf("a model that another group has: %d %s", e.StatusCode, e.Message)
	}

	// Disabled: gone at once, and back again.
	in.must("key", "update", "alice", "--disabled", "--wait")
	_, err = in.proxies[0].client(key).Chat.Completions.New(t.Context(), chat("m1", "x"))
	if e := apiError(t, err); e.StatusCode != 401 {
		t.Errorf("a disabled key: %d %s", e.StatusCode, e.Message)
	}
	in.must("key", "update", "alice", "--disabled=false", "--wait")
	if _, err = in.proxies[0].client(key).Chat.Completions.New(t.Context(), chat("m1", "x")); err != nil {
		t.Errorf("an enabled key: %v", err)
	}
	wanted++

	// The provider's own refusal is a request that reached it: on the books, as an error.
	wanted++
	books := func() (total counters) {
		eventually(t, "usage arrives", func() error {
			rows, sum, err := in.usage("--group-by", "key,model,channel,account")
			if err != nil {
				return err
			}
			total = sum
			if sum.Requests < wanted {
				return fmt.Errorf("%d of %d requests are on the books: %+v", sum.Requests, wanted, rows)
			}
			for _, r := range rows {
				if r.Key != "alice" || r.Model != "m1" || r.Channel != "main" || r.Account != "main" {
					return fmt.Errorf("a row that cannot be: %+v", r)
				}
			}
			return nil
		})
		return total
	}
	total, counted := books(), fake.Books().Total
	if total.Requests != wanted || total.Errors != 1 || total.Estimated > 1 || total.Unpriced != 0 {
		t.Errorf("books: %+v, want %d requests of which 1 failed", total, wanted)
	}
	if total.Estimated == 0 && (total.InputTokens != counted.Input || total.OutputTokens != counted.Output) {
		t.Errorf("books have %d/%d tokens, the provider counted %d/%d", total.InputTokens, total.OutputTokens, counted.Input, counted.Output)
	}
	if want := total.InputTokens*1000 + total.OutputTokens*2000; total.CostNanoUSD != want {
		t.Errorf("cost %d nano-USD, want %d", total.CostNanoUSD, want)
	}

	// Everything is still there after a restart.
	in.server.stop()
	in.startUp()
	if _, err := in.proxies[0].client(key).Chat.Completions.New(t.Context(), chat("m1", "x")); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	wanted++
	if total := books(); total.Requests != wanted {
		t.Errorf("after a restart %d requests are on the books, want %d", total.Requests, wanted)
	}
}
