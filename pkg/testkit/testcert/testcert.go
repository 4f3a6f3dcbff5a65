// Package testcert makes certificates for tests: an authority, and what it issues to servers and clients, in memory or as
// PEM files. It refuses to be used outside of tests: serial numbers are not kept, nothing is revoked, and an authority's
// key lives as long as the test.
package testcert

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net"
	"net/url"
	"os"
	"time"
)

// TB is what is needed of a test; testing.TB and rapid.T have it.
type TB interface {
	Helper()
	Fatal(args ...any)
}

// CA is a certificate authority. It is safe for concurrent use.
type CA struct {
	// Cert signs itself; it is valid from an hour ago until a day from now.
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Leaf says what a certificate is to be. The zero Leaf names nobody, and serves and is a client for an hour.
type Leaf struct {
	// Names are host names (such as *.example.com) and IP addresses; the first is also the subject.
	Names []string
	// URI names a workload; nil = none.
	URI *url.URL
	// NotBefore and NotAfter; zero = an hour ago, and in an hour.
	NotBefore, NotAfter time.Time
	// Usage; empty = server and client.
	Usage []x509.ExtKeyUsage
}

// NewCA makes an authority.
func NewCA(t TB) *CA {
	t.Helper()
	key := NewKey(t)
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &CA{Cert: cert, key: key}
}

// Pool holds the authority alone.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.Cert)
	return p
}

// Issue makes a key and a certificate for it, with the authority's own in the chain.
func (ca *CA) Issue(t TB, l Leaf) tls.Certificate {
	t.Helper()
	key := NewKey(t)
	der, err := ca.Sign(key.Public(), l)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der, ca.Cert.Raw}, PrivateKey: key, Leaf: leaf}
}

// Server is Issue for a server of those names.
func (ca *CA) Server(t TB, names ...string) tls.Certificate {
	t.Helper()
	return ca.Issue(t, Leaf{Names: names, Usage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

// Sign makes a certificate, DER, for a key that somebody else has. It may be called in any goroutine.
func (ca *CA) Sign(public crypto.PublicKey, l Leaf) ([]byte, error) {
	if l.NotBefore.IsZero() {
		l.NotBefore = time.Now().Add(-time.Hour)
	}
	if l.NotAfter.IsZero() {
		l.NotAfter = time.Now().Add(time.Hour)
	}
	if len(l.Usage) == 0 {
		l.Usage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	template := &x509.Certificate{
		SerialNumber: serial(), NotBefore: l.NotBefore, NotAfter: l.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: l.Usage,
	}
	for i, name := range l.Names {
		if i == 0 {
			template.Subject.CommonName = name
		}
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	if l.URI != nil {
		template.URIs = []*url.URL{l.URI}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Cert, public, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	return der, nil
}

// PEM is the authority's certificate as a file holds it.
func (ca *CA) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Cert.Raw})
}

// NewKey makes a key like those of issued certificates.
func NewKey(t TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// PEM is what the two files of a certificate hold: the chain, and the key in PKCS #8.
func PEM(t TB, c tls.Certificate) (chain, key []byte) {
	t.Helper()
	for _, der := range c.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// Write writes both files, in place when they are there.
func Write(t TB, c tls.Certificate, certFile, keyFile string) {
	t.Helper()
	chain, key := PEM(t, c)
	if err := errors.Join(os.WriteFile(certFile, chain, 0o600), os.WriteFile(keyFile, key, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, big.NewInt(math.MaxInt64)) // crypto/rand's reader does not fail
	return n.Add(n, big.NewInt(1))
}
