package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestDemo: the README's first command, once.
func TestDemo(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, binaries.fairway, "demo", "--once").CombinedOutput()
	if err != nil {
		t.Fatalf("fairway demo --once: %v\n%s", err, out)
	}
	for _, want := range []string{"answer:", "events:", "attempts 2", "cost", "healthy"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the story does not tell of %q:\n%s", want, out)
		}
	}
}

// TestDemoStaysUp: without --once the demo serves on until ctrl-c, with the key and the address that it printed, and takes
// its directory with it.
func TestDemoStaysUp(t *testing.T) {
	p := start(t, "demo", binaries.fairway, "demo")
	eventually(t, "the story is told", func() error {
		if !strings.Contains(p.log.String(), "ctrl-c ends it") {
			return fmt.Errorf("so far:\n%s", tail(p.log.String(), 5))
		}
		return nil
	})
	said := p.log.String()
	key := regexp.MustCompile(`sk-fw-\w+`).FindString(said)
	addr := regexp.MustCompile(`proxy +http://([\d.:]+)/v1`).FindStringSubmatch(said)
	dir := regexp.MustCompile(`FAIRWAY_DATA_DIR=(\S+)`).FindStringSubmatch(said)
	if key == "" || addr == nil || dir == nil {
		t.Fatalf("key, address or directory are not printed:\n%s", said)
	}
	if _, err := (&proxy{addr: addr[1]}).client(key).Chat.Completions.New(t.Context(), chat("gpt-4o-mini", "Hello")); err != nil {
		t.Errorf("a request with what was printed: %v", err)
	}
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatal("the demo did not end")
	}
	if p.err != nil {
		t.Errorf("ctrl-c: %v", p.err)
	}
	if _, err := os.Stat(dir[1]); !os.IsNotExist(err) {
		t.Errorf("%s is left over (%v)", dir[1], err)
	}
}
