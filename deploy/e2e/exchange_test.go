package e2e

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fairway/pkg/testkit/fakellm"
)

// shortLife leaves half of itself for a renewal to reach every proxy.
const shortLife = 10 * time.Second

// TestExchange: a service account's key becomes tokens in one place. Whatever the number of proxies, the endpoint is asked
// once for each token, by the control plane; proxies get the next one before the last has ended, and one that the provider
// took back is out of use as soon as there is another.
func TestExchange(t *testing.T) {
	in := up(t, "--token-allow-cidr", "127.0.0.0/8")
	in.addProxy()
	p, url := lenientProvider(t, fakellm.Options{
		Accounts: map[string]fakellm.Behaviour{"vertex": fakellm.Healthy()}, Models: []string{"gemini-3-flash", "claude-sonnet-4-5"},
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the provider found fault with %q", p.Violations())
		}
	})
	file := serviceAccount(t, p, url, "first")
	in.must("channel", "create", "vertex", "--provider", "vertex", "--base-url", url, "--region", "us-central1",
		"--models", "gemini-3-flash,claude-sonnet-4-5", "--secret-file", file, "--exchange", "google-service-account", "--wait")
	key := in.key("alice")
	ask := func(p *proxy, model string) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := p.client(key).Chat.Completions.New(ctx, chat(model, "x"))
		return err
	}
	granted := func() int {
		n := 0
		for _, r := range p.TokenRequests() {
			if r.Kind != "google" || r.Account != "vertex" || r.Agent != "fairway" || !r.Granted {
				t.Fatalf("somebody else asked for a token, or in vain: %+v", r)
			}
			n++
		}
		return n
	}
	for _, one := range in.proxies {
		eventually(t, "the credential reaches the proxy", func() error { return ask(one, "gemini-3-flash") })
	}
	for range 10 {
		for _, one := range in.proxies {
			for _, model := range []string{"gemini-3-flash", "claude-sonnet-4-5"} {
				if err := ask(one, model); err != nil {
					t.Fatalf("%s: %v", model, err)
				}
			}
		}
	}
	if n := granted(); n != 1 {
		t.Errorf("%d token requests for two proxies, want 1", n)
	}
	if out := in.must("channel", "test", "vertex"); out == "" {
		t.Error("the test of the channel says nothing")
	}

	// Another key gives the next token, which lives shortly; its successor is there before it ends.
	p.SetTokenLifetime(shortLife)
	in.must("account", "rotate", "vertex", "--secret-file", serviceAccount(t, p, url, "second"), "--wait")
	served := 0
	eventually(t, "the credential is renewed", func() error {
		for _, one := range in.proxies {
			if err := ask(one, "gemini-3-flash"); err != nil {
				t.Fatalf("while credentials are renewed: %v", err)
			}
			served++
		}
		if n := granted(); n < 3 {
			return fmt.Errorf("%d tokens were given out", n)
		}
		return nil
	})
	t.Logf("%d requests through two proxies while the token was renewed: no failure, %d token requests", served, granted())

	// The provider takes the token back: nobody is told, requests fail, and the next token ends that.
	p.SetTokenLifetime(time.Hour)
	before := granted()
	p.RevokeTokens("vertex")
	for _, one := range in.proxies {
		err := ask(one, "gemini-3-flash")
		if err == nil && granted() == before {
			t.Error("a token that was taken back serves")
		}
		if err != nil {
			e := apiError(t, err)
			t.Logf("without a good token: %d %s", e.StatusCode, e.Message)
		}
	}
	eventually(t, "a token that was taken back is replaced", func() error {
		for _, one := range in.proxies {
			if err := ask(one, "gemini-3-flash"); err != nil {
				return err
			}
		}
		return nil
	})
	if n := granted(); n > before+1 {
		t.Errorf("%d token requests for one replacement", n-before)
	}
}

// serviceAccount makes one known at the provider, and returns its key file.
func serviceAccount(t *testing.T, p *fakellm.Provider, url, name string) string {
	t.Helper()
	const bits = 2048
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	p.AddServiceAccount(fakellm.ServiceAccount{
		Email: name + "@project-1.iam.gserviceaccount.com", KeyID: "key-1", Key: &key.PublicKey, Project: "project-1", Account: "vertex",
	})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "project-1", "private_key_id": "key-1",
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email": name + "@project-1.iam.gserviceaccount.com", "token_uri": url + "/oauth2/token",
	})
	if err != nil {
		t.Fatal(err)
	}
	const private = 0o600
	path := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(path, raw, private); err != nil {
		t.Fatal(err)
	}
	return path
}
