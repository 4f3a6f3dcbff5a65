// Package otlp sends what became of requests to a collector of OpenTelemetry, over OTLP/HTTP: a span for each request, one
// below it for each attempt, and histograms of durations and tokens, in the words of the semantic conventions for
// generative AI (https://opentelemetry.io/docs/specs/semconv/gen-ai/).
//
// Walks only copy their facts into a queue. One goroutine makes spans and histograms of them, and others send those; so a
// collector that is slow, full or dead costs spans, which are counted, and never a request its time. It refuses prompts and
// answers, even where the access log has them, and it refuses to send headers or spans in the clear beyond this host unless
// it is told to.
package otlp
