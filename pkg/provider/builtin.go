package provider

import (
	"slices"
	"strings"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/operation"
)

// table holds all facts. What is in it for OPENAI_COMPATIBLE is in presets.
//
//nolint:gochecknoglobals // the table is data, and constant; Go has no constants of this type
var table = slices.Concat(builtin, presets)

// responses are the operations on responses that exist.
const responses = 1<<operation.Response | 1<<operation.ResponseDelete | 1<<operation.ResponseCancel | 1<<operation.ResponseItems

// batches are the operations on batches of messages.
const batches = 1<<operation.Batches | 1<<operation.BatchList | 1<<operation.Batch | 1<<operation.BatchDelete |
	1<<operation.BatchCancel | 1<<operation.BatchResults

//nolint:gochecknoglobals // the table is data, and constant; Go has no constants of this type
var builtin = []Facts{
	{
		Provider: int32(resourcev1.Provider_PROVIDER_OPENAI), Name: "openai", Title: "OpenAI",
		Docs:    "https://platform.openai.com/docs/api-reference",
		BaseURL: "https://api.openai.com/v1", Version: "/v1",
		Operations: responses | operation.SetOf(
			operation.Chat, operation.Completions, operation.Responses, operation.ResponseTokens, operation.Embeddings,
			operation.Images, operation.ImageEdits, operation.ImageVariations, operation.Speech, operation.Transcriptions,
			operation.Translations, operation.Moderations, operation.Realtime, operation.Models, operation.Model,
		),
		Talk:        operation.Chat,
		Credentials: []Credential{Bearer},
	},
	{
		Provider: int32(resourcev1.Provider_PROVIDER_ANTHROPIC), Name: "anthropic", Title: "Anthropic",
		Docs:    "https://docs.claude.com/en/api/overview",
		BaseURL: "https://api.anthropic.com", Version: "/v1",
		Operations: batches | operation.SetOf(
			operation.Messages, operation.CountTokens, operation.AnthropicModels, operation.AnthropicModel,
		),
		Talk:        operation.Messages,
		Credentials: []Credential{APIKey, Bearer},
		Losses: []string{
			"n, logprobs, logit_bias, seed and penalties do not exist.",
			"Signatures of reasoning have no slot in chat; they are kept by tool call and in reasoning_details.",
		},
	},
	{
		Provider: int32(resourcev1.Provider_PROVIDER_GEMINI), Name: "gemini", Title: "Gemini API",
		Docs:    "https://ai.google.dev/api",
		BaseURL: "https://generativelanguage.googleapis.com", Version: "/v1beta/openai",
		Operations: operation.SetOf(
			operation.Generate, operation.StreamGenerate, operation.GeminiCountTokens, operation.EmbedContent,
			operation.BatchEmbedContents, operation.GeminiModels, operation.GeminiModel,
			operation.Embeddings, operation.Images, operation.Models, operation.Model,
		),
		Talk:        operation.Generate,
		Credentials: []Credential{APIKey},
		Losses: []string{
			"parallel_tool_calls, logit_bias and service tiers do not exist.",
		},
	},
	{
		Provider: int32(resourcev1.Provider_PROVIDER_AZURE_OPENAI), Name: "azure-openai", Title: "Azure OpenAI",
		Docs: "https://learn.microsoft.com/azure/ai-foundry/openai/latest", Version: "/openai/v1",
		Operations: responses | operation.SetOf(
			operation.Chat, operation.Completions, operation.Responses, operation.Embeddings, operation.Images,
			operation.ImageEdits, operation.Speech, operation.Transcriptions, operation.Translations, operation.Realtime,
			operation.Models, operation.Model,
		),
		Talk:        operation.Chat,
		Credentials: []Credential{APIKey, Entra},
		Losses: []string{
			"Dated API versions before 2024-09-01 do not count streams: their usage is estimated.",
		},
	},
	{
		Provider: int32(resourcev1.Provider_PROVIDER_BEDROCK), Name: "bedrock", Title: "Amazon Bedrock",
		Docs:       "https://docs.aws.amazon.com/bedrock/latest/APIReference",
		BaseURL:    "https://bedrock-runtime.{region}.amazonaws.com",
		Operations: operation.SetOf(operation.Messages, operation.Converse, operation.ConverseStream),
		Talk:       operation.Converse,
		Models: []Family{
			{
				Name: "anthropic", Match: bedrockAnthropic,
				Operations: operation.SetOf(operation.Messages), Talk: operation.Messages,
			},
			{
				Name: "others", Match: func(string) bool { return true },
				Operations: operation.SetOf(operation.Converse, operation.ConverseStream), Talk: operation.Converse,
			},
		},
		Paths: []Path{
			{operation.Messages, "/model/{model}/invoke"},
		},
		Credentials: []Credential{Bearer, AccessKey, AssumedRole},
		Quirks: []Quirk{
			{operation.SetOf(operation.Messages), remove, "model", "", "The path names the model."},
			{operation.SetOf(operation.Messages), remove, "stream", "", "The path says whether the answer is a stream."},
			{operation.SetOf(operation.Messages), set, "anthropic_version", `"bedrock-2023-05-31"`, "Bedrock wants it in the body."},
		},
		Losses: []string{
			"Models other than Anthropic's are asked by Converse: n, logprobs, seed, penalties and audio do not exist there.",
			"Converse takes images and files as bytes, not by URL.",
		},
	},
	{
		Provider: int32(resourcev1.Provider_PROVIDER_VERTEX), Name: "vertex", Title: "Vertex AI",
		Docs:    "https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest",
		BaseURL: "https://{region}-aiplatform.googleapis.com",
		Operations: operation.SetOf(
			operation.Generate, operation.StreamGenerate, operation.GeminiCountTokens, operation.Messages, operation.CountTokens,
		),
		Talk: operation.Generate,
		Models: []Family{
			{
				Name: "anthropic", Match: VertexAnthropic,
				Operations: operation.SetOf(operation.Messages, operation.CountTokens), Talk: operation.Messages,
			},
			{
				Name: "google", Match: vertexGoogle,
				Operations: operation.SetOf(operation.Generate, operation.StreamGenerate, operation.GeminiCountTokens),
				Talk:       operation.Generate,
			},
		},
		Credentials: []Credential{ServiceAccount},
		Quirks: []Quirk{
			{operation.SetOf(operation.Messages), remove, "model", "", "The path names the model."},
			{
				operation.SetOf(operation.Messages, operation.CountTokens), set, "anthropic_version", `"vertex-2023-10-16"`,
				"Vertex wants it in the body.",
			},
		},
		Losses: []string{
			"Models of publishers other than Google and Anthropic are not served.",
		},
	},
	{
		Provider: int32(resourcev1.Provider_PROVIDER_OPENAI_COMPATIBLE), Name: "openai-compatible", Title: "What speaks OpenAI's API",
		Docs: "https://platform.openai.com/docs/api-reference", Version: "/v1",
		Operations: operation.SetOf(
			operation.Chat, operation.Completions, operation.Embeddings, operation.Images, operation.ImageEdits,
			operation.Speech, operation.Transcriptions, operation.Translations, operation.Moderations, operation.Rerank,
			operation.Models, operation.Model,
		),
		Talk:        operation.Chat,
		Credentials: []Credential{Bearer, Nothing},
		Losses:      []string{"Responses are converted to chat: the service may not know them."},
	},
}

// The actions, in the type of the tables.
const (
	set    = int32(resourcev1.RuleAction_RULE_ACTION_SET)
	remove = int32(resourcev1.RuleAction_RULE_ACTION_REMOVE)
	rename = int32(resourcev1.RuleAction_RULE_ACTION_RENAME)
)

// bedrockAnthropic says whether Bedrock's name for a model is one of Anthropic's: a model's id ("anthropic.claude-…"), that
// of an inference profile ("us.anthropic.claude-…"), or the ARN of either. An application's own profile does not tell.
func bedrockAnthropic(model string) bool {
	id := model[strings.LastIndexByte(model, '/')+1:]
	first, rest, _ := strings.Cut(id, ".")
	second, _, ok := strings.Cut(rest, ".")
	return first == "anthropic" || ok && second == "anthropic"
}

// VertexModel is the name of a model without that of its publisher: "gemini-2.5-pro" of "google/gemini-2.5-pro".
func VertexModel(model string) string {
	for _, prefix := range [...]string{"publishers/google/models/", "publishers/anthropic/models/", "google/", "anthropic/", "models/"} {
		if rest, ok := strings.CutPrefix(model, prefix); ok {
			return rest
		}
	}
	return model
}

// VertexAnthropic says whether a model of Vertex is one of Anthropic's.
func VertexAnthropic(model string) bool {
	return strings.HasPrefix(model, "anthropic/") || strings.HasPrefix(model, "publishers/anthropic/") ||
		strings.HasPrefix(VertexModel(model), "claude-")
}

// vertexGoogle says whether a model of Vertex may be one of Google's: no other publisher is named.
func vertexGoogle(model string) bool { return !strings.Contains(VertexModel(model), "/") }

// vertexURL is where a location's models are. The regions of several countries have hosts of another form.
func vertexURL(location string) string {
	switch location {
	case "global":
		return "https://aiplatform.googleapis.com"
	case "us", "eu":
		return "https://aiplatform." + location + ".rep.googleapis.com"
	}
	return "https://" + location + "-aiplatform.googleapis.com"
}
