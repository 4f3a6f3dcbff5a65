package provider_test

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/operation"
	"fairway/pkg/provider"
)

// reach is what a row must come to: where conversations go, or what is served first.
var reach = map[string]struct {
	op  operation.Operation
	url string
}{
	"openai":            {operation.Responses, "https://api.openai.com/v1/responses"},
	"anthropic":         {operation.Messages, "https://api.anthropic.com/v1/messages"},
	"gemini":            {operation.Embeddings, "https://generativelanguage.googleapis.com/v1beta/openai/embeddings"},
	"azure-openai":      {operation.Chat, "/openai/v1/chat/completions"},
	"bedrock":           {operation.Converse, "https://bedrock-runtime.us-west-2.amazonaws.com/model/{model}/converse"},
	"vertex":            {operation.Unknown, "https://us-west-2-aiplatform.googleapis.com"},
	"openai-compatible": {operation.Chat, "/v1/chat/completions"},

	"cohere":      {operation.Rerank, "https://api.cohere.ai/v2/rerank"},
	"dashscope":   {operation.Chat, "https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions"},
	"deepseek":    {operation.Messages, "https://api.deepseek.com/anthropic/v1/messages"},
	"groq":        {operation.Chat, "https://api.groq.com/openai/v1/chat/completions"},
	"jina":        {operation.Rerank, "https://api.jina.ai/v1/rerank"},
	"mistral":     {operation.Chat, "https://api.mistral.ai/v1/chat/completions"},
	"moonshot":    {operation.Chat, "https://api.moonshot.ai/v1/chat/completions"},
	"ollama":      {operation.Chat, "http://localhost:11434/v1/chat/completions"},
	"openrouter":  {operation.Messages, "https://openrouter.ai/api/v1/messages"},
	"perplexity":  {operation.Chat, "https://api.perplexity.ai/chat/completions"},
	"siliconflow": {operation.Messages, "https://api.siliconflow.cn/v1/messages"},
	"together":    {operation.Images, "https://api.together.xyz/v1/images/generations"},
	"vllm":        {operation.Response, "http://localhost:8000/v1/responses/{id}"},
	"volcengine":  {operation.Chat, "https://ark.cn-beijing.volces.com/api/v3/chat/completions"},
	"xai":         {operation.Images, "https://api.x.ai/v1/images/generations"},
	"zhipu":       {operation.Chat, "https://open.bigmodel.cn/api/paas/v4/chat/completions"},
}

func TestReach(t *testing.T) {
	all := provider.All()
	if len(all) != len(reach) {
		t.Errorf("%d rows, want %d: each needs a row in reach", len(all), len(reach))
	}
	for _, f := range all {
		want, ok := reach[f.Name]
		if !ok {
			t.Errorf("%s: no row in reach", f.Name)
			continue
		}
		base, _ := f.URL("us-west-2")
		u, err := url.Parse(base)
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
			continue
		}
		u.Path = ""
		got := u.String()
		if want.op != operation.Unknown {
			got += f.Path(want.op)
			if !f.Operations.Has(want.op) {
				t.Errorf("%s does not serve %v", f.Name, want.op)
			}
		}
		if got != want.url {
			t.Errorf("%s: %v is at %s, want %s", f.Name, want.op, got, want.url)
		}
	}
}

var path = regexp.MustCompile(`^(/[a-z0-9.{}-]+)+$`)

func TestComplete(t *testing.T) {
	names := map[string]bool{}
	for _, f := range provider.All() {
		t.Run(f.Name, func(t *testing.T) {
			if names[f.Name] {
				t.Error("the name is taken")
			}
			names[f.Name] = true
			if f.Title == "" || len(f.Credentials) == 0 || f.Operations == 0 {
				t.Errorf("title, credentials or operations are missing: %+v", f)
			}
			if u, err := url.Parse(f.Docs); err != nil || u.Scheme != "https" || u.Host == "" {
				t.Errorf("docs: %q", f.Docs)
			}
			if f.Operations.Has(operation.Unknown) {
				t.Error("serves what is unknown")
			}
			if f.Talk != operation.Unknown && (!f.Operations.Has(f.Talk) || !f.Talk.Facts().Talk) {
				t.Errorf("talks by %v, which it does not serve", f.Talk)
			}
			if f.Version != "" && !path.MatchString(f.Version) {
				t.Errorf("version: %q", f.Version)
			}
			checkBase(t, &f)
			for _, p := range f.Paths {
				if !f.Operations.Has(p.Op) || !path.MatchString(p.Path) {
					t.Errorf("path of %v: %q", p.Op, p.Path)
				}
			}
			for _, q := range f.Quirks {
				if q.Operations == 0 || q.Operations&^f.Operations != 0 || q.Path == "" || !strings.HasSuffix(q.Why, ".") {
					t.Errorf("quirk: %+v", q)
				}
				if q.Action == int32(resourcev1.RuleAction_RULE_ACTION_SET) && !json.Valid([]byte(q.Value)) {
					t.Errorf("quirk: %s is no JSON", q.Value)
				}
			}
			for _, l := range f.Losses {
				if !strings.HasSuffix(l, ".") {
					t.Errorf("no sentence: %q", l)
				}
			}
			p, preset, ok := provider.ByName(f.Name)
			if got, found := provider.Lookup(p, preset); !ok || !found || got.Name != f.Name {
				t.Errorf("not found again: %d %q", p, preset)
			}
		})
	}
}

func checkBase(t *testing.T, f *provider.Facts) {
	t.Helper()
	base, ok := f.URL("eu-x1")
	if !ok {
		if f.BaseURL != "" {
			t.Errorf("no URL of %q", f.BaseURL)
		}
		return
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || strings.ContainsAny(base, "{}") {
		t.Fatalf("base URL: %q", base)
	}
	if u.Scheme != "https" && u.Hostname() != "localhost" {
		t.Errorf("base URL in the clear: %q", base)
	}
	if u.Path != "" && u.Path != f.Version {
		t.Errorf("base URL %q does not end in the version %q", base, f.Version)
	}
}

func TestEveryProviderIsHere(t *testing.T) {
	for number, name := range resourcev1.Provider_name {
		if _, ok := provider.Lookup(number, ""); ok != (number != 0) {
			t.Errorf("%s: %v", name, ok)
		}
	}
	if _, ok := provider.Lookup(int32(resourcev1.Provider_PROVIDER_OPENAI), "deepseek"); ok {
		t.Error("a preset of OPENAI")
	}
	if _, _, ok := provider.ByName(""); ok {
		t.Error("no name is a name")
	}
}

func TestAllIsSorted(t *testing.T) {
	var got []string
	for _, f := range provider.All() {
		got = append(got, f.Name)
	}
	presets := slices.Clone(got[7:])
	slices.Sort(presets)
	want := append([]string{"openai", "anthropic", "gemini", "azure-openai", "bedrock", "vertex", "openai-compatible"}, presets...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	provider.All()[0].Name = "changed"
	if _, _, ok := provider.ByName("changed"); ok {
		t.Error("All shares its rows")
	}
}

func TestURL(t *testing.T) {
	for _, tc := range []struct {
		name, region, want string
		ok                 bool
	}{
		{"openai", "", "https://api.openai.com/v1", true},
		{"openai", "mars", "https://api.openai.com/v1", true},
		{"azure-openai", "eastus", "", false},
		{"bedrock", "", "", false},
		{"bedrock", "eu-central-1", "https://bedrock-runtime.eu-central-1.amazonaws.com", true},
		{"vertex", "", "", false},
		{"vertex", "global", "https://aiplatform.googleapis.com", true},
		{"vertex", "eu", "https://aiplatform.eu.rep.googleapis.com", true},
		{"vertex", "us-east5", "https://us-east5-aiplatform.googleapis.com", true},
	} {
		p, preset, _ := provider.ByName(tc.name)
		f, _ := provider.Lookup(p, preset)
		if got, ok := f.URL(tc.region); got != tc.want || ok != tc.ok {
			t.Errorf("%s in %q: %q %v, want %q %v", tc.name, tc.region, got, ok, tc.want, tc.ok)
		}
	}
}

func TestServes(t *testing.T) {
	for _, tc := range []struct {
		name, model string
		op, want    operation.Operation
		ok          bool
	}{
		{"openai", "m", operation.Chat, operation.Chat, true},
		{"openai", "m", operation.Responses, operation.Responses, true},
		{"openai", "m", operation.Messages, operation.Chat, true},
		{"openai", "m", operation.StreamGenerate, operation.Chat, true},
		{"openai", "m", operation.CountTokens, operation.Unknown, false},
		{"openai", "m", operation.Rerank, operation.Unknown, false},
		{"openai", "m", operation.Unknown, operation.Unknown, false},
		{"anthropic", "m", operation.Chat, operation.Messages, true},
		{"anthropic", "m", operation.Batch, operation.Batch, true},
		{"anthropic", "m", operation.Response, operation.Unknown, false},
		{"anthropic", "m", operation.CountTokens, operation.CountTokens, true},
		{"gemini", "m", operation.Chat, operation.Generate, true},
		{"gemini", "m", operation.StreamGenerate, operation.StreamGenerate, true},
		{"gemini", "m", operation.CountTokens, operation.GeminiCountTokens, true},
		{"gemini", "m", operation.Embeddings, operation.Embeddings, true},
		{"gemini", "m", operation.Speech, operation.Unknown, false},
		{"bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", operation.Chat, operation.Messages, true},
		{"bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", operation.Messages, operation.Messages, true},
		{"bedrock", "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3", operation.Messages, operation.Messages, true},
		{"bedrock", "arn:aws:bedrock:us-east-1:1:inference-profile/eu.anthropic.claude", operation.Messages, operation.Messages, true},
		{"bedrock", "arn:aws:bedrock:us-east-1:1:application-inference-profile/x", operation.Messages, operation.Converse, true},
		{"bedrock", "amazon.nova-pro-v1:0", operation.Messages, operation.Converse, true},
		{"bedrock", "amazon.nova-pro-v1:0", operation.Embeddings, operation.Unknown, false},
		{"bedrock", "x.notanthropic.y", operation.Generate, operation.Converse, true},
		{"vertex", "claude-sonnet-4-5@20250929", operation.Chat, operation.Messages, true},
		{"vertex", "anthropic/claude-x", operation.CountTokens, operation.CountTokens, true},
		{"vertex", "gemini-2.5-pro", operation.Chat, operation.Generate, true},
		{"vertex", "google/gemini-2.5-pro", operation.CountTokens, operation.GeminiCountTokens, true},
		{"vertex", "meta/llama", operation.Chat, operation.Unknown, false},
		{"deepseek", "m", operation.Messages, operation.Messages, true},
		{"deepseek", "m", operation.Responses, operation.Chat, true},
		{"groq", "m", operation.Responses, operation.Responses, true},
		{"groq", "m", operation.Response, operation.Unknown, false},
		{"jina", "m", operation.Chat, operation.Unknown, false},
		{"jina", "m", operation.Rerank, operation.Rerank, true},
	} {
		p, preset, _ := provider.ByName(tc.name)
		f, _ := provider.Lookup(p, preset)
		if got, ok := f.Serves(tc.op, tc.model); got != tc.want || ok != tc.ok {
			t.Errorf("%s, %s, %v: %v %v, want %v %v", tc.name, tc.model, tc.op, got, ok, tc.want, tc.ok)
		}
	}
}
