package operator

import (
	"crypto/rand"
	"crypto/sha256"
	"strings"

	"fairway/pkg/secret"
)

// Prefix starts every operator token, so that people and scanners know one when they see it.
const Prefix = "fwop-"

const (
	alphabet   = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	randomSize = 43 // base62 digits: 256 bits
)

// NewToken returns a fresh token: Prefix and 43 base62 digits, 256 bits from the system's random source.
func NewToken() secret.String {
	var b strings.Builder
	b.Grow(len(Prefix) + randomSize)
	b.WriteString(Prefix)
	for buf := make([]byte, 64); b.Len() < len(Prefix)+randomSize; {
		_, _ = rand.Read(buf) // never fails: crypto/rand ends the process instead
		for _, c := range buf {
			// 248 is the largest multiple of 62 in a byte: above it the digits would not be equally likely.
			if c < 248 && b.Len() < len(Prefix)+randomSize {
				b.WriteByte(alphabet[c%62])
			}
		}
	}
	return secret.New(b.String())
}

// ValidToken says whether s has a token's shape. It says nothing about whether anybody holds it.
func ValidToken(s string) bool {
	digits, ok := strings.CutPrefix(s, Prefix)
	if !ok || len(digits) != randomSize {
		return false
	}
	for i := range len(digits) {
		c := digits[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// HashToken is what is stored of a token. A plain hash is enough: the token is 256 random bits, not a password.
func HashToken(token secret.String) []byte {
	sum := sha256.Sum256([]byte(token.Reveal()))
	return sum[:]
}

// bearer takes the token out of an Authorization header's values. Exactly one value counts: two could be read
// differently by something in front of us.
func bearer(values []string) (string, bool) {
	if len(values) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return "", false
	}
	token = strings.Trim(token, " ")
	return token, ValidToken(token)
}
