package enroll

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fairway/pkg/trust"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReplicasShareOneAuthority(t *testing.T) {
	store, keyring := newMemory(), newKeyring(t)
	const replicas = 8
	prints := make([][32]byte, replicas)
	var wg sync.WaitGroup
	for i := range replicas {
		wg.Go(func() {
			ca, err := Open(t.Context(), store, keyring, lineage, nil)
			if err != nil {
				t.Error(err)
				return
			}
			prints[i] = trust.Fingerprint(ca.Certificate())
		})
	}
	wg.Wait()
	for i, p := range prints {
		if p != prints[0] {
			t.Errorf("replica %d has another authority", i)
		}
	}
}

func TestAuthorityIsSealed(t *testing.T) {
	f := newFixture(t)
	value := f.store.meta[metaName]
	plain, err := x509.MarshalPKCS8PrivateKey(f.ca.key)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(value, plain) || bytes.Contains(value, plain[len(plain)-32:]) {
		t.Error("the key is readable in the store")
	}
	if _, err := Open(t.Context(), f.store, newKeyring(t), lineage, nil); err == nil {
		t.Error("opened with another keyring")
	}
	if _, err := Open(t.Context(), f.store, f.keyring, "lineage-2", nil); err == nil {
		t.Error("opened for another lineage")
	}
}

func TestSourceRenewsItself(t *testing.T) {
	f := newFixture(t)
	source, err := f.ca.Source("r1")
	if err != nil {
		t.Fatal(err)
	}
	get := func() *tls.Certificate {
		t.Helper()
		c, err := source.Certificate()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := get()
	f.clock.advance(ReplicaLife/3 - time.Second)
	if get() != first {
		t.Error("renewed before its time")
	}
	f.clock.advance(time.Second)
	second := get()
	if second == first {
		t.Error("not renewed after a third of its life")
	}
	if left := second.Leaf.NotAfter.Sub(f.clock.Now()); left != ReplicaLife {
		t.Errorf("the new one is good for %v, want %v", left, ReplicaLife)
	}
	f.clock.advance(-2 * ReplicaLife)
	if c := get(); c.Leaf.NotBefore.After(f.clock.Now()) {
		t.Error("after the clock went back the certificate is not valid yet")
	}
}

// TestHandshakes runs the roles of the package against each other over real TLS.
func TestHandshakes(t *testing.T) {
	f := newFixture(t)
	f.clock.now = time.Now() // crypto/tls has its own
	source, err := f.ca.Source("r1")
	if err != nil {
		t.Fatal(err)
	}
	other := newFixture(t)
	server := trust.ServerTLS(source.Certificate, f.ca.Pool)
	ourPin := trust.PinnedTLS(trust.Fingerprint(f.ca.Certificate()))
	tests := []struct {
		name   string
		client *tls.Config
		ok     bool
	}{
		{"replica asks replica", trust.ClientTLS(source.Certificate, f.ca.Pool, trust.RoleReplica, lineage), true},
		{"pinned", ourPin, true},
		{"pinned to another control plane", trust.PinnedTLS(trust.Fingerprint(other.ca.Certificate())), false},
		{"trusts another authority", trust.ClientTLS(source.Certificate, other.ca.Pool, trust.RoleReplica, lineage), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := net.Pipe()
			var wg sync.WaitGroup
			wg.Go(func() {
				s := tls.Server(a, server)
				_, _ = io.Copy(io.Discard, s)
				_ = a.Close()
			})
			c := tls.Client(b, tt.client)
			err := c.Handshake()
			if (err == nil) != tt.ok {
				t.Errorf("handshake error = %v, want ok %v", err, tt.ok)
			}
			_ = b.Close()
			wg.Wait()
		})
	}
}

func TestEnsureLocal(t *testing.T) {
	f := newFixture(t)
	path := filepath.Join(t.TempDir(), "join.token")
	ensure := func() string {
		t.Helper()
		if err := f.tokens.EnsureLocal(t.Context(), path, "system"); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("mode = %v, want 0600", info.Mode().Perm())
		}
		// Whatever happened, the token in the file works.
		if _, err := f.proxies.Enroll(t.Context(), string(text), newCSR(t, newKey(t)), "h"); err != nil {
			t.Errorf("the token does not work: %v", err)
		}
		return strings.TrimSpace(string(text))
	}
	first := ensure()
	f.clock.advance(365 * 24 * time.Hour)
	if ensure() != first {
		t.Error("a good token was replaced")
	}
	id := func(token string) string {
		parsed, err := trust.ParseJoinToken(token)
		if err != nil {
			t.Fatal(err)
		}
		return parsed.ID
	}

	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	second := ensure()
	if second == first {
		t.Error("a token that others could read was kept")
	}
	if _, ok := f.store.tokens[id(first)]; ok {
		t.Error("a token that others could read still works")
	}

	if err := os.WriteFile(path, []byte("not a token"), 0o600); err != nil {
		t.Fatal(err)
	}
	third := ensure()
	if third == second {
		t.Error("kept what is not there")
	}

	if err := f.store.DeleteJoinToken(t.Context(), id(third), ""); err != nil {
		t.Fatal(err)
	}
	fourth := ensure()
	if fourth == third {
		t.Error("a token that the store does not know was kept")
	}

	// A new authority: the old fingerprint is worth nothing.
	fresh := newFixture(t)
	fresh.store.tokens = f.store.tokens
	f = fresh
	if ensure() == fourth {
		t.Error("a token for another authority was kept")
	}

	// An operator's token in the file is not ours to delete.
	_, mine, err := f.tokens.Create(t.Context(), time.Hour, 1, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(mine), 0o600); err != nil {
		t.Fatal(err)
	}
	ensure()
	if _, ok := f.store.tokens[id(mine)]; !ok {
		t.Error("an operator's token was deleted")
	}
}

func TestEnsureLocalLeavesNothingBehind(t *testing.T) {
	f := newFixture(t)
	path := filepath.Join(t.TempDir(), "no", "such", "dir", "join.token")
	if err := f.tokens.EnsureLocal(t.Context(), path, "system"); err == nil {
		t.Fatal("no error for a file that cannot be written")
	}
	if n := len(f.store.tokens); n != 0 {
		t.Errorf("%d tokens stay in the store that nobody has", n)
	}
}

func TestListHidesHashes(t *testing.T) {
	f := newFixture(t)
	record, _, err := f.tokens.Create(t.Context(), 0, 0, "alice")
	if err != nil {
		t.Fatal(err)
	}
	list, err := f.tokens.List(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("list = %v, %v", list, err)
	}
	if list[0].GetSecretHash() != nil || list[0].GetMaxUses() != 1 {
		t.Errorf("listed %v", list[0])
	}
	if f.store.tokens[record.GetId()].GetSecretHash() == nil {
		t.Error("the stored record lost its hash")
	}
	if err := f.tokens.Delete(t.Context(), record.GetId(), "alice"); err != nil {
		t.Fatal(err)
	}
	if len(f.store.tokens) != 0 {
		t.Error("the token is still there")
	}
}
