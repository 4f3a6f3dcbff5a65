package provider

import (
	"errors"
	"strings"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/operation"
	"fairway/pkg/provider"
)

// vertex is Google's Vertex AI: Google's own models in Gemini's dialect, Anthropic's in Anthropic's. The model's name decides.
type vertex struct {
	served
	// start is the path as far as the project, and again from behind it to the publisher.
	start, project, location string
}

func newVertex(f *provider.Facts, c *Channel) (Adapter, error) {
	location := c.Region
	if location == "" {
		if location = vertexLocation(c.Host); location == "" {
			return nil, errors.New("region: is empty, and base_url names no location of Vertex AI")
		}
	}
	prefix, _, _ := base(c.Path, "/v1")
	return &vertex{
		served: newServed(f),
		start:  prefix + "/v1/projects/", project: c.Project, location: "/locations/" + location + "/publishers/",
	}, nil
}

// vertexLocation is the location that a host of Vertex AI is in; "" = it does not tell.
func vertexLocation(host string) string {
	name, ok := strings.CutSuffix(host, ".googleapis.com")
	switch {
	case !ok:
		return ""
	case name == "aiplatform":
		return "global"
	}
	if at, ok := strings.CutSuffix(name, "-aiplatform"); ok {
		return at
	}
	if at, ok := strings.CutPrefix(name, "aiplatform."); ok {
		return strings.TrimSuffix(at, ".rep")
	}
	return ""
}

// AppendTarget implements Adapter.
func (a *vertex) AppendTarget(dst []byte, r *Request) []byte {
	dst = append(dst, a.start...)
	if a.project != "" {
		dst = append(dst, a.project...)
	} else {
		dst = appendSegment(dst, r.Project)
	}
	dst = append(dst, a.location...)
	if r.Op.Facts().Dialect == operation.Anthropic {
		return a.appendAnthropic(dst, r)
	}
	dst = append(dst, "google/models/"...)
	dst = appendSegment(dst, provider.VertexModel(r.Model))
	op := streaming(r.Op, r.Stream)
	var t route
	switch op {
	case operation.StreamGenerate:
		dst = append(dst, ":streamGenerateContent"...)
		t.query = "alt=sse"
	case operation.GeminiCountTokens:
		dst = append(dst, ":countTokens"...)
	default:
		dst = append(dst, ":generateContent"...)
	}
	return t.append(dst, r, "alt", "key", "access_token")
}

func (a *vertex) appendAnthropic(dst []byte, r *Request) []byte {
	dst = append(dst, "anthropic/models/"...)
	switch {
	case r.Op == operation.CountTokens:
		return append(dst, "count-tokens:rawPredict"...) // the body names the model
	case r.Stream:
		dst = appendSegment(dst, provider.VertexModel(r.Model))
		return append(dst, ":streamRawPredict"...)
	}
	dst = appendSegment(dst, provider.VertexModel(r.Model))
	return append(dst, ":rawPredict"...)
}

// AppendHeaders implements Adapter.
func (a *vertex) AppendHeaders(dst []byte, _ *Request, c *Credential) ([]byte, dialect.Span) {
	return appendBearer(dst, c.Secret)
}

// OwnsHeader implements Adapter. The version of Anthropic's API is in the body.
func (a *vertex) OwnsHeader(name []byte) bool {
	return isOneOf(name, "authorization", "x-goog-api-key", "x-goog-user-project", "anthropic-version")
}
