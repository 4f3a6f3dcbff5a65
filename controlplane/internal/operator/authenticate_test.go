package operator

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/secret"
)

type fixedState struct{ state *model.State }

func (f fixedState) State() *model.State { return f.state }

// stateOf is a state with these operators.
func stateOf(operators ...*resourcev1.Operator) fixedState {
	st := model.Empty("lineage")
	for i, o := range operators {
		o.Metadata.Id = "id-" + o.GetMetadata().GetName()
		st = st.Apply(int64(i+1), []model.Change{{Kind: model.KindOperator, ID: o.GetMetadata().GetId(), New: o}})
	}
	return fixedState{st}
}

func person(name string, role resourcev1.Role) (*resourcev1.Operator, secret.String) {
	token := NewToken()
	return &resourcev1.Operator{Metadata: &resourcev1.Metadata{Name: name}, Role: role, TokenHash: HashToken(token)}, token
}

func header(token secret.String) []string { return []string{"Bearer " + token.Reveal()} }

func TestAuthorize(t *testing.T) {
	viewer, viewerToken := person("vera", resourcev1.Role_ROLE_VIEWER)
	owner, ownerToken := person("olga", resourcev1.Role_ROLE_OWNER)
	disabled, disabledToken := person("dora", resourcev1.Role_ROLE_OWNER)
	disabled.Disabled = true
	roleless, rolelessToken := person("nora", resourcev1.Role_ROLE_UNSPECIFIED)
	tenant, tenantToken := person("tina", resourcev1.Role_ROLE_OPERATOR)
	tenant.Tenant = "team"
	hashless := &resourcev1.Operator{Metadata: &resourcev1.Metadata{Name: "hana"}, Role: resourcev1.Role_ROLE_OWNER}
	a := NewAuthenticator(stateOf(viewer, owner, disabled, roleless, tenant, hashless), map[string]Rule{
		"/open":   {Open: true},
		"/read":   {Role: resourcev1.Role_ROLE_VIEWER},
		"/own":    {Role: resourcev1.Role_ROLE_OWNER},
		"/nobody": {},
		"/scoped": {Role: resourcev1.Role_ROLE_OPERATOR, Scoped: true},
		"/above":  {Role: resourcev1.Role_ROLE_OWNER, Scoped: true},
	})
	tests := []struct {
		name          string
		authorization []string
		procedure     string
		want          fault.Kind // 0 = let through
		who           string
	}{
		{"viewer reads", header(viewerToken), "/read", 0, "vera"},
		{"owner reads", header(ownerToken), "/read", 0, "olga"},
		{"owner owns", header(ownerToken), "/own", 0, "olga"},
		{"viewer does not own", header(viewerToken), "/own", fault.Denied, ""},
		{"no token", nil, "/read", fault.Unauthenticated, ""},
		{"unknown token", header(NewToken()), "/read", fault.Unauthenticated, ""},
		{"malformed token", []string{"Bearer x"}, "/read", fault.Unauthenticated, ""},
		{"disabled", header(disabledToken), "/read", fault.Unauthenticated, ""},
		{"no role", header(rolelessToken), "/read", fault.Denied, ""},
		{"open without a token", nil, "/open", 0, ""},
		{"open with a wrong token", header(NewToken()), "/open", 0, ""},
		{"not in the table, no token", nil, "/new", fault.Unauthenticated, ""},
		{"not in the table, owner", header(ownerToken), "/new", fault.Unimplemented, ""},
		{"zero rule, owner", header(ownerToken), "/nobody", fault.Denied, ""},
		{"of a tenant, for whom it is open", header(tenantToken), "/scoped", 0, "tina"},
		{"of a tenant, for whom it is not", header(tenantToken), "/read", fault.Denied, ""},
		{"of a tenant, above its role", header(tenantToken), "/above", fault.Denied, ""},
		{"of a tenant, open to anybody", header(tenantToken), "/open", 0, ""},
		{"of a tenant, not in the table", header(tenantToken), "/new", fault.Unimplemented, ""},
		{"owner, where tenants' may too", header(ownerToken), "/scoped", 0, "olga"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o, err := a.Authorize(tt.authorization, tt.procedure)
			if got := fault.KindOf(err); got != tt.want {
				t.Fatalf("kind = %v (%v), want %v", got, err, tt.want)
			}
			if o.Name != tt.who {
				t.Errorf("let through as %q, want %q", o.Name, tt.who)
			}
			if want := map[string]string{"tina": "team"}[tt.who]; o.Tenant != want {
				t.Errorf("tenant = %q, want %q", o.Tenant, want)
			}
			if err == nil && o.Procedure != tt.procedure {
				t.Errorf("procedure = %q, want %q", o.Procedure, tt.procedure)
			}
		})
	}
}

func TestRefusalsReadTheSame(t *testing.T) {
	disabled, disabledToken := person("dora", resourcev1.Role_ROLE_OWNER)
	disabled.Disabled = true
	a := NewAuthenticator(stateOf(disabled), map[string]Rule{"/read": {Role: resourcev1.Role_ROLE_VIEWER}})
	_, unknown := a.Authorize(header(NewToken()), "/read")
	_, known := a.Authorize(header(disabledToken), "/read")
	if unknown.Error() != known.Error() {
		t.Errorf("a disabled token is told apart from an unknown one: %q and %q", known, unknown)
	}
}

func TestAuthorizeBeforeTheFirstLoad(t *testing.T) {
	a := NewAuthenticator(fixedState{}, Procedures())
	_, err := a.Authorize(header(NewToken()), "/fairway.admin.v1.KeyService/GetKey")
	if fault.KindOf(err) != fault.Unavailable {
		t.Errorf("error = %v, want Unavailable: nothing can be decided without a state", err)
	}
}

// undecoded fails the test when somebody decodes the request.
type undecoded struct {
	connect.ServerStream
	t *testing.T
}

func (u undecoded) Receive(any) error {
	u.t.Error("the request was decoded before its caller was known")
	return io.EOF
}

func TestInterceptorRefusesBeforeDecoding(t *testing.T) {
	a := NewAuthenticator(stateOf(), Procedures())
	called := false
	f := a.Interceptor()(func(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
		called = true
		return stream.Receive(nil)
	})
	err := f(context.Background(), connect.Spec{Procedure: "/fairway.admin.v1.KeyService/GetKey"}, undecoded{t: t})
	if called || fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("called = %v, error = %v; want Unauthenticated and no call", called, err)
	}
}

func TestGuard(t *testing.T) {
	viewer, token := person("vera", resourcev1.Role_ROLE_VIEWER)
	a := NewAuthenticator(stateOf(viewer), map[string]Rule{"/read": {Role: resourcev1.Role_ROLE_VIEWER}})
	var who Operator
	h := RequestIDs(a.Guard(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { who, _ = From(r.Context()) })))

	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "/read", nil)
	h.ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized || who.Name != "" {
		t.Errorf("without a token: status %d, caller %q; want 401 and none", w.Code, who.Name)
	}

	w = httptest.NewRecorder()
	r.Header.Set("Authorization", "Bearer "+token.Reveal())
	r.Header.Set(RequestIDHeader, "forged")
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK || who.Name != "vera" || who.Procedure != "/read" {
		t.Errorf("with a token: status %d, caller %+v", w.Code, who)
	}
	if id := w.Header().Get(RequestIDHeader); id == "" || id == "forged" || id != who.RequestID {
		t.Errorf("request id: header %q, caller %q; want one and the same, our own", id, who.RequestID)
	}

	// The path decides which rule holds: a spelling that the table does not know has none.
	for _, path := range []string{"//read", "/read/", "/READ", "/read/../read"} {
		w = httptest.NewRecorder()
		r = httptest.NewRequest(http.MethodPost, path, nil)
		r.Header.Set("Authorization", "Bearer "+token.Reveal())
		h.ServeHTTP(w, r)
		if w.Code == http.StatusOK {
			t.Errorf("%s was let through", path)
		}
	}
}

func TestProceduresGiveEveryRuleARole(t *testing.T) {
	for procedure, rule := range Procedures() {
		if !strings.HasPrefix(procedure, "/") || strings.Count(procedure, "/") != 2 {
			t.Errorf("%q is not a procedure", procedure)
		}
		if rule.Open != (rule.Role == resourcev1.Role_ROLE_UNSPECIFIED) {
			t.Errorf("%s: %+v is open and has a role, or is neither", procedure, rule)
		}
		if rule.Open && !strings.HasPrefix(procedure, "/grpc.health.v1.Health/") {
			t.Errorf("%s is open to anybody", procedure)
		}
	}
}
