package telemetry

import (
	"fmt"
	"io"
	"log/slog"
)

// FlagSet is what LogFlags need of a set of flags; pflag's and the standard library's both have it.
type FlagSet interface {
	StringVar(p *string, name, value, usage string)
}

// LogFlags are the flags of every command that serves.
type LogFlags struct {
	level  string
	format string
}

// Flags binds them to fs.
func (l *LogFlags) Flags(fs FlagSet) {
	fs.StringVar(&l.level, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&l.format, "log-format", "text", "text or json")
}

// Logger makes the logger that they describe.
func (l *LogFlags) Logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", l.level)
	}
	return NewLogger(w, level, l.format)
}
