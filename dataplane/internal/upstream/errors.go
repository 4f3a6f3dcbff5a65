package upstream

import (
	"errors"
	"fmt"

	"fairway/pkg/h1"
)

// What an Error may wrap, besides the errors of the network and of TLS.
var (
	// ErrAborted: Call.Abort or Response.Abort was called, or the context ended.
	ErrAborted = errors.New("aborted")
	// ErrBlockedAddress: the address is not public and not allowed.
	ErrBlockedAddress = errors.New("address is not allowed")
	// ErrMalformed: what the upstream sent is not HTTP/1.1, or could be read in two ways.
	ErrMalformed = h1.ErrMalformed
	// ErrTooLarge: the head, a chunk's extensions, the trailers or a decoded content exceed their bound.
	ErrTooLarge = h1.ErrTooLarge
	// ErrClosed: the pool was stopped.
	ErrClosed = errors.New("pool is closed")
)

// Phase says how far a request had come.
type Phase uint8

// The phases of a request, in order.
const (
	PhaseQueue     Phase = iota + 1 // waiting for a free connection, all being in use
	PhaseDial                       // DNS, TCP, and the proxy's handshake
	PhaseTLS                        // the handshake with the target
	PhaseWrite                      // sending the request
	PhaseFirstByte                  // nothing of the response has come
	PhaseHead                       // some of the response's head has come
	PhaseBody                       // the head was delivered
)

// String names the phase as metrics do: "queue", "dial", "tls", "write", "first_byte", "head", "body".
func (p Phase) String() string {
	switch p {
	case PhaseQueue:
		return "queue"
	case PhaseDial:
		return "dial"
	case PhaseTLS:
		return "tls"
	case PhaseWrite:
		return "write"
	case PhaseFirstByte:
		return "first_byte"
	case PhaseHead:
		return "head"
	case PhaseBody:
		return "body"
	}
	return "unknown"
}

// Error is every error of Do and of Response.Read (but io.EOF).
type Error struct {
	Phase   Phase
	Timeout bool // a deadline of the Target passed
	Aborted bool // the caller did not want it any more: no fault of the upstream
	Reused  bool // the connection was open before: it had served, or was opened ahead of need
	Cause   error
}

// Error never contains bytes that the upstream sent.
func (e *Error) Error() string {
	return fmt.Sprintf("upstream %s: %v", e.Phase, e.Cause)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }
