package archtest

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The house itself.
func TestHouse(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatalf("go env GOMOD: %v", err)
	}
	packages, err := List(t.Context(), filepath.Dir(strings.TrimSpace(string(out))), "./...")
	if err != nil {
		t.Fatal(err)
	}
	// If the module is renamed, no rule would match anything, and the check would pass for ever.
	if !slices.ContainsFunc(packages, func(p Package) bool { return p.ImportPath == module+"/pkg/testkit/archtest" }) {
		t.Fatalf("this package is not among the %d listed ones", len(packages))
	}
	for _, v := range Check(packages) {
		t.Error(v)
	}
}

// Every rule flags what it is about, and leaves alone what it allows.
func TestRules(t *testing.T) {
	tests := []struct {
		rule string // empty = all is well
		p    Package
	}{
		{"generated", pkg("pkg/gen/fairway/sync/v1", "fairway/pkg/fault")},
		{"", pkg("pkg/gen/fairway/sync/v1", "fairway/pkg/gen/fairway/admin/v1", "google.golang.org/grpc")},
		{"pkg", pkg("pkg/fault", "fairway/controlplane")},
		{"pkg", pkg("pkg/fault", "fairway/dataplane/internal/route")},
		{"", pkg("pkg/secret", "fairway/pkg/gen/fairway/resource/v1", "crypto/aes")},
		{"planes", linked("controlplane/internal/build", "fairway/dataplane/internal/snapshot")},
		{"planes", linked("dataplane/internal/snapshot", "fairway/controlplane/internal/model")},
		{"", linked("deploy/e2e", "fairway/controlplane", "fairway/dataplane")},
		{"rooms", pkg("controlplane/internal/store", "fairway/controlplane/ctl")},
		{"rooms", pkg("dataplane/internal/gateway", "fairway/deploy/demo")},
		{"doors", pkg("controlplane/internal/store", "fairway/controlplane")},
		{"doors", pkg("dataplane/internal/route", "fairway/dataplane/cmd/fairway-dataplane")},
		{"", pkg("dataplane/cmd/fairway-dataplane", "fairway/dataplane", "github.com/spf13/cobra")},
		{"ctl", pkg("controlplane/ctl", "fairway/controlplane/internal/model")},
		{"", pkg("controlplane/ctl", "fairway/pkg/flags", "fairway/pkg/gen/fairway/admin/v1/adminv1connect",
			"connectrpc.com/connect/v2", "github.com/spf13/cobra")},
		{"etcd", pkg("controlplane/internal/ledger", "go.etcd.io/etcd/client/v3")},
		{"etcd", pkg("controlplane", "go.etcd.io/etcd/server/v3/embed")},
		{"", pkg("controlplane/internal/store", "go.etcd.io/etcd/client/v3", "fairway/controlplane/internal/model")},
		{"", pkg("pkg/testkit/etcdtest", "go.etcd.io/etcd/server/v3/embed")},
		{"thin", linked("dataplane/cmd/fairway-dataplane", "go.etcd.io/etcd/client/v3")},
		{"testkit", pkg("", "fairway/pkg/testkit/fakellm")},
		{"testkit", linked("dataplane/cmd/fairway-dataplane", "fairway/pkg/testkit/fakellm")},
		{"", pkg("deploy/demo", "fairway/pkg/testkit/fakellm", "fairway/controlplane", "fairway/dataplane")},
		{"", pkg("", "fairway/deploy/demo", "fairway/controlplane", "fairway/dataplane", "github.com/spf13/cobra")},
		{"connect", pkg("controlplane/internal/publish", "connectrpc.com/connect/v2")},
		{"connect", pkg("dataplane/internal/gateway", "connectrpc.com/connect/v2/connecthttp")},
		{"", pkg("controlplane/internal/admin", "connectrpc.com/connect/v2", "fairway/controlplane/internal/operator")},
		{"grpc", pkg("controlplane/internal/admin", "google.golang.org/grpc/codes")},
		{"grpc", pkg("dataplane/internal/gateway", "google.golang.org/grpc")},
		{"", pkg("controlplane/internal/store", "google.golang.org/grpc", "google.golang.org/grpc/codes")},
		{"", pkg("dataplane/internal/report", "google.golang.org/grpc")},
		{"", pkg("controlplane/internal/publish", "google.golang.org/grpc", "fairway/controlplane/internal/build")},
		{"commands", pkg("controlplane/internal/admin", "github.com/spf13/cobra")},
		{"commands", pkg("pkg/serve", "github.com/spf13/pflag")},
		{"siblings", pkg("controlplane/internal/publish", "fairway/controlplane/internal/store")},
		{"siblings", pkg("controlplane/internal/model", "fairway/controlplane/internal/store")},
		{"siblings", pkg("dataplane/internal/meter", "fairway/dataplane/internal/dialect/openai")},
		{"siblings", pkg("dataplane/internal/upstream", "fairway/dataplane/internal/snapshot")},
		{"siblings", pkg("dataplane/internal/dialect/openai", "fairway/dataplane/internal/dialect/anthropic")},
		{"siblings", pkg("dataplane/internal/newcomer", "fairway/dataplane/internal/snapshot")},
		{"", pkg("dataplane/internal/dialect/openai", "fairway/dataplane/internal/dialect")},
		{"", pkg("dataplane/internal/gateway", "fairway/dataplane/internal/meter", "fairway/dataplane/internal/dialect/openai")},
		{"", pkg("controlplane/internal/store", "fairway/controlplane/internal/store/keys")},
		{"", pkg("controlplane", "fairway/controlplane/internal/store", "fairway/controlplane/internal/model")},
	}
	flagged := map[string]bool{}
	for _, tt := range tests {
		t.Run(tt.rule+" "+tt.p.ImportPath, func(t *testing.T) {
			got := Check([]Package{tt.p})
			if tt.rule == "" {
				for _, v := range got {
					t.Error("should be allowed: ", v)
				}
				return
			}
			i := slices.IndexFunc(got, func(v Violation) bool { return v.Rule == tt.rule })
			if i < 0 {
				t.Fatalf("not flagged by rule %q, only %v", tt.rule, got)
			}
			flagged[got[i].Reason] = true
			if line := got[i].String(); !strings.Contains(line, got[i].Reason) || !strings.Contains(line, tt.p.ImportPath) {
				t.Errorf("the failure does not say what and why: %s", line)
			}
		})
	}
	for _, r := range rules() {
		if r.reason == "" || !flagged[r.reason] {
			t.Errorf("rule %q has no reason, or no example here: %q", r.name, r.reason)
		}
	}
}

// The table of siblings must name rooms as roomOf does, or an entry would allow nothing.
func TestSiblingsNamesRooms(t *testing.T) {
	for from, rooms := range siblings() {
		plane, room, ok := strings.Cut(from, "/")
		gotPlane, gotRoom, found := roomOf(module + "/" + plane + "/internal/" + room + "/below")
		if !ok || !found || gotPlane != plane || gotRoom != room {
			t.Errorf("%q is not a room", from)
		}
		if len(rooms) == 0 {
			t.Errorf("%q is listed with no room", from)
		}
	}
}

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, path string
		want          bool
	}{
		{"fairway/pkg", "fairway/pkg", true},
		{"fairway/pkg", "fairway/pkg/fault", false},
		{"fairway/pkg/...", "fairway/pkg", true},
		{"fairway/pkg/...", "fairway/pkg/fault", true},
		{"fairway/pkg/...", "fairway/pkgs", false},
		{"go.etcd.io/...", "go.etcd.io/etcd/client/v3", true},
	}
	for _, tt := range tests {
		if got := match(tt.pattern, tt.path); got != tt.want {
			t.Errorf("match(%q, %q) = %v, want %v", tt.pattern, tt.path, got, tt.want)
		}
	}
}

func TestDecode(t *testing.T) {
	got, err := decode(strings.NewReader("{\"ImportPath\":\"a\",\"Imports\":[\"b\"]}\n{\"ImportPath\":\"b\",\"Deps\":[\"c\"]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Package{{ImportPath: "a", Imports: []string{"b"}}, {ImportPath: "b", Deps: []string{"c"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if _, err := decode(strings.NewReader("{\"ImportPath\":")); err == nil {
		t.Error("half an object decodes")
	}
}

// pkg is a package of the module that imports others directly; linked one that depends on others.
func pkg(path string, imports ...string) Package {
	return Package{ImportPath: strings.TrimSuffix(module+"/"+path, "/"), Imports: imports, Deps: imports}
}

func linked(path string, deps ...string) Package {
	return Package{ImportPath: module + "/" + path, Deps: deps}
}
