package otlp

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"

	"fairway/dataplane/internal/journal"
)

const (
	// sendTime bounds one export, with what is tried again of it.
	sendTime = 10 * time.Second
	// scope is what spans and metrics say they come from.
	scope = "fairway"
)

// Exporter sends what became of requests. On and Record are safe for concurrent use, also on a nil Exporter, which is one
// that is off.
type Exporter struct {
	queue   *journal.Queue // nil = off
	spans   *spans         // nil = no traces
	metrics *metrics       // nil = no metrics
	client  *http.Client
	secrets []string // the values of headers, which a collector may repeat
	log     *slog.Logger
	sample  float64
	every   time.Duration
	lot     func() float64 // 0 to 1, without 1

	overflowed atomic.Uint64 // requests that found the queue full
	sent       atomic.Uint64 // spans
	crowded    atomic.Uint64 // spans that were dropped because too many waited to be sent
	refused    atomic.Uint64 // spans that were dropped because sending failed
	failures   [2]atomic.Uint64
	warned     [2]time.Time // when the log last said so; each its sender's own
}

// The signals, as failures counts them.
const (
	traces = iota
	histograms
)

// New makes an exporter; it connects to nobody, and ctx is of the making alone. One with an empty Options.Endpoint is off.
func New(ctx context.Context, o Options) (*Exporter, error) {
	if err := o.Check(); err != nil {
		return nil, fmt.Errorf("otlp: %w", err)
	}
	x := &Exporter{log: o.Log, sample: o.Sample, every: o.Every, lot: rand.Float64}
	if x.log == nil {
		x.log = slog.New(slog.DiscardHandler)
	}
	if o.Endpoint == "" || o.NoTraces && o.NoMetrics {
		return x, nil
	}
	if x.every == 0 {
		x.every = defaultEvery
	}
	if err := x.connect(ctx, o); err != nil {
		return nil, fmt.Errorf("otlp: %w", err)
	}
	if o.Buffer == 0 {
		o.Buffer = defaultBuffer
	}
	if o.Registry != nil {
		if err := x.register(o.Registry); err != nil {
			return nil, fmt.Errorf("otlp: %w", err)
		}
	}
	x.queue = journal.NewQueue(o.Buffer, false)
	return x, nil
}

// connect makes what speaks to the collector. What the environment says of it (OTEL_EXPORTER_OTLP_…) is overruled: a proxy
// has one place that says where its facts go.
func (x *Exporter) connect(ctx context.Context, o Options) error {
	u, err := o.endpoint()
	if err != nil {
		return err
	}
	headers, err := o.headers()
	if err != nil {
		return err
	}
	for _, value := range headers {
		x.secrets = append(x.secrets, value)
	}
	config, err := o.tls()
	if err != nil {
		return err
	}
	x.client = &http.Client{
		Timeout: sendTime,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: config, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: sendTime, MaxIdleConnsPerHost: 2, IdleConnTimeout: 2 * x.every,
		},
		// Where else it leads nobody has said, and the headers are for this place alone.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	of := resource.NewSchemaless(
		semconv.ServiceName("fairway-dataplane"), semconv.ServiceVersion(o.Version), semconv.ServiceInstanceID(o.Instance),
		semconv.HostName(o.Host),
	)
	if !o.NoTraces {
		options := []otlptracehttp.Option{
			otlptracehttp.WithEndpoint(u.Host), otlptracehttp.WithURLPath(u.JoinPath("v1", "traces").Path),
			otlptracehttp.WithHeaders(headers), otlptracehttp.WithHTTPClient(x.client), otlptracehttp.WithTimeout(sendTime),
			otlptracehttp.WithCompression(otlptracehttp.GzipCompression),
			otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
				Enabled: true, InitialInterval: time.Second, MaxInterval: sendTime / 2, MaxElapsedTime: sendTime,
			}),
		}
		if u.Scheme == "http" {
			options = append(options, otlptracehttp.WithInsecure())
		}
		x.spans = newSpans(otlptrace.NewUnstarted(otlptracehttp.NewClient(options...)), of)
	}
	if o.NoMetrics {
		return nil
	}
	options := []otlpmetrichttp.Option{
		otlpmetrichttp.WithEndpoint(u.Host), otlpmetrichttp.WithURLPath(u.JoinPath("v1", "metrics").Path),
		otlpmetrichttp.WithHeaders(headers), otlpmetrichttp.WithHTTPClient(x.client), otlpmetrichttp.WithTimeout(sendTime),
		otlpmetrichttp.WithCompression(otlpmetrichttp.GzipCompression),
		otlpmetrichttp.WithRetry(otlpmetrichttp.RetryConfig{
			Enabled: true, InitialInterval: time.Second, MaxInterval: sendTime / 2, MaxElapsedTime: sendTime,
		}),
	}
	if u.Scheme == "http" {
		options = append(options, otlpmetrichttp.WithInsecure())
	}
	exporter, err := otlpmetrichttp.New(ctx, options...)
	if err != nil {
		return err
	}
	x.metrics, err = newMetrics(exporter, of)
	return err
}

// On says whether entries are wanted.
func (x *Exporter) On() bool { return x != nil && x.queue != nil }

// Record takes an entry. It copies what it keeps, does not wait and does not allocate.
func (x *Exporter) Record(e *journal.Entry) {
	if x.On() && !x.queue.Put(e) {
		x.overflowed.Add(1)
	}
}

// sampled says whether an entry becomes spans.
func (x *Exporter) sampled(e *journal.Entry) bool {
	if e.Trace.Valid() {
		return e.Trace.Sampled
	}
	return e.Error != "" || x.lot() < x.sample
}
