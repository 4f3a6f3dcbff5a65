package fakellm

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared"
)

func question(text string) openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(text)},
	}
}

func TestChat(t *testing.T) {
	p, s := start(t, Healthy())
	got, err := sdk(t, s).Chat.Completions.New(t.Context(), question("how are you today"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Model != model || got.Choices[0].Message.Content != fixedText || got.Choices[0].FinishReason != "stop" {
		t.Errorf("answer %+v", got)
	}
	if u := got.Usage; u.PromptTokens != 4 || u.CompletionTokens != 6 || u.TotalTokens != 10 {
		t.Errorf("usage %+v", u)
	}
	want := Counters{Started: 1, Finished: 1, Input: 4, Output: 6}
	if diff := cmp.Diff(Books{
		Total: want, Credentials: map[string]Counters{credential: want}, Models: map[string]Counters{model: want},
	}, p.Books()); diff != "" {
		t.Error(diff)
	}
	wantNoViolations(t, p)
}

func TestUsageIsWhatTheRequestSays(t *testing.T) {
	p, s := start(t, Healthy())
	q := question("how are you today")
	q.MaxTokens = openai.Int(3)
	q.Metadata = shared.Metadata{"fakellm_input": "100", "fakellm_cached": "40", "fakellm_output": "9"}
	got, err := sdk(t, s).Chat.Completions.New(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if u := got.Usage; u.PromptTokens != 100 || u.PromptTokensDetails.CachedTokens != 40 || u.CompletionTokens != 9 {
		t.Errorf("usage %+v", u)
	}
	if n := len(strings.Fields(got.Choices[0].Message.Content)); n != 3 || got.Choices[0].FinishReason != "length" {
		t.Errorf("%d words, finish %s; want 3, length", n, got.Choices[0].FinishReason)
	}
	if diff := cmp.Diff(Counters{Started: 1, Finished: 1, Input: 100, Cached: 40, Output: 9}, p.Books().Total); diff != "" {
		t.Error(diff)
	}
}

func TestChatStream(t *testing.T) {
	for _, includeUsage := range []bool{false, true} {
		p, s := start(t, Healthy())
		q := question("how are you today")
		if includeUsage {
			q.StreamOptions.IncludeUsage = openai.Bool(true)
		}
		stream := sdk(t, s).Chat.Completions.NewStreaming(t.Context(), q)
		sum := openai.ChatCompletionAccumulator{}
		var nulls, last int
		for stream.Next() {
			chunk := stream.Current()
			if !sum.AddChunk(chunk) {
				t.Error("chunk does not fit")
			}
			switch {
			case len(chunk.Choices) == 0:
				last++
			case strings.HasSuffix(chunk.RawJSON(), `"usage":null}`):
				nulls++
			case includeUsage:
				t.Errorf("chunk without usage null: %s", chunk.RawJSON())
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		if sum.Choices[0].Message.Content != fixedText || sum.Choices[0].FinishReason != "stop" {
			t.Errorf("answer %+v", sum.ChatCompletion)
		}
		wantLast, wantUsage := 0, int64(0)
		if includeUsage {
			wantLast, wantUsage = 1, 10
		}
		if last != wantLast || (nulls > 0) != includeUsage || sum.Usage.TotalTokens != wantUsage {
			t.Errorf("include_usage %t: %d usage chunks, %d nulls, total %d", includeUsage, last, nulls, sum.Usage.TotalTokens)
		}
		if diff := cmp.Diff(Counters{Started: 1, Finished: 1, Input: 4, Output: 6}, p.Books().Total); diff != "" {
			t.Error(diff)
		}
		wantNoViolations(t, p)
	}
}

func TestTools(t *testing.T) {
	p, s := start(t, Healthy())
	q := question("weather please")
	for _, name := range []string{"weather", "time"} {
		q.Tools = append(q.Tools, openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
			Name: name, Parameters: shared.FunctionParameters{
				"type":       "object",
				"properties": map[string]any{"city": map[string]any{"type": "string"}, "days": map[string]any{"type": "integer"}},
				"required":   []string{"city", "days"},
			},
		}))
	}
	client := sdk(t, s)
	whole, err := client.Chat.Completions.New(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	stream := client.Chat.Completions.NewStreaming(t.Context(), q)
	sum := openai.ChatCompletionAccumulator{}
	var order []int64
	for stream.Next() {
		chunk := stream.Current()
		sum.AddChunk(chunk)
		for _, call := range chunk.Choices[0].Delta.ToolCalls {
			order = append(order, call.Index)
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]openai.ChatCompletion{"whole": *whole, "stream": sum.ChatCompletion} {
		choice := got.Choices[0]
		if choice.FinishReason != "tool_calls" || len(choice.Message.ToolCalls) != 2 {
			t.Fatalf("%s: %+v", name, choice)
		}
		for i, want := range []string{"weather", "time"} {
			call := choice.Message.ToolCalls[i]
			if call.Function.Name != want || call.ID == "" || call.Function.Arguments != `{"city":"fake","days":1}` {
				t.Errorf("%s: call %d is %+v", name, i, call)
			}
		}
	}
	// Deltas of two calls take turns, which a reader that looks at the last call only does not survive.
	if diff := cmp.Diff([]int64{0, 1, 0, 1}, order[:4]); diff != "" {
		t.Error(diff)
	}
	q.Messages = append(q.Messages, whole.Choices[0].Message.ToParam(),
		openai.ToolMessage("sunny", whole.Choices[0].Message.ToolCalls[0].ID),
		openai.ToolMessage("noon", whole.Choices[0].Message.ToolCalls[1].ID))
	end, err := client.Chat.Completions.New(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if end.Choices[0].Message.Content != fixedText {
		t.Errorf("after the results: %+v", end.Choices[0])
	}
	wantNoViolations(t, p)
}

func TestCompletions(t *testing.T) {
	p, s := start(t, Healthy())
	q := openai.CompletionNewParams{
		Model: model, MaxTokens: openai.Int(5),
		Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("say something")},
	}
	client := sdk(t, s)
	whole, err := client.Completions.New(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	q.StreamOptions.IncludeUsage = openai.Bool(true)
	stream := client.Completions.NewStreaming(t.Context(), q)
	var text string
	var usage openai.CompletionUsage
	for stream.Next() {
		chunk := stream.Current()
		if len(chunk.Choices) == 0 {
			usage = chunk.Usage
			continue
		}
		text += chunk.Choices[0].Text
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	if text != whole.Choices[0].Text || len(strings.Fields(text)) != 5 {
		t.Errorf("stream %q, whole %q", text, whole.Choices[0].Text)
	}
	if usage.TotalTokens != 7 || whole.Usage.TotalTokens != 7 {
		t.Errorf("usage of stream %d, whole %d; want 7", usage.TotalTokens, whole.Usage.TotalTokens)
	}
	if diff := cmp.Diff(Counters{Started: 2, Finished: 2, Input: 4, Output: 10}, p.Books().Total); diff != "" {
		t.Error(diff)
	}
}

func TestEmbeddings(t *testing.T) {
	p, s := start(t, Healthy())
	q := openai.EmbeddingNewParams{
		Model: model, Dimensions: openai.Int(3),
		Input: openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"one two", "three"}},
	}
	client := sdk(t, s)
	floats, err := client.Embeddings.New(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if len(floats.Data) != 2 || len(floats.Data[0].Embedding) != 3 || floats.Usage.PromptTokens != 3 {
		t.Fatalf("answer %+v", floats)
	}
	if cmp.Equal(floats.Data[0].Embedding, floats.Data[1].Embedding) {
		t.Error("two texts have one vector")
	}
	// The SDK does not decode base64.
	q.EncodingFormat = openai.EmbeddingNewParamsEncodingFormatBase64
	var raw struct {
		Data []struct {
			Embedding string `json:"embedding"`
		} `json:"data"`
	}
	if err := client.Post(t.Context(), "embeddings", q, &raw); err != nil {
		t.Fatal(err)
	}
	bytes, err := base64.StdEncoding.DecodeString(raw.Data[0].Embedding)
	if err != nil {
		t.Fatal(err)
	}
	var decoded []float64
	for i := 0; i < len(bytes); i += 4 {
		decoded = append(decoded, float64(math.Float32frombits(binary.LittleEndian.Uint32(bytes[i:]))))
	}
	if diff := cmp.Diff(floats.Data[0].Embedding, decoded); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Counters{Started: 2, Finished: 2, Input: 6}, p.Books().Total); diff != "" {
		t.Error(diff)
	}
}

func TestModels(t *testing.T) {
	p, s := start(t, Healthy())
	client := sdk(t, s)
	page, err := client.Models.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range page.Data {
		names = append(names, m.ID)
	}
	if diff := cmp.Diff([]string{model, "fake-small"}, names); diff != "" {
		t.Error(diff)
	}
	if one, err := client.Models.Get(t.Context(), model); err != nil || one.ID != model {
		t.Errorf("Get = %+v, %v", one, err)
	}
	wantError(t, lastError(client.Models.Get(t.Context(), "none")), http.StatusNotFound, "model_not_found")
	wantNoViolations(t, p)
}

func lastError[T any](_ T, err error) error { return err }

func wantError(t *testing.T, err error, status int, code string) {
	t.Helper()
	var e *openai.Error
	if !errors.As(err, &e) || e.StatusCode != status || e.Code != code {
		t.Errorf("err = %v, want status %d, code %q", err, status, code)
	}
}

func TestErrors(t *testing.T) {
	p, s := start(t, Healthy())
	client := sdk(t, s)
	ask := func(q openai.ChatCompletionNewParams, o ...option.RequestOption) error {
		return lastError(client.Chat.Completions.New(t.Context(), q, o...))
	}
	t.Run("the client's own mistakes", func(t *testing.T) {
		empty := question("")
		empty.Messages = []openai.ChatCompletionMessageParamUnion{}
		wantError(t, ask(empty), http.StatusBadRequest, "missing_required_parameter")
		huge := question("x")
		huge.MaxTokens = openai.Int(1 << 40)
		wantError(t, ask(huge), http.StatusBadRequest, "invalid_value")
		options := question("x")
		options.StreamOptions.IncludeUsage = openai.Bool(true)
		wantError(t, ask(options), http.StatusBadRequest, "invalid_value")
		wantError(t, ask(question("x"), option.WithJSONSet("n_predict", 1), option.WithJSONSet("messages", "text")),
			http.StatusBadRequest, "invalid_type")
		wantNoViolations(t, p)
	})
	t.Run("told to fail", func(t *testing.T) {
		p.SetBehaviour(credential, Status(http.StatusTooManyRequests, "rate_limit_exceeded", 1500*time.Millisecond))
		err := ask(question("x"))
		wantError(t, err, http.StatusTooManyRequests, "rate_limit_exceeded")
		var e *openai.Error
		if errors.As(err, &e) && e.Response.Header.Get("Retry-After") != "2" {
			t.Errorf("Retry-After = %q, want 2", e.Response.Header.Get("Retry-After"))
		}
		p.SetBehaviour(credential, Behaviour{StatusCode: http.StatusInternalServerError, Times: 1})
		wantError(t, ask(question("x")), http.StatusInternalServerError, "")
		if err := ask(question("x")); err != nil {
			t.Errorf("after one failure: %v", err)
		}
		wantNoViolations(t, p)
	})
	t.Run("the gateway's mistakes", func(t *testing.T) {
		other := question("x")
		other.Model = "none"
		wantError(t, ask(other), http.StatusNotFound, "model_not_found")
		wantError(t, ask(question("x"), option.WithAPIKey("unknown")), http.StatusUnauthorized, "invalid_api_key")
		p.RemoveAccount(credential)
		wantError(t, ask(question("x")), http.StatusUnauthorized, "invalid_api_key")
		if got := len(p.Violations()); got != 3 {
			t.Errorf("%d violations, want 3: %q", got, p.Violations())
		}
		if all, _ := json.Marshal(p.Violations()); strings.Contains(string(all), credential) {
			t.Error("violations name a credential")
		}
	})
}
