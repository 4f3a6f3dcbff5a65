package provider

import (
	"net/url"
	"strings"
	"testing"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/operation"
	"fairway/pkg/provider"
)

// Short names of what tables are full of.
const (
	openAIs     = int32(resourcev1.Provider_PROVIDER_OPENAI)
	anthropics  = int32(resourcev1.Provider_PROVIDER_ANTHROPIC)
	geminis     = int32(resourcev1.Provider_PROVIDER_GEMINI)
	azures      = int32(resourcev1.Provider_PROVIDER_AZURE_OPENAI)
	bedrocks    = int32(resourcev1.Provider_PROVIDER_BEDROCK)
	vertexes    = int32(resourcev1.Provider_PROVIDER_VERTEX)
	compatibles = int32(resourcev1.Provider_PROVIDER_OPENAI_COMPATIBLE)
)

func adapter(t testing.TB, c Channel) Adapter {
	t.Helper()
	a, err := New(c)
	if err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	return a
}

func preset(name, path string) Channel {
	return Channel{Provider: compatibles, Preset: name, Host: "h", Path: path}
}

func TestTargets(t *testing.T) {
	openai := Channel{Provider: openAIs, Host: "api.openai.com"}
	anthropic := Channel{Provider: anthropics, Host: "api.anthropic.com"}
	gemini := Channel{Provider: geminis, Host: "generativelanguage.googleapis.com"}
	azure := Channel{Provider: azures, Host: "x.openai.azure.com"}
	dated := Channel{Provider: azures, Host: "x.openai.azure.com", APIVersion: "2024-10-21"}
	newer := Channel{Provider: azures, Host: "x.openai.azure.com", APIVersion: "2025-04-01-preview"}
	bedrock := Channel{Provider: bedrocks, Host: "bedrock-runtime.us-east-1.amazonaws.com"}
	vertex := Channel{Provider: vertexes, Host: "us-east5-aiplatform.googleapis.com", Project: "p-1"}
	at := func(c Channel, path string) Channel { c.Path = path; return c }
	for _, tc := range []struct {
		name    string
		channel Channel
		request Request
		want    string
	}{
		{"openai", openai, Request{Op: operation.Chat, Model: "gpt"}, "/v1/chat/completions"},
		{"openai behind a path", at(openai, "/proxy"), Request{Op: operation.Chat}, "/proxy/v1/chat/completions"},
		{"openai with its version", at(openai, "/v1"), Request{Op: operation.Chat}, "/v1/chat/completions"},
		{"openai of another version", at(openai, "/api/v3"), Request{Op: operation.Chat}, "/api/v3/chat/completions"},
		{"openai response", openai, Request{Op: operation.Response, ID: "resp_1", Query: []byte("stream=true&include[]=a")}, "/v1/responses/resp_1?stream=true&include[]=a"},
		{"openai cancel", openai, Request{Op: operation.ResponseCancel, ID: "resp_1"}, "/v1/responses/resp_1/cancel"},
		{"openai items", openai, Request{Op: operation.ResponseItems, ID: "resp_1"}, "/v1/responses/resp_1/input_items"},
		{"openai tokens", openai, Request{Op: operation.ResponseTokens}, "/v1/responses/input_tokens"},
		{"openai speech", openai, Request{Op: operation.Speech}, "/v1/audio/speech"},
		{"openai realtime", openai, Request{Op: operation.Realtime, Model: "gpt-realtime", Query: []byte("model=alias&x=1&%6dodel=b")}, "/v1/realtime?model=gpt-realtime&x=1"},
		{"openai model", openai, Request{Op: operation.Model, Model: "org/m"}, "/v1/models/org%2Fm"},

		{"anthropic", anthropic, Request{Op: operation.Messages, Query: []byte("beta=true")}, "/v1/messages?beta=true"},
		{"anthropic with its version", at(anthropic, "/v1"), Request{Op: operation.CountTokens}, "/v1/messages/count_tokens"},
		{"anthropic batch", anthropic, Request{Op: operation.BatchResults, ID: "msgbatch_1"}, "/v1/messages/batches/msgbatch_1/results"},
		{"anthropic batches", anthropic, Request{Op: operation.BatchList, Query: []byte("limit=2")}, "/v1/messages/batches?limit=2"},

		{"gemini", gemini, Request{Op: operation.Generate, Model: "gemini-2.5-pro"}, "/v1beta/models/gemini-2.5-pro:generateContent"},
		{"gemini, its own name", gemini, Request{Op: operation.Generate, Model: "models/gemini-2.5-pro"}, "/v1beta/models/gemini-2.5-pro:generateContent"},
		{"gemini stream", gemini, Request{Op: operation.StreamGenerate, Model: "m", Stream: true}, "/v1beta/models/m:streamGenerateContent?alt=sse"},
		{"gemini stream by flag", gemini, Request{Op: operation.Generate, Model: "m", Stream: true}, "/v1beta/models/m:streamGenerateContent?alt=sse"},
		{"gemini stream asked as JSON", gemini, Request{Op: operation.StreamGenerate, Model: "m", Query: []byte("%61lt=json&key=k&$fields=a&KEY=b")}, "/v1beta/models/m:streamGenerateContent?alt=sse&$fields=a"},
		{"gemini tokens", gemini, Request{Op: operation.GeminiCountTokens, Model: "m"}, "/v1beta/models/m:countTokens"},
		{"gemini embeddings", gemini, Request{Op: operation.BatchEmbedContents, Model: "m"}, "/v1beta/models/m:batchEmbedContents"},
		{"gemini as openai", gemini, Request{Op: operation.Embeddings, Model: "m"}, "/v1beta/openai/embeddings"},
		{"gemini with its version", at(gemini, "/v1beta"), Request{Op: operation.Generate, Model: "m"}, "/v1beta/models/m:generateContent"},
		{"gemini with openai's", at(gemini, "/v1beta/openai"), Request{Op: operation.Images}, "/v1beta/openai/images/generations"},
		{"gemini of another version", at(gemini, "/v1alpha"), Request{Op: operation.Generate, Model: "m"}, "/v1alpha/models/m:generateContent"},

		{"azure", azure, Request{Op: operation.Chat, Model: "dep"}, "/openai/v1/chat/completions"},
		{"azure with its version", at(azure, "/openai"), Request{Op: operation.Responses}, "/openai/v1/responses"},
		{"azure preview", Channel{Provider: azures, APIVersion: "preview"}, Request{Op: operation.Images, Query: []byte("API-version=x&a=b")}, "/openai/v1/images/generations?api-version=preview&a=b"},
		{"azure realtime", azure, Request{Op: operation.Realtime, Model: "dep", Query: []byte("model=m")}, "/openai/v1/realtime?model=dep"},
		{"azure dated", dated, Request{Op: operation.Chat, Model: "my dep"}, "/openai/deployments/my%20dep/chat/completions?api-version=2024-10-21"},
		{"azure dated audio", dated, Request{Op: operation.Transcriptions, Model: "w"}, "/openai/deployments/w/audio/transcriptions?api-version=2024-10-21"},
		{"azure dated response", newer, Request{Op: operation.Response, ID: "resp_1", Query: []byte("stream=true")}, "/openai/responses/resp_1?api-version=2025-04-01-preview&stream=true"},
		{"azure dated realtime", dated, Request{Op: operation.Realtime, Model: "dep", Query: []byte("model=m&api-key=k")}, "/openai/realtime?api-version=2024-10-21&deployment=dep"},

		{"bedrock messages", bedrock, Request{Op: operation.Messages, Model: "us.anthropic.claude-sonnet-4-5-20250929-v1:0"}, "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke"},
		{"bedrock messages streamed", bedrock, Request{Op: operation.Messages, Model: "anthropic.claude", Stream: true}, "/model/anthropic.claude/invoke-with-response-stream"},
		{"bedrock converse", bedrock, Request{Op: operation.Converse, Model: "amazon.nova-lite-v1:0"}, "/model/amazon.nova-lite-v1%3A0/converse"},
		{"bedrock converse streamed", bedrock, Request{Op: operation.Converse, Model: "m", Stream: true}, "/model/m/converse-stream"},
		{"bedrock converse stream", bedrock, Request{Op: operation.ConverseStream, Model: "m"}, "/model/m/converse-stream"},
		{"bedrock ARN", bedrock, Request{Op: operation.Converse, Model: "arn:aws:bedrock:us-east-1:1:application-inference-profile/x"}, "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fx/converse"},

		{"vertex google", vertex, Request{Op: operation.Generate, Model: "google/gemini-2.5-pro"}, "/v1/projects/p-1/locations/us-east5/publishers/google/models/gemini-2.5-pro:generateContent"},
		{"vertex google stream", vertex, Request{Op: operation.StreamGenerate, Model: "gemini", Query: []byte("alt=json&key=1")}, "/v1/projects/p-1/locations/us-east5/publishers/google/models/gemini:streamGenerateContent?alt=sse"},
		{"vertex google stream by flag", vertex, Request{Op: operation.Generate, Model: "gemini", Stream: true}, "/v1/projects/p-1/locations/us-east5/publishers/google/models/gemini:streamGenerateContent?alt=sse"},
		{"vertex tokens", vertex, Request{Op: operation.GeminiCountTokens, Model: "gemini"}, "/v1/projects/p-1/locations/us-east5/publishers/google/models/gemini:countTokens"},
		{"vertex anthropic", vertex, Request{Op: operation.Messages, Model: "claude-sonnet-4-5@20250929", Query: []byte("beta=true")}, "/v1/projects/p-1/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict"},
		{"vertex anthropic stream", vertex, Request{Op: operation.Messages, Model: "claude", Stream: true}, "/v1/projects/p-1/locations/us-east5/publishers/anthropic/models/claude:streamRawPredict"},
		{"vertex anthropic tokens", vertex, Request{Op: operation.CountTokens, Model: "claude"}, "/v1/projects/p-1/locations/us-east5/publishers/anthropic/models/count-tokens:rawPredict"},
		{"vertex global, the account's project", Channel{Provider: vertexes, Host: "aiplatform.googleapis.com", Path: "/v1"}, Request{Op: operation.Generate, Model: "m", Project: "q"}, "/v1/projects/q/locations/global/publishers/google/models/m:generateContent"},
		{"vertex of several countries", Channel{Provider: vertexes, Host: "aiplatform.eu.rep.googleapis.com", Project: "p"}, Request{Op: operation.Generate, Model: "m"}, "/v1/projects/p/locations/eu/publishers/google/models/m:generateContent"},
		{"vertex elsewhere", Channel{Provider: vertexes, Host: "localhost:1", Region: "europe-west1", Project: "p"}, Request{Op: operation.Generate, Model: "m"}, "/v1/projects/p/locations/europe-west1/publishers/google/models/m:generateContent"},

		{"no preset", preset("", ""), Request{Op: operation.Chat}, "/v1/chat/completions"},
		{"no preset, another version", preset("", "/x/v2"), Request{Op: operation.Rerank}, "/x/v2/rerank"},
		{"cohere", preset("cohere", "/compatibility"), Request{Op: operation.Chat}, "/compatibility/v1/chat/completions"},
		{"cohere rerank", preset("cohere", "/compatibility"), Request{Op: operation.Rerank}, "/v2/rerank"},
		{"dashscope", preset("dashscope", "/compatible-mode"), Request{Op: operation.Embeddings}, "/compatible-mode/v1/embeddings"},
		{"dashscope messages", preset("dashscope", "/compatible-mode"), Request{Op: operation.Messages}, "/apps/anthropic/v1/messages"},
		{"deepseek", preset("deepseek", ""), Request{Op: operation.Chat}, "/v1/chat/completions"},
		{"deepseek messages behind a path", preset("deepseek", "/p"), Request{Op: operation.Messages}, "/p/anthropic/v1/messages"},
		{"groq", preset("groq", "/openai"), Request{Op: operation.Responses}, "/openai/v1/responses"},
		{"groq, bare host", preset("groq", ""), Request{Op: operation.Chat}, "/openai/v1/chat/completions"},
		{"jina", preset("jina", ""), Request{Op: operation.Rerank}, "/v1/rerank"},
		{"mistral", preset("mistral", ""), Request{Op: operation.Chat}, "/v1/chat/completions"},
		{"moonshot", preset("moonshot", ""), Request{Op: operation.Messages}, "/anthropic/v1/messages"},
		{"ollama", preset("ollama", ""), Request{Op: operation.Messages}, "/v1/messages"},
		{"openrouter", preset("openrouter", "/api"), Request{Op: operation.Completions}, "/api/v1/completions"},
		{"perplexity", preset("perplexity", ""), Request{Op: operation.Chat}, "/chat/completions"},
		{"perplexity responses", preset("perplexity", ""), Request{Op: operation.Responses}, "/v1/responses"},
		{"siliconflow", preset("siliconflow", ""), Request{Op: operation.Images}, "/v1/images/generations"},
		{"together", preset("together", ""), Request{Op: operation.Translations}, "/v1/audio/translations"},
		{"vllm", preset("vllm", ""), Request{Op: operation.ResponseCancel, ID: "r"}, "/v1/responses/r/cancel"},
		{"volcengine", preset("volcengine", "/api/v3"), Request{Op: operation.Chat}, "/api/v3/chat/completions"},
		{"volcengine, bare host", preset("volcengine", ""), Request{Op: operation.ResponseItems, ID: "r"}, "/api/v3/responses/r/input_items"},
		{"xai", preset("xai", ""), Request{Op: operation.Images}, "/v1/images/generations"},
		{"zhipu", preset("zhipu", "/api/paas/v4"), Request{Op: operation.Chat}, "/api/paas/v4/chat/completions"},
		{"zhipu behind a path", preset("zhipu", "/p/api/paas/v4"), Request{Op: operation.Messages}, "/p/api/anthropic/v1/messages"},
		{"zhipu for coding", preset("zhipu", "/api/coding/paas/v4"), Request{Op: operation.Chat}, "/api/coding/paas/v4/chat/completions"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := adapter(t, tc.channel)
			if op, ok := a.Plan(tc.request.Op, cmpOr(tc.request.Model, "claude")); tc.request.Op.Facts().Talk && !ok {
				t.Errorf("not served; planned %v", op)
			}
			if got := string(a.AppendTarget([]byte("POST "), &tc.request)); got != "POST "+tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func cmpOr(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// Every preset needs a row in TestTargets: what nobody wrote down nobody looked up.
func TestEveryPresetHasATarget(t *testing.T) {
	for _, f := range provider.All() {
		a := adapter(t, Channel{Provider: f.Provider, Preset: f.Preset, Region: "r", Project: "p", Host: "h"})
		for op := range operation.Count {
			op := operation.Operation(op)
			if !f.Operations.Has(op) {
				continue
			}
			target := string(a.AppendTarget(nil, &Request{Op: op, Model: "claude-m", ID: "id"}))
			if u, err := url.ParseRequestURI(target); err != nil || strings.ContainsAny(target, "{}") || u.Path == "" {
				t.Errorf("%s: %v is at %q", f.Name, op, target)
			}
		}
	}
}

func TestPlan(t *testing.T) {
	for _, tc := range []struct {
		name    string
		channel Channel
		model   string
		op      operation.Operation
		want    operation.Operation
		ok      bool
	}{
		{"zhipu for coding has no messages", preset("zhipu", "/api/coding/paas/v4"), "m", operation.Messages, operation.Chat, true},
		{"a path elsewhere", preset("perplexity", "/x/v9"), "m", operation.Chat, operation.Chat, true},
		{"cohere elsewhere has no rerank", preset("cohere", "/x/v9"), "m", operation.Rerank, operation.Unknown, false},
		{"no model", Channel{Provider: bedrocks, Region: "r"}, "", operation.Messages, operation.Unknown, false},
		{"many models", Channel{Provider: anthropics}, "", operation.Batches, operation.Batches, true},
		{"bedrock's others", Channel{Provider: bedrocks, Region: "r"}, "meta.llama", operation.Chat, operation.Converse, true},
		{"tokens at bedrock", Channel{Provider: bedrocks, Region: "r"}, "anthropic.claude", operation.CountTokens, operation.Unknown, false},
		{"tokens at vertex", Channel{Provider: vertexes, Region: "r"}, "gemini", operation.CountTokens, operation.GeminiCountTokens, true},
		{"pinned, native", Channel{Provider: anthropics}, "", operation.Batch, operation.Batch, true},
		{"pinned, elsewhere", Channel{Provider: openAIs}, "", operation.Batch, operation.Unknown, false},
	} {
		if got, ok := adapter(t, tc.channel).Plan(tc.op, tc.model); got != tc.want || ok != tc.ok {
			t.Errorf("%s: %v %v, want %v %v", tc.name, got, ok, tc.want, tc.ok)
		}
	}
}

// What one has to write to add a service: these lines.
func TestAddingAServiceIsData(t *testing.T) {
	a := newCompatible(&provider.Facts{
		Version: "/llm/v7", Operations: operation.SetOf(operation.Chat, operation.Embeddings), Talk: operation.Chat,
		Paths:   []provider.Path{{Op: operation.Embeddings, Path: "/vectors"}},
		Quirks:  []provider.Quirk{{Operations: operation.SetOf(operation.Chat), Action: 4, Path: "a", Value: "b"}},
		Headers: []provider.Header{{Name: "X-Plan", Value: "pro"}},
	}, &Channel{Host: "h"})
	if got := string(a.AppendTarget(nil, &Request{Op: operation.Chat})); got != "/llm/v7/chat/completions" {
		t.Error(got)
	}
	if got := string(a.AppendTarget(nil, &Request{Op: operation.Embeddings})); got != "/vectors" {
		t.Error(got)
	}
	if op, ok := a.Plan(operation.Messages, "m"); op != operation.Chat || !ok {
		t.Error(op, ok)
	}
	if head, _ := a.AppendHeaders(nil, &Request{}, &Credential{Secret: "k"}); string(head) != "Authorization: Bearer k\r\nX-Plan: pro\r\n" {
		t.Errorf("%q", head)
	}
	if !a.OwnsHeader([]byte("x-plan")) || a.OwnsHeader([]byte("x-plam")) {
		t.Error("its header is not its own")
	}
	if rules := a.Rules(operation.Chat); len(rules) != 1 || rules[0] != (Rule{4, "a", "b"}) || a.Rules(operation.Embeddings) != nil {
		t.Errorf("%+v", rules)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []Channel{
		{},
		{Provider: 99},
		{Provider: openAIs, Preset: "deepseek"},
		{Provider: compatibles, Preset: "nobody"},
		{Provider: openAIs, Path: "/a b"},
		{Provider: openAIs, Path: "/a/"},
		{Provider: openAIs, Path: "a"},
		{Provider: openAIs, Path: "/a?b"},
		{Provider: azures, APIVersion: "2024&x=y"},
		{Provider: vertexes, Region: "us/../x", Project: "p"},
		{Provider: vertexes, Region: "us", Project: ".."},
		{Provider: vertexes, Host: "example.com", Project: "p"},
		{Provider: bedrocks, Host: "example.com"},
		{Provider: bedrocks, Host: "bedrock-runtime"},
		{Provider: bedrocks, Host: "bedrock-runtime.us-east-1.example.com"},
	} {
		if a, err := New(c); err == nil {
			t.Errorf("%+v: %T", c, a)
		}
	}
}

func TestRegionOfHost(t *testing.T) {
	for host, want := range map[string]string{
		"bedrock-runtime.eu-west-1.amazonaws.com":               "eu-west-1",
		"bedrock-runtime-fips.us-east-1.amazonaws.com":          "us-east-1",
		"vpce-1-x.bedrock-runtime.us-west-2.vpce.amazonaws.com": "us-west-2",
		"bedrock-runtime.us-west-2.amazonaws.com:8443":          "us-west-2",
		"localhost:80": "",
		"bedrock-runtime.us-east-1.evil.example.": "",
	} {
		if got := bedrockRegion(host); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
}

// Responses came late to the dated form: before, they are conversations of chat.
func TestAzureResponses(t *testing.T) {
	for version, want := range map[string]operation.Operation{
		"2024-10-21": operation.Chat, "2025-03-01-preview": operation.Responses, "": operation.Responses, "preview": operation.Responses,
	} {
		a, err := New(Channel{Provider: int32(resourcev1.Provider_PROVIDER_AZURE_OPENAI), Host: "x.openai.azure.com", APIVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := a.Plan(operation.Responses, "m"); !ok || got != want {
			t.Errorf("%q: %v %v, want %v", version, got, ok, want)
		}
		if _, ok := a.Plan(operation.Response, ""); ok != (want == operation.Responses) {
			t.Errorf("%q: a response by id: %v", version, ok)
		}
	}
}
