package journal

import (
	"net/netip"
	"time"

	"fairway/pkg/money"
)

// Entry is one finished request. Its strings need to live only until Put returns. Those that are too long are cut: models at
// 256 bytes, hosts, errors and operations at 128, all others at 64.
type Entry struct {
	// Time is when the request began.
	Time time.Time
	// RequestID is ours, ClientRequestID what the client sent, UpstreamRequestID what the last upstream called it.
	RequestID, ClientRequestID, UpstreamRequestID string
	// RemoteIP is the other end of the connection.
	RemoteIP netip.Addr
	// Method of HTTP, and the operation that it was.
	Method, Operation string
	// Model is as the client asked, UpstreamModel as the last upstream was asked, ResponseModel what that one said it was.
	Model, UpstreamModel, ResponseModel string
	// Stream says that the client asked for a stream of events.
	Stream bool
	// Status of HTTP that the client got; 0 = none.
	Status int
	// KeyID is the key's id and KeyName its name, never the key; Tenant is who owns it.
	KeyID, KeyName, Tenant string
	// Group is the key's. Channel and Account served last.
	Group, Channel, Account string
	// Attempts are requests sent to upstreams; Retried says that a further one was made after a failure. Trail is each of
	// them, in order, or the first ones and the last where there are more than MaxTrail.
	Attempts int
	Retried  bool
	Trail    []Attempt
	// ClientGone says that the client left before its answer was complete.
	ClientGone bool
	// TTFT is the time to the first byte of a good answer, 0 = there was none; Duration the time to the last.
	TTFT, Duration time.Duration
	// BytesIn and BytesOut are the sizes of the bodies.
	BytesIn, BytesOut int64
	// Tokens of all kinds; Estimated says that nobody told how many.
	Tokens    money.Tokens
	Estimated bool
	// CostNanoUSD at the prices of PriceVersion; Unpriced says that the model has none.
	CostNanoUSD  int64
	PriceVersion int64
	Unpriced     bool
	// Error is a short reason, ours, not what an upstream said.
	Error string
	// Trace is the client's, if it sent one.
	Trace Trace
	// Bodies are what was said; nil = not to be kept. They belong to a queue with bodies once Put
	// has taken the entry.
	Bodies *Bodies
}

// Attempt is one request to an upstream.
type Attempt struct {
	Channel, Account string
	// Provider is who that is, as the conventions of OpenTelemetry name it, and Host where it is.
	Provider, Host string
	// Model is the upstream's name for it.
	Model string
	// Verdict is why it failed; "" = it did not.
	Verdict string
	// Status of HTTP that the upstream answered with; 0 = none.
	Status int
	// After is when it began, from the entry's Time; Took how long it was until it had failed or had begun to answer.
	After, Took time.Duration
}

// MaxTrail is how many attempts an entry keeps.
const MaxTrail = 8

// The strings of a line, in the order in which it holds them; those of attempts follow.
const (
	requestID = iota
	clientRequestID
	upstreamRequestID
	method
	operation
	model
	upstreamModel
	responseModel
	keyID
	keyName
	tenant
	group
	channel
	account
	failure
	texts
)

// Those of an attempt.
const (
	attemptChannel = iota
	attemptAccount
	attemptProvider
	attemptHost
	attemptModel
	attemptVerdict
	attemptTexts
)

const (
	maxText  = 64
	maxLong  = 128
	maxModel = 256
	// ownTexts is what the entry's own strings take at most; what attempts say shares the room behind them, and is cut
	// where that ends.
	ownTexts   = (texts-5)*maxText + 2*maxLong + 3*maxModel
	trailTexts = 1 << 10
)
