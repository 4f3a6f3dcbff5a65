package store

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
)

// shortDir is a directory whose path leaves room for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "d")
}

func startEmbedded(t *testing.T, dir string, log *slog.Logger) *Embedded {
	t.Helper()
	e, err := StartEmbedded(soon(t), EmbeddedConfig{Dir: dir, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

func TestEmbeddedKeepsDataOverRestarts(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	e := startEmbedded(t, dir, quiet)
	s := open(t, e.Endpoints()...)
	lineage := s.Lineage()
	rec := follow(t, s)
	create(t, s, channel(t, s, "c"))
	// Stop it under an open watch: it must not wait for that.
	e.Close()
	rec.stop()

	e = startEmbedded(t, dir, quiet)
	s = open(t, e.Endpoints()...)
	if s.Lineage() != lineage {
		t.Errorf("lineage %q, was %q", s.Lineage(), lineage)
	}
	follow(t, s)
	if _, ok := s.State().ByName(model.KindChannel, "c"); !ok {
		t.Error("the channel is gone")
	}
}

func TestEmbeddedIsPrivate(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	e := startEmbedded(t, dir, quiet)
	if got := e.Endpoints(); len(got) != 1 || !strings.HasPrefix(got[0], "unix:///") {
		t.Errorf("endpoints %v, want one socket", got)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v, want 0700", info.Mode(), err)
	}
	for _, ln := range e.etcd.Clients {
		if ln.Addr().Network() != "unix" {
			t.Errorf("it listens on %s", ln.Addr())
		}
	}
	if n := len(e.etcd.Peers); n != 0 {
		t.Errorf("it listens for peers on %d addresses", n)
	}
	wide := filepath.Join(t.TempDir(), "wide")
	if err := os.Mkdir(wide, 0o755); err != nil {
		t.Fatal(err)
	}
	if e, err := StartEmbedded(soon(t), EmbeddedConfig{Dir: wide, Log: quiet}); err == nil {
		e.Close()
		t.Error("a directory that others can read was accepted")
	}
}

func TestEmbeddedDirectoryHasOneOwner(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	e := startEmbedded(t, dir, quiet)
	s := open(t, e.Endpoints()...)
	if second, err := StartEmbedded(soon(t), EmbeddedConfig{Dir: dir, Log: quiet}); err == nil {
		second.Close()
		t.Fatal("two servers share a directory")
	}
	// The first one was not disturbed.
	create(t, s, group(t, s, "g"))
	create(t, open(t, e.Endpoints()...), group(t, s, "h"))
}

func TestEmbeddedInADeepDirectoryUsesLoopback(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortDir(t), strings.Repeat("x", maxSocketPath))
	e := startEmbedded(t, dir, quiet)
	if got := e.Endpoints(); len(got) != 1 || !strings.HasPrefix(got[0], "http://127.0.0.1:") {
		t.Errorf("endpoints %v, want one on loopback", got)
	}
	create(t, open(t, e.Endpoints()...), group(t, open(t, e.Endpoints()...), "g"))
}

func TestEmbeddedIsQuietAtWarn(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	e := startEmbedded(t, shortDir(t), slog.New(slog.NewTextHandler(&out, nil)))
	open(t, e.Endpoints()...)
	e.Close()
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "level=INFO") || strings.Contains(line, "level=DEBUG") {
			t.Errorf("it logs below warn: %s", line)
		}
	}
}

func TestFullStoreStillOpensAndReads(t *testing.T) {
	t.Parallel()
	e, err := StartEmbedded(soon(t), EmbeddedConfig{Dir: shortDir(t), Log: quiet, QuotaBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	s := open(t, e.Endpoints()...)
	if _, err := s.CreateMeta(soon(t), "m", []byte("1")); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		c := channel(t, s, fmt.Sprintf("c%d", i))
		c.Headers = map[string]string{"x-filler": strings.Repeat("x", 100_000)}
		if _, err = s.Commit(soon(t), Write{Puts: []Put{{Resource: c}}}); err != nil {
			break
		}
	}
	wantFault(t, err, fault.Unavailable, "")
	if !strings.Contains(fault.Public(err), "full") {
		t.Errorf("it does not say that the store is full: %v", err)
	}
	s = open(t, e.Endpoints()...)
	follow(t, s)
	if s.State().Len(model.KindChannel) == 0 {
		t.Error("nothing was loaded")
	}
	if v, err := s.CreateMeta(soon(t), "m", []byte("2")); err != nil || string(v) != "1" {
		t.Errorf("create meta of what is there: %q, %v", v, err)
	}
}

func TestOpenKeepsTrying(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	sock := "unix://" + filepath.Join(dir, "etcd.sock")
	type result struct {
		s   *Store
		err error
	}
	done := make(chan result, 1)
	go func() {
		s, err := Open(soon(t), Config{Endpoints: []string{sock}}, quiet)
		done <- result{s, err}
	}()
	startEmbedded(t, dir, quiet)
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	if err := r.s.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := Open(ctx, Config{Endpoints: []string{"unix:///nonexistent"}}, quiet); err == nil {
		t.Errorf("opened nothing: %v", s.Close())
	}
	if _, err := Open(t.Context(), Config{}, quiet); err == nil {
		t.Error("opened without endpoints")
	}
}

func TestWritesWithoutEtcdAreUnavailable(t *testing.T) {
	t.Parallel()
	e := startEmbedded(t, shortDir(t), quiet)
	s := open(t, e.Endpoints()...)
	e.Close()
	ctx, cancel := context.WithTimeout(t.Context(), attemptTimeout/20)
	defer cancel()
	_, err := s.Commit(ctx, Write{Puts: []Put{{Resource: group(t, s, "g")}}})
	wantFault(t, err, fault.Deadline, "")
	if strings.Contains(fault.Public(err), "etcd") || strings.Contains(fault.Public(err), "sock") {
		t.Errorf("the public text tells too much: %q", fault.Public(err))
	}
}
