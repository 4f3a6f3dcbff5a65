package provider

import (
	"strings"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/operation"
	"fairway/pkg/provider"
)

// anthropicVersion is what clients that do not speak Anthropic's dialect mean.
const anthropicVersion = "2023-06-01"

// anthropic is Anthropic's own API. The client's anthropic-version and anthropic-beta pass.
type anthropic struct {
	served
	routes [operation.Count]route
}

func newAnthropic(f *provider.Facts, c *Channel) Adapter {
	prefix, _, _ := base(c.Path, f.Version)
	a := &anthropic{served: newServed(f)}
	for op := range operation.Count {
		if op := operation.Operation(op); f.Operations.Has(op) {
			a.routes[op] = newRoute(prefix + f.Path(op))
		}
	}
	a.routes[operation.AnthropicModels] = newRoute(prefix + f.Path(operation.AnthropicModels))
	return a
}

// AppendTarget implements Adapter.
func (a *anthropic) AppendTarget(dst []byte, r *Request) []byte { return a.routes[r.Op].append(dst, r) }

// AppendHeaders implements Adapter. Tokens of an identity go where tokens go; keys have a header of their own.
func (a *anthropic) AppendHeaders(dst []byte, _ *Request, c *Credential) ([]byte, dialect.Span) {
	if strings.HasPrefix(c.Secret, "sk-ant-oat") || isJWT(c.Secret) {
		return appendBearer(dst, c.Secret)
	}
	return appendSecret(dst, "x-api-key", "", c.Secret)
}

// OwnsHeader implements Adapter.
func (a *anthropic) OwnsHeader(name []byte) bool { return isOneOf(name, "x-api-key", "authorization") }

// Lists implements Lister.
func (a *anthropic) Lists() operation.Operation { return operation.AnthropicModels }

// Defaults implements Defaulter.
func (a *anthropic) Defaults() []Header {
	return []Header{{Name: "anthropic-version", Value: anthropicVersion}}
}
