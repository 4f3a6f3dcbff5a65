package provider

import (
	"fairway/dataplane/internal/dialect"
	"fairway/pkg/operation"
	"fairway/pkg/provider"
)

// compatible is OpenAI's own API, and every service that speaks it: what differs is data.
type compatible struct {
	served
	routes  [operation.Count]route
	headers []byte // whole lines
}

func newCompatible(f *provider.Facts, c *Channel) Adapter {
	prefix, version, other := base(c.Path, f.Version)
	if other {
		f = elsewhere(f, version)
	}
	a := &compatible{served: newServed(f)}
	for op := range operation.Count {
		if op := operation.Operation(op); f.Operations.Has(op) {
			a.routes[op] = newRoute(prefix + f.Path(op))
		}
	}
	a.routes[operation.Realtime].model = "model="
	a.routes[operation.Models] = newRoute(prefix + f.Path(operation.Models))
	for _, h := range f.Headers {
		a.headers = appendHeader(a.headers, h.Name, h.Value)
	}
	return a
}

// elsewhere are the facts of a service whose API is under another version path than the usual one. Nobody says where it has
// what does not lie under that path, so these operations are not served; conversations always are.
func elsewhere(f *provider.Facts, version string) *provider.Facts {
	other := *f
	for _, p := range f.Paths {
		if p.Op != f.Talk {
			other.Operations &^= operation.SetOf(p.Op)
		}
	}
	other.Operations &^= operation.SetOf(operation.Messages)
	other.Paths, other.Version = nil, version
	return &other
}

// AppendTarget implements Adapter.
func (a *compatible) AppendTarget(dst []byte, r *Request) []byte {
	if r.Op == operation.Realtime {
		return a.routes[r.Op].append(dst, r, "model")
	}
	return a.routes[r.Op].append(dst, r)
}

// AppendHeaders implements Adapter.
func (a *compatible) AppendHeaders(dst []byte, _ *Request, c *Credential) ([]byte, dialect.Span) {
	dst, secret := appendBearer(dst, c.Secret)
	dst = appendHeader(dst, "OpenAI-Organization", c.Organization)
	return append(dst, a.headers...), secret
}

// OwnsHeader implements Adapter.
func (a *compatible) OwnsHeader(name []byte) bool {
	if isOneOf(name, "authorization", "openai-organization") {
		return true
	}
	for _, h := range a.facts.Headers {
		if len(h.Name) == len(name) && equalFold(name, h.Name) {
			return true
		}
	}
	return false
}

// Lists implements Lister.
func (a *compatible) Lists() operation.Operation { return operation.Models }

// SystemOnly says whether the service does not know the role "developer".
func (a *compatible) SystemOnly() bool { return a.facts.SystemOnly }

// Reasoning says whether the service wants back what its models thought.
func (a *compatible) Reasoning() bool { return a.facts.Reasoning }

func equalFold(a []byte, b string) bool {
	for i := range a {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x |= 0x20
		}
		if 'A' <= y && y <= 'Z' {
			y |= 0x20
		}
		if x != y {
			return false
		}
	}
	return true
}
