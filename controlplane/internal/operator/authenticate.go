package operator

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// RequestIDHeader carries the id of a request on every response.
const RequestIDHeader = "x-request-id"

// States gives the current state; nil before the first load.
type States interface {
	State() *model.State
}

// Authenticator matches bearer tokens to operators of the current state and procedures to rules. It is immutable and
// safe for concurrent use.
type Authenticator struct {
	states States
	rules  map[string]Rule
}

// NewAuthenticator serves these rules, normally Procedures(), over the operators in states.
func NewAuthenticator(states States, rules map[string]Rule) *Authenticator {
	return &Authenticator{states: states, rules: rules}
}

// Interceptor authenticates and authorizes from the headers alone, before the request is decoded. What it lets through
// finds its Operator with From. It returns *fault.Error; whoever is outside of it makes that an answer.
func (a *Authenticator) Interceptor() connect.ServerInterceptor {
	return func(next connect.ServerFunc) connect.ServerFunc {
		return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			var authorization []string
			if info, ok := connect.CallInfoForServerContext(ctx); ok {
				authorization = info.RequestHeader().Values("Authorization")
			}
			o, err := a.Authorize(authorization, spec.Procedure)
			if err != nil {
				return err
			}
			o.RequestID = RequestID(ctx)
			return next(With(ctx, o), spec, stream)
		}
	}
}

// Guard does for a plain handler of one procedure what Interceptor does for registered ones: reflection is served by a
// library that knows no interceptors of ours.
func (a *Authenticator) Guard(next http.Handler) http.Handler {
	writer := connecthttp.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o, err := a.Authorize(r.Header.Values("Authorization"), r.URL.Path)
		if err != nil {
			public := connect.NewError(connect.Code(fault.KindOf(err).RPCCode()), fault.Public(err))
			_ = writer.Write(w, r, public) // the client is gone: nobody is left to tell
			return
		}
		o.RequestID = RequestID(r.Context())
		next.ServeHTTP(w, r.WithContext(With(r.Context(), o)))
	})
}

// Authorize returns the operator that the Authorization header's values name, if the rules let it call procedure.
// Errors: Unauthenticated, Denied, Unimplemented for a procedure without a rule, Unavailable before the first load.
func (a *Authenticator) Authorize(authorization []string, procedure string) (Operator, error) {
	rule, known := a.rules[procedure]
	if known && rule.Open {
		return Operator{Procedure: procedure}, nil
	}
	o, err := a.authenticate(authorization)
	if err != nil {
		return Operator{}, err
	}
	if !known {
		return Operator{}, fault.New(fault.Unimplemented, "%s is not served here", procedure)
	}
	if !rule.allows(o.GetRole()) {
		return Operator{}, fault.New(fault.Denied, "%s needs the role %s; operator %q has the role %s",
			procedure, RoleName(rule.Role), o.GetMetadata().GetName(), RoleName(o.GetRole()))
	}
	if o.GetTenant() != "" && !rule.Scoped {
		return Operator{}, fault.New(fault.Denied, "%s is not for operators of a tenant; operator %q is one of %q",
			procedure, o.GetMetadata().GetName(), o.GetTenant())
	}
	return Operator{Name: o.GetMetadata().GetName(), Role: o.GetRole(), Tenant: o.GetTenant(), Procedure: procedure}, nil
}

// authenticate finds the enabled operator that holds the token. Unknown, malformed and disabled all read the same.
func (a *Authenticator) authenticate(authorization []string) (*resourcev1.Operator, error) {
	if len(authorization) == 0 {
		return nil, fault.New(fault.Unauthenticated, "no operator token: send the header Authorization: Bearer %s…", Prefix)
	}
	state := a.states.State()
	if state == nil {
		return nil, fault.New(fault.Unavailable, "the state is not loaded yet")
	}
	refused := fault.New(fault.Unauthenticated, "the operator token is not valid")
	token, ok := bearer(authorization)
	if !ok {
		return nil, refused
	}
	sum := sha256.Sum256([]byte(token))
	// Operators are few (admin bounds them), and a scan without an early end takes as long for a miss as for a hit.
	var found *resourcev1.Operator
	for r := range state.All(model.KindOperator) {
		o, ok := r.(*resourcev1.Operator)
		if ok && subtle.ConstantTimeCompare(o.GetTokenHash(), sum[:]) == 1 {
			found = o
		}
	}
	if found == nil || found.GetDisabled() {
		return nil, refused
	}
	return found, nil
}

type requestIDKey struct{}

// RequestIDs gives every request an id, sets it on the response before anything else can answer, and keeps it for
// RequestID. Ids that clients send are not taken over: they end in the audit trail, which must not be forged.
func RequestIDs(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := rand.Text()
		w.Header().Set(RequestIDHeader, id)
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), requestIDKey{}, id)))
	})
}

// RequestID is the id that RequestIDs gave; empty outside of HTTP.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}
