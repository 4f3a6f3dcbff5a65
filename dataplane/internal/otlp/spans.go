package otlp

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"

	"fairway/dataplane/internal/journal"
)

// spans makes spans of entries. It belongs to one goroutine; its exporter to another.
type spans struct {
	exporter *otlptrace.Exporter
	tracer   trace.Tracer
	made     []sdktrace.ReadOnlySpan
}

func newSpans(exporter *otlptrace.Exporter, of *resource.Resource) *spans {
	s := &spans{exporter: exporter}
	// What is sampled was decided before. The provider gives each span that ends to OnEnd at once: we have our own queues,
	// which count what they drop.
	s.tracer = sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithResource(of), sdktrace.WithSpanProcessor(s),
	).Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
	return s
}

// add makes the spans of a request: its own, and one for each attempt.
func (s *spans) add(ctx context.Context, e *journal.Entry) {
	if e.Trace.Valid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: e.Trace.ID, SpanID: e.Trace.Parent, TraceFlags: trace.FlagsSampled, Remote: true,
		}))
	}
	operation, ends := operationName(e.Operation), e.Time.Add(max(e.Duration, 0))
	name := operation
	if e.Attempts > 0 {
		// A name that nobody serves is anything that a client may send.
		name += " " + valid(e.Model)
	}
	ctx, span := s.tracer.Start(ctx, name, trace.WithTimestamp(e.Time), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(ofRequest(e, operation)...))
	for i := range e.Trail {
		a := &e.Trail[i]
		began := e.Time.Add(max(a.After, 0))
		// The attempt that answered goes on for as long as its answer.
		ended := began.Add(max(a.Took, 0))
		if i == len(e.Trail)-1 && e.TTFT > 0 {
			ended = ends
		}
		_, attempt := s.tracer.Start(ctx, operation+" "+valid(a.Model), trace.WithTimestamp(began), trace.WithSpanKind(trace.SpanKindClient),
			trace.WithAttributes(ofAttempt(e, a, operation)...))
		if a.Verdict != "" && a.Verdict != clientGone {
			attempt.SetStatus(codes.Error, valid(a.Verdict))
		}
		attempt.End(trace.WithTimestamp(later(ended, began)))
	}
	// What the client did wrong is no error of this span's (semantic conventions for HTTP servers).
	if e.Error != "" && e.Error != clientGone && (e.Status < 400 || e.Status >= 500) {
		span.SetStatus(codes.Error, valid(e.Error))
	}
	span.End(trace.WithTimestamp(ends))
}

// clientGone is the reason of a request whose client left.
const clientGone = "client_gone"

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// ofRequest are the facts of a request. Usage and cost are here alone, so that nobody counts them twice.
func ofRequest(e *journal.Entry, operation string) []attribute.KeyValue {
	all := attributes{
		semconv.GenAIOperationNameKey.String(operation),
		semconv.GenAIRequestStream(e.Stream),
		attribute.Int("fairway.attempts", e.Attempts),
	}
	all.text(semconv.GenAIRequestModelKey, e.Model)
	all.text(semconv.GenAIResponseModelKey, e.ResponseModel)
	all.text("fairway.upstream.model", e.UpstreamModel)
	all.text(semconv.HTTPRequestMethodKey, e.Method)
	if e.Status > 0 {
		all = append(all, semconv.HTTPResponseStatusCode(e.Status))
	}
	if n := len(e.Trail); n > 0 {
		last := &e.Trail[n-1]
		all = append(all, semconv.GenAIProviderNameKey.String(providerName(last.Provider, last.Host)))
	}
	all.text(semconv.ErrorTypeKey, e.Error)
	all.text("fairway.request_id", e.RequestID)
	all.text("fairway.client_request_id", e.ClientRequestID)
	all.text("fairway.upstream_request_id", e.UpstreamRequestID)
	all.text("fairway.operation", e.Operation)
	all.text("fairway.key.id", e.KeyID)
	all.text("fairway.key.name", e.KeyName)
	all.text("fairway.tenant", e.Tenant)
	all.text("fairway.group", e.Group)
	all.text("fairway.channel", e.Channel)
	all.text("fairway.account", e.Account)
	if e.RemoteIP.IsValid() {
		all = append(all, semconv.ClientAddress(e.RemoteIP.String()))
	}
	if e.TTFT > 0 {
		all = append(all, attribute.Float64("gen_ai.response.time_to_first_chunk", e.TTFT.Seconds()))
	}
	if e.Attempts == 0 {
		return all
	}
	t := &e.Tokens
	all = append(all, semconv.GenAIUsageInputTokens(int(t.Input)), semconv.GenAIUsageOutputTokens(int(t.Output)),
		attribute.Int64("fairway.cost_nano_usd", e.CostNanoUSD))
	all.count(semconv.GenAIUsageCacheReadInputTokensKey, t.Cached)
	all.count(semconv.GenAIUsageCacheCreationInputTokensKey, t.CacheWrite+t.CacheWriteLong)
	all.count(semconv.GenAIUsageReasoningOutputTokensKey, t.Reasoning)
	all.count("fairway.usage.audio_input_tokens", t.AudioInput)
	all.count("fairway.usage.audio_output_tokens", t.AudioOutput)
	all.count("fairway.price_version", e.PriceVersion)
	if e.Estimated {
		all = append(all, attribute.Bool("fairway.usage.estimated", true))
	}
	if e.Unpriced {
		all = append(all, attribute.Bool("fairway.unpriced", true))
	}
	return all
}

// ofAttempt are the facts of one attempt.
func ofAttempt(e *journal.Entry, a *journal.Attempt, operation string) []attribute.KeyValue {
	all := attributes{
		semconv.GenAIOperationNameKey.String(operation),
		semconv.GenAIProviderNameKey.String(providerName(a.Provider, a.Host)),
		semconv.GenAIRequestStream(e.Stream),
	}
	all.text(semconv.GenAIRequestModelKey, a.Model)
	all.text(semconv.ServerAddressKey, a.Host)
	all.text("fairway.channel", a.Channel)
	all.text("fairway.account", a.Account)
	all.text(semconv.ErrorTypeKey, a.Verdict)
	if a.Status > 0 {
		all = append(all, semconv.HTTPResponseStatusCode(a.Status))
	}
	return all
}

// take returns the spans that were made since.
func (s *spans) take() []sdktrace.ReadOnlySpan {
	made := s.made
	s.made = nil
	return made
}

// OnEnd is how the SDK hands over a span that has ended.
func (s *spans) OnEnd(span sdktrace.ReadOnlySpan) { s.made = append(s.made, span) }

// OnStart is of no interest.
func (s *spans) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// Shutdown has nothing to end.
func (s *spans) Shutdown(context.Context) error { return nil }

// ForceFlush has nothing to hurry.
func (s *spans) ForceFlush(context.Context) error { return nil }
