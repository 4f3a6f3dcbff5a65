package enroll

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/trust"
)

// maxCSR bounds a certificate request, in bytes.
const maxCSR = 8192

// errToken is all that is said about a token whose secret part is not right: whether its id exists is nobody's business.
var errToken = fault.New(fault.Unauthenticated, "the join token is not valid")

// Uses counts uses of join tokens.
type Uses interface {
	// UseJoinToken counts one use if check accepts the token as it is stored. An unknown id is a fault of kind NotFound;
	// an error of check comes back.
	UseJoinToken(ctx context.Context, id string, check func(*adminv1.JoinToken) error) error
}

// Proxies gives certificates to proxies. It is safe for concurrent use.
type Proxies struct {
	authority *Authority
	uses      Uses
}

// NewProxies returns the part of the authority that proxies talk to.
func NewProxies(a *Authority, uses Uses) *Proxies { return &Proxies{authority: a, uses: uses} }

// Enroll exchanges a join token for a certificate under a new proxy id; csr is PKCS #10, DER. The request is judged
// before the token, so that a bad one uses nothing up. A token whose use was counted while the reply got lost is used
// all the same. Errors are faults: Invalid for the request, Unauthenticated for the token. The hostname is for the
// caller's log only.
func (p *Proxies) Enroll(ctx context.Context, token string, csr []byte, _ string) (*syncv1.Certificate, error) {
	public, err := publicKey(csr)
	if err != nil {
		return nil, err
	}
	t, err := trust.ParseJoinToken(token)
	if err != nil {
		return nil, errToken.With(err)
	}
	if t.CAFingerprint != trust.Fingerprint(p.authority.cert) {
		return nil, fault.New(fault.Unauthenticated, "the join token was made by another control plane")
	}
	id, err := ulid.New(ulid.Timestamp(p.authority.now()), rand.Reader)
	if err != nil {
		return nil, fault.From(err)
	}
	cert, err := p.certificate(public, id.String())
	if err != nil {
		return nil, err
	}
	err = p.uses.UseJoinToken(ctx, t.ID, func(stored *adminv1.JoinToken) error {
		return p.judge(t, stored)
	})
	if fault.KindOf(err) == fault.NotFound {
		return nil, errToken.With(err)
	}
	if err != nil {
		return nil, err
	}
	return cert, nil
}

// judge says whether a token may be used once more. Only who has the secret learns why not.
func (p *Proxies) judge(t trust.JoinToken, stored *adminv1.JoinToken) error {
	hash := hashSecret(t)
	if subtle.ConstantTimeCompare(hash, stored.GetSecretHash()) != 1 {
		return errToken
	}
	if e := stored.GetExpireTime(); e != nil && !p.authority.now().Before(e.AsTime()) {
		return fault.New(fault.Unauthenticated, "the join token has expired")
	}
	if n := stored.GetMaxUses(); n > 0 && stored.GetUses() >= n {
		return fault.New(fault.Unauthenticated, "the join token is used up")
	}
	return nil
}

// Renew gives a new certificate to the proxy that id names, which the transport has verified; the id stays, the key may
// be a new one.
func (p *Proxies) Renew(_ context.Context, id trust.Identity, csr []byte) (*syncv1.Certificate, error) {
	if id.Role != trust.RoleProxy || id.Lineage != p.authority.lineage {
		return nil, fault.New(fault.Unauthenticated, "only a proxy of this control plane can renew its certificate")
	}
	public, err := publicKey(csr)
	if err != nil {
		return nil, err
	}
	return p.certificate(public, id.ID)
}

func (p *Proxies) certificate(public crypto.PublicKey, id string) (*syncv1.Certificate, error) {
	leaf, err := p.authority.issue(public,
		trust.Identity{Lineage: p.authority.lineage, Role: trust.RoleProxy, ID: id}, ProxyLife, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, fault.New(fault.Internal, "the certificate could not be made").With(err)
	}
	return &syncv1.Certificate{
		ProxyId:  id,
		Leaf:     leaf.Raw,
		Cas:      [][]byte{p.authority.cert.Raw},
		NotAfter: timestamppb.New(leaf.NotAfter),
	}, nil
}

// publicKey returns the key of a certificate request that is signed by that key. Everything else in it is ignored.
func publicKey(csr []byte) (crypto.PublicKey, error) {
	refuse := fault.New(fault.Invalid, "the certificate request is not valid")
	if len(csr) > maxCSR {
		return nil, refuse.With(errors.New("too long"))
	}
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, refuse.With(err)
	}
	// The kind of key comes first: verifying a huge RSA signature is work that anybody could ask for.
	switch key := request.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			return nil, fault.New(fault.Invalid, "the key of the certificate request must be on P-256 or P-384")
		}
	case ed25519.PublicKey:
	default:
		return nil, fault.New(fault.Invalid, "the key of the certificate request must be ECDSA or Ed25519")
	}
	if err := request.CheckSignature(); err != nil {
		return nil, refuse.With(err)
	}
	return request.PublicKey, nil
}

func hashSecret(t trust.JoinToken) []byte {
	sum := sha256.Sum256([]byte(t.Secret.Reveal()))
	return sum[:]
}
