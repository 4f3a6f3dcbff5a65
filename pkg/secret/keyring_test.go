package secret

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func ring(t *testing.T, active string, ids ...string) *Keyring {
	t.Helper()
	keys := map[string][]byte{}
	for i, id := range ids {
		keys[id] = bytes.Repeat([]byte{byte(i + 1)}, KeySize)
	}
	k, err := NewKeyring(active, keys)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSealAndOpen(t *testing.T) {
	k := ring(t, "k1", "k1")
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		v, err := k.Seal(plain, "account", "a1", "secret")
		if err != nil {
			t.Fatal(err)
		}
		if len(plain) > 3 && bytes.Contains(v.GetCiphertext(), plain) {
			t.Fatal("the value is in the ciphertext")
		}
		got, err := k.Open(v, "account", "a1", "secret")
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("got %q, %v; want %q", got, err, plain)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	k := ring(t, "k1", "k1", "k2")
	v, err := k.Seal([]byte("sk-upstream"), "account", "a1", "secret")
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(v *resourcev1.SealedValue)) *resourcev1.SealedValue {
		c := proto.CloneOf(v)
		f(c)
		return c
	}
	tests := []struct {
		name            string
		v               *resourcev1.SealedValue
		kind, id, field string
	}{
		{"moved to another id", v, "account", "a2", "secret"},
		{"moved to another field", v, "account", "a1", "proxy_secret"},
		{"moved to another kind", v, "channel", "a1", "secret"},
		{"under another key", change(func(v *resourcev1.SealedValue) { v.KeyId = "k2" }), "account", "a1", "secret"},
		{"another nonce", change(func(v *resourcev1.SealedValue) { v.Nonce[0] ^= 1 }), "account", "a1", "secret"},
		{"no nonce", change(func(v *resourcev1.SealedValue) { v.Nonce = nil }), "account", "a1", "secret"},
		{"long nonce", change(func(v *resourcev1.SealedValue) { v.Nonce = append(v.Nonce, 0) }), "account", "a1", "secret"},
		{"cut", change(func(v *resourcev1.SealedValue) { v.Ciphertext = v.Ciphertext[:3] }), "account", "a1", "secret"},
		{"no ciphertext", change(func(v *resourcev1.SealedValue) { v.Ciphertext = nil }), "account", "a1", "secret"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if plain, err := k.Open(tt.v, tt.kind, tt.id, tt.field); !errors.Is(err, ErrOpen) {
				t.Errorf("got %q, %v; want ErrOpen", plain, err)
			}
		})
	}
	for i := range v.GetCiphertext() {
		flipped := change(func(v *resourcev1.SealedValue) { v.Ciphertext[i] ^= 0x80 })
		if _, err := k.Open(flipped, "account", "a1", "secret"); !errors.Is(err, ErrOpen) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
	}
	for _, v := range []*resourcev1.SealedValue{nil, {}, {KeyId: "k9"}} {
		var unknown *UnknownKeyError
		if _, err := k.Open(v, "account", "a1", "secret"); !errors.As(err, &unknown) {
			t.Errorf("%v: %v, want an UnknownKeyError", v, err)
		}
	}
}

// No two places have one name: the parts cannot hold the separator.
func TestPlacesAreUnambiguous(t *testing.T) {
	k := ring(t, "k1", "k1")
	for _, p := range [][3]string{{"a|b", "c", "d"}, {"a", "b|c", "d"}, {"a", "b", "c|d"}, {"", "b", "c"}, {"a", "", "c"}, {"a", "b", ""}} {
		if _, err := k.Seal(nil, p[0], p[1], p[2]); err == nil {
			t.Errorf("Seal for %q works", p)
		}
		if _, err := k.Open(&resourcev1.SealedValue{KeyId: "k1"}, p[0], p[1], p[2]); err == nil {
			t.Errorf("Open for %q works", p)
		}
	}
}

// Rotation: a new active key seals, the old one still opens.
func TestRotation(t *testing.T) {
	before, after := ring(t, "k1", "k1"), ring(t, "k2", "k1", "k2")
	v, err := before.Seal([]byte("x"), "account", "a", "secret")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := after.Open(v, "account", "a", "secret"); err != nil || string(got) != "x" {
		t.Errorf("sealed before, opened after: %q, %v", got, err)
	}
	v, err = after.Seal([]byte("y"), "account", "a", "secret")
	if err != nil || v.GetKeyId() != "k2" {
		t.Fatalf("sealed under %q, %v; want k2", v.GetKeyId(), err)
	}
	var unknown *UnknownKeyError
	if _, err := before.Open(v, "account", "a", "secret"); !errors.As(err, &unknown) || unknown.ID != "k2" {
		t.Errorf("opened before: %v, want an UnknownKeyError for k2", err)
	}
}

func TestNoncesDiffer(t *testing.T) {
	k := ring(t, "k1", "k1")
	seen := map[string]bool{}
	for range 100 {
		v, err := k.Seal([]byte("same"), "account", "a", "secret")
		if err != nil {
			t.Fatal(err)
		}
		if seen[string(v.GetNonce())] {
			t.Fatal("a nonce was used twice")
		}
		seen[string(v.GetNonce())] = true
	}
}

func TestNewKeyring(t *testing.T) {
	id, key := NewDataKey()
	id2, key2 := NewDataKey()
	if id == id2 || bytes.Equal(key, key2) || len(key) != KeySize || id == "" || strings.Contains(id, "|") {
		t.Errorf("data keys %q and %q", id, id2)
	}
	if k, err := NewKeyring(id, map[string][]byte{id: key, id2: key2}); err != nil || k.Active() != id {
		t.Errorf("NewKeyring: %v", err)
	}
	if _, err := NewKeyring("other", map[string][]byte{id: key}); err == nil {
		t.Error("the active key is not there, and nobody says so")
	}
	if _, err := NewKeyring(id, map[string][]byte{id: key[:16]}); err == nil {
		t.Error("a key of 16 bytes is taken")
	}
}
