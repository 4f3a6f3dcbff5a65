package secret

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"fairway/pkg/atomicfile"
)

// KeySize is the size of KEKs and data keys in bytes (AES-256).
const KeySize = 32

// KEK is a key-encryption key: it wraps data keys and never sees a value. A KMS can stand behind it. Implementations are
// safe for concurrent use.
type KEK interface {
	// ID names the key without revealing it; what was wrapped remembers it.
	ID() string
	// Wrap encrypts a data key.
	Wrap(ctx context.Context, dek []byte) ([]byte, error)
	// Unwrap decrypts what Wrap returned; it fails when another key wrapped it or when it was changed.
	Unwrap(ctx context.Context, wrapped []byte) ([]byte, error)
}

// ErrWrongKEK is returned when a data key was wrapped by another KEK, or was changed since.
var ErrWrongKEK = errors.New("secret: the data key does not open with this key-encryption key")

// LoadOrCreateKEK reads the KEK from path (base64 of 32 bytes, one line) or, when there is no file, creates one with
// mode 0600. It refuses a file that group or others may read or write. Two processes that create it at once get the
// same key.
func LoadOrCreateKEK(path string) (KEK, error) {
	kek, err := loadKEK(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return kek, err
	}
	var key [KeySize]byte
	_, _ = rand.Read(key[:]) // never fails: it ends the process instead
	line := base64.StdEncoding.EncodeToString(key[:]) + "\n"
	if err := atomicfile.Create(path, []byte(line), 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create key-encryption key: %w", err)
	}
	return loadKEK(path)
}

func loadKEK(path string) (KEK, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open key-encryption key: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open key-encryption key: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("key-encryption key %s is not a regular file", path)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return nil, fmt.Errorf("key-encryption key %s has mode %04o, which lets others in; make it 0600", path, perm)
	}
	line, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return nil, fmt.Errorf("read key-encryption key: %w", err)
	}
	kek, err := ParseKEK(string(line))
	if err != nil {
		return nil, fmt.Errorf("key-encryption key %s: %w", path, err)
	}
	return kek, nil
}

// ParseKEK reads a KEK from standard base64 of 32 bytes; space around it does not count. Errors do not repeat it.
func ParseKEK(text string) (KEK, error) {
	key, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) != KeySize {
		return nil, fmt.Errorf("want base64 of %d bytes", KeySize)
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append([]byte("fairway kek id\x00"), key...))
	return &localKEK{id: "local-" + hex.EncodeToString(sum[:8]), aead: aead}, nil
}

// localKEK keeps its key in memory. A wrapped key is a format byte, a nonce, and the ciphertext.
type localKEK struct {
	id   string
	aead cipher.AEAD
}

const wrapFormat = 1

func (k *localKEK) ID() string { return k.id }

func (k *localKEK) aad() []byte { return []byte("fairway dek|" + k.id) }

func (k *localKEK) Wrap(_ context.Context, dek []byte) ([]byte, error) {
	out := make([]byte, 1+k.aead.NonceSize(), 1+k.aead.NonceSize()+len(dek)+k.aead.Overhead())
	out[0] = wrapFormat
	_, _ = rand.Read(out[1:])
	return k.aead.Seal(out, out[1:], dek, k.aad()), nil
}

func (k *localKEK) Unwrap(_ context.Context, wrapped []byte) ([]byte, error) {
	n := k.aead.NonceSize()
	if len(wrapped) < 1+n || wrapped[0] != wrapFormat {
		return nil, ErrWrongKEK
	}
	dek, err := k.aead.Open(nil, wrapped[1:1+n], wrapped[1+n:], k.aad())
	if err != nil {
		return nil, ErrWrongKEK
	}
	return dek, nil
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("secret: a key of %d bytes, want %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	return aead, nil
}
