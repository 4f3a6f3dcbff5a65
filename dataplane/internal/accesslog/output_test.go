package accesslog

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairway/dataplane/internal/journal"
)

// Lines are never split between files, none is lost while files are kept, and the oldest files go.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	one := len(encode(&journal.Entry{RequestID: "000"}))
	f := prepare(t, Options{File: path, MaxSize: int64(10*one + one/2), Keep: 3})
	var want []string
	for i := range 58 {
		id := strconv.Itoa(100 + i)
		want = append(want, id)
		f.Record(&journal.Entry{RequestID: id})
	}
	f.run(t)
	f.end(t)
	if diff := cmp.Diff(map[string][]string{
		"access.log": want[50:], "access.log.1": want[40:50], "access.log.2": want[30:40], "access.log.3": want[20:30],
	}, logs(t, path)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	f.wantCounts(t, 58, 0, 0, 0)
}

// logs are the request ids in the file and in those that it was rotated to; nothing else is in the directory.
func logs(t *testing.T, path string) map[string][]string {
	t.Helper()
	dir := filepath.Dir(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, e := range entries {
		got[e.Name()] = ids(t, read(t, filepath.Join(dir, e.Name())))
	}
	return got
}

// A start goes on where the file ends, and counts what is there.
func TestRotationAfterStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	one := len(encode(&journal.Entry{RequestID: "0"}))
	for i := range 5 {
		f := start(t, Options{File: path, MaxSize: int64(2 * one)})
		f.Record(&journal.Entry{RequestID: strconv.Itoa(i)})
		f.end(t)
	}
	for name, want := range map[string][]string{path: {"4"}, path + ".1": {"2", "3"}, path + ".2": {"0", "1"}} {
		if diff := cmp.Diff(want, ids(t, read(t, name))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A line that is longer than a file may be gets one of its own.
func TestRotationOfLongLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	f := prepare(t, Options{File: path, MaxSize: 10, Keep: 9})
	for i := range 3 {
		f.Record(&journal.Entry{RequestID: strconv.Itoa(i)})
	}
	f.run(t)
	f.end(t)
	if diff := cmp.Diff(map[string][]string{"access.log": {"2"}, "access.log.1": {"1"}, "access.log.2": {"0"}}, logs(t, path)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// When renaming fails the file grows on, and not every line tries again.
func TestRotationFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	// A directory with something in it cannot be renamed over.
	if err := os.MkdirAll(filepath.Join(path+".1", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	one := len(encode(&journal.Entry{RequestID: "00"}))
	f := prepare(t, Options{File: path, MaxSize: int64(40 * one), Keep: 1})
	for i := range 50 {
		f.Record(&journal.Entry{RequestID: strconv.Itoa(10 + i)})
	}
	f.run(t)
	f.end(t)
	if got := ids(t, read(t, path)); len(got) != 50 {
		t.Errorf("%d lines of 50", len(got))
	}
	f.wantCounts(t, 50, 0, 0, 2)
	if got := f.logged.String(); strings.Count(got, "rotate") != 1 {
		t.Errorf("logged %q", got)
	}
}

func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	f := start(t, Options{File: path})
	f.Record(&journal.Entry{RequestID: "before"})
	for !strings.Contains(read(t, path), "before") {
		time.Sleep(time.Millisecond)
	}
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	f.Reopen()
	f.Record(&journal.Entry{RequestID: "after"})
	f.end(t)
	for name, want := range map[string]string{path: "after", path + ".moved": "before"} {
		if got := ids(t, read(t, name)); !slices.Equal(got, []string{want}) {
			t.Errorf("%s holds %q", name, got)
		}
	}
}

// The directory is gone for a while: lines are lost meanwhile, and not after.
func TestDirectoryGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "logs")
	path := filepath.Join(dir, "access.log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f := prepare(t, Options{File: path})
	w := &writer{Log: f.Log}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	w.report(w.out.reopen())
	f.Record(&journal.Entry{RequestID: "lost"})
	w.drain()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f.Record(&journal.Entry{RequestID: "kept"})
	w.drain()
	w.out.close()
	if got := ids(t, read(t, path)); !slices.Equal(got, []string{"kept"}) {
		t.Errorf("the file holds %q", got)
	}
	f.wantCounts(t, 1, 0, 1, 2)
}

// A device that is always full.
func TestDiskFull(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full")
	}
	f := start(t, Options{File: "/dev/full", MaxSize: 1})
	for range 10 {
		f.Record(&journal.Entry{RequestID: "x"})
	}
	f.end(t)
	f.wantCounts(t, 0, 0, 10, 1)
	if got := f.logged.String(); !strings.Contains(got, "no space left") {
		t.Errorf("logged %q", got)
	}
}

const childVariable = "FAIRWAY_TEST_ACCESS_LOG_CHILD"

// child logs to its standard output until that fails.
func child() {
	l, err := New(Options{File: "-"})
	if err != nil {
		panic(err)
	}
	w := &writer{Log: l}
	for l.failures.Load() == 0 {
		l.Record(&journal.Entry{RequestID: "x"})
		w.drain()
	}
	fmt.Fprintln(os.Stderr, "still here")
}

// Whoever reads the standard output goes away: that is a failure to count, and not the end of the proxy.
func TestStdoutClosed(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env, cmd.Stderr = append(os.Environ(), childVariable+"=1"), &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	first, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Error(err)
	}
	_ = out.Close()
	if err := cmd.Wait(); err != nil || said.String() != "still here\n" {
		t.Errorf("the process ended with %v, and said %q", err, &said)
	}
	if got := ids(t, first); !slices.Equal(got, []string{"x"}) {
		t.Errorf("its first line is %q", first)
	}
}

// A process that was killed may have left half a line.
func TestHalfLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(path, []byte(`{"time":"2026`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := start(t, Options{File: path})
	f.Record(&journal.Entry{RequestID: "next"})
	f.end(t)
	half, rest, _ := strings.Cut(read(t, path), "\n")
	if half != `{"time":"2026` || !slices.Equal(ids(t, rest), []string{"next"}) {
		t.Errorf("the file holds %q, %q", half, rest)
	}
}

// The disk is full in the middle of a line, at every byte: what follows is whole lines, in a file and in a pipe.
func TestTornLine(t *testing.T) {
	lines := []byte("{\"a\":1}\n{\"b\":2}\n")
	for n := range lines {
		path := filepath.Join(t.TempDir(), "access.log")
		file, err := openOutput(Options{File: path})
		if err != nil {
			t.Fatal(err)
		}
		file.w = &short{to: file.file, left: n}
		var pipe bytes.Buffer
		for name, out := range map[string]*output{"file": file, "pipe": {w: &short{to: &pipe, left: n}}} {
			arrived, err := out.write(lines)
			if want := bytes.Count(lines[:n], []byte{'\n'}); arrived != want || !errors.Is(err, errFull) {
				t.Errorf("%s, %d bytes: %d lines arrived, %v; want %d", name, n, arrived, err, want)
			}
			out.w.(*short).left = 1000
			if arrived, err := out.write([]byte("{\"c\":3}\n")); arrived != 1 || err != nil {
				t.Errorf("%s, %d bytes: then %d lines, %v", name, n, arrived, err)
			}
		}
		whole := string(lines[:bytes.LastIndexByte(lines[:n], '\n')+1])
		if got := read(t, path); got != whole+"{\"c\":3}\n" || file.size != int64(len(got)) {
			t.Errorf("%d bytes: the file holds %q, and %d were counted", n, got, file.size)
		}
		part := string(lines[len(whole):n])
		if part != "" {
			part += "\n"
		}
		if got := pipe.String(); got != whole+part+"{\"c\":3}\n" {
			t.Errorf("%d bytes: the pipe got %q", n, got)
		}
		file.close()
	}
}

var errFull = errors.New("full")

// short takes some bytes and then none.
type short struct {
	to   io.Writer
	left int
}

func (w *short) Write(p []byte) (int, error) {
	if len(p) <= w.left {
		w.left -= len(p)
		return w.to.Write(p)
	}
	n, _ := w.to.Write(p[:w.left])
	w.left = 0
	return n, errFull
}
