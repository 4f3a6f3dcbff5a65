package otlp

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"

	"fairway/dataplane/internal/journal"
)

// maxSeries is how many combinations of attributes a histogram tells apart; the rest is one.
const maxSeries = 2000

// metrics are the histograms of the conventions. What is added and what is exported may meet.
type metrics struct {
	exporter sdkmetric.Exporter
	reader   *sdkmetric.ManualReader
	duration metric.Float64Histogram
	first    metric.Float64Histogram
	tokens   metric.Int64Histogram
}

func newMetrics(exporter sdkmetric.Exporter, of *resource.Resource) (*metrics, error) {
	m := &metrics{exporter: exporter}
	m.reader = sdkmetric.NewManualReader(
		sdkmetric.WithTemporalitySelector(exporter.Temporality), sdkmetric.WithAggregationSelector(exporter.Aggregation))
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithResource(of), sdkmetric.WithReader(m.reader), sdkmetric.WithCardinalityLimit(maxSeries)).
		Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
	var all [3]error
	// Buckets as the conventions have them.
	m.duration, all[0] = meter.Float64Histogram("gen_ai.client.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("GenAI operation duration."),
		metric.WithExplicitBucketBoundaries(.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92))
	m.first, all[1] = meter.Float64Histogram("gen_ai.server.time_to_first_token", metric.WithUnit("s"),
		metric.WithDescription("Time to generate first token for successful responses."),
		metric.WithExplicitBucketBoundaries(.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10))
	m.tokens, all[2] = meter.Int64Histogram("gen_ai.client.token.usage", metric.WithUnit("{token}"),
		metric.WithDescription("Number of input and output tokens used."),
		metric.WithExplicitBucketBoundaries(1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864))
	return m, errors.Join(all[:]...)
}

// add measures a request. One that reached no upstream is none of a model's: its name is anything that a client may send.
func (m *metrics) add(ctx context.Context, e *journal.Entry) {
	if e.Attempts == 0 || len(e.Trail) == 0 {
		return
	}
	last := &e.Trail[len(e.Trail)-1]
	all := attributes{
		semconv.GenAIOperationNameKey.String(operationName(e.Operation)),
		semconv.GenAIProviderNameKey.String(providerName(last.Provider, last.Host)),
	}
	all.text(semconv.GenAIRequestModelKey, e.Model)
	all.text(semconv.GenAIResponseModelKey, e.ResponseModel)
	all.text(semconv.ServerAddressKey, last.Host)
	n := len(all)
	all.text(semconv.ErrorTypeKey, e.Error)
	m.duration.Record(ctx, e.Duration.Seconds(), metric.WithAttributeSet(attribute.NewSet(all...)))
	all = all[:n]
	if e.TTFT > 0 && e.Error == "" {
		m.first.Record(ctx, e.TTFT.Seconds(), metric.WithAttributeSet(attribute.NewSet(all...)))
	}
	for _, of := range [...]struct {
		kind  attribute.KeyValue
		count int64
	}{{semconv.GenAITokenTypeInput, e.Tokens.Input}, {semconv.GenAITokenTypeOutput, e.Tokens.Output}} {
		if of.count > 0 {
			m.tokens.Record(ctx, of.count, metric.WithAttributeSet(attribute.NewSet(append(all[:n:n], of.kind)...)))
		}
	}
}

// export sends what was measured so far.
func (m *metrics) export(ctx context.Context) error {
	var all metricdata.ResourceMetrics
	if err := m.reader.Collect(ctx, &all); err != nil {
		return err
	}
	if len(all.ScopeMetrics) == 0 {
		return nil // no request yet
	}
	return m.exporter.Export(ctx, &all)
}
