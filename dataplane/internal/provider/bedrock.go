package provider

import (
	"errors"
	"strings"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/h1"
	"fairway/pkg/operation"
	"fairway/pkg/provider"
)

// bedrock is Amazon Bedrock: Anthropic's models natively by invoke, all others by Converse. A credential is a bearer key,
// or an access key that requests are signed with.
type bedrock struct {
	served
	prefix string
	sign   *signer
}

func newBedrock(f *provider.Facts, c *Channel) (Adapter, error) {
	region := c.Region
	if region == "" {
		if region = bedrockRegion(c.Host); region == "" {
			return nil, errors.New("region: is empty, and base_url names no region of Bedrock")
		}
	}
	return &bedrock{served: newServed(f), prefix: c.Path, sign: newSigner(c.Host, region)}, nil
}

// bedrockRegion is the region of a host such as bedrock-runtime.us-east-1.amazonaws.com or that of a private endpoint;
// "" = it does not tell.
func bedrockRegion(host string) string {
	labels := strings.Split(host, ".")
	for i, l := range labels[:len(labels)-1] {
		if (l == "bedrock-runtime" || l == "bedrock-runtime-fips") && strings.Contains(host, ".amazonaws.com") {
			return labels[i+1]
		}
	}
	return ""
}

// AppendTarget implements Adapter.
func (a *bedrock) AppendTarget(dst []byte, r *Request) []byte {
	dst = append(dst, a.prefix...)
	dst = append(dst, "/model/"...)
	dst = appendSegment(dst, r.Model)
	switch op := streaming(r.Op, r.Stream); {
	case op == operation.ConverseStream:
		return append(dst, "/converse-stream"...)
	case op == operation.Converse:
		return append(dst, "/converse"...)
	case r.Stream:
		return append(dst, "/invoke-with-response-stream"...)
	}
	return append(dst, "/invoke"...)
}

// AppendHeaders implements Adapter. A signature is of this request only; what is worth hiding, then, is the session's token.
func (a *bedrock) AppendHeaders(dst []byte, r *Request, c *Credential) ([]byte, dialect.Span) {
	accept := "application/json"
	if r.Stream || r.Op == operation.ConverseStream {
		accept = "application/vnd.amazon.eventstream"
	}
	dst = appendHeader(dst, "Accept", accept)
	if c.KeyID == "" {
		return appendBearer(dst, c.Secret)
	}
	return a.sign.append(dst, a.AppendTarget(nil, r), r, c)
}

// OwnsHeader implements Adapter. What Anthropic's clients say in headers is in the body here.
func (a *bedrock) OwnsHeader(name []byte) bool {
	const amazon = "x-amz"
	return len(name) > len(amazon) && h1.Is(name[:len(amazon)], amazon) ||
		isOneOf(name, "authorization", "accept", "anthropic-version", "anthropic-beta")
}

// BetaPath implements BetaInBody.
func (a *bedrock) BetaPath() string { return "anthropic_beta" }

// Unframe implements Adapter: both of Bedrock's streams are framed in AWS's event stream.
func (a *bedrock) Unframe(op operation.Operation) Unframer {
	return &eventStream{invoke: op == operation.Messages}
}
