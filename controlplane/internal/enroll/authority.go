// Package enroll is the control plane's own small certificate authority: it is made once for a data set, kept sealed in
// the store, and gives certificates to replicas and to proxies that bring a join token or the certificate that they
// have.
//
// It refuses to put anything into a certificate that the caller chose except the public key: names, ids and times are
// its own. It knows nothing of gRPC; the transport tells it who is calling.
package enroll

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"google.golang.org/protobuf/proto"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/secret"
	"fairway/pkg/trust"
)

// Lives of certificates. A third of one is left before a renewal is due, so that a certificate that is renewed on time
// outlives an outage of the control plane of 20 days.
const (
	CALife      = 10 * 365 * 24 * time.Hour
	ProxyLife   = 30 * 24 * time.Hour
	ReplicaLife = 30 * 24 * time.Hour

	// backdate allows for clocks that are behind.
	backdate = 10 * time.Minute
)

const (
	// metaName is where the store keeps the authority.
	metaName = "ca"
	// Where the key is sealed for.
	sealKind, sealField = "ca", "key"
)

// Meta keeps small values of the data set.
type Meta interface {
	// CreateMeta puts a value if there is none, and returns the one that is there then.
	CreateMeta(ctx context.Context, name string, value []byte) ([]byte, error)
	// Meta returns a value; false when there is none.
	Meta(ctx context.Context, name string) ([]byte, bool, error)
}

// stored is the authority as it is kept.
type stored struct {
	Certificate []byte `json:"certificate"` // DER
	Key         []byte `json:"key"`         // a SealedValue: PKCS #8
}

// Authority issues certificates. It is immutable and safe for concurrent use.
type Authority struct {
	lineage string
	cert    *x509.Certificate
	key     crypto.Signer
	pool    *x509.CertPool
	now     func() time.Time
}

// Open returns the authority of the data set and makes it if there is none. However many replicas do so at once, all
// get the same. now is the clock; nil = time.Now.
func Open(
	ctx context.Context, meta Meta, keyring *secret.Keyring, lineage string, now func() time.Time,
) (*Authority, error) {
	if now == nil {
		now = time.Now
	}
	value, ok, err := meta.Meta(ctx, metaName)
	if err != nil {
		return nil, fmt.Errorf("read certificate authority: %w", err)
	}
	if !ok {
		fresh, err := create(keyring, lineage, now())
		if err != nil {
			return nil, fmt.Errorf("create certificate authority: %w", err)
		}
		if value, err = meta.CreateMeta(ctx, metaName, fresh); err != nil {
			return nil, fmt.Errorf("store certificate authority: %w", err)
		}
	}
	a, err := load(value, keyring, lineage, now)
	if err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	return a, nil
}

// create makes a new authority in its stored form.
func create(keyring *secret.Keyring, lineage string, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "fairway " + lineage},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(CALife),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	sealed, err := keyring.Seal(plain, sealKind, lineage, sealField)
	if err != nil {
		return nil, err
	}
	raw, err := proto.Marshal(sealed)
	if err != nil {
		return nil, err
	}
	return json.Marshal(stored{Certificate: cert, Key: raw})
}

func load(value []byte, keyring *secret.Keyring, lineage string, now func() time.Time) (*Authority, error) {
	var s stored
	if err := json.Unmarshal(value, &s); err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(s.Certificate)
	if err != nil {
		return nil, err
	}
	var sealed resourcev1.SealedValue
	if err := proto.Unmarshal(s.Key, &sealed); err != nil {
		return nil, err
	}
	plain, err := keyring.Open(&sealed, sealKind, lineage, sealField)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, errors.New("the key does not parse")
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("the key is not that of the certificate")
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &Authority{lineage: lineage, cert: cert, key: key, pool: pool, now: now}, nil
}

// Pool is for trust.ServerTLS and trust.ClientTLS.
func (a *Authority) Pool() *x509.CertPool { return a.pool }

// Certificate is the authority's own.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// issue signs a certificate for an identity.
func (a *Authority) issue(
	public crypto.PublicKey, id trust.Identity, life time.Duration, usages ...x509.ExtKeyUsage,
) (*x509.Certificate, error) {
	if id.Lineage != a.lineage {
		return nil, fmt.Errorf("issue certificate: lineage %q is not ours", id.Lineage)
	}
	if _, err := trust.ParseIdentity(id.URI()); err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	now := a.now()
	until := now.Add(life)
	if until.After(a.cert.NotAfter) {
		until = a.cert.NotAfter // nothing outlives its authority
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: string(id.Role) + " " + id.ID},
		NotBefore:             now.Add(-backdate),
		NotAfter:              until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           usages,
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{id.URI()},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}

// serial returns 127 random bits.
func serial() *big.Int {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails: it ends the process instead
	raw[0] &= 0x7f
	return new(big.Int).SetBytes(raw[:])
}
