package admin

import (
	"errors"
	"regexp"
	"strings"

	"buf.build/go/protovalidate"
	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// staleError is an update or a delete whose etag is not the current one. It stands inside a fault of kind Stale.
type staleError struct{ current string }

func (e *staleError) Error() string { return "the current etag is " + e.current }

func stale(kind model.Kind, name, given, current string) error {
	return fault.New(fault.Stale, "%s %q has the etag %q now, not %q: read it again", kind, name, current, given).
		With(&staleError{current: current})
}

// public turns any error into what the caller may see: the code of its kind, text that we wrote, and details. The
// cause stays for the log.
func public(err error) *connect.Error {
	f := fault.From(err)
	out := connect.NewError(connect.Code(fault.KindOf(err).RPCCode()), fault.Public(err)).WithCause(err)
	if st, ok := errors.AsType[*staleError](err); ok {
		out = withDetail(out, &adminv1.StaleEtag{CurrentEtag: st.current})
	}
	if f.RetryAfter > 0 {
		out = withDetail(out, &errdetails.RetryInfo{RetryDelay: durationpb.New(f.RetryAfter)})
	}
	return out
}

func withDetail(e *connect.Error, detail proto.Message) *connect.Error {
	d, err := connectproto.NewErrorDetail(detail)
	if err != nil {
		return e // the message alone says it too
	}
	return e.WithDetail(d)
}

// undecodable is what a caller learns about a request that could not be decoded. Decoders quote what they choke on,
// which may be a secret, so only the place and a field's name are taken over.
func undecodable(err error, msg proto.Message) error {
	var ce *connect.Error
	if !errors.As(err, &ce) {
		return err
	}
	name := string(msg.ProtoReflect().Descriptor().Name())
	switch ce.Code() {
	case connect.CodeInvalidArgument:
		return fault.New(fault.Invalid, "the request is not a %s%s", name, place(ce.Message())).
			With(errors.New("decode request")) // not the cause: it would quote the request into our log
	case connect.CodeResourceExhausted:
		return fault.New(fault.TooLarge, "the request is larger than %d bytes", maxRequest)
	case connect.CodeCanceled, connect.CodeDeadlineExceeded, connect.CodeUnimplemented:
		return fault.New(fault.FromRPCCode(uint32(ce.Code())), "the request did not arrive as one whole message")
	default:
		return fault.New(fault.Invalid, "the request could not be read")
	}
}

// place finds where in a JSON body protojson stopped: " at line 1:14, field baseUrl".
func place(text string) string {
	var b strings.Builder
	if m := regexp.MustCompile(`\(line (\d{1,9}:\d{1,9})\)`).FindStringSubmatch(text); m != nil {
		b.WriteString(" at line " + m[1])
	}
	if m := regexp.MustCompile(`unknown field "([A-Za-z_][A-Za-z0-9_]{0,63})"`).FindStringSubmatch(text); m != nil {
		b.WriteString(", which has no field " + m[1])
	} else if m := regexp.MustCompile(`for \w+ field ([A-Za-z_][A-Za-z0-9_]{0,63}):`).FindStringSubmatch(text); m != nil {
		b.WriteString(", field " + m[1])
	}
	return b.String()
}

// maxViolations bounds how many broken rules one answer lists.
const maxViolations = 10

// invalid renders what protovalidate found. Violations carry rules and paths, never values.
func invalid(prefix string, err error) error {
	ve, ok := errors.AsType[*protovalidate.ValidationError](err)
	if !ok {
		return fault.New(fault.Internal, "internal error").With(err)
	}
	var lines []string
	for _, v := range ve.Violations {
		if len(lines) == maxViolations {
			lines = append(lines, "and more")
			break
		}
		path := protovalidate.FieldPathString(v.Proto.GetField())
		if prefix != "" {
			path = prefix + "." + path
		}
		message := v.Proto.GetMessage()
		if message == "" {
			message = "breaks the rule " + v.Proto.GetRuleId()
		}
		lines = append(lines, path+": "+message)
	}
	if len(lines) == 0 {
		return fault.New(fault.Invalid, "the request is not valid")
	}
	out := fault.New(fault.Invalid, "%s", strings.Join(lines, "; "))
	if len(ve.Violations) > 0 {
		out = out.WithParam(protovalidate.FieldPathString(ve.Violations[0].Proto.GetField()))
	}
	return out
}
