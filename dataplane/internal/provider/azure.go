package provider

import (
	"strings"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/operation"
	"fairway/pkg/provider"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// azure is Azure OpenAI, in both of its forms. With a dated API version the path names the deployment, which is what
// channels call the upstream's model; without one, or with "preview", the body does, as at OpenAI.
type azure struct {
	served
	routes [operation.Count]route
}

// countsStreams is the first API version in which a stream can be asked for its usage.
const countsStreams = "2024-09-01"

// hasResponses is the first API version of the dated form that has responses.
const hasResponses = "2025-03-01"

func newAzure(f *provider.Facts, c *Channel) Adapter {
	prefix, _, _ := base(c.Path, f.Version)
	dated := c.APIVersion != "" && c.APIVersion[0] >= '0' && c.APIVersion[0] <= '9'
	if dated && c.APIVersion < hasResponses {
		older := *f
		older.Operations &^= operation.SetOf(operation.Responses, operation.Response, operation.ResponseDelete,
			operation.ResponseCancel, operation.ResponseItems, operation.ResponseTokens)
		f = &older
	}
	a := &azure{served: newServed(f)}
	for op := range operation.Count {
		op := operation.Operation(op)
		if !f.Operations.Has(op) {
			continue
		}
		path := f.Path(op)
		if dated {
			path = datedPath(op)
		}
		a.routes[op] = newRoute(prefix + path)
		if c.APIVersion != "" {
			a.routes[op].query = "api-version=" + c.APIVersion
		}
	}
	a.routes[operation.Realtime].model = "model="
	if dated {
		a.routes[operation.Realtime].model = "deployment="
		if c.APIVersion < countsStreams {
			a.rules[operation.Chat] = append(a.rules[operation.Chat], Rule{
				Action: int32(resourcev1.RuleAction_RULE_ACTION_REMOVE), Path: "stream_options",
			})
		}
	}
	return a
}

// datedPath is where an operation is in the dated form: under its deployment, but for what belongs to none.
func datedPath(op operation.Operation) string {
	rest := strings.TrimPrefix(op.Facts().Path, "/v1")
	switch op {
	case operation.Chat, operation.Completions, operation.Embeddings, operation.Images, operation.ImageEdits, operation.Speech,
		operation.Transcriptions, operation.Translations:
		return "/openai/deployments/{model}" + rest
	}
	return "/openai" + rest
}

// AppendTarget implements Adapter.
func (a *azure) AppendTarget(dst []byte, r *Request) []byte {
	if r.Op == operation.Realtime {
		return a.routes[r.Op].append(dst, r, "api-version", "api-key", "model", "deployment")
	}
	return a.routes[r.Op].append(dst, r, "api-version", "api-key")
}

// AppendHeaders implements Adapter: a key or a token of Entra ID, never both.
func (a *azure) AppendHeaders(dst []byte, _ *Request, c *Credential) ([]byte, dialect.Span) {
	if isJWT(c.Secret) {
		return appendBearer(dst, c.Secret)
	}
	return appendSecret(dst, "api-key", "", c.Secret)
}

// OwnsHeader implements Adapter.
func (a *azure) OwnsHeader(name []byte) bool { return isOneOf(name, "api-key", "authorization") }
