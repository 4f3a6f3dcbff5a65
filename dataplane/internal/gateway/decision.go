package gateway

import (
	"context"
	"log/slog"
	"strconv"
)

// logDecision writes the decision record of a request that did not go straight through.
func (x *exchange) logDecision() {
	if x.attempt <= 1 && !x.failed {
		return
	}
	level, outcome := slog.LevelInfo, "retried"
	switch {
	case x.failed && x.last.verdict.Pass:
		// The upstream says that the client is wrong.
		level, outcome = slog.LevelDebug, "refused by the upstream"
	case x.failed:
		level, outcome = slog.LevelWarn, "failed"
	}
	if !x.g.log.Enabled(context.Background(), level) {
		return
	}
	steps := make([]any, 0, len(x.trail))
	for i := range x.trail {
		s := &x.trail[i]
		steps = append(steps, slog.Group(strconv.Itoa(i+1),
			"channel", s.channel, "account", s.account, "picked", s.picked.String(),
			"verdict", s.verdict, "status", s.status, "took", s.took))
	}
	candidates := 0
	if x.pool != nil {
		for i := range x.pool.Tiers {
			candidates += x.pool.Tiers[i].Size
		}
	}
	attrs := []slog.Attr{
		slog.String("outcome", outcome),
		slog.String("request_id", x.requestID()),
		slog.String("client_request_id", x.clientRequestID()),
		slog.String("operation", x.op.String()),
		slog.String("model", x.model),
		slog.Int("status", x.status),
		slog.Bool("client_gone", x.gone.Load()),
		slog.Int("candidates", candidates),
		slog.Int("tried_or_skipped", len(x.tried)),
		slog.String("last_pick", x.reason.String()),
		slog.Group("attempts", steps...),
	}
	if x.key != nil {
		attrs = append(attrs, slog.String("key", string(x.key.ID)))
	}
	if x.group != nil {
		attrs = append(attrs, slog.String("group", x.group.Name))
	}
	if x.last.cause != nil {
		attrs = append(attrs, slog.String("error", x.last.cause.Error()))
	}
	x.g.log.LogAttrs(context.Background(), level, "request decided", attrs...)
}
