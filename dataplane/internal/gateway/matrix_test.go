package gateway

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
	"google.golang.org/genai"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/testkit/fakellm"
)

// upstreamKind is a provider as a channel names it, and a model of its own that thinks when asked to.
type upstreamKind struct {
	name     string
	provider resourcev1.Provider
	preset   string
	model    string // as clients ask for it here; the upstream has the same
	path     string // behind the fake provider's address
	region   string
	version  string
	keyID    string
	secret   string
}

func upstreamKinds() []upstreamKind {
	return []upstreamKind{
		{name: "openai", provider: resourcev1.Provider_PROVIDER_OPENAI, model: "o-think", secret: secretA},
		{name: "anthropic", provider: resourcev1.Provider_PROVIDER_ANTHROPIC, model: "claude-sonnet-4-5", secret: secretA},
		{name: "gemini", provider: resourcev1.Provider_PROVIDER_GEMINI, model: "gemini-3-pro", secret: secretA},
		{name: "azure", provider: resourcev1.Provider_PROVIDER_AZURE_OPENAI, model: "o-azure", version: "2024-10-21", secret: secretA},
		{name: "bedrock-claude", provider: resourcev1.Provider_PROVIDER_BEDROCK, model: "anthropic.claude-sonnet-4-5-v1", region: "us-east-1", secret: "aws-secret-key-of-the-test", keyID: "AKIATEST"},
		{name: "bedrock-nova", provider: resourcev1.Provider_PROVIDER_BEDROCK, model: "amazon.nova-pro-v1", region: "us-east-1", secret: "aws-secret-key-of-the-test", keyID: "AKIATEST"},
		{name: "compatible", provider: resourcev1.Provider_PROVIDER_OPENAI_COMPATIBLE, preset: "", model: "c-plain", secret: secretA},
	}
}

// manyWorlds is a proxy with a channel of each kind.
func manyWorlds(t testing.TB) *world {
	t.Helper()
	w := newWorld(t)
	w.provider.AddAccessKey(fakellm.AccessKey{ID: "AKIATEST", Secret: "aws-secret-key-of-the-test", Account: secretB})
	for _, k := range upstreamKinds() {
		w.put(syncv1.Kind_KIND_CHANNEL, "c-"+k.name, &syncv1.ChannelState{
			Name: "ch-" + k.name, Provider: int32(k.provider), Preset: k.preset, BaseUrl: w.upstream + k.path, Models: []string{k.model},
			GroupIds: []string{"g1"}, Weight: 100, PriceRatioPpm: 1_000_000, ApiVersion: k.version, Region: k.region,
		})
		w.put(syncv1.Kind_KIND_ACCOUNT, "a-"+k.name, &syncv1.AccountState{
			Name: "acc-" + k.name, ChannelId: "c-" + k.name, Secret: k.secret, AccessKeyId: k.keyID, Weight: 100,
		})
	}
	w.publish()
	return w
}

// exchangeResult is what a client of any dialect got.
type exchangeResult struct {
	text, thought string
	calls         []string // name(arguments)
	stop          string
	in, out       int64
}

// asked is what a client of any dialect asks.
type asked struct {
	text   string
	image  []byte
	tools  bool
	think  bool
	schema bool
	stream bool
	// A second turn brings the result of the first's call.
	result string
}

const weatherSchema = `{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}`

func schemaObject(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(weatherSchema), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// speaker is a client of one dialect, by its official SDK. If a.result is set it asks twice: the answer's call is
// answered by it.
type speaker struct {
	name string
	say  func(t *testing.T, w *world, model string, a asked) exchangeResult
}

func speakers() []speaker {
	return []speaker{{"chat", sayChat}, {"responses", sayResponses}, {"messages", sayMessages}, {"generate", sayGenerate}}
}

func sayChat(t *testing.T, w *world, model string, a asked) exchangeResult {
	t.Helper()
	c := w.client()
	user := openai.UserMessage(a.text)
	if a.image != nil {
		user = openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{
			openai.TextContentPart(a.text),
			openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: "data:image/png;base64," + base64.StdEncoding.EncodeToString(a.image)}),
		})
	}
	q := openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.SystemMessage("Be brief."), user}}
	if a.tools {
		q.Tools = []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
			Name: "weather", Description: openai.String("The weather."), Parameters: schemaObject(t),
		})}
	}
	if a.think {
		q.ReasoningEffort = shared.ReasoningEffortLow
	}
	if a.schema {
		q.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{
			JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "city", Schema: schemaObject(t), Strict: openai.Bool(true)},
		}
	}
	ask := func() openai.ChatCompletion {
		if !a.stream {
			got, err := c.Chat.Completions.New(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			return *got
		}
		q := q
		q.StreamOptions.IncludeUsage = openai.Bool(true)
		stream := c.Chat.Completions.NewStreaming(t.Context(), q)
		var sum openai.ChatCompletionAccumulator
		for stream.Next() {
			if !sum.AddChunk(stream.Current()) {
				t.Fatalf("a chunk does not fit: %s", stream.Current().RawJSON())
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		return sum.ChatCompletion
	}
	got := ask()
	if a.result != "" {
		if len(got.Choices) == 0 || len(got.Choices[0].Message.ToolCalls) == 0 {
			t.Fatalf("no call: %s", got.RawJSON())
		}
		q.Messages = append(q.Messages, got.Choices[0].Message.ToParam())
		for _, call := range got.Choices[0].Message.ToolCalls {
			q.Messages = append(q.Messages, openai.ToolMessage(a.result, call.ID))
		}
		got = ask()
	}
	if len(got.Choices) != 1 {
		t.Fatalf("%d choices", len(got.Choices))
	}
	m := got.Choices[0].Message
	r := exchangeResult{text: m.Content, stop: got.Choices[0].FinishReason, in: got.Usage.PromptTokens, out: got.Usage.CompletionTokens}
	if f, ok := m.JSON.ExtraFields["reasoning_content"]; ok {
		_ = json.Unmarshal([]byte(f.Raw()), &r.thought)
	}
	for _, call := range m.ToolCalls {
		r.calls = append(r.calls, call.Function.Name+"("+call.Function.Arguments+")")
	}
	return r
}

func sayResponses(t *testing.T, w *world, model string, a asked) exchangeResult {
	t.Helper()
	c := w.client()
	content := responses.ResponseInputMessageContentListParam{{OfInputText: &responses.ResponseInputTextParam{Text: a.text}}}
	if a.image != nil {
		content = append(content, responses.ResponseInputContentUnionParam{OfInputImage: &responses.ResponseInputImageParam{
			Detail: "auto", ImageURL: openai.String("data:image/png;base64," + base64.StdEncoding.EncodeToString(a.image)),
		}})
	}
	input := responses.ResponseInputParam{responses.ResponseInputItemParamOfMessage(content, responses.EasyInputMessageRoleUser)}
	q := responses.ResponseNewParams{Model: model, Instructions: openai.String("Be brief."), Store: openai.Bool(false)}
	if a.tools {
		q.Tools = []responses.ToolUnionParam{{OfFunction: &responses.FunctionToolParam{Name: "weather", Parameters: schemaObject(t), Strict: openai.Bool(false)}}}
	}
	if a.think {
		q.Reasoning = shared.ReasoningParam{Effort: shared.ReasoningEffortLow, Summary: "auto"}
		q.Include = []responses.ResponseIncludable{"reasoning.encrypted_content"}
	}
	if a.schema {
		q.Text.Format = responses.ResponseFormatTextConfigUnionParam{OfJSONSchema: &responses.ResponseFormatTextJSONSchemaConfigParam{
			Name: "city", Schema: schemaObject(t), Strict: openai.Bool(true),
		}}
	}
	ask := func() responses.Response {
		q.Input.OfInputItemList = input
		if !a.stream {
			got, err := c.Responses.New(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			return *got
		}
		stream := c.Responses.NewStreaming(t.Context(), q)
		var last responses.Response
		number := int64(0)
		for stream.Next() {
			e := stream.Current()
			if e.SequenceNumber != number {
				t.Errorf("event %s has number %d, want %d", e.Type, e.SequenceNumber, number)
			}
			number++
			if e.Type == "response.completed" || e.Type == "response.incomplete" {
				last = e.Response
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		return last
	}
	got := ask()
	if a.result != "" {
		called := false
		for _, item := range got.Output {
			input = append(input, param.Override[responses.ResponseInputItemUnionParam](json.RawMessage(item.RawJSON())))
		}
		for _, item := range got.Output {
			if item.Type == "function_call" {
				called = true
				output := responses.ResponseInputItemParamOfFunctionCallOutput(a.result)
				output.OfFunctionCallOutput.CallID = openai.String(item.CallID)
				input = append(input, output)
			}
		}
		if !called {
			t.Fatalf("no call: %s", got.RawJSON())
		}
		got = ask()
	}
	r := exchangeResult{stop: string(got.Status), in: got.Usage.InputTokens, out: got.Usage.OutputTokens, text: got.OutputText()}
	for _, item := range got.Output {
		switch item.Type {
		case "function_call":
			r.calls = append(r.calls, item.Name+"("+item.Arguments.OfString+")")
		case "reasoning":
			for _, s := range item.Summary {
				r.thought += s.Text
			}
		}
	}
	return r
}

func (w *world) claude(t testing.TB) anthropic.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return anthropic.NewClient(anthropicoption.WithoutEnvironmentDefaults(), anthropicoption.WithBaseURL("http://"+w.addr),
		anthropicoption.WithAPIKey(w.key), anthropicoption.WithMaxRetries(0), anthropicoption.WithHTTPClient(&http.Client{Transport: transport}))
}

func sayMessages(t *testing.T, w *world, model string, a asked) exchangeResult {
	t.Helper()
	c := w.claude(t)
	content := []anthropic.ContentBlockParamUnion{anthropic.NewTextBlock(a.text)}
	if a.image != nil {
		content = append(content, anthropic.NewImageBlockBase64("image/png", base64.StdEncoding.EncodeToString(a.image)))
	}
	q := anthropic.MessageNewParams{
		Model: model, MaxTokens: 8192, System: []anthropic.TextBlockParam{{Text: "Be brief."}},
		Messages: []anthropic.MessageParam{anthropic.NewUserMessage(content...)},
	}
	if a.tools {
		q.Tools = []anthropic.ToolUnionParam{{OfTool: &anthropic.ToolParam{
			Name: "weather", InputSchema: anthropic.ToolInputSchemaParam{Properties: map[string]any{"city": map[string]any{"type": "string"}}, Required: []string{"city"}},
		}}}
	}
	if a.think {
		q.Thinking = anthropic.ThinkingConfigParamOfEnabled(1024)
	}
	if a.schema {
		q.OutputConfig.Format.Schema = schemaObject(t)
	}
	ask := func() anthropic.Message {
		if !a.stream {
			got, err := c.Messages.New(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			return *got
		}
		stream := c.Messages.NewStreaming(t.Context(), q)
		var sum anthropic.Message
		for stream.Next() {
			if err := sum.Accumulate(stream.Current()); err != nil {
				t.Fatal(err)
			}
		}
		if err := stream.Err(); err != nil {
			t.Fatal(err)
		}
		return sum
	}
	got := ask()
	if a.result != "" {
		q.Messages = append(q.Messages, got.ToParam())
		var results []anthropic.ContentBlockParamUnion
		for _, b := range got.Content {
			if b.Type == "tool_use" {
				results = append(results, anthropic.NewToolResultBlock(b.ID, a.result, false))
			}
		}
		if len(results) == 0 {
			t.Fatalf("no call: %s", got.RawJSON())
		}
		q.Messages = append(q.Messages, anthropic.NewUserMessage(results...))
		got = ask()
	}
	r := exchangeResult{
		stop: string(got.StopReason), out: got.Usage.OutputTokens,
		in: got.Usage.InputTokens + got.Usage.CacheReadInputTokens + got.Usage.CacheCreationInputTokens,
	}
	for _, b := range got.Content {
		r.text += b.Text
		r.thought += b.Thinking
		if b.Type == "tool_use" {
			r.calls = append(r.calls, b.Name+"("+string(b.Input)+")")
		}
	}
	return r
}

func (w *world) google(t testing.TB) *genai.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := genai.NewClient(t.Context(), &genai.ClientConfig{
		APIKey: w.key, Backend: genai.BackendGeminiAPI, HTTPClient: &http.Client{Transport: transport},
		HTTPOptions: genai.HTTPOptions{BaseURL: "http://" + w.addr},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sayGenerate(t *testing.T, w *world, model string, a asked) exchangeResult {
	t.Helper()
	c := w.google(t)
	parts := []*genai.Part{{Text: a.text}}
	if a.image != nil {
		parts = append(parts, genai.NewPartFromBytes(a.image, "image/png"))
	}
	contents := []*genai.Content{{Role: "user", Parts: parts}}
	config := &genai.GenerateContentConfig{SystemInstruction: genai.NewContentFromText("Be brief.", "user")}
	if a.tools {
		config.Tools = []*genai.Tool{{FunctionDeclarations: []*genai.FunctionDeclaration{{Name: "weather", ParametersJsonSchema: schemaObject(t)}}}}
	}
	if a.think {
		config.ThinkingConfig = &genai.ThinkingConfig{IncludeThoughts: true}
	}
	if a.schema {
		config.ResponseMIMEType = "application/json"
		config.ResponseJsonSchema = schemaObject(t)
	}
	ask := func() (content *genai.Content, stop string, in, out int64) {
		content = &genai.Content{Role: "model"}
		take := func(g *genai.GenerateContentResponse) {
			for _, candidate := range g.Candidates {
				if candidate.Content == nil {
					continue
				}
				for _, p := range candidate.Content.Parts {
					// What is nothing but a signature is not written out by the SDK: it stands beside what it signs, or is lost.
					if p.Text != "" || p.FunctionCall != nil || p.InlineData != nil {
						content.Parts = append(content.Parts, p)
					}
				}
			}
			for _, candidate := range g.Candidates {
				if candidate.FinishReason != "" {
					stop = string(candidate.FinishReason)
				}
			}
			if u := g.UsageMetadata; u != nil {
				in, out = int64(u.PromptTokenCount), int64(u.CandidatesTokenCount+u.ThoughtsTokenCount)
			}
		}
		if !a.stream {
			g, err := c.Models.GenerateContent(t.Context(), model, contents, config)
			if err != nil {
				t.Fatal(err)
			}
			take(g)
			return
		}
		for g, err := range c.Models.GenerateContentStream(t.Context(), model, contents, config) {
			if err != nil {
				t.Fatal(err)
			}
			take(g)
		}
		return
	}
	content, stop, in, out := ask()
	if a.result != "" {
		contents = append(contents, content)
		answer := &genai.Content{Role: "user"}
		for _, p := range content.Parts {
			if p.FunctionCall != nil {
				answer.Parts = append(answer.Parts, &genai.Part{FunctionResponse: &genai.FunctionResponse{
					ID: p.FunctionCall.ID, Name: p.FunctionCall.Name, Response: map[string]any{"output": a.result},
				}})
			}
		}
		if len(answer.Parts) == 0 {
			t.Fatal("no call")
		}
		contents = append(contents, answer)
		content, stop, in, out = ask()
	}
	r := exchangeResult{stop: stop, in: in, out: out}
	for _, p := range content.Parts {
		switch {
		case p.FunctionCall != nil:
			args, _ := json.Marshal(p.FunctionCall.Args)
			r.calls = append(r.calls, p.FunctionCall.Name+"("+string(args)+")")
		case p.Thought:
			r.thought += p.Text
		default:
			r.text += p.Text
		}
	}
	return r
}

// Every official SDK against every provider, by way of Fairway: what is said comes through, whichever dialect the provider
// speaks, plainly and as a stream.
func TestMatrix(t *testing.T) {
	w := manyWorlds(t)
	cases := []struct {
		name string
		asked
		check func(t *testing.T, r exchangeResult, k upstreamKind)
	}{
		{"text", asked{text: "Say hello."}, func(t *testing.T, r exchangeResult, _ upstreamKind) {
			if !strings.HasPrefix(r.text, "Hello!") || len(r.calls) > 0 {
				t.Errorf("%+v", r)
			}
		}},
		{"image", asked{text: "What is it?", image: []byte("\x89PNG1234")}, func(t *testing.T, r exchangeResult, _ upstreamKind) {
			if !strings.Contains(r.text, "8 bytes") {
				t.Errorf("%+v", r)
			}
		}},
		{"schema", asked{text: "Where?", schema: true}, func(t *testing.T, r exchangeResult, k upstreamKind) {
			var v struct{ City string }
			if k.name == "bedrock-nova" {
				return // Converse has no structured output; the loss is named
			}
			if err := json.Unmarshal([]byte(r.text), &v); err != nil || v.City == "" {
				t.Errorf("%+v: %v", r, err)
			}
		}},
		{"tools", asked{text: "How is the weather?", tools: true}, func(t *testing.T, r exchangeResult, _ upstreamKind) {
			if len(r.calls) != 1 || !strings.HasPrefix(r.calls[0], `weather({"city":`) {
				t.Errorf("%+v", r)
			}
		}},
		{"tools, there and back", asked{text: "How is the weather?", tools: true, result: "It rains."}, func(t *testing.T, r exchangeResult, _ upstreamKind) {
			if r.text == "" || len(r.calls) > 0 {
				t.Errorf("%+v", r)
			}
		}},
		{"thinking", asked{text: "Think about it.", think: true}, func(t *testing.T, r exchangeResult, _ upstreamKind) {
			if r.text == "" {
				t.Errorf("%+v", r)
			}
		}},
		{"thinking with tools, there and back", asked{text: "How is the weather?", tools: true, think: true, result: "It rains."}, func(t *testing.T, r exchangeResult, _ upstreamKind) {
			if r.text == "" || len(r.calls) > 0 {
				t.Errorf("%+v", r)
			}
		}},
	}
	for _, k := range upstreamKinds() {
		for _, s := range speakers() {
			for _, tc := range cases {
				for _, stream := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s to %s/%s/stream=%v", s.name, k.name, tc.name, stream), func(t *testing.T) {
						a := tc.asked
						a.stream = stream
						t.Cleanup(func() {
							if t.Failed() {
								t.Log(w.log.last())
							}
						})
						r := s.say(t, w, k.model, a)
						tc.check(t, r, k)
						if r.in == 0 || r.out == 0 || r.stop == "" {
							t.Errorf("no usage or no reason for the end: %+v", r)
						}
						if v := w.provider.Violations(); len(v) > 0 {
							t.Fatalf("the provider saw what it must not see: %q", v)
						}
					})
				}
			}
		}
	}
}
