package store

import (
	"context"
	"log/slog"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapToSlog makes etcd's libraries, which log to zap, write to our log: from warnings on, under the group "etcd". Lines of
// which expected says that they mean nothing here are shown for debugging only; nil = all mean something.
func zapToSlog(log *slog.Logger, expected func(message string) bool) *zap.Logger {
	if expected == nil {
		expected = func(string) bool { return false }
	}
	return zap.New(&slogCore{log: log.WithGroup("etcd"), expected: expected})
}

type slogCore struct {
	log      *slog.Logger
	expected func(message string) bool
}

func (c *slogCore) Enabled(l zapcore.Level) bool {
	return l >= zapcore.WarnLevel && c.log.Enabled(context.Background(), slogLevel(l))
}

func slogLevel(l zapcore.Level) slog.Level {
	if l >= zapcore.ErrorLevel {
		return slog.LevelError
	}
	return slog.LevelWarn
}

func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{log: c.log.With(attrs(fields)...), expected: c.expected}
}

func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slogLevel(e.Level)
	if c.expected(e.Message) {
		level = slog.LevelDebug
	}
	c.log.Log(context.Background(), level, e.Message, attrs(fields)...) //nolint:sloglint // The message is etcd's.
	return nil
}

func (c *slogCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	out := make([]any, 0, 2*len(enc.Fields))
	for _, f := range fields {
		v, ok := enc.Fields[f.Key]
		if !ok {
			continue
		}
		if d, ok := v.(time.Duration); ok {
			v = d.String()
		}
		out = append(out, f.Key, v)
	}
	return out
}
