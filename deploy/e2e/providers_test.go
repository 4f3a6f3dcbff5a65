package e2e

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	facts "fairway/pkg/provider"
)

// TestProviderCommands makes a channel of every provider by the very line that docs/providers.md shows for it. The channels
// are disabled: nothing goes to a real provider. The proxy compiles them all the same, and refuses none.
func TestProviderCommands(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "docs", "providers.md"))
	if err != nil {
		t.Fatal(err)
	}
	in := up(t)
	home := t.TempDir()
	env := append(cleanEnv(), "FAIRWAY_SERVER=http://"+in.admin, "FAIRWAY_DATA_DIR="+in.dataDir, "PATH="+binaries.dir+":"+os.Getenv("PATH"))
	if err := os.WriteFile(filepath.Join(home, "key.json"), keyFile(t), 0o600); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, block := range blocksOf(string(raw), "text") {
		line, _, _ := strings.Cut(block, "\n")
		name := created.FindStringSubmatch(line)
		if name == nil {
			continue
		}
		seen[name[1]] = true
		cmd := exec.Command("bash", "-c", "set -eu -o pipefail\n"+line+" --disabled --wait")
		cmd.Env, cmd.Dir = env, home
		for _, variable := range secretVariable.FindAllStringSubmatch(line, -1) {
			cmd.Env = append(cmd.Env, variable[1]+"=sk-docs-provider-secret")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s\n%v: %s", line, err, out)
		}
	}
	for _, f := range facts.All() {
		if !seen[f.Name] {
			t.Errorf("%s: no line makes a channel of it", f.Name)
		}
	}
	var status struct {
		Proxies []struct {
			Rejections []json.RawMessage
		}
	}
	out := in.must("status", "-o", "json")
	if err := json.Unmarshal([]byte(out), &status); err != nil || len(status.Proxies) != 1 || len(status.Proxies[0].Rejections) > 0 {
		t.Errorf("the proxy refuses some of them (%v): %s", err, out)
	}
}

var (
	created        = regexp.MustCompile(`fairway channel create (\S+) --provider \S+ `)
	secretVariable = regexp.MustCompile(`--secret-env (\S+)`)
)

// keyFile is a service account's key file. Its token endpoint is a port of this machine where nobody listens.
func keyFile(t *testing.T) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "docs", "private_key_id": "1", "client_email": "docs@docs.iam.gserviceaccount.com",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":   "http://" + freePorts(t, 1)[0] + "/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
