package snapshot

import (
	"net/url"
	"slices"
	"time"

	"fairway/dataplane/internal/dialect/edit"
	"fairway/dataplane/internal/limit"
	"fairway/dataplane/internal/provider"
	"fairway/pkg/breaker"
	"fairway/pkg/money"
	"fairway/pkg/operation"
	"fairway/pkg/secret"
)

type (
	// KeyID is a key's id, as the control plane gave it.
	KeyID string
	// ChannelID is a channel's id.
	ChannelID string
	// AccountID is an account's id.
	AccountID string
	// GroupID is a group's id.
	GroupID string
	// TenantID is a tenant's id.
	TenantID string
)

// Settings hold for the whole fleet.
type Settings struct {
	MaxAttempts        int // per request, the first included
	RetryBudgetPercent int // retries under way, as a share of a group's active requests
	RetryBudgetMin     int // retries that are allowed whatever the share says

	Balance        Balance
	Breaker        breaker.Rules
	DecisionSample int // good requests of a million that are logged with all that was decided
}

// Balance is how the strategy "balanced" weighs its terms; they are 1 together.
type Balance struct{ Cost, Performance, Load, Reliability float32 }

// defaultSettings are those of resource.v1.RetryPolicy.
func defaultSettings() Settings {
	return Settings{
		MaxAttempts: 3, RetryBudgetPercent: 20, RetryBudgetMin: 3,
		Balance: Balance{Cost: 0.4, Performance: 0.3, Load: 0.2, Reliability: 0.1}, Breaker: breaker.Defaults(),
	}
}

// Group is a named set of channels. It is immutable; its cell lives on from snapshot to snapshot.
type Group struct {
	ID         GroupID
	Name       string
	PriceRatio money.PPM
	Strategy   int32 // a resource.v1.Strategy
	Affinity   int32 // a resource.v1.Affinity
	Strict     bool  // refuse what a conversion would lose
	NoPanic    bool  // 503 rather than an account that rests
	Hedge      Hedge
	FirstByte  time.Duration // beside the channel's; 0 = the channel's alone
	Idle       time.Duration // likewise
	Total      time.Duration // from a request's arrival to its answer's last byte; 0 = no limit
	Limits     *limit.Terms  // nil = none
	Cell       *GroupCell

	routes *routes
}

// Hedge says when a second attempt joins the first.
type Hedge struct {
	On       bool
	After    time.Duration // 0 = the 95th percentile of the time to the first byte
	ExtraPPM int           // second attempts, of a million requests of the group
}

// Header is one header that a channel sets on upstream requests.
type Header struct{ Name, Value string }

// BaseURL is where a channel leads, taken apart.
type BaseURL struct {
	TLS  bool
	Name string // host alone, without brackets: for SNI
	Host string // for the Host header: port only where it is not the scheme's
	Addr string // host:port, to dial
	Path string // prefix of every path: empty, or with a leading and without a trailing slash
}

// Channel is one configured route to an upstream endpoint. It is immutable.
type Channel struct {
	ID         ChannelID
	Name       string
	Provider   int32 // a resource.v1.Provider
	BaseURL    BaseURL
	Headers    []Header // sorted by name
	PriceRatio money.PPM
	Priority   int32
	Weight     uint32 // never 0
	Disabled   bool
	Models     []string // sorted
	Groups     []GroupID

	Dial      time.Duration // TCP connection
	TLS       time.Duration // TLS handshake
	FirstByte time.Duration // from the request's last byte to the response's first
	Idle      time.Duration // between two reads of a response
	Total     time.Duration // of one attempt; 0 = no limit

	Adapter      provider.Adapter
	SystemPrompt string                             // put before every conversation's; "" = none
	Statuses     map[int]int                        // what the client gets for what the upstream answered
	SystemOnly   bool                               // the upstream does not know chat's role "developer"
	Reasoning    bool                               // the upstream wants back, in chat, what its models thought
	BetaPath     string                             // where in bodies of Messages the upstream wants what clients say in anthropic-beta; "" = in the header
	StreamFormat int32                              // a resource.v1.StreamFormat
	Defaults     []Header                           // set where the client says nothing
	Removes      []string                           // client's headers that do not pass, in lower case
	edits        map[operation.Operation]edit.Rules // where the provider itself needs changes
	parameters   edit.Rules                         // of the channel alone

	mapping map[string]string
}

// In says whether the group may use the channel.
func (c *Channel) In(g GroupID) bool {
	_, ok := slices.BinarySearch(c.Groups, g)
	return ok
}

// Edits are the changes that bodies of op need, as the upstream is asked.
func (c *Channel) Edits(op operation.Operation) edit.Rules {
	if rules, ok := c.edits[op]; ok {
		return rules
	}
	return c.parameters
}

// UpstreamModel is the name under which the upstream knows model.
func (c *Channel) UpstreamModel(model string) string {
	if to, ok := c.mapping[model]; ok {
		return to
	}
	return model
}

// Account is one credential of a channel. It is immutable; its cell lives on from snapshot to snapshot.
type Account struct {
	ID           AccountID
	Name         string
	Channel      *Channel // nil while its channel is unknown; never nil in a Pool
	Secret       secret.String
	KeyID        string        // AWS: the id of the key that Secret is; "" = none
	Session      secret.String // AWS: with it, of an assumed role
	Project      string        // of a Google service account; "" = unknown
	Exchanged    bool          // Secret is short-lived, and comes from the control plane
	SecretEndsMS int64         // unix milliseconds from which Secret is of no use; 0 = never
	Organization string
	ProxyURL     *url.URL // with its userinfo; nil = direct
	Weight       uint32   // never 0
	Disabled     bool
	Passive      bool     // not for new requests: only for what it alone can serve
	Caps         Caps     // of the fleet
	Verdict      *Verdict // what was decided last about its health; nil = nothing ever was
	Cell         *Cell

	channelID ChannelID
}

// Caps are what an account's plan allows the whole fleet; 0 = no cap.
type Caps struct {
	Concurrency int // attempts at once
	RPM, TPM    int64
	Session     Session
}

// Session is a usage window of the provider's plan. It opens with the first request after the one before has ended.
type Session struct {
	Length           time.Duration // 0 = there is none
	Requests, Tokens int64         // in one window; 0 = no cap
}

// Verdict is what was decided about an account's health.
type Verdict struct {
	State   breaker.State
	Reason  string
	UntilMS int64 // unix ms; 0 = until somebody acts
	SinceMS int64 // unix ms
	Opens   int
	Ordered bool // by its provider: nobody undershoots it
}
