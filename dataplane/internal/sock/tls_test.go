package sock

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

// secured puts TLS on a pair.
func secured(t *testing.T, l *Lookout) (*Conn, *tls.Conn, *tls.Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	c, raw := pair(t, l, nil)
	// A record that comes in pieces must neither be forgotten nor remembered as an error.
	server := tls.Server(bytewise{raw}, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	client := tls.Client(c, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: "test"})
	failed := make(chan error, 1)
	go func() { failed <- server.Handshake() }()
	if err := errors.Join(client.Handshake(), <-failed); err != nil {
		t.Fatal(err)
	}
	return c, client, server
}

func TestTLSEach(t *testing.T) {
	forms(t, func(t *testing.T, l *Lookout) {
		c, client, server := secured(t, l)
		g := newGathering(512)
		var want []byte
		for i := range 100 {
			want = append(want, bytes.Repeat([]byte{byte(i)}, i*i%1500+1)...)
		}
		go func() {
			for rest, i := want, 0; len(rest) > 0; i++ {
				n := min(len(rest), i*i%1500+1)
				if _, err := server.Write(rest[:n]); err != nil {
					t.Error(err)
				}
				rest = rest[n:]
			}
			_ = server.Close()
		}()
		c.Each(client, g)
		if !bytes.Equal(g.all, want) || !errors.Is(g.err, io.EOF) {
			t.Fatalf("got %d bytes of %d, %v", len(g.all), len(want), g.err)
		}
	})
}

// bytewise writes every byte by itself.
type bytewise struct{ net.Conn }

func (b bytewise) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := b.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestTLSAsk(t *testing.T) {
	forms(t, func(t *testing.T, l *Lookout) {
		c, client, server := secured(t, l)
		go func() { _, _ = io.Copy(server, server) }()
		in := make([]byte, 64)
		for range 50 {
			n, err := c.Ask(client, []byte("ping"), client, in)
			if err != nil || string(in[:n]) != "ping" {
				t.Fatalf("got %q, %v", in[:n], err)
			}
		}
		_ = server.NetConn().Close()
		if n, err := c.Ask(client, []byte("ping"), client, in); err == nil {
			t.Fatalf("got %q from a dead connection", in[:n])
		}
	})
}
