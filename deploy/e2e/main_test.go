package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binaries are what the tests run, built once from this tree.
var binaries struct {
	dir, fairway, dataplane, etcd string
}

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("end-to-end tests are skipped with -short")
		os.Exit(0)
	}
	// Those that run side by side wait for processes, timers and leases; what they need of the machine is little.
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue {
		_ = flag.Set("test.parallel", "16")
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "fairway-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binaries.dir = dir
	binaries.fairway = filepath.Join(dir, "fairway")
	binaries.dataplane = filepath.Join(dir, "fairway-dataplane")
	binaries.etcd = filepath.Join(dir, "etcd")
	for target, pkg := range map[string]string{
		binaries.fairway:   "fairway",
		binaries.dataplane: "fairway/dataplane/cmd/fairway-dataplane",
		// The real server, from the module that the control plane requires anyway.
		binaries.etcd: "go.etcd.io/etcd/server/v3",
	} {
		// With the flags of make build, so that one compilation serves both.
		build := exec.Command("go", "build", "-o", target, pkg)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n%s", pkg, err, out)
			return 1
		}
	}
	return m.Run()
}
