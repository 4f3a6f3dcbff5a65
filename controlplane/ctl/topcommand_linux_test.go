package ctl

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// console is a pseudo-terminal: what a person sees and types at, and what the program has.
type console struct {
	person, program *os.File

	mu   sync.Mutex
	seen bytes.Buffer
	more chan struct{}
}

func newConsole(t *testing.T, width, height uint16) *console {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	fd := int(person.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height}); err != nil {
		t.Fatal(err)
	}
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := &console{person: person, program: program, more: make(chan struct{}, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 4096)
		for {
			n, err := person.Read(buf)
			c.mu.Lock()
			c.seen.Write(buf[:n])
			c.mu.Unlock()
			select {
			case c.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		program.Close() // the last one that has it open: reads at the other end fail
		<-ended
		person.Close()
	})
	return c
}

func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen.String()
}

// await returns when the person has seen it.
func (c *console) await(t *testing.T, what string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !strings.Contains(c.text(), what) {
		select {
		case <-c.more:
		case <-deadline:
			t.Fatalf("%q was never shown; this was:\n%q", what, c.text())
		}
	}
}

func (c *console) modes(t *testing.T) *unix.Termios {
	t.Helper()
	m, err := unix.IoctlGetTermios(int(c.program.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Whichever way it ends, the terminal is as it was: its screen, its cursor and its modes.
func TestTopGivesTheTerminalBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(w *world, c *console, interrupt func())
		err  string
	}{
		{"q", func(_ *world, c *console, _ func()) { _, _ = c.person.WriteString("q") }, ""},
		{"ctrl-c", func(_ *world, c *console, _ func()) { _, _ = c.person.WriteString("\x03") }, ""},
		{"SIGINT", func(_ *world, _ *console, interrupt func()) { interrupt() }, ""},
		{"the token is taken away", func(w *world, _ *console, _ func()) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.err = connect.Errorf(connect.CodeUnauthenticated, "who are you?")
		}, "who are you? (unauthenticated)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.fleet()
			c := newConsole(t, 70, 20)
			before := c.modes(t)
			root := w.root(nil, nil, "top", "--interval", "200ms")
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			// The same commands, at the console.
			root.ResetCommands()
			root.AddCommand(Commands(Options{In: c.program, Out: c.program, Err: c.program, Getenv: func(k string) string { return w.env[k] }})...)
			done := make(chan error, 1)
			go func() { done <- root.ExecuteContext(ctx) }()
			c.await(t, "leader cp-1")
			if m := c.modes(t); m.Lflag&unix.ICANON != 0 || !term.IsTerminal(int(c.program.Fd())) {
				t.Error("keys need a return to be read")
			}
			tt.end(w, c, interrupt)
			if got := said(<-done); got != tt.err {
				t.Errorf("error = %q, want %q", got, tt.err)
			}
			if d := cmp.Diff(before, c.modes(t)); d != "" {
				t.Errorf("modes (-before +after):\n%s", d)
			}
			c.await(t, "\x1b[?25h\x1b[?1049l")
			shown := c.text()
			if strings.Count(shown, "\x1b[?1049h") != 1 || !strings.HasSuffix(shown, "\x1b[?1049l") {
				t.Errorf("screen: %q", shown)
			}
		})
	}
}
