package e2e

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"fairway/pkg/testkit/fakellm"
)

// TestCommandLine runs the scripts in testdata: the real binary against a running installation. Each script has an
// installation of its own; $URL is a provider that knows the credential in $CRED, $PROXY the proxy.
func TestCommandLine(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			tb := env.T().(testing.TB)
			in := up(tb)
			_, url := provider(tb, fakellm.Options{Accounts: map[string]fakellm.Behaviour{"sk-script": fakellm.Healthy()}, Models: []string{"m1", "m2"}})
			env.Setenv("PATH", binaries.dir+":"+env.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("FAIRWAY_SERVER", "http://"+in.admin)
			env.Setenv("FAIRWAY_DATA_DIR", in.dataDir)
			env.Setenv("SYNC", in.sync)
			env.Setenv("PROXY", "http://"+in.proxies[0].addr)
			env.Setenv("URL", url)
			env.Setenv("CRED", "sk-script")
			return nil
		},
	})
}
