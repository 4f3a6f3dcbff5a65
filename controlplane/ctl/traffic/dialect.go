package traffic

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/tidwall/gjson"
)

// prompt is what every request says. It is short, because every request is paid for.
const prompt = "Say hello."

// dialect is how one API asks and answers, as far as a client must know.
type dialect struct {
	path func(model string, stream bool) string
	auth func(h http.Header, key string)
	body func(model string, maxTokens int, stream bool) []byte
	// answers is where a whole answer has its content.
	answers string
	// last says that an event of a stream is one after which nothing is missing.
	last func(data []byte) bool
}

// Dialects are the names.
func Dialects() []string { return slices.Sorted(maps.Keys(dialects())) }

func dialects() map[string]dialect {
	type object = map[string]any
	message := []any{object{"role": "user", "content": prompt}}
	return map[string]dialect{
		"openai": {
			path: func(string, bool) string { return "/v1/chat/completions" },
			auth: func(h http.Header, key string) { h.Set("Authorization", "Bearer "+key) },
			body: func(model string, maxTokens int, stream bool) []byte {
				o := object{"model": model, "messages": message}
				return encode(o, stream, "max_tokens", maxTokens)
			},
			answers: "choices",
			last:    func(data []byte) bool { return string(data) == "[DONE]" },
		},
		"anthropic": {
			path: func(string, bool) string { return "/v1/messages" },
			auth: func(h http.Header, key string) {
				h.Set("x-api-key", key)
				h.Set("anthropic-version", "2023-06-01")
			},
			body: func(model string, maxTokens int, stream bool) []byte {
				if maxTokens == 0 {
					maxTokens = 1024 // the API does not do without
				}
				return encode(object{"model": model, "messages": message}, stream, "max_tokens", maxTokens)
			},
			answers: "content",
			last:    func(data []byte) bool { return gjson.GetBytes(data, "type").String() == "message_stop" },
		},
		"gemini": {
			path: func(model string, stream bool) string {
				if stream {
					return "/v1beta/models/" + url.PathEscape(model) + ":streamGenerateContent?alt=sse"
				}
				return "/v1beta/models/" + url.PathEscape(model) + ":generateContent"
			},
			auth: func(h http.Header, key string) { h.Set("x-goog-api-key", key) },
			body: func(_ string, maxTokens int, _ bool) []byte {
				o := object{"contents": []any{object{"role": "user", "parts": []any{object{"text": prompt}}}}}
				if maxTokens > 0 {
					o["generationConfig"] = object{"maxOutputTokens": maxTokens}
				}
				return encode(o, false, "", 0)
			},
			answers: "candidates",
			last:    func(data []byte) bool { return gjson.GetBytes(data, "candidates.0.finishReason").String() != "" },
		},
	}
}

func encode(o map[string]any, stream bool, limit string, maxTokens int) []byte {
	if maxTokens > 0 {
		o[limit] = maxTokens
	}
	if stream {
		o["stream"] = true
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return nil // text and numbers are encoded whatever they are
	}
	return raw
}

// errorOf finds the code and the text of an error, in the words of any dialect. ok is false where there is none.
func errorOf(body []byte) (code, message string, ok bool) {
	e := gjson.GetBytes(body, "error")
	if !e.Exists() || e.Type == gjson.Null || !gjson.ValidBytes(body) {
		return "", "", false
	}
	for _, path := range []string{"code", "details.#.reason|0", "status", "type"} {
		// Gemini's code is the status as a number; the reason in its details says more.
		if v := e.Get(path); v.Type == gjson.String && v.String() != "" {
			code = v.String()
			break
		}
	}
	message = e.Get("message").String()
	if e.Type == gjson.String {
		message = e.String()
	}
	return code, message, true
}
