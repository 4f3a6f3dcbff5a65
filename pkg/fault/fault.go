// Package fault is the one vocabulary of errors that cross a boundary of Fairway: a kind, a text that the caller on the
// other side may read, and a cause that only our own logs see. It maps kinds to HTTP statuses, to the RPC codes that
// gRPC and connect share, and to the error bodies of client dialects.
//
// It refuses to guess: the text of an error that was not made here is never shown to anybody outside.
package fault

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Error is an error with a public face. Build it with New and the With methods, which copy: an *Error that was handed
// out is never changed.
type Error struct {
	// Kind decides status and code. The zero value counts as Internal.
	Kind Kind
	// Message is public: clients read it. It holds no foreign error text and no secret.
	Message string
	// Code is the dialect's machine-readable code, such as "model_not_found"; empty = none.
	Code string
	// Param names the request field at fault, such as "model"; empty = none.
	Param string
	// RetryAfter says when to come back; 0 = unsaid.
	RetryAfter time.Duration
	// Status is the HTTP status to answer with; 0 = the kind's own.
	Status int
	// Cause is for our logs only; nil = none.
	Cause error
}

// New makes an error of kind k. The formatted text is public, so never format another error or a secret into it; put
// the error in With.
func New(k Kind, format string, args ...any) *Error {
	if len(args) == 0 {
		return &Error{Kind: k, Message: format}
	}
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// Error is the text for logs: the public message, then the cause.
func (e *Error) Error() string {
	msg := e.Message
	if msg == "" {
		msg = e.Kind.String()
	}
	if e.Cause == nil {
		return msg
	}
	return msg + ": " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// With returns a copy of e that wraps cause.
func (e *Error) With(cause error) *Error {
	c := *e
	c.Cause = cause
	return &c
}

// WithCode returns a copy of e with the dialect code.
func (e *Error) WithCode(code string) *Error {
	c := *e
	c.Code = code
	return &c
}

// WithParam returns a copy of e that names the request field at fault.
func (e *Error) WithParam(param string) *Error {
	c := *e
	c.Param = param
	return &c
}

// WithRetryAfter returns a copy of e that says when to come back; negative counts as 0.
func (e *Error) WithRetryAfter(d time.Duration) *Error {
	c := *e
	c.RetryAfter = max(d, 0)
	return &c
}

// WithStatus returns a copy of e that is answered with an HTTP status of its own instead of the kind's.
func (e *Error) WithStatus(status int) *Error {
	c := *e
	c.Status = status
	return &c
}

// HTTPStatus is the status to answer e with.
func (e *Error) HTTPStatus() int {
	if e.Status != 0 {
		return e.Status
	}
	return e.Kind.HTTPStatus()
}

// From returns the *Error inside err, or a new one with err as its cause: Canceled or Deadline for the context errors,
// Internal for everything else. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok && e != nil {
		return e
	}
	switch {
	case errors.Is(err, context.Canceled):
		return New(Canceled, "canceled").With(err)
	case errors.Is(err, context.DeadlineExceeded):
		return New(Deadline, "deadline exceeded").With(err)
	}
	return New(Internal, "internal error").With(err)
}

// KindOf returns the kind of err: of the *Error inside it, Canceled or Deadline for the context errors, and Internal for
// every other error. KindOf(nil) is the zero Kind.
func KindOf(err error) Kind {
	e := From(err)
	if e == nil {
		return 0
	}
	if e.Kind == 0 {
		return Internal
	}
	return e.Kind
}

// Public returns the text that a caller may read: the message of the *Error inside err, "canceled" or "deadline
// exceeded" for the context errors, and "internal error" for every other error. Public(nil) is empty.
func Public(err error) string {
	e := From(err)
	switch {
	case e == nil:
		return ""
	case e.Message == "":
		return KindOf(e).String()
	}
	return e.Message
}
