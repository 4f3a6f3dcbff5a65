package provider

import (
	"strings"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/operation"
	"fairway/pkg/provider"
)

// gemini is Google's Gemini API with a key. Conversations go by its own dialect; what else of OpenAI's API it serves is
// under /openai/.
type gemini struct {
	served
	routes [operation.Count]route
}

func newGemini(f *provider.Facts, c *Channel) Adapter {
	path := strings.TrimSuffix(c.Path, "/openai")
	prefix, version, other := base(path, "/v1beta")
	if other { // a version of its own: all of the path
		prefix = ""
	}
	a := &gemini{served: newServed(f)}
	for op := range operation.Count {
		op := operation.Operation(op)
		if !f.Operations.Has(op) {
			continue
		}
		rest := strings.TrimPrefix(f.Path(op), "/v1beta")
		a.routes[op] = newRoute(prefix + version + rest)
	}
	a.routes[operation.GeminiModels] = newRoute(prefix + version + strings.TrimPrefix(f.Path(operation.GeminiModels), "/v1beta"))
	a.routes[operation.StreamGenerate].query = "alt=sse"
	return a
}

// AppendTarget implements Adapter.
func (a *gemini) AppendTarget(dst []byte, r *Request) []byte {
	named := *r
	named.Model = strings.TrimPrefix(r.Model, "models/")
	return a.routes[streaming(r.Op, r.Stream)].append(dst, &named, "alt", "key")
}

// AppendHeaders implements Adapter. What is shaped like OpenAI's API takes the key as OpenAI's does.
func (a *gemini) AppendHeaders(dst []byte, r *Request, c *Credential) ([]byte, dialect.Span) {
	if r.Op.Facts().Dialect == operation.OpenAI || isJWT(c.Secret) || strings.HasPrefix(c.Secret, "ya29.") {
		return appendBearer(dst, c.Secret)
	}
	return appendSecret(dst, "x-goog-api-key", "", c.Secret)
}

// Lists implements Lister.
func (a *gemini) Lists() operation.Operation { return operation.GeminiModels }

// OwnsHeader implements Adapter.
func (a *gemini) OwnsHeader(name []byte) bool {
	return isOneOf(name, "x-goog-api-key", "authorization", "x-goog-user-project")
}
