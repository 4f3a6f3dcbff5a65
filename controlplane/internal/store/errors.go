package store

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairway/pkg/fault"
)

// StaleError is in the chain of a fault of kind Stale that a version guard caused.
type StaleError struct {
	Current string // the etag as it is now
}

// Error names the current etag.
func (e *StaleError) Error() string { return "the current etag is " + e.Current }

// CodeNotLeader marks the fault of kind Stale that a write under a lost leadership gets.
const CodeNotLeader = "not_leader"

// translate gives an error of etcd its public face. ctx tells the caller's own cancellation from a server's.
func translate(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fault.From(ctx.Err()).With(err)
	}
	if e, ok := errors.AsType[*fault.Error](err); ok {
		return e
	}
	switch code := codeOf(err); {
	case errors.Is(err, rpctypes.ErrNoSpace):
		return fault.New(fault.Unavailable, "the data store is full").With(err)
	case errors.Is(err, rpctypes.ErrRequestTooLarge), errors.Is(err, rpctypes.ErrTooManyOps):
		return fault.New(fault.TooLarge, "the change is too large for the data store").With(err)
	case code == codes.Unavailable, code == codes.DeadlineExceeded, code == codes.Canceled,
		code == codes.ResourceExhausted, code == codes.Aborted:
		return fault.New(fault.Unavailable, "the data store is unavailable").With(err)
	case code == codes.PermissionDenied, code == codes.Unauthenticated:
		return fault.New(fault.Unavailable, "the data store refuses our credentials").With(err)
	default:
		return fault.New(fault.Internal, "the data store failed").With(err)
	}
}

// codeOf finds the RPC code of what the client returned: its own error type, a status, or a context error.
func codeOf(err error) codes.Code {
	if e, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return e.Code()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return codes.DeadlineExceeded
	}
	if errors.Is(err, context.Canceled) {
		return codes.Canceled
	}
	return status.Code(err)
}

// rejected reports whether an error proves that a request had no effect. Anything else, a timeout or a lost connection,
// may have been applied or may still be.
func rejected(err error) bool {
	switch codeOf(err) {
	case codes.InvalidArgument, codes.ResourceExhausted, codes.PermissionDenied, codes.Unauthenticated,
		codes.FailedPrecondition, codes.Unimplemented, codes.OutOfRange, codes.NotFound, codes.AlreadyExists:
		return true
	default:
		return false
	}
}
