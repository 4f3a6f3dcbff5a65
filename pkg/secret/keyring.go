package secret

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// ErrOpen is returned for a sealed value that does not open: it was changed, moved, or sealed under another key. It does
// not say which.
var ErrOpen = errors.New("secret: the value does not open")

// UnknownKeyError names a data key that the keyring does not hold.
type UnknownKeyError struct{ ID string }

func (e *UnknownKeyError) Error() string {
	return fmt.Sprintf("secret: data key %q is not in the keyring", e.ID)
}

// Keyring is a set of data keys, one of which seals; all of them open. It is immutable and safe for concurrent use.
type Keyring struct {
	active string
	aeads  map[string]cipher.AEAD
}

// NewKeyring makes a keyring of 32-byte keys by id. The active one must be among them.
func NewKeyring(active string, keys map[string][]byte) (*Keyring, error) {
	k := &Keyring{active: active, aeads: make(map[string]cipher.AEAD, len(keys))}
	for id, key := range keys {
		aead, err := newAEAD(key)
		if err != nil {
			return nil, fmt.Errorf("data key %q: %w", id, err)
		}
		k.aeads[id] = aead
	}
	if _, ok := k.aeads[active]; !ok {
		return nil, &UnknownKeyError{ID: active}
	}
	return k, nil
}

// NewDataKey makes a random data key and an id for it.
func NewDataKey() (id string, key []byte) {
	buf := make([]byte, 8+KeySize)
	_, _ = rand.Read(buf) // never fails: it ends the process instead
	return hex.EncodeToString(buf[:8]), buf[8:]
}

// Active is the id of the key that seals.
func (k *Keyring) Active() string { return k.active }

// Seal encrypts plain under the active key for one place only: kind, id and field name it, and none of them may be
// empty or hold a "|".
func (k *Keyring) Seal(plain []byte, kind, id, field string) (*resourcev1.SealedValue, error) {
	aad, err := place(kind, id, field)
	if err != nil {
		return nil, err
	}
	aead := k.aeads[k.active]
	nonce := make([]byte, aead.NonceSize())
	_, _ = rand.Read(nonce)
	return &resourcev1.SealedValue{
		KeyId:      k.active,
		Nonce:      nonce,
		Ciphertext: aead.Seal(nil, nonce, plain, aad),
	}, nil
}

// Open decrypts what Seal made for the same place. It returns an *UnknownKeyError or ErrOpen.
func (k *Keyring) Open(v *resourcev1.SealedValue, kind, id, field string) ([]byte, error) {
	aad, err := place(kind, id, field)
	if err != nil {
		return nil, err
	}
	aead, ok := k.aeads[v.GetKeyId()]
	if !ok {
		return nil, &UnknownKeyError{ID: v.GetKeyId()}
	}
	if len(v.GetNonce()) != aead.NonceSize() {
		return nil, ErrOpen
	}
	plain, err := aead.Open(nil, v.GetNonce(), v.GetCiphertext(), aad)
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// place is the additional data. Without a "|" inside the parts no two places share one.
func place(kind, id, field string) ([]byte, error) {
	for _, part := range [...]string{kind, id, field} {
		if part == "" || strings.Contains(part, "|") {
			return nil, fmt.Errorf("secret: %q cannot be part of a place", part)
		}
	}
	return []byte(kind + "|" + id + "|" + field), nil
}
