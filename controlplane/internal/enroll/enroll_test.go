package enroll

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"net/url"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/secret"
	"fairway/pkg/trust"
)

const lineage = "lineage-1"

// memory is a store in memory.
type memory struct {
	mu     sync.Mutex
	meta   map[string][]byte
	tokens map[string]*adminv1.JoinToken
}

func newMemory() *memory {
	return &memory{meta: map[string][]byte{}, tokens: map[string]*adminv1.JoinToken{}}
}

func (m *memory) Meta(_ context.Context, name string) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.meta[name]
	return v, ok, nil
}

func (m *memory) CreateMeta(_ context.Context, name string, value []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if old, ok := m.meta[name]; ok {
		return old, nil
	}
	m.meta[name] = value
	return value, nil
}

func (m *memory) CreateJoinToken(_ context.Context, t *adminv1.JoinToken, _ string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens[t.GetId()] = proto.CloneOf(t)
	return nil
}

func (m *memory) JoinTokens(context.Context) ([]*adminv1.JoinToken, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []*adminv1.JoinToken
	for _, t := range m.tokens {
		list = append(list, proto.CloneOf(t))
	}
	return list, nil
}

func (m *memory) DeleteJoinToken(_ context.Context, id, _ string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.tokens[id]; !ok {
		return fault.New(fault.NotFound, "no token")
	}
	delete(m.tokens, id)
	return nil
}

func (m *memory) UseJoinToken(_ context.Context, id string, check func(*adminv1.JoinToken) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tokens[id]
	if !ok {
		return fault.New(fault.NotFound, "no token")
	}
	if err := check(t); err != nil {
		return err
	}
	t.Uses++
	return nil
}

func (m *memory) uses(id string) int32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tokens[id].GetUses()
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type fixture struct {
	clock   *clock
	store   *memory
	keyring *secret.Keyring
	ca      *Authority
	proxies *Proxies
	tokens  *Tokens[string]
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	f := fixture{clock: &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}, store: newMemory(), keyring: newKeyring(t)}
	ca, err := Open(t.Context(), f.store, f.keyring, lineage, f.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	f.ca = ca
	f.proxies = NewProxies(ca, f.store)
	f.tokens = newTokens(ca, f.store)
	return f
}

func newTokens(ca *Authority, m *memory) *Tokens[string] {
	return NewTokens(ca, m, func(a string) string { return a }, slog.New(slog.DiscardHandler))
}

func newKeyring(t *testing.T) *secret.Keyring {
	t.Helper()
	id, key := secret.NewDataKey()
	k, err := secret.NewKeyring(id, map[string][]byte{id: key})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newCSR(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	// A greedy request: nothing of it but the key may get into the certificate.
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "replica root"},
		DNSNames: []string{"evil.example"},
		URIs:     []*url.URL{trust.Identity{Lineage: lineage, Role: trust.RoleReplica, ID: "r1"}.URI()},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func TestEnrollGivesAProxyIdentity(t *testing.T) {
	f := newFixture(t)
	record, token, err := f.tokens.Create(t.Context(), time.Hour, 2, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if record.GetSecretHash() != nil || record.GetCreatedBy() != "alice" || record.GetMaxUses() != 2 {
		t.Errorf("record = %v", record)
	}
	key := newKey(t)
	cert, err := f.proxies.Enroll(t.Context(), token, newCSR(t, key), "host")
	if err != nil {
		t.Fatal(err)
	}
	leaf := verify(t, f.ca, cert)
	if !key.PublicKey.Equal(leaf.PublicKey) {
		t.Error("the certificate is for another key")
	}
	if len(leaf.DNSNames) != 0 || leaf.IsCA {
		t.Errorf("the request got names %v, CA %v into the certificate", leaf.DNSNames, leaf.IsCA)
	}
	if got, want := leaf.NotAfter, f.clock.Now().Add(ProxyLife); !got.Equal(want) {
		t.Errorf("not after = %v, want %v", got, want)
	}
	again, err := f.proxies.Enroll(t.Context(), token, newCSR(t, newKey(t)), "host")
	if err != nil {
		t.Fatal(err)
	}
	if again.GetProxyId() == cert.GetProxyId() {
		t.Error("two proxies got one id")
	}
}

// verify checks a proxy's certificate against the authority and its own id.
func verify(t *testing.T, ca *Authority, c *syncv1.Certificate) *x509.Certificate {
	t.Helper()
	leaf, err := x509.ParseCertificate(c.GetLeaf())
	if err != nil {
		t.Fatal(err)
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: ca.Pool(), CurrentTime: ca.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: ca.now()}); err == nil {
		t.Error("a proxy's certificate is good for a server")
	}
	id, err := trust.IdentityOf(leaf)
	if err != nil {
		t.Fatal(err)
	}
	if want := (trust.Identity{Lineage: lineage, Role: trust.RoleProxy, ID: c.GetProxyId()}); id != want {
		t.Errorf("identity = %v, want %v", id, want)
	}
	return leaf
}

func TestEnrollRefuses(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		token   func(f fixture, token string) string
		csr     func(t *testing.T) []byte
		advance time.Duration
		used    bool
		kind    fault.Kind
		public  string
	}{
		{name: "no token", token: func(fixture, string) string { return "" }, kind: fault.Unauthenticated},
		{name: "unknown token", token: func(f fixture, token string) string {
			parsed, _ := trust.ParseJoinToken(token)
			parsed.ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
			return parsed.Encode()
		}, kind: fault.Unauthenticated, public: "the join token is not valid"},
		{name: "another secret", token: func(f fixture, token string) string {
			parsed, _ := trust.ParseJoinToken(token)
			other := trust.NewJoinToken(parsed.ID, f.ca.Certificate())
			return other.Encode()
		}, kind: fault.Unauthenticated, public: "the join token is not valid"},
		{name: "another control plane's", token: func(f fixture, token string) string {
			parsed, _ := trust.ParseJoinToken(token)
			parsed.CAFingerprint = sha256.Sum256([]byte("other"))
			return parsed.Encode()
		}, kind: fault.Unauthenticated, public: "the join token was made by another control plane"},
		{name: "expired", advance: time.Hour, kind: fault.Unauthenticated, public: "the join token has expired"},
		{name: "used up", used: true, kind: fault.Unauthenticated, public: "the join token is used up"},
		{name: "no request", csr: func(*testing.T) []byte { return nil }, kind: fault.Invalid},
		{name: "garbage request", csr: func(*testing.T) []byte { return []byte("garbage") }, kind: fault.Invalid},
		{name: "long request", csr: func(*testing.T) []byte { return make([]byte, maxCSR+1) }, kind: fault.Invalid},
		{name: "request signed by another key", csr: func(t *testing.T) []byte {
			mine, theirs := newKey(t), newKey(t)
			return bytes.Replace(newCSR(t, mine), point(t, mine), point(t, theirs), 1)
		}, kind: fault.Invalid},
		{name: "RSA", csr: func(t *testing.T) []byte { return newCSR(t, rsaKey) }, kind: fault.Invalid},
		{name: "weak curve", csr: func(t *testing.T) []byte {
			key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			return newCSR(t, key)
		}, kind: fault.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			record, token, err := f.tokens.Create(t.Context(), time.Hour, 1, "alice")
			if err != nil {
				t.Fatal(err)
			}
			csr := newCSR(t, newKey(t))
			var before int32
			if tt.used {
				if _, err := f.proxies.Enroll(t.Context(), token, csr, "h"); err != nil {
					t.Fatal(err)
				}
				before = 1
			}
			f.clock.advance(tt.advance)
			if tt.token != nil {
				token = tt.token(f, token)
			}
			if tt.csr != nil {
				csr = tt.csr(t)
			}
			cert, err := f.proxies.Enroll(t.Context(), token, csr, "h")
			if err == nil {
				t.Fatalf("enrolled %s", cert.GetProxyId())
			}
			if got := fault.KindOf(err); got != tt.kind {
				t.Errorf("kind = %v, want %v (%v)", got, tt.kind, err)
			}
			if got := fault.Public(err); tt.public != "" && got != tt.public {
				t.Errorf("public = %q, want %q", got, tt.public)
			}
			if got := f.store.uses(record.GetId()); got != before {
				t.Errorf("uses = %d, want %d: a refused enrolment must use nothing up", got, before)
			}
		})
	}
}

// point is a public key as it stands in a request.
func point(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	raw, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestRenewKeepsTheID(t *testing.T) {
	f := newFixture(t)
	id := trust.Identity{Lineage: lineage, Role: trust.RoleProxy, ID: "p1"}
	cert, err := f.proxies.Renew(t.Context(), id, newCSR(t, newKey(t)))
	if err != nil {
		t.Fatal(err)
	}
	verify(t, f.ca, cert)
	if cert.GetProxyId() != "p1" {
		t.Errorf("id = %q, want p1", cert.GetProxyId())
	}
	for name, id := range map[string]trust.Identity{
		"no identity":   {},
		"replica":       {Lineage: lineage, Role: trust.RoleReplica, ID: "r1"},
		"other lineage": {Lineage: "other", Role: trust.RoleProxy, ID: "p1"},
	} {
		if _, err := f.proxies.Renew(t.Context(), id, newCSR(t, newKey(t))); fault.KindOf(err) != fault.Unauthenticated {
			t.Errorf("%s: error = %v, want unauthenticated", name, err)
		}
	}
}

func FuzzPublicKey(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(csr)
	f.Add([]byte{})
	f.Add(csr[:len(csr)/2])
	f.Fuzz(func(t *testing.T, csr []byte) {
		public, err := publicKey(csr)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatalf("error %v is not the caller's fault", err)
			}
			return
		}
		// Whatever is accepted proves the possession of its key.
		request, err := x509.ParseCertificateRequest(csr)
		if err != nil || request.CheckSignature() != nil {
			t.Fatalf("accepted a request that does not verify: %v", err)
		}
		if _, ok := public.(*rsa.PublicKey); ok {
			t.Fatal("accepted RSA")
		}
	})
}
