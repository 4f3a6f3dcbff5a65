package admin

import (
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"fairway/controlplane/internal/operator"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// procedures are all methods that the descriptors of the admin API know, and what is mounted beside.
func procedures(t *testing.T) []string {
	t.Helper()
	var all []string
	protoregistry.GlobalFiles.RangeFilesByPackage("fairway.admin.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				all = append(all, "/"+string(s.FullName())+"/"+string(s.Methods().Get(j).Name()))
			}
		}
		return true
	})
	if len(all) < 40 {
		t.Fatalf("the descriptors name %d procedures only", len(all))
	}
	return append(all,
		"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
}

// Every procedure is walked as everybody: who is let in is what the table says, and the table says something about
// each, and about nothing else.
func TestEveryProcedureAsEveryRole(t *testing.T) {
	w := newWorld(t)
	viewer := w.hire("vera", resourcev1.Role_ROLE_VIEWER)
	oper := w.hire("omar", resourcev1.Role_ROLE_OPERATOR)
	rules := operator.Procedures()
	callers := []struct {
		name  string
		token string
		role  resourcev1.Role
		known bool
	}{
		{"nobody", "", 0, false},
		{"an unknown token", operator.NewToken().Reveal(), 0, false},
		{"a viewer", viewer, resourcev1.Role_ROLE_VIEWER, true},
		{"an operator", oper, resourcev1.Role_ROLE_OPERATOR, true},
		{"an owner", w.owner, resourcev1.Role_ROLE_OWNER, true},
	}
	walked := make(map[string]bool)
	for _, p := range procedures(t) {
		walked[p] = true
		rule, ok := rules[p]
		if !ok {
			t.Errorf("%s has no rule", p)
			continue
		}
		for _, c := range callers {
			// What cannot be decoded comes back as 400 from whoever was let in, and changes nothing.
			status, header, body := w.post(c.token, p, `{"no such field":1}`)
			want := ""
			switch {
			case rule.Open:
			case !c.known:
				want = "401"
			case c.role < rule.Role:
				want = "403"
			}
			got := ""
			switch status {
			case http.StatusUnauthorized:
				got = "401"
			case http.StatusForbidden:
				got = "403"
			case http.StatusOK:
				if rule.Open {
					break
				}
				t.Errorf("%s as %s: the walk succeeded: %s", p, c.name, body)
			}
			if got != want {
				t.Errorf("%s as %s: status %d (%s), want %s", p, c.name, status, body, want)
			}
			if header.Get(operator.RequestIDHeader) == "" {
				t.Errorf("%s as %s: no request id", p, c.name)
			}
		}
	}
	for p := range rules {
		if !walked[p] {
			t.Errorf("%s has a rule and is not registered", p)
		}
	}
}

// Services that are not mounted, methods that do not exist and spellings that are not exact are nobody's.
func TestUnregisteredProcedures(t *testing.T) {
	w := newWorld(t)
	for _, p := range []string{
		"/fairway.admin.v1.KeyService/StealKeys", "/fairway.admin.v1.KeyService/", "/fairway.admin.v1.NoService/Get",
		"/fairway.admin.v1.KeyService/listkeys", "/fairway.admin.v1.KeyService/ListKeys/",
	} {
		if status, _, body := w.post("", p, "{}"); status != http.StatusUnauthorized && status != http.StatusNotFound {
			t.Errorf("%s without a token: %d %s", p, status, body)
		}
		if status, _, body := w.post(w.owner, p, "{}"); status != http.StatusNotImplemented && status != http.StatusNotFound {
			t.Errorf("%s as owner: %d %s", p, status, body)
		}
	}
	// Other spellings of a path either reach the same procedure with the same checks, or none.
	for _, p := range []string{
		"//fairway.admin.v1.KeyService/ListKeys", "/fairway.admin.v1.KeyService/../fairway.admin.v1.KeyService/ListKeys",
		"/fairway.admin.v1.KeyService%2fListKeys", "/x/../fairway.admin.v1.KeyService/ListKeys", "/fairway.admin.v1.KeyService//ListKeys",
	} {
		if status, _, body := w.post("", p, "{}"); status < 300 || strings.Contains(body, "totalSize") {
			t.Errorf("%s without a token: %d %s", p, status, body)
		}
	}
}
