package admin

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"fairway/controlplane/internal/operator"
	"fairway/pkg/fault"
	"fairway/pkg/gen/fairway/admin/v1/adminv1connect"
)

const (
	// maxRequest bounds a decoded request. The largest legal one, a channel with 2000 mapped models, is below 2 MiB.
	maxRequest = 4 << 20
	// callTimeout bounds a call whose client set no earlier deadline.
	callTimeout = 30 * time.Second
	// longestWait is what WaitForRevision may wait, see its rule in fleet.proto.
	longestWait = 300 * time.Second
	// slowCall is when a call is worth a warning.
	slowCall = time.Second
)

// edge is the outermost interceptor: it bounds the call in time, survives panics, and lets out only errors that public
// has made. It logs what was refused before anybody was known; calls logs the rest.
func (s *Service) edge(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		limit := callTimeout
		if spec.Procedure == adminv1connect.FleetServiceWaitForRevisionProcedure {
			limit += longestWait
		}
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		err := s.survive(ctx, spec, stream, next)
		if err == nil {
			return nil
		}
		out := public(err)
		switch out.Code() {
		case connect.CodeUnauthenticated:
			if info, ok := connect.CallInfoForServerContext(ctx); ok {
				info.ResponseHeader().Set("WWW-Authenticate", `Bearer realm="fairway"`)
			}
			fallthrough
		case connect.CodePermissionDenied:
			s.log.LogAttrs(ctx, slog.LevelWarn, "call refused", slog.String("procedure", spec.Procedure),
				slog.String("reason", out.Message()), slog.String("peer", peer(ctx)),
				slog.String("request_id", operator.RequestID(ctx)))
		default:
		}
		return out
	}
}

func (s *Service) survive(ctx context.Context, spec connect.Spec, stream connect.ServerStream, next connect.ServerFunc) (err error) {
	defer func() {
		if r := recover(); r != nil {
			// What a library panics with may quote a request; the runtime's own words do not.
			what := fmt.Sprintf("%T", r)
			if re, ok := r.(runtime.Error); ok {
				what = re.Error()
			}
			s.log.LogAttrs(ctx, slog.LevelError, "call panicked", slog.String("procedure", spec.Procedure),
				slog.String("panic", what), slog.String("stack", string(debug.Stack())),
				slog.String("request_id", operator.RequestID(ctx)))
			err = fault.New(fault.Internal, "internal error")
		}
	}()
	return next(ctx, spec, stream)
}

// calls logs each authenticated call once, where its error stops.
func (s *Service) calls(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		start := s.now()
		err := next(ctx, spec, stream)
		took := s.now().Sub(start)
		caller, _ := operator.From(ctx)
		attrs := []slog.Attr{
			slog.String("procedure", spec.Procedure), slog.String("operator", caller.Name),
			slog.Duration("took", took), slog.String("request_id", caller.RequestID),
		}
		if err != nil {
			kind := fault.KindOf(err)
			level := slog.LevelInfo
			if kind == fault.Internal || kind == fault.Unavailable {
				level = slog.LevelError
			}
			attrs = append(attrs, slog.String("code", connect.Code(kind.RPCCode()).String()), slog.Any("error", err))
			s.log.LogAttrs(ctx, level, "call failed", attrs...)
			return err
		}
		level := slog.LevelInfo
		if spec.IdempotencyLevel == connect.IdempotencyNoSideEffects {
			level = slog.LevelDebug
		}
		if took > slowCall && spec.Procedure != adminv1connect.FleetServiceWaitForRevisionProcedure {
			level = slog.LevelWarn
		}
		s.log.LogAttrs(ctx, level, "call", attrs...)
		return nil
	}
}

func peer(ctx context.Context) string {
	if info, ok := connect.CallInfoForServerContext(ctx); ok {
		return info.PeerAddr
	}
	return ""
}

// messages checks what comes in against the rules of the .proto files and redacts what goes out.
func (s *Service) messages(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		return next(ctx, spec, &checkedStream{ServerStream: stream, service: s})
	}
}

type checkedStream struct {
	connect.ServerStream
	service *Service
}

// Receive decodes and validates.
func (c *checkedStream) Receive(msg any) error {
	m, ok := msg.(proto.Message)
	if !ok {
		return fault.New(fault.Internal, "internal error").With(fmt.Errorf("receive into %T", msg))
	}
	if err := c.ServerStream.Receive(msg); err != nil {
		return undecodable(err, m)
	}
	if err := c.service.validator.Validate(m); err != nil {
		return invalid("", err)
	}
	return nil
}

// Send redacts and encodes.
func (c *checkedStream) Send(msg any) error {
	m, ok := msg.(proto.Message)
	if !ok {
		return fault.New(fault.Internal, "internal error").With(fmt.Errorf("send %T", msg))
	}
	return c.ServerStream.Send(redact(m))
}
