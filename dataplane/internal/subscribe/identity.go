package subscribe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"fairway/pkg/atomicfile"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/trust"
)

// identityName is the file in the state directory: PEM blocks of the private key, the leaf and the CAs, in one file so
// that they are always of one piece.
const identityName = "identity.pem"

const (
	pemKey  = "PRIVATE KEY"
	pemCert = "CERTIFICATE"
)

// identity is a certificate with its key and the authorities that vouch for its like. It is immutable.
type identity struct {
	who  trust.Identity
	cert *tls.Certificate
	cas  []*x509.Certificate
	pool *x509.CertPool
	// renewAt is after a third of the certificate's life, and a little later by chance, so that a fleet that joined at
	// once does not renew at once.
	renewAt time.Time
}

func (s *Subscriber) certificate() (*tls.Certificate, error) {
	id := s.identity.Load()
	if id == nil {
		return nil, errors.New("the proxy has no identity yet")
	}
	return id.cert, nil
}

func (s *Subscriber) authorities() *x509.CertPool {
	id := s.identity.Load()
	if id == nil {
		return nil
	}
	return id.pool
}

// expiry is when the certificate ends; zero without one.
func (s *Subscriber) expiry() time.Time {
	id := s.identity.Load()
	if id == nil {
		return time.Time{}
	}
	return id.cert.Leaf.NotAfter
}

// newRequest makes a key and asks for a certificate over it.
func newRequest(hostname string) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: hostname[:min(len(hostname), 64)]},
	}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return key, csr, nil
}

// accept checks what the control plane issued for our key.
func accept(key *ecdsa.PrivateKey, c *syncv1.Certificate) (*identity, error) {
	ders := append([][]byte{c.GetLeaf()}, c.GetCas()...)
	certs := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		var err error
		if certs[i], err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("read the issued certificate: %w", err)
		}
	}
	return newIdentity(key, certs[0], certs[1:])
}

func newIdentity(key *ecdsa.PrivateKey, leaf *x509.Certificate, cas []*x509.Certificate) (*identity, error) {
	if pub, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(&key.PublicKey) {
		return nil, errors.New("the certificate is for another key")
	}
	who, err := trust.IdentityOf(leaf)
	if err != nil {
		return nil, err
	}
	if who.Role != trust.RoleProxy {
		return nil, fmt.Errorf("the certificate is for a %s", who.Role)
	}
	id := &identity{who: who, cas: cas, pool: x509.NewCertPool()}
	for _, ca := range cas {
		id.pool.AddCert(ca)
	}
	// At the time when it began: whether it has expired since is another question.
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: id.pool, CurrentTime: leaf.NotBefore.Add(time.Second), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return nil, fmt.Errorf("the certificate does not come from its authority: %w", err)
	}
	id.cert = &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	id.renewAt = leaf.NotBefore.Add(life/3 + mathrand.N(life/12+1))
	return id, nil
}

// save writes the identity, 0600 and atomically.
func (id *identity) save(dir string) error {
	key, err := x509.MarshalPKCS8PrivateKey(id.cert.PrivateKey)
	if err != nil {
		return fmt.Errorf("write the identity: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: pemKey, Bytes: key})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: id.cert.Leaf.Raw})...)
	for _, ca := range id.cas {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: pemCert, Bytes: ca.Raw})...)
	}
	return atomicfile.Write(filepath.Join(dir, identityName), text, 0o600)
}

// loadIdentity reads what save wrote; os.ErrNotExist when there is none. It refuses a file that others may read.
func loadIdentity(dir string) (*identity, error) {
	path := filepath.Join(dir, identityName)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s has mode %#o and others may use it; make it 0600", path, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	id, err := parseIdentity(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return id, nil
}

func parseIdentity(text []byte) (*identity, error) {
	var key *ecdsa.PrivateKey
	var certs []*x509.Certificate
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		switch block.Type {
		case pemKey:
			parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, errors.New("the private key does not parse")
			}
			var ok bool
			if key, ok = parsed.(*ecdsa.PrivateKey); !ok {
				return nil, errors.New("the private key is not an ECDSA key")
			}
		case pemCert:
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("read a certificate: %w", err)
			}
			certs = append(certs, cert)
		}
	}
	if key == nil || len(certs) < 2 {
		return nil, errors.New("want a private key, a certificate and its authority")
	}
	return newIdentity(key, certs[0], certs[1:])
}
