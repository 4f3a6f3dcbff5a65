package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files are the names in dir: nothing may be left over.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func check(t *testing.T, path, want string, mode fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s holds %q, want %q", path, got, want)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != mode {
		t.Errorf("%s has mode %04o, want %04o", path, got, mode)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := Write(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(t, path, "one", 0o600)
	// The new mode counts even where the umask would take it away.
	if err := Write(path, []byte("two"), 0o666); err != nil {
		t.Fatal(err)
	}
	check(t, path, "two", 0o666)
	if diff := cmp.Diff([]string{"f"}, files(t, dir)); diff != "" {
		t.Errorf("left over (-want +got):\n%s", diff)
	}
}

// A reader that has the old file open keeps the old content: the file was replaced, not written into.
func TestWriteReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := Write(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := Write(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 3)
	if _, err := f.Read(got); err != nil || string(got) != "old" {
		t.Errorf("the open file reads %q, %v", got, err)
	}
}

func TestWriteRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := Write("f", []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(t, "f", "x", 0o600)
}

func TestFailureLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	occupied := filepath.Join(dir, "d")
	if err := os.MkdirAll(filepath.Join(occupied, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(occupied, []byte("x"), 0o600); err == nil {
		t.Error("a directory was replaced by a file")
	}
	if err := Create(occupied, []byte("x"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create over a directory: %v, want fs.ErrExist", err)
	}
	if err := Write(filepath.Join(dir, "none", "f"), []byte("x"), 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Write into no directory: %v, want fs.ErrNotExist", err)
	}
	if diff := cmp.Diff([]string{"d"}, files(t, dir)); diff != "" {
		t.Errorf("left over (-want +got):\n%s", diff)
	}
}

func TestCreate(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := Create(path, []byte("one"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := Create(path, []byte("two"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second Create: %v, want fs.ErrExist", err)
	}
	check(t, path, "one", 0o400)
	if diff := cmp.Diff([]string{"f"}, files(t, dir)); diff != "" {
		t.Errorf("left over (-want +got):\n%s", diff)
	}
}

// Of many that create one path at once, one wins, and everybody reads the whole of what it wrote.
func TestCreateRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	var wg sync.WaitGroup
	results := make([]error, 16)
	reads := make([][]byte, len(results))
	content := func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%02d", i), 4096) }
	for i := range results {
		wg.Go(func() {
			results[i] = Create(path, content(i), 0o600)
			reads[i], _ = os.ReadFile(path)
		})
	}
	wg.Wait()
	winner := -1
	for i, err := range results {
		switch {
		case err == nil && winner >= 0:
			t.Errorf("both %d and %d created it", winner, i)
		case err == nil:
			winner = i
		case !errors.Is(err, fs.ErrExist):
			t.Errorf("creator %d: %v", i, err)
		}
	}
	if winner < 0 {
		t.Fatal("nobody created it")
	}
	for i, got := range reads {
		if !bytes.Equal(got, content(winner)) {
			t.Errorf("reader %d saw something else than the winner wrote", i)
		}
	}
}
