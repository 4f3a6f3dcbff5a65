package secret

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestWrap(t *testing.T) {
	text := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, KeySize))
	kek, err := ParseKEK(" " + text + "\n")
	if err != nil {
		t.Fatal(err)
	}
	_, dek := NewDataKey()
	wrapped, err := kek.Wrap(t.Context(), dek)
	if err != nil || bytes.Contains(wrapped, dek) {
		t.Fatalf("wrapped %x as %x, %v", dek, wrapped, err)
	}
	if got, err := kek.Unwrap(t.Context(), wrapped); err != nil || !bytes.Equal(got, dek) {
		t.Errorf("unwrapped %x, %v; want %x", got, err, dek)
	}
	again, err := kek.Wrap(t.Context(), dek)
	if err != nil || bytes.Equal(again, wrapped) {
		t.Errorf("wrapped the same way twice (nonce), %v", err)
	}

	other, err := ParseKEK(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{2}, KeySize)))
	if err != nil {
		t.Fatal(err)
	}
	if other.ID() == kek.ID() || kek.ID() == "" || strings.Contains(kek.ID(), text) {
		t.Errorf("ids %q and %q", kek.ID(), other.ID())
	}
	if _, err := other.Unwrap(t.Context(), wrapped); !errors.Is(err, ErrWrongKEK) {
		t.Errorf("another key unwraps: %v", err)
	}
	for i := range wrapped {
		flipped := bytes.Clone(wrapped)
		flipped[i] ^= 1
		if _, err := kek.Unwrap(t.Context(), flipped); !errors.Is(err, ErrWrongKEK) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
	}
	for n := range wrapped {
		if _, err := kek.Unwrap(t.Context(), wrapped[:n]); !errors.Is(err, ErrWrongKEK) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}

func TestParseKEKRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty":     "",
		"no base64": "!!" + strings.Repeat("A", 42),
		"16 bytes":  base64.StdEncoding.EncodeToString(make([]byte, 16)),
		"33 bytes":  base64.StdEncoding.EncodeToString(make([]byte, 33)),
		"two lines": base64.StdEncoding.EncodeToString(make([]byte, 32)) + "\n" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
	} {
		_, err := ParseKEK(text)
		if err == nil {
			t.Errorf("%s: taken", name)
		} else if text != "" && strings.Contains(err.Error(), text[:10]) {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
}

func TestLoadOrCreateKEK(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek")
	created, err := LoadOrCreateKEK(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if perm := info.Mode().Perm(); perm != 0o600 {
		t.Errorf("mode %04o, want 0600", perm)
	}
	loaded, err := LoadOrCreateKEK(path)
	if err != nil || loaded.ID() != created.ID() {
		t.Errorf("the second time: %v, %v", loaded, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	good := base64.StdEncoding.EncodeToString(make([]byte, KeySize)) + "\n"
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o601} {
		if _, err := LoadOrCreateKEK(write("wide", good, mode)); err == nil || !strings.Contains(err.Error(), "0600") {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	if _, err := LoadOrCreateKEK(write("narrow", good, 0o400)); err != nil {
		t.Errorf("mode 0400: %v", err)
	}
	// An empty or broken file is not replaced: data may lie under the key that was there.
	for name, text := range map[string]string{"empty": "", "broken": "AAAA\n", "long": strings.Repeat("A", 5000)} {
		path := write(name, text, 0o600)
		if _, err := LoadOrCreateKEK(path); err == nil {
			t.Errorf("%s: taken", name)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%s: the file changed, %v", name, err)
		}
	}
	if _, err := LoadOrCreateKEK(dir); err == nil {
		t.Error("a directory is taken")
	}
	if _, err := LoadOrCreateKEK(filepath.Join(dir, "none", "kek")); err == nil {
		t.Error("a key in no directory")
	}
}

func TestCreateKEKRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek")
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			kek, err := LoadOrCreateKEK(path)
			if err != nil {
				t.Errorf("%d: %v", i, err)
				return
			}
			ids[i] = kek.ID()
		})
	}
	wg.Wait()
	for i, id := range ids {
		if id != ids[0] {
			t.Errorf("process %d got key %q, process 0 got %q", i, id, ids[0])
		}
	}
}
