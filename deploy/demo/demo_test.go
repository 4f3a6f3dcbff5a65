package demo

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestOnce runs both planes in this process, under the race detector when the tests are, and the whole story on them.
func TestOnce(t *testing.T) {
	var out, log bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := Run(ctx, Options{Once: true, Out: &out, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))}); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out.String(), log.String())
	}
	for _, want := range []string{"── The books ──", "The provider counted", "attempts 2", "disabled  quota", "limit of 3 requests per minute is reached", "healthy: revision"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the story does not tell of %q:\n%s", want, out.String())
		}
	}
	if log.Len() > 0 {
		// One warning belongs to the story: the account that is out of quota is taken out. Etcd warns when the machine is slow.
		for line := range strings.Lines(log.String()) {
			if !strings.Contains(line, "demo-broke") && !strings.Contains(line, "took too long") {
				t.Errorf("logged while nothing was wrong: %s", line)
			}
		}
	}
}

// TestStopped: the context's end during the story ends everything without a word of success.
func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := Run(ctx, Options{Once: true, Out: &out, Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Errorf("a demo that was stopped says that all went well:\n%s", out.String())
	}
}
