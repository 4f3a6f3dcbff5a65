package e2e

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairway/pkg/testkit/fakellm"
)

// TestCanary plants secrets and searches everything that Fairway writes and answers for them: etcd's files, the proxy's
// files, logs at debug level, metrics, lists, dumps, errors. Only the files that are there to hold a secret may.
func TestCanary(t *testing.T) {
	const credential, replaced = "sk-canary-credential-4kPz", "sk-canary-replacement-9Qx"
	ports := freePorts(t, 5)
	in := &installation{t: t, dataDir: filepath.Join(t.TempDir(), "data"), admin: ports[1], sync: ports[2], control: ports[4]}
	in.proxies = []*proxy{{addr: ports[0], ops: ports[3], stateDir: filepath.Join(in.dataDir, "proxy")}}
	in.server = start(t, "up", binaries.fairway, "up", "--data-dir", in.dataDir, "--listen", ports[0], "--admin-listen", in.admin, "--sync-listen", in.sync,
		"--proxy-ops-listen", ports[3], "--control-ops-listen", in.control, "--upstream-allow-cidr", "127.0.0.0/8", "--log-level", "debug", "--log-format", "json")
	in.proxies[0].process = in.server
	in.ready()
	fake, url := lenientProvider(t, fakellm.Options{Accounts: map[string]fakellm.Behaviour{credential: fakellm.Healthy(), replaced: fakellm.Healthy()}, Models: []string{"m1"}})
	in.channel("main", url, credential, "m1", "--wait")
	if _, errs, err := in.run(replaced, nil, "account", "rotate", "main", "--secret-stdin", "--wait"); err != nil {
		t.Fatalf("rotate: %v %s", err, errs)
	}
	in.channel("broken", url, "sk-canary-unknown-to-the-provider", "m1", "--priority", "10", "--wait")
	key := in.key("alice", "--debug-headers")
	token, err := os.ReadFile(filepath.Join(in.dataDir, "operator.token"))
	if err != nil {
		t.Fatal(err)
	}
	join := in.must("proxy", "token", "create")
	other := in.must("operator", "create", "second", "--role", "owner")
	_, other, _ = strings.Cut(other, "token: ")

	canaries := map[string]string{
		"the account's credential": credential, "its replacement": replaced, "a refused credential": "sk-canary-unknown-to-the-provider", "the client key": key,
		"the owner's token": strings.TrimSpace(string(token)), "an operator's token": strings.TrimSpace(other), "a join token": strings.TrimSpace(join),
	}
	for what, c := range canaries {
		if len(c) < 16 {
			t.Fatalf("%s is no canary: %q", what, c)
		}
	}
	search := func(where string, raw []byte) {
		t.Helper()
		for what, c := range canaries {
			if bytes.Contains(raw, []byte(c)) {
				t.Errorf("%s is in %s", what, where)
			}
		}
	}

	// Traffic, good and bad: the provider refuses one credential and says so in its error.
	for range 3 {
		c := in.proxies[0].client(key)
		if _, err := c.Chat.Completions.New(t.Context(), chat("m1", "x")); err != nil {
			t.Errorf("chat: %v", err)
		}
	}
	fake.SetBehaviour(replaced, fakellm.Status(401, "invalid_api_key", 0))
	_, err = in.proxies[0].client(key).Chat.Completions.New(t.Context(), chat("m1", "x"))
	e := apiError(t, err)
	search("a client's error", []byte(e.RawJSON()+e.Error()))
	_, err = in.proxies[0].client(key+"x").Chat.Completions.New(t.Context(), chat("m1", "x"))
	search("an authentication error", []byte(apiError(t, err).RawJSON()))

	for _, args := range [][]string{
		{"channel", "list", "-o", "json"}, {"account", "list", "-o", "json"}, {"account", "get", "main", "-o", "yaml"}, {"key", "list", "-o", "json"},
		{"operator", "list", "-o", "json"}, {"get", "-o", "yaml"}, {"audit", "-o", "json"}, {"status", "-o", "json"}, {"proxy", "token", "list", "-o", "json"},
		{"explain", "--key", "alice", "--model", "m1", "-o", "json"}, {"usage", "query", "--group-by", "key,account", "-o", "json"}, {"settings", "get", "-o", "json"},
	} {
		search("the output of fairway "+strings.Join(args, " "), []byte(in.must(args...)))
	}
	_, errs, _ := in.run("", nil, "account", "create", "main", "--channel", "main", "--secret-file", filepath.Join(in.dataDir, "operator.token"))
	search("the error of a create", []byte(errs))
	for _, ops := range []string{in.control, in.proxies[0].ops} {
		metrics, err := get("http://"+ops+"/metrics", 200)
		if err != nil {
			t.Fatal(err)
		}
		search("metrics", []byte(metrics))
	}
	in.server.stop()
	search("the log", []byte(in.server.log.String()))

	holders := map[string]bool{"operator.token": true, "join.token": true, "kek": true}
	files := 0
	err = filepath.WalkDir(in.dataDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Dir(path) == in.dataDir && holders[d.Name()] {
			return err
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		search(path, raw)
		return nil
	})
	if err != nil || files < 3 {
		t.Errorf("searched %d files: %v", files, err)
	}
}
