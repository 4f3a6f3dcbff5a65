// Package provider knows how each provider is reached: which operations it serves by itself, where they are, what makes a
// request an account's, and how its answers are framed. One adapter per provider; what speaks like OpenAI but for details
// is data (see fairway/pkg/provider).
//
// It refuses to send anything, to read bodies beyond what a signature needs, to convert between dialects (that is dialect's
// and the gateway's), and to exchange credentials: it gets those that requests carry.
package provider

import (
	"time"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/operation"
)

// Channel is what an adapter needs to know of a channel.
type Channel struct {
	Provider int32 // a resource.v1.Provider
	Preset   string
	// APIVersion of Azure; Region of Bedrock and Vertex; Project of Vertex. Empty as in resource.v1.Channel.
	APIVersion, Region, Project string
	Host                        string // for the Host header: port only where it is not the scheme's
	Path                        string // prefix of every path: empty, or with a leading and without a trailing slash
}

// Credential is what makes a request an account's.
type Credential struct {
	Secret       string // a bearer token, an API key, or AWS's secret access key
	KeyID        string // AWS: the access key's id; "" = Secret is a bearer key
	Session      string // AWS: the session token of an assumed role; "" = none
	Organization string // OpenAI-Organization; "" = none
}

// Request is one upstream request in the making. Strings and bytes may be views that end with the request.
type Request struct {
	Op     operation.Operation // as the upstream is asked, after Plan
	Model  string              // the upstream's name for it
	ID     string              // of what a pinned operation names
	Query  []byte              // the client's, without credentials; passed on where the operation is the client's own
	Stream bool
	Body   []byte // as it will be sent, for signatures
	// Project is that of the account's service account, for channels of Vertex that name none.
	Project string
	Now     time.Time
}

// Adapter is how one channel's provider is reached. It is immutable and safe for concurrent use.
type Adapter interface {
	// Plan says which operation the upstream is asked for, for op of a client and the upstream's name of a model: op itself,
	// or a conversation in another dialect that the gateway converts to; false = this channel cannot serve op.
	Plan(op operation.Operation, model string) (operation.Operation, bool)
	// AppendTarget appends the target of the request line: path and query.
	AppendTarget(dst []byte, r *Request) []byte
	// AppendHeaders appends header lines, each with its CRLF: the credential, and what the provider wants besides. secret
	// is where in dst the credential is, to be looked for in answers; it may be empty.
	AppendHeaders(dst []byte, r *Request, c *Credential) (head []byte, secret dialect.Span)
	// OwnsHeader says whether a client's header (lower-case name) must not pass because AppendHeaders writes it.
	OwnsHeader(name []byte) bool
	// Rules are the changes that every body of op needs, before the channel's own.
	Rules(op operation.Operation) []Rule
	// Unframe returns a new Unframer for a streamed answer of op; nil = it is a stream of server-sent events as it is.
	Unframe(op operation.Operation) Unframer
}

// Defaulter is an Adapter that wants headers of its own only where the client sent none of that name.
type Defaulter interface {
	Defaults() []Header
}

// Header is a header with a constant value.
type Header struct{ Name, Value string }

// Lister is an Adapter whose provider lists its models to whoever has a credential: the cheapest thing to ask for. The
// operation is no client's; Plan says nothing of it.
type Lister interface {
	Lists() operation.Operation
}

// BetaInBody is an Adapter whose provider takes what clients of Anthropic's API say in anthropic-beta as an array of strings
// at a path of the body.
type BetaInBody interface {
	BetaPath() string
}

// SystemOnly is an Adapter whose provider does not know the role "developer" of chat, so that AppendSystemRoles is due.
type SystemOnly interface {
	SystemOnly() bool
}

// Reasoner is an Adapter whose provider may want back, in chat, what its models thought.
type Reasoner interface {
	Reasoning() bool
}

// Rule changes one member of a JSON body, as resource.v1.ParameterRule. Unlike an operator's, an adapter's may be about
// model and stream.
type Rule struct {
	Action int32 // a resource.v1.RuleAction
	Path   string
	Value  string // JSON, or a path
}

// Unframer turns a provider's own framing of a stream into server-sent events. It belongs to one stream.
type Unframer interface {
	// Feed appends to dst the events that p completes. An error ends the stream: the framing is broken.
	Feed(dst, p []byte) ([]byte, error)
}
