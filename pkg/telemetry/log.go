// Package telemetry makes the logger and the metrics registry that a process hands to its rooms. It refuses to be
// global: nothing here touches slog's default logger or Prometheus's default registry.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
)

// NewLogger logs to w in the format "text" (also when empty) or "json", from level on (nil = info). One write per line.
func NewLogger(w io.Writer, level slog.Leveler, format string) (*slog.Logger, error) {
	o := &slog.HandlerOptions{Level: level}
	switch format {
	case "", "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("log format %q: want text or json", format)
}
