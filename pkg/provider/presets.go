package provider

import (
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/operation"
)

// presets are the services that speak OpenAI's API with differences. To add one: a row here, and a row in the table of the
// test.
//
//nolint:gochecknoglobals // the table is data, and constant; Go has no constants of this type
var presets = []Facts{
	preset("cohere", "Cohere", "https://docs.cohere.com/docs/compatibility-api", Facts{
		BaseURL: "https://api.cohere.ai/compatibility/v1", Version: "/compatibility/v1",
		Operations: operation.SetOf(operation.Chat, operation.Embeddings, operation.Rerank),
		Paths:      []Path{{operation.Rerank, "/v2/rerank"}},
		Quirks:     []Quirk{maxTokens, noStreamOptions},
		Losses:     []string{"n, logit_bias, top_logprobs, parallel_tool_calls and service tiers do not exist."},
	}),
	preset("dashscope", "Alibaba Cloud Model Studio (DashScope)", "https://help.aliyun.com/en/model-studio/use-qwen-by-calling-api", Facts{
		Reasoning: true,
		BaseURL:   "https://dashscope.aliyuncs.com/compatible-mode/v1", Version: "/compatible-mode/v1",
		Operations: operation.SetOf(operation.Chat, operation.Embeddings, operation.Messages),
		Paths:      []Path{{operation.Messages, "/apps/anthropic/v1/messages"}},
		Quirks:     []Quirk{maxTokens},
		SystemOnly: true,
	}),
	preset("deepseek", "DeepSeek", "https://api-docs.deepseek.com", Facts{
		Reasoning: true,
		BaseURL:   "https://api.deepseek.com", Version: "/v1",
		Operations: operation.SetOf(operation.Chat, operation.Messages, operation.Models),
		Paths:      []Path{{operation.Messages, "/anthropic/v1/messages"}},
		Quirks:     []Quirk{maxTokens},
		SystemOnly: true,
		Losses:     []string{"Structured output is any JSON object: schemas are not known.", "n, seed, logit_bias and parallel_tool_calls do not exist."},
	}),
	preset("groq", "Groq", "https://console.groq.com/docs/api-reference", Facts{
		BaseURL: "https://api.groq.com/openai/v1", Version: "/openai/v1",
		Operations: operation.SetOf(
			operation.Chat, operation.Responses, operation.Speech, operation.Transcriptions, operation.Translations,
			operation.Models, operation.Model,
		),
		Losses: []string{"logprobs, logit_bias, names of participants and n beyond 1 are refused."},
	}),
	preset("jina", "Jina AI", "https://jina.ai/embeddings", Facts{
		BaseURL: "https://api.jina.ai/v1", Version: "/v1",
		Operations: operation.SetOf(operation.Embeddings, operation.Rerank),
		Losses:     []string{"Conversations are not served."},
	}),
	preset("mistral", "Mistral AI", "https://docs.mistral.ai/api", Facts{
		BaseURL: "https://api.mistral.ai/v1", Version: "/v1",
		Operations: operation.SetOf(
			operation.Chat, operation.Embeddings, operation.Moderations, operation.Transcriptions, operation.Models, operation.Model,
		),
		Quirks: []Quirk{
			maxTokens, noStreamOptions,
			{operation.SetOf(operation.Chat), rename, "seed", "random_seed", "Mistral's name for it."},
		},
		SystemOnly: true,
		Losses:     []string{"Members that Mistral does not know, such as logit_bias, store and user, are refused by it."},
	}),
	preset("moonshot", "Moonshot AI (Kimi)", "https://platform.kimi.ai/docs", Facts{
		Reasoning: true,
		BaseURL:   "https://api.moonshot.ai/v1", Version: "/v1",
		Operations: operation.SetOf(operation.Chat, operation.Messages, operation.Models),
		Paths:      []Path{{operation.Messages, "/anthropic/v1/messages"}},
		SystemOnly: true,
		Losses:     []string{"logprobs, logit_bias and seed do not exist."},
	}),
	preset("ollama", "Ollama", "https://docs.ollama.com/api/openai-compatibility", Facts{
		BaseURL: "http://localhost:11434/v1", Version: "/v1",
		Operations: operation.SetOf(
			operation.Chat, operation.Completions, operation.Responses, operation.Embeddings, operation.Messages,
			operation.Models, operation.Model,
		),
		Credentials: []Credential{Nothing, Bearer},
		Quirks:      []Quirk{maxTokens},
		SystemOnly:  true,
		Losses:      []string{"tool_choice, logit_bias, user and n do not exist.", "Images are taken as base64, not by URL.", "Responses are not kept."},
	}),
	preset("openrouter", "OpenRouter", "https://openrouter.ai/docs/api-reference/overview", Facts{
		Reasoning: true,
		BaseURL:   "https://openrouter.ai/api/v1", Version: "/api/v1",
		Operations: operation.SetOf(
			operation.Chat, operation.Completions, operation.Responses, operation.Embeddings, operation.Messages, operation.Models,
		),
		Paths:  []Path{{operation.Messages, "/api/v1/messages"}},
		Losses: []string{"What a model's provider does not know is left out by OpenRouter.", "Responses are not kept."},
	}),
	preset("perplexity", "Perplexity", "https://docs.perplexity.ai/api-reference", Facts{
		BaseURL: "https://api.perplexity.ai", Version: "/v1",
		Operations: operation.SetOf(operation.Chat, operation.Responses, operation.Embeddings),
		Paths:      []Path{{operation.Chat, "/chat/completions"}},
		Quirks:     []Quirk{maxTokens},
		SystemOnly: true,
		Losses:     []string{"Tools of the client's own are not called in chat.", "Responses are not kept."},
	}),
	preset("siliconflow", "SiliconFlow", "https://docs.siliconflow.com/en/api-reference", Facts{
		BaseURL: "https://api.siliconflow.cn/v1", Version: "/v1",
		Operations: operation.SetOf(
			operation.Chat, operation.Embeddings, operation.Rerank, operation.Images, operation.Speech, operation.Transcriptions,
			operation.Messages, operation.Models,
		),
		Quirks:     []Quirk{maxTokens},
		SystemOnly: true,
	}),
	preset("together", "Together AI", "https://docs.together.ai/reference", Facts{
		BaseURL: "https://api.together.xyz/v1", Version: "/v1",
		Operations: operation.SetOf(
			operation.Chat, operation.Completions, operation.Embeddings, operation.Rerank, operation.Images, operation.Speech,
			operation.Transcriptions, operation.Translations, operation.Models,
		),
		Quirks:     []Quirk{maxTokens},
		SystemOnly: true,
	}),
	preset("vllm", "vLLM", "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html", Facts{
		Reasoning: true,
		BaseURL:   "http://localhost:8000/v1", Version: "/v1",
		Operations: operation.SetOf(
			operation.Chat, operation.Completions, operation.Responses, operation.Response, operation.ResponseCancel,
			operation.Embeddings, operation.Rerank, operation.Transcriptions, operation.Translations, operation.Messages,
			operation.Models,
		),
		Credentials: []Credential{Nothing, Bearer},
		Losses:      []string{"What is served depends on the model: one server has one task."},
	}),
	preset("volcengine", "Volcengine Ark", "https://www.volcengine.com/docs/82379", Facts{
		BaseURL: "https://ark.cn-beijing.volces.com/api/v3", Version: "/api/v3",
		Operations: operation.SetOf(
			operation.Chat, operation.Responses, operation.Response, operation.ResponseDelete, operation.ResponseItems,
			operation.Embeddings, operation.Images,
		),
		SystemOnly: true,
	}),
	preset("xai", "xAI", "https://docs.x.ai/docs/api-reference", Facts{
		BaseURL: "https://api.x.ai/v1", Version: "/v1",
		Operations: operation.SetOf(
			operation.Chat, operation.Responses, operation.Response, operation.ResponseDelete, operation.Images,
			operation.Models, operation.Model,
		),
		Losses: []string{"Models that reason refuse stop sequences and penalties."},
	}),
	preset("zhipu", "Zhipu AI (Z.ai)", "https://docs.bigmodel.cn", Facts{
		Reasoning: true,
		BaseURL:   "https://open.bigmodel.cn/api/paas/v4", Version: "/api/paas/v4",
		Operations: operation.SetOf(
			operation.Chat, operation.Embeddings, operation.Rerank, operation.Images, operation.Transcriptions, operation.Speech,
			operation.Messages,
		),
		Paths:      []Path{{operation.Messages, "/api/anthropic/v1/messages"}},
		Quirks:     []Quirk{maxTokens, {operation.SetOf(operation.Chat), rename, "user", "user_id", "Zhipu's name for it."}},
		SystemOnly: true,
		Losses:     []string{"tool_choice other than auto, n, seed, logprobs and penalties do not exist."},
	}),
}

// preset completes a row: conversations go by chat, and the credential is a bearer key, where the row does not say otherwise.
func preset(name, title, docs string, f Facts) Facts {
	f.Provider = int32(resourcev1.Provider_PROVIDER_OPENAI_COMPATIBLE)
	f.Preset, f.Name, f.Title, f.Docs = name, name, title, docs
	if f.Operations.Has(operation.Chat) {
		f.Talk = operation.Chat
	}
	if f.Credentials == nil {
		f.Credentials = []Credential{Bearer}
	}
	return f
}

// Quirks that several have.
//
//nolint:gochecknoglobals // rows of the table
var (
	maxTokens = Quirk{
		operation.SetOf(operation.Chat), rename, "max_completion_tokens", "max_tokens", "Its older name is the one that is documented here.",
	}
	noStreamOptions = Quirk{
		operation.SetOf(operation.Chat), remove, "stream_options", "", "Streams end with their usage unasked.",
	}
)
