package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/url"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fairway/pkg/testkit/testcert"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority issues certificates for tests.
type authority struct{ *testcert.CA }

func newAuthority(t *testing.T) *authority {
	t.Helper()
	return &authority{testcert.NewCA(t)}
}

// issue makes a certificate with its CA in the chain; uri may be nil.
func (a *authority) issue(t *testing.T, uri *url.URL, usage x509.ExtKeyUsage, notAfter time.Time) *tls.Certificate {
	t.Helper()
	cert := a.Issue(t, testcert.Leaf{URI: uri, Usage: []x509.ExtKeyUsage{usage}, NotAfter: notAfter})
	return &cert
}

func fixed(c *tls.Certificate) func() (*tls.Certificate, error) {
	return func() (*tls.Certificate, error) { return c, nil }
}

// shake runs a handshake and a byte in both directions, and returns what the server saw of the client.
func shake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	// Not net.Pipe: it has no buffer, and both sides may write at once when a handshake fails.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	right, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	left, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	s, c := tls.Server(left, server), tls.Client(right, client)
	served := make(chan error, 1)
	go func() {
		_, err := io.CopyN(s, s, 1)
		served <- errors.Join(err, left.Close())
	}()
	err = func() error {
		if err := c.HandshakeContext(t.Context()); err != nil {
			return err
		}
		if _, err := c.Write([]byte{1}); err != nil {
			return err
		}
		// In TLS 1.3 a client learns with the first read that its certificate was refused.
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}()
	_ = right.Close()
	serverErr := <-served
	return s.ConnectionState(), errors.Join(err, serverErr)
}

func TestMutualTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	replica := Identity{Lineage: "L", Role: RoleReplica, ID: "r1"}.URI()
	proxy := Identity{Lineage: "L", Role: RoleProxy, ID: "p1"}.URI()
	later, ago := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	const server, client = x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	good := ours.issue(t, replica, server, later)
	mine := ours.issue(t, proxy, client, later)

	tests := []struct {
		name           string
		server, client *tls.Certificate
		lineage        string
		ok             bool
	}{
		{"both ours", good, mine, "L", true},
		{"any lineage", good, mine, "", true},
		{"server of another CA", theirs.issue(t, replica, server, later), mine, "L", false},
		{"server is a proxy", ours.issue(t, proxy, server, later), mine, "L", false},
		{"server of another lineage", ours.issue(t, Identity{"M", RoleReplica, "r"}.URI(), server, later), mine, "L", false},
		{"server without an identity", ours.issue(t, nil, server, later), mine, "L", false},
		{"server certificate expired", ours.issue(t, replica, server, ago), mine, "L", false},
		{"server with a client's certificate", ours.issue(t, replica, client, later), mine, "L", false},
		{"client of another CA", good, theirs.issue(t, proxy, client, later), "L", false},
		{"client without an identity", good, ours.issue(t, nil, client, later), "L", false},
		{"client certificate expired", good, ours.issue(t, proxy, client, ago), "L", false},
		{"client with a server's certificate", good, ours.issue(t, proxy, server, later), "L", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			state, err := shake(t, ServerTLS(fixed(tt.server), ours.Pool), ClientTLS(fixed(tt.client), ours.Pool, RoleReplica, tt.lineage))
			if (err == nil) != tt.ok {
				t.Fatalf("error %v, want ok = %v", err, tt.ok)
			}
			if !tt.ok {
				return
			}
			if id, err := IdentityOf(state.PeerCertificates[0]); err != nil || id.URI().String() != proxy.String() {
				t.Errorf("the server sees %v, %v", id, err)
			}
			if state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "h2" {
				t.Errorf("version %x, protocol %q", state.Version, state.NegotiatedProtocol)
			}
		})
	}
}

// Enroll: no client certificate, and the server known only by its CA's fingerprint.
func TestPinnedTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	later := time.Now().Add(time.Hour)
	replica := Identity{Lineage: "L", Role: RoleReplica, ID: "r1"}.URI()
	good := ours.issue(t, replica, x509.ExtKeyUsageServerAuth, later)
	bare := &tls.Certificate{Certificate: good.Certificate[:1], PrivateKey: good.PrivateKey}
	// Somebody who shows our CA certificate, which is public, beside a chain of his own.
	impostor := theirs.issue(t, replica, x509.ExtKeyUsageServerAuth, later)
	impostor.Certificate = append(impostor.Certificate, ours.Cert.Raw)
	tests := []struct {
		name   string
		server *tls.Certificate
		ok     bool
	}{
		{"ours", good, true},
		{"another control plane", theirs.issue(t, replica, x509.ExtKeyUsageServerAuth, later), false},
		{"our CA shown beside another chain", impostor, false},
		{"a proxy as server", ours.issue(t, Identity{"L", RoleProxy, "p"}.URI(), x509.ExtKeyUsageServerAuth, later), false},
		{"no identity", ours.issue(t, nil, x509.ExtKeyUsageServerAuth, later), false},
		{"expired", ours.issue(t, replica, x509.ExtKeyUsageServerAuth, time.Now().Add(-time.Minute)), false},
		{"chain without the CA", bare, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			state, err := shake(t, ServerTLS(fixed(tt.server), ours.Pool), PinnedTLS(Fingerprint(ours.Cert)))
			if (err == nil) != tt.ok {
				t.Fatalf("error %v, want ok = %v", err, tt.ok)
			}
			if len(state.PeerCertificates) != 0 {
				t.Error("a client certificate out of nowhere")
			}
		})
	}
	// The leaf's own fingerprint is no CA's.
	leaf, err := x509.ParseCertificate(good.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shake(t, ServerTLS(fixed(good), ours.Pool), PinnedTLS(Fingerprint(leaf))); err == nil {
		t.Error("the leaf counts as its own CA")
	}
}

// No CAs means nobody, not the CAs of the operating system.
func TestNoCAs(t *testing.T) {
	ours := newAuthority(t)
	later := time.Now().Add(time.Hour)
	server := ours.issue(t, Identity{"L", RoleReplica, "r"}.URI(), x509.ExtKeyUsageServerAuth, later)
	client := ours.issue(t, Identity{"L", RoleProxy, "p"}.URI(), x509.ExtKeyUsageClientAuth, later)
	none := func() *x509.CertPool { return nil }
	if _, err := shake(t, ServerTLS(fixed(server), none), ClientTLS(fixed(client), ours.Pool, RoleReplica, "")); err == nil {
		t.Error("the server trusts a client without any CA")
	}
	if _, err := shake(t, ServerTLS(fixed(server), ours.Pool), ClientTLS(fixed(client), none, RoleReplica, "")); err == nil {
		t.Error("the client trusts a server without any CA")
	}
	conf, err := ServerTLS(fixed(server), none).GetConfigForClient(nil)
	if err != nil || conf.ClientCAs == nil {
		t.Error("the server falls back to the CAs of the operating system")
	}
}

// Certificates and CAs are renewed while the process runs: each connection sees the current ones.
func TestRenewal(t *testing.T) {
	before, after := newAuthority(t), newAuthority(t)
	later := time.Now().Add(time.Hour)
	current := before
	serverCert := func() (*tls.Certificate, error) {
		return current.issue(t, Identity{"L", RoleReplica, "r"}.URI(), x509.ExtKeyUsageServerAuth, later), nil
	}
	clientCert := func() (*tls.Certificate, error) {
		return current.issue(t, Identity{"L", RoleProxy, "p"}.URI(), x509.ExtKeyUsageClientAuth, later), nil
	}
	cas := func() *x509.CertPool { return current.Pool() }
	server, client := ServerTLS(serverCert, cas), ClientTLS(clientCert, cas, RoleReplica, "L")
	for _, a := range []*authority{before, after} {
		current = a
		if _, err := shake(t, server, client); err != nil {
			t.Errorf("with the certificates of the day: %v", err)
		}
	}
}

// A process that cannot load its certificate says so instead of connecting without.
func TestCertificateFailure(t *testing.T) {
	ours := newAuthority(t)
	server := ours.issue(t, Identity{"L", RoleReplica, "r"}.URI(), x509.ExtKeyUsageServerAuth, time.Now().Add(time.Hour))
	broken := errors.New("no certificate yet")
	_, err := shake(t, ServerTLS(fixed(server), ours.Pool),
		ClientTLS(func() (*tls.Certificate, error) { return nil, broken }, ours.Pool, RoleReplica, "L"))
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want the loader's", err)
	}
}
