package telemetry

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fairway/pkg/version"
)

func TestNewLogger(t *testing.T) {
	for _, format := range []string{"", "text", "json"} {
		var out bytes.Buffer
		level := new(slog.LevelVar)
		log, err := NewLogger(&out, level, format)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("quiet")
		level.Set(slog.LevelDebug) // levels change while the process runs
		log.Debug("loud", "a", 1)
		if strings.Contains(out.String(), "quiet") || strings.Count(out.String(), "\n") != 1 {
			t.Errorf("format %q: %s", format, out.String())
		}
		if isJSON := json.Valid(out.Bytes()); isJSON != (format == "json") {
			t.Errorf("format %q: JSON = %v: %s", format, isJSON, out.String())
		}
	}
	if _, err := NewLogger(io.Discard, nil, "xml"); err == nil || !strings.Contains(err.Error(), "xml") {
		t.Errorf("an unknown format: %v", err)
	}
}

func TestLogFlags(t *testing.T) {
	tests := []struct {
		args []string
		want slog.Level
		ok   bool
	}{
		{nil, slog.LevelInfo, true},
		{[]string{"-log-level", "warn"}, slog.LevelWarn, true},
		{[]string{"-log-level", "DEBUG", "-log-format", "json"}, slog.LevelDebug, true},
		{[]string{"-log-level", "loud"}, 0, false},
		{[]string{"-log-format", "xml"}, 0, false},
	}
	for _, tt := range tests {
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		var l LogFlags
		l.Flags(fs)
		if err := fs.Parse(tt.args); err != nil {
			t.Fatal(err)
		}
		log, err := l.Logger(io.Discard)
		if (err == nil) != tt.ok {
			t.Errorf("%q: %v", tt.args, err)
			continue
		}
		if tt.ok && (!log.Enabled(t.Context(), tt.want) || log.Enabled(t.Context(), tt.want-1)) {
			t.Errorf("%q: the level is not %v", tt.args, tt.want)
		}
	}
}

func TestNewRegistry(t *testing.T) {
	r := NewRegistry()
	if n, err := testutil.GatherAndCount(r, "fairway_build_info"); n != 1 || err != nil {
		t.Errorf("%d of fairway_build_info, %v", n, err)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
		if f.GetName() != "fairway_build_info" {
			continue
		}
		for _, l := range f.GetMetric()[0].GetLabel() {
			if l.GetName() == "version" && l.GetValue() != version.String() {
				t.Errorf("version %q, want %q", l.GetValue(), version.String())
			}
		}
	}
	for _, want := range []string{"go_goroutines", "process_open_fds"} {
		if !names[want] {
			t.Errorf("%s is missing", want)
		}
	}
	// Nothing is shared: a second one in the same process is no conflict.
	NewRegistry()
}
