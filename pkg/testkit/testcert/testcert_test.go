package testcert

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"path/filepath"
	"testing"
	"time"
)

func TestIssue(t *testing.T) {
	ours, theirs := NewCA(t), NewCA(t)
	server, client := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	tests := []struct {
		name   string
		ca     *CA
		leaf   Leaf
		dns    string
		usage  []x509.ExtKeyUsage
		wantOK bool
	}{
		{"a host name", ours, Leaf{Names: []string{"a.example"}}, "a.example", server, true},
		{"a name under a star", ours, Leaf{Names: []string{"b.example", "*.a.example"}}, "x.a.example", server, true},
		{"another name", ours, Leaf{Names: []string{"a.example"}}, "b.example", server, false},
		{"an address", ours, Leaf{Names: []string{"a.example", "127.0.0.1", "::1"}}, "[::1]", server, true},
		{"both usages", ours, Leaf{}, "", client, true},
		{"a server as client", ours, Leaf{Usage: server}, "", client, false},
		{"of another authority", theirs, Leaf{}, "", server, false},
		{"over", ours, Leaf{NotBefore: time.Now().Add(-2 * time.Minute), NotAfter: time.Now().Add(-time.Minute)}, "", server, false},
		{"not begun", ours, Leaf{NotBefore: time.Now().Add(time.Minute)}, "", server, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cert := tt.ca.Issue(t, tt.leaf)
			_, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: ours.Pool(), DNSName: tt.dns, KeyUsages: tt.usage})
			if (err == nil) != tt.wantOK {
				t.Errorf("error %v, want ok = %v", err, tt.wantOK)
			}
		})
	}
}

func TestSign(t *testing.T) {
	ca, key, uri := NewCA(t), NewKey(t), &url.URL{Scheme: "spiffe", Host: "fleet", Path: "/proxy/1"}
	der, err := ca.Sign(key.Public(), Leaf{URI: uri})
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if !key.PublicKey.Equal(leaf.PublicKey) || len(leaf.URIs) != 1 || leaf.URIs[0].String() != uri.String() {
		t.Errorf("signed for key %v, URIs %v", leaf.PublicKey, leaf.URIs)
	}
	if _, err := ca.Sign("no key", Leaf{}); err == nil {
		t.Error("signed for what is no key")
	}
}

func TestWrite(t *testing.T) {
	ca := NewCA(t)
	want := ca.Server(t, "a.example")
	certFile, keyFile := filepath.Join(t.TempDir(), "c.pem"), filepath.Join(t.TempDir(), "k.pem")
	Write(t, ca.Server(t, "older, and in the way"), certFile, keyFile)
	Write(t, want, certFile, keyFile)
	got, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Certificate) != 2 || !got.Leaf.Equal(want.Leaf) {
		t.Errorf("the files hold %v", got.Leaf.Subject)
	}
	if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(ca.PEM()) || !pool.Equal(ca.Pool()) {
		t.Error("the authority's PEM is not the authority")
	}
}
