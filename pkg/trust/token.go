// Package trust is who may speak to whom over Fairway's own mutual TLS: join tokens, the identities that certificates
// carry, and the TLS configurations that check both. The identity of a peer is the one URI in its certificate,
// spiffe://fairway/<lineage>/<proxy|replica>/<id>; host names mean nothing here.
//
// It refuses to issue certificates and to keep keys; it only judges what is presented.
package trust

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"

	"fairway/pkg/secret"
)

const tokenPrefix = "fwjoin-"

// ErrJoinToken is returned for what is not a join token. It never repeats it.
var ErrJoinToken = errors.New("trust: not a join token (want fwjoin-<id>.<secret>.<fingerprint>)")

// JoinToken lets a process that has no certificate ask for one, and lets it know the control plane beforehand.
type JoinToken struct {
	// ID names the token; it is not secret. 1 to 64 letters, digits, "-" and "_".
	ID string
	// Secret is base64url text of 32 random bytes; the control plane keeps only a hash of it.
	Secret secret.String
	// CAFingerprint is the SHA-256 of the control plane's CA certificate, DER.
	CAFingerprint [sha256.Size]byte
}

// NewJoinToken makes a token with a random secret for the control plane whose CA certificate is ca.
func NewJoinToken(id string, ca *x509.Certificate) JoinToken {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: it ends the process instead
	return JoinToken{
		ID:            id,
		Secret:        secret.New(base64.RawURLEncoding.EncodeToString(random[:])),
		CAFingerprint: Fingerprint(ca),
	}
}

// Fingerprint is the SHA-256 of a certificate's DER form.
func Fingerprint(cert *x509.Certificate) [sha256.Size]byte { return sha256.Sum256(cert.Raw) }

// ParseJoinToken reads what Encode wrote; space around it does not count. Any failure is ErrJoinToken.
func ParseJoinToken(text string) (JoinToken, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), tokenPrefix)
	if !ok {
		return JoinToken{}, ErrJoinToken
	}
	parts := strings.Split(rest, ".")
	if len(parts) != 3 || !tokenID(parts[0]) {
		return JoinToken{}, ErrJoinToken
	}
	strict := base64.RawURLEncoding.Strict()
	random, err := strict.DecodeString(parts[1])
	if err != nil || len(random) != 32 || len(parts[1]) != strict.EncodedLen(32) {
		return JoinToken{}, ErrJoinToken
	}
	sum, err := strict.DecodeString(parts[2])
	if err != nil || len(sum) != sha256.Size || len(parts[2]) != strict.EncodedLen(sha256.Size) {
		return JoinToken{}, ErrJoinToken
	}
	return JoinToken{ID: parts[0], Secret: secret.New(parts[1]), CAFingerprint: [sha256.Size]byte(sum)}, nil
}

// Encode is the text form, "fwjoin-<id>.<secret>.<fingerprint, base64url>". It reveals the secret.
func (t JoinToken) Encode() string {
	return tokenPrefix + t.ID + "." + t.Secret.Reveal() + "." + base64.RawURLEncoding.EncodeToString(t.CAFingerprint[:])
}

func tokenID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if !alphanumeric(c) && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}
