package fault

import "net/http"

// Kind says what sort of failure it is, from the caller's point of view. The zero value is no kind and counts as Internal.
type Kind uint8

// The kinds.
const (
	// Invalid is a request that can never succeed as it is.
	Invalid Kind = iota + 1
	// Unauthenticated is a caller that is not known.
	Unauthenticated
	// Denied is a known caller that may not do this.
	Denied
	// NotFound is a thing that is not there.
	NotFound
	// Exists is a thing that is there already.
	Exists
	// Stale is a write based on a state that has moved on, or that the current state forbids.
	Stale
	// Exhausted is a limit reached.
	Exhausted
	// Unavailable is a service that cannot answer now; the same request may succeed later.
	Unavailable
	// Canceled is a caller that went away.
	Canceled
	// Deadline is time that ran out.
	Deadline
	// TooLarge is a request or a message beyond a size limit.
	TooLarge
	// Unimplemented is an operation that is not served here.
	Unimplemented
	// Internal is our own fault.
	Internal
	// Upstream is a provider that failed.
	Upstream
)

// statusClientClosed is nginx's status for a client that went away; nobody receives it, logs and metrics do.
const statusClientClosed = 499

type facts struct {
	name   string
	status int
	code   uint32
}

// facts of each kind. The codes are those of google.rpc.Code, which gRPC and connect share.
func (k Kind) facts() facts {
	switch k {
	case Invalid:
		return facts{"invalid", http.StatusBadRequest, 3}
	case Unauthenticated:
		return facts{"unauthenticated", http.StatusUnauthorized, 16}
	case Denied:
		return facts{"denied", http.StatusForbidden, 7}
	case NotFound:
		return facts{"not found", http.StatusNotFound, 5}
	case Exists:
		return facts{"already exists", http.StatusConflict, 6}
	case Stale:
		return facts{"stale", http.StatusPreconditionFailed, 9}
	case Exhausted:
		return facts{"exhausted", http.StatusTooManyRequests, 8}
	case Unavailable:
		return facts{"unavailable", http.StatusServiceUnavailable, 14}
	case Canceled:
		return facts{"canceled", statusClientClosed, 1}
	case Deadline:
		return facts{"deadline exceeded", http.StatusGatewayTimeout, 4}
	case TooLarge:
		return facts{"too large", http.StatusRequestEntityTooLarge, 8}
	case Unimplemented:
		return facts{"unimplemented", http.StatusNotImplemented, 12}
	case Upstream:
		return facts{"upstream failure", http.StatusBadGateway, 14}
	}
	return facts{"internal", http.StatusInternalServerError, 13}
}

// String names the kind, for logs and as the text of an error that has none.
func (k Kind) String() string { return k.facts().name }

// HTTPStatus is the status that the kind is answered with.
func (k Kind) HTTPStatus() int { return k.facts().status }

// RPCCode is the number of the kind in google.rpc.Code.
func (k Kind) RPCCode() uint32 { return k.facts().code }

// FromRPCCode returns the kind for a number of google.rpc.Code. 0 (OK) gives the zero Kind; ABORTED counts as Stale,
// OUT_OF_RANGE as Invalid, UNKNOWN, DATA_LOSS and unknown numbers as Internal.
func FromRPCCode(code uint32) Kind {
	switch code {
	case 0:
		return 0
	case 1:
		return Canceled
	case 3, 11:
		return Invalid
	case 4:
		return Deadline
	case 5:
		return NotFound
	case 6:
		return Exists
	case 7:
		return Denied
	case 8:
		return Exhausted
	case 9, 10:
		return Stale
	case 12:
		return Unimplemented
	case 14:
		return Unavailable
	case 16:
		return Unauthenticated
	}
	return Internal
}
