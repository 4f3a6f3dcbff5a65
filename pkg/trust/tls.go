package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// http2 is the only protocol that is spoken over these connections.
const http2 = "h2"

// ServerTLS is for the sync listener: TLS 1.3, HTTP/2, a client certificate verified when one is given. A call that
// needs one asks the connection for it (Enroll needs none). A certificate of ours that names no identity is refused.
// getCert and cas are called for each connection, so renewed certificates and CAs count at once; neither may be nil.
// The server's certificate should come with its CA certificate in the chain, for those who know only its fingerprint.
func ServerTLS(getCert func() (*tls.Certificate, error), cas func() *x509.CertPool) *tls.Config {
	base := &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{http2},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return getCert() },
		ClientAuth:     tls.VerifyClientCertIfGiven,
		// A resumed session would carry on with what was verified when it began.
		SessionTicketsDisabled: true,
	}
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := base.Clone()
		c.GetConfigForClient = nil
		c.ClientCAs = cas()
		if c.ClientCAs == nil {
			// nil would mean the system's roots.
			c.ClientCAs = x509.NewCertPool()
		}
		c.VerifyConnection = func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return nil
			}
			_, err := IdentityOf(state.PeerCertificates[0])
			return err
		}
		return c, nil
	}
	return base
}

// ClientTLS is for a process that has a certificate: TLS 1.3, HTTP/2; the server's chain must end in one of cas and its
// certificate must name the role want, of that lineage unless lineage is empty. Host names do not count. getCert and cas
// are called for each connection.
func ClientTLS(getCert func() (*tls.Certificate, error), cas func() *x509.CertPool, want Role, lineage string) *tls.Config {
	c := clientBase()
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return getCert() }
	c.VerifyConnection = func(state tls.ConnectionState) error {
		roots := cas()
		if roots == nil {
			return errors.New("trust: no CA certificates to verify the server with")
		}
		if err := verifyChain(state.PeerCertificates, roots, c.Time); err != nil {
			return err
		}
		return expect(state.PeerCertificates[0], want, lineage)
	}
	return c
}

// PinnedTLS is for a process that has only a join token: TLS 1.3, HTTP/2; the server must present a CA certificate with
// the fingerprint, a certificate signed by it, and a replica's identity in that.
func PinnedTLS(caFingerprint [32]byte) *tls.Config {
	c := clientBase()
	c.VerifyConnection = func(state tls.ConnectionState) error {
		roots := x509.NewCertPool()
		found := false
		for _, cert := range state.PeerCertificates {
			if cert.IsCA && Fingerprint(cert) == caFingerprint {
				roots.AddCert(cert)
				found = true
			}
		}
		if !found {
			return errors.New("trust: the server is not the control plane that the join token was made by")
		}
		if err := verifyChain(state.PeerCertificates, roots, c.Time); err != nil {
			return err
		}
		return expect(state.PeerCertificates[0], RoleReplica, "")
	}
	return c
}

func clientBase() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{http2},
		// The server is verified in VerifyConnection, by its URI: addresses change, and no name is certified.
		InsecureSkipVerify: true, //nolint:gosec // see above; VerifyConnection is set by every caller
	}
}

// verifyChain verifies a server's chain against roots; now may be nil, meaning the clock.
func verifyChain(chain []*x509.Certificate, roots *x509.CertPool, now func() time.Time) error {
	if len(chain) == 0 {
		return errors.New("trust: the server presented no certificate")
	}
	o := x509.VerifyOptions{
		Roots:         roots,
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if now != nil {
		o.CurrentTime = now()
	}
	for _, cert := range chain[1:] {
		o.Intermediates.AddCert(cert)
	}
	if _, err := chain[0].Verify(o); err != nil {
		return fmt.Errorf("trust: verify server certificate: %w", err)
	}
	return nil
}

func expect(cert *x509.Certificate, want Role, lineage string) error {
	id, err := IdentityOf(cert)
	if err != nil {
		return err
	}
	if id.Role != want || (lineage != "" && id.Lineage != lineage) {
		return fmt.Errorf("trust: the server is %s, want a %s of lineage %q", id, want, lineage)
	}
	return nil
}
