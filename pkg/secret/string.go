// Package secret holds values that must not be seen: String redacts itself in every formatter, Keyring seals values at
// rest (AES-256-GCM under data keys, bound to the place where they are stored), and a KEK wraps the data keys.
//
// It refuses to print, log or marshal a value, to open a ciphertext at another place than it was sealed for, and to
// read a key file that others may read. It knows nothing of etcd: where wrapped keys and sealed values are kept is
// others' business.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
)

// redacted is what is shown in a value's place.
const redacted = "[redacted]"

// String is a secret text. The zero value is the empty one. It is immutable and safe for concurrent use.
//
// The text lies behind a pointer, because fmt prints unexported fields of foreign structs by reflection without asking
// their methods: it then prints an address. For the same reason == compares addresses; use Equal.
type String struct {
	p *string
}

// New hides v.
func New(v string) String {
	if v == "" {
		return String{}
	}
	return String{p: &v}
}

// Reveal returns the text. Every call is a place to look at in a review.
func (s String) Reveal() string {
	if s.p == nil {
		return ""
	}
	return *s.p
}

// Empty says whether there is no text.
func (s String) Empty() bool { return s.p == nil }

// Equal compares in constant time for texts of equal length.
func (s String) Equal(o String) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(o.Reveal())) == 1
}

// String returns "[redacted]", or nothing for the empty secret.
func (s String) String() string {
	if s.p == nil {
		return ""
	}
	return redacted
}

// GoString is String, for %#v.
func (s String) GoString() string { return s.String() }

// Format is String for every verb and flag.
func (s String) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue is String, for slog.
func (s String) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String, for encoders of text.
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON is String, for encoders of JSON.
func (s String) MarshalJSON() ([]byte, error) { return []byte(`"` + s.String() + `"`), nil }

// Fingerprint is eight hex digits that tell two secrets apart and reveal neither: the start of a SHA-256 with a prefix
// of its own. The fingerprint of nothing is empty.
func Fingerprint(value string) string {
	if value == "" {
		return ""
	}
	sum := sha256.Sum256([]byte("fairway fingerprint\x00" + value))
	return hex.EncodeToString(sum[:4])
}
