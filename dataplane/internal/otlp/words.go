package otlp

import (
	"strings"

	"go.opentelemetry.io/otel/attribute"
)

// attributes are the facts of a span or of a measurement.
type attributes []attribute.KeyValue

// text adds a string, unless it is empty. Entries are views of a queue's memory, and one string that is not UTF-8 would have
// a whole batch refused.
func (a *attributes) text(key attribute.Key, s string) {
	if s != "" {
		*a = append(*a, key.String(valid(s)))
	}
}

// count adds a number, unless it is 0.
func (a *attributes) count(key attribute.Key, n int64) {
	if n != 0 {
		*a = append(*a, key.Int64(n))
	}
}

// valid is a copy of s that is UTF-8.
func valid(s string) string { return strings.Clone(strings.ToValidUTF8(s, "\uFFFD")) }

// operationName is what the conventions call an operation; those that they do not know keep our name.
func operationName(ours string) string {
	switch ours {
	case "chat", "responses", "messages", "realtime":
		return "chat"
	case "completions":
		return "text_completion"
	case "embeddings", "embed_content", "batch_embed_contents":
		return "embeddings"
	case "generate", "stream_generate":
		return "generate_content"
	}
	return strings.Clone(ours)
}

// providerName is what the conventions call a provider. Who is compatible with OpenAI is told by its host, as far as the
// conventions know it.
func providerName(ours, host string) string {
	switch ours {
	case "openai", "anthropic":
		return strings.Clone(ours)
	case "gemini":
		return "gcp.gemini"
	case "vertex":
		return "gcp.vertex_ai"
	case "azure_openai":
		return "azure.ai.openai"
	case "bedrock":
		return "aws.bedrock"
	}
	for _, known := range [...]struct{ domain, name string }{
		{"deepseek.com", "deepseek"}, {"groq.com", "groq"}, {"x.ai", "x_ai"}, {"mistral.ai", "mistral_ai"},
		{"perplexity.ai", "perplexity"}, {"cohere.com", "cohere"}, {"cohere.ai", "cohere"}, {"openai.com", "openai"},
	} {
		if host == known.domain || strings.HasSuffix(host, "."+known.domain) {
			return known.name
		}
	}
	return valid(ours)
}
