package dialect

import (
	"bytes"
	"net/url"
	"strings"

	"fairway/pkg/operation"
)

// Target is what the target of a request line asks for.
type Target struct {
	Op operation.Operation
	// Dialect of the caller, also where Op is Unknown: errors are written in it.
	Dialect operation.Dialect
	// Model and ID are what the path, or for Realtime the query, names: percent-decoded, once. They are looked up, or stand
	// where the provider's adapter puts them, and never become another path by themselves.
	Model, ID string
	// Query is what follows the question mark, without ?key= and its like.
	Query []byte
	// Key is the value of the query's key: Gemini's clients may put their credential there. KeyTwice: there are several.
	Key      []byte
	KeyTwice bool
}

// ParseTarget reads the target of a request line. Nothing is normalised: what is not byte for byte a path of the API, with
// or without a query, is Unknown.
func ParseTarget(method, target []byte) Target {
	path, query, _ := bytes.Cut(target, []byte{'?'})
	t := Target{Dialect: operation.OpenAI, Query: query}
	if op := fixed(path, method); op != operation.Unknown {
		t.Op, t.Dialect = op, op.Facts().Dialect
		if op == operation.Realtime {
			t.Model = queryModel(string(query))
		}
		if t.Dialect == operation.Gemini {
			t.takeKey()
		}
		return t
	}
	if rest, ok := bytes.CutPrefix(path, []byte("/v1beta/openai/")); ok {
		return parseGeminiOpenAI(method, rest, query)
	}
	t.variable(method, path)
	if t.Dialect == operation.Gemini {
		t.takeKey()
	}
	return t
}

// fixed finds the operations whose paths are always the same.
func fixed(path, method []byte) operation.Operation {
	switch string(path) {
	case "/v1/chat/completions":
		return operation.Chat
	case "/v1/messages":
		return operation.Messages
	case "/v1/responses":
		return operation.Responses
	case "/v1/embeddings":
		return operation.Embeddings
	case "/v1/completions":
		return operation.Completions
	case "/v1/messages/count_tokens":
		return operation.CountTokens
	case "/v1/responses/input_tokens":
		return operation.ResponseTokens
	case "/v1/messages/batches":
		if string(method) == "GET" {
			return operation.BatchList
		}
		return operation.Batches
	case "/v1/images/generations":
		return operation.Images
	case "/v1/images/edits":
		return operation.ImageEdits
	case "/v1/images/variations":
		return operation.ImageVariations
	case "/v1/audio/speech":
		return operation.Speech
	case "/v1/audio/transcriptions":
		return operation.Transcriptions
	case "/v1/audio/translations":
		return operation.Translations
	case "/v1/moderations":
		return operation.Moderations
	case "/v1/rerank":
		return operation.Rerank
	case "/v1/realtime":
		return operation.Realtime
	case "/v1/models":
		return operation.Models
	case "/v1beta/models", "/v1alpha/models":
		return operation.GeminiModels
	}
	return operation.Unknown
}

// variable finds the operations whose paths name something.
func (t *Target) variable(method, path []byte) {
	for _, prefix := range [...]string{"/v1beta/", "/v1alpha/"} {
		if rest, ok := bytes.CutPrefix(path, []byte(prefix)); ok {
			t.Dialect = operation.Gemini
			if rest, ok = bytes.CutPrefix(rest, []byte("models/")); ok {
				t.gemini(rest)
			}
			return
		}
	}
	switch {
	case bytes.HasPrefix(path, []byte("/v1/models/")):
		rest := path[len("/v1/models/"):]
		if i := bytes.LastIndexByte(rest, ':'); i > 0 && isVerb(rest[i+1:]) {
			t.Dialect = operation.Gemini
			t.gemini(rest)
			return
		}
		if name, ok := segment(rest, true); ok {
			t.Op, t.Model = operation.Model, name
		}
	case bytes.HasPrefix(path, []byte("/v1/responses/")):
		t.response(method, path[len("/v1/responses/"):])
	case bytes.HasPrefix(path, []byte("/v1/messages/batches/")):
		t.Dialect = operation.Anthropic
		t.batch(method, path[len("/v1/messages/batches/"):])
	case bytes.HasPrefix(path, []byte("/v1/messages")):
		t.Dialect = operation.Anthropic
	}
}

// Ambiguous says that OpenAI and Anthropic have the same path, or that it is nobody's: a request with an anthropic-version
// header is Anthropic's then.
func (t *Target) Ambiguous() bool {
	return t.Dialect == operation.OpenAI && (t.Op == operation.Models || t.Op == operation.Model || t.Op == operation.Unknown)
}

// SetAnthropic reads what is ambiguous as Anthropic's.
func (t *Target) SetAnthropic() {
	t.Dialect = operation.Anthropic
	switch t.Op {
	case operation.Models:
		t.Op = operation.AnthropicModels
	case operation.Model:
		t.Op = operation.AnthropicModel
	}
}

func (t *Target) response(method, rest []byte) {
	id, verb, more := bytes.Cut(rest, []byte{'/'})
	name, ok := segment(id, false)
	if !ok {
		return
	}
	switch {
	case !more && string(method) == "DELETE":
		t.Op = operation.ResponseDelete
	case !more:
		t.Op = operation.Response
	case string(verb) == "cancel":
		t.Op = operation.ResponseCancel
	case string(verb) == "input_items":
		t.Op = operation.ResponseItems
	default:
		return
	}
	t.ID = name
}

func (t *Target) batch(method, rest []byte) {
	id, verb, more := bytes.Cut(rest, []byte{'/'})
	name, ok := segment(id, false)
	if !ok {
		return
	}
	switch {
	case !more && string(method) == "DELETE":
		t.Op = operation.BatchDelete
	case !more:
		t.Op = operation.Batch
	case string(verb) == "cancel":
		t.Op = operation.BatchCancel
	case string(verb) == "results":
		t.Op = operation.BatchResults
	default:
		return
	}
	t.ID = name
}

// gemini reads "<model>" or "<model>:<verb>".
func (t *Target) gemini(rest []byte) {
	op := operation.GeminiModel
	if i := bytes.LastIndexByte(rest, ':'); i >= 0 {
		switch string(rest[i+1:]) {
		case "generateContent":
			op = operation.Generate
		case "streamGenerateContent":
			op = operation.StreamGenerate
		case "countTokens":
			op = operation.GeminiCountTokens
		case "embedContent":
			op = operation.EmbedContent
		case "batchEmbedContents":
			op = operation.BatchEmbedContents
		default:
			return
		}
		rest = rest[:i]
	}
	if name, ok := segment(rest, true); ok {
		t.Op, t.Model = op, name
	}
}

func isVerb(b []byte) bool {
	switch string(b) {
	case "generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents":
		return true
	}
	return false
}

// parseGeminiOpenAI reads the OpenAI-shaped paths under /v1beta/openai/: the same operations, in OpenAI's dialect.
func parseGeminiOpenAI(method, rest, query []byte) Target {
	path := append([]byte("/v1/"), rest...)
	t := Target{Dialect: operation.OpenAI, Query: query}
	if op := fixed(path, method); op != operation.Unknown && op.Facts().Dialect == operation.OpenAI && op != operation.Realtime {
		t.Op = op
	} else if name, ok := bytes.CutPrefix(path, []byte("/v1/models/")); ok {
		if model, ok := segment(name, true); ok {
			t.Op, t.Model = operation.Model, model
		}
	}
	t.takeKey()
	return t
}

// segment decodes a name out of a path. Names of models may have slashes; ids may not, and are plain.
func segment(raw []byte, slashes bool) (string, bool) {
	name, err := url.PathUnescape(string(raw))
	if err != nil || name == "" || len(name) > maxModel {
		return "", false
	}
	if !slashes {
		for i := range len(name) {
			c := name[i]
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
				return "", false
			}
		}
	}
	return name, true
}

// takeKey moves the query's key out of it.
func (t *Target) takeKey() {
	if len(t.Query) == 0 {
		return
	}
	var rest []string
	for pair := range strings.SplitSeq(string(t.Query), "&") {
		name, value, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err != nil || plain != "key" {
			rest = append(rest, pair)
			continue
		}
		key, err := url.QueryUnescape(value)
		if err != nil || t.Key != nil {
			t.KeyTwice = true
			continue
		}
		t.Key = []byte(key)
	}
	t.Query = []byte(strings.Join(rest, "&"))
}
