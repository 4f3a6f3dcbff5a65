package gateway

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// What became of a request, as adminv1.Decision says it.
const (
	outcomeServed  = "served"
	outcomeFailed  = "failed"
	outcomeRefused = "refused" // the client is wrong, says Fairway or the upstream
	outcomeGone    = "client_gone"
	outcomeLive    = "live"
)

// became says what became of a request that has ended.
func (x *exchange) became() string {
	switch {
	case x.gone.Load() && !x.broke:
		return outcomeGone
	case x.refused != nil && x.refused.HTTPStatus() < 500, x.failed && x.last.verdict.Pass && x.last.answer != nil:
		return outcomeRefused
	case x.failed, x.refused != nil:
		return outcomeFailed
	}
	return outcomeServed
}

// decided is the end of a request whose key, group and model were known: what was decided about it is kept for who asks by
// its id, and logged where it did not go straight through, or where it was drawn as a sample.
func (x *exchange) decided(ended time.Time) {
	if !x.choosing {
		return
	}
	outcome := x.became()
	sampled := false
	if sample := x.snap.SettingsRef().DecisionSample; sample > 0 && outcome == outcomeServed {
		sampled = x.rng.Uint64()%1_000_000 < uint64(sample)
	}
	full := outcome == outcomeFailed || sampled
	if !full {
		x.g.recall.trace(x, outcome, ended.Sub(x.start))
	}
	level := slog.LevelInfo
	switch {
	case outcome == outcomeFailed:
		level = slog.LevelWarn
	case outcome == outcomeRefused && x.attempt > 0:
		level = slog.LevelDebug // the upstream says that the client is wrong
	case outcome == outcomeServed && !sampled && x.attempt <= 1, outcome == outcomeGone && x.attempt <= 1:
		return
	}
	logged := x.g.log.Enabled(context.Background(), level)
	if !full && !logged {
		return
	}
	d := x.outline()
	d.Took = durationpb.New(ended.Sub(x.start))
	d.Status, d.Outcome = int32(x.status), outcome
	d.Error = strings.ToValidUTF8(x.whyFailed(), "?")
	d.Attempts = appendSteps(nil, x.trail, ended)
	if full {
		x.listCandidates(d)
		x.g.recall.keep(d)
	}
	if logged {
		x.logDecision(level, d, sampled)
	}
}

// outline is what is known of a request from its beginning.
func (x *exchange) outline() *adminv1.Decision {
	d := &adminv1.Decision{
		RequestId: x.requestID(),
		StartTime: timestamppb.New(x.start),
		Model:     strings.ToValidUTF8(x.model, "?"), // a copy, or else one is made
		Operation: x.op.String(),
		Revision:  x.snap.Revision(),
		Miss:      x.miss,
	}
	d.Model = strings.Clone(d.Model)
	if x.key != nil {
		d.Key = string(x.key.ID)
	}
	if x.group != nil {
		d.Group, d.Strategy = x.group.Name, strategyName(x.group.Strategy)
	}
	return d
}

// whyFailed is why a request was refused or failed, without a word of what it asked for.
func (x *exchange) whyFailed() string {
	switch {
	case x.gone.Load():
		return verdictGone
	case x.noRoom.Cause != 0:
		return x.refused.Code + ": " + x.refused.Message
	case x.last.cause != nil:
		return clip(x.last.cause.Error(), 300)
	case x.failed && x.last.said.Code != "":
		return clip(x.last.verdict.Reason+": "+x.last.said.Code, 300)
	}
	return x.whatFailed()
}

// decision is the form in which a trace is told.
func (t *trace) decision() *adminv1.Decision {
	d := &adminv1.Decision{
		RequestId: string(t.id[:t.idLen]),
		StartTime: timestamppb.New(t.start), Took: durationpb.New(t.took),
		Key: t.key, Group: t.group, Model: strings.ToValidUTF8(string(t.model[:t.modelLen]), ""), Operation: t.op.String(),
		Status: t.status, Outcome: t.outcome, Strategy: strategyName(t.strategy), Revision: t.revision,
		Error: t.err, Miss: t.miss,
	}
	d.Attempts = appendSteps(nil, t.steps[:min(int(t.attempts), traced)], t.start.Add(t.took))
	return d
}

// appendSteps tells the attempts of a trail as of now.
func appendSteps(to []*adminv1.DecisionAttempt, trail []step, now time.Time) []*adminv1.DecisionAttempt {
	for i := range trail {
		s := &trail[i]
		took := s.took
		if !s.ended {
			took = now.Sub(s.began)
		}
		to = append(to, &adminv1.DecisionAttempt{
			Channel: s.channel, Account: s.account, Picked: s.picked, Verdict: s.verdict,
			Status: int32(s.status), Took: durationpb.New(max(took, 0)),
		})
	}
	return to
}

// strategyName is a group's strategy as operators write it.
func strategyName(s int32) string {
	return strings.ToLower(strings.TrimPrefix(resourcev1.Strategy(s).String(), "STRATEGY_"))
}

// logDecision writes a decision record.
func (x *exchange) logDecision(level slog.Level, d *adminv1.Decision, sampled bool) {
	steps := make([]any, 0, len(d.GetAttempts()))
	for i, s := range d.GetAttempts() {
		steps = append(steps, slog.Group(strconv.Itoa(i+1),
			"channel", s.GetChannel(), "account", s.GetAccount(), "picked", s.GetPicked(),
			"verdict", s.GetVerdict(), "status", s.GetStatus(), "took", s.GetTook().AsDuration()))
	}
	candidates := make([]any, 0, len(d.GetCandidates()))
	for i, c := range d.GetCandidates() {
		candidates = append(candidates, slog.Group(strconv.Itoa(i+1),
			"channel", c.GetChannel(), "account", c.GetAccount(), "priority", c.GetPriority(), "share", c.GetShare(),
			"in_flight", c.GetInFlight(), "excluded", c.GetExcluded()))
	}
	attrs := []slog.Attr{
		slog.String("outcome", d.GetOutcome()),
		slog.String("request_id", d.GetRequestId()),
		slog.String("client_request_id", x.clientRequestID()),
		slog.String("key", d.GetKey()),
		slog.String("group", d.GetGroup()),
		slog.String("strategy", d.GetStrategy()),
		slog.String("operation", d.GetOperation()),
		slog.String("model", d.GetModel()),
		slog.Int64("revision", d.GetRevision()),
		slog.Int("status", int(d.GetStatus())),
		slog.Duration("took", d.GetTook().AsDuration()),
		slog.Bool("client_gone", x.gone.Load()),
		slog.Int("tried_or_skipped", len(x.tried)),
		slog.String("last_pick", x.reason.String()),
		slog.Group("attempts", steps...),
	}
	if len(candidates) > 0 {
		attrs = append(attrs, slog.Group("candidates", candidates...), slog.Int("more_candidates", int(d.GetMoreCandidates())))
	}
	if d.GetMiss() != "" {
		attrs = append(attrs, slog.String("miss", d.GetMiss()))
	}
	if sampled {
		attrs = append(attrs, slog.Bool("sample", true))
	}
	if d.GetError() != "" {
		attrs = append(attrs, slog.String("error", d.GetError()))
	}
	x.g.log.LogAttrs(context.Background(), level, "request decided", attrs...)
}
