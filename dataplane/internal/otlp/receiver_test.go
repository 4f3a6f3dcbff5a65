package otlp

import (
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	colmetricpb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"fairway/dataplane/internal/journal"
	"fairway/pkg/money"
	"fairway/pkg/testkit/metrictest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is a collector: it reads what the protocol's own messages read.
type receiver struct {
	*httptest.Server
	answer func(w http.ResponseWriter, r *http.Request) bool // false = it has answered; nil = all is well

	mu       sync.Mutex
	spans    []*tracepb.Span
	metrics  map[string]*metricpb.Metric // the last of each
	resource map[string]string
	headers  []http.Header
	raw      strings.Builder // everything that was received, decoded from gzip
	exports  int
}

func listen(t *testing.T) *receiver {
	t.Helper()
	c := &receiver{metrics: map[string]*metricpb.Metric{}}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c.answer != nil && !c.answer(w, r) {
		return
	}
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unzipped
	}
	b, err := io.ReadAll(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.headers = append(c.headers, r.Header)
	c.raw.Write(b)
	c.exports++
	switch r.URL.Path {
	case "/v1/traces":
		var m coltracepb.ExportTraceServiceRequest
		if err := proto.Unmarshal(b, &m); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, of := range m.ResourceSpans {
			c.resource = texts(of.Resource.Attributes)
			for _, s := range of.ScopeSpans {
				c.spans = append(c.spans, s.Spans...)
			}
		}
	case "/v1/metrics":
		var m colmetricpb.ExportMetricsServiceRequest
		if err := proto.Unmarshal(b, &m); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, of := range m.ResourceMetrics {
			for _, s := range of.ScopeMetrics {
				for _, one := range s.Metrics {
					c.metrics[one.Name] = one
				}
			}
		}
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func texts(all []*commonpb.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range all {
		switch v := kv.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			m[kv.Key] = v.StringValue
		default:
			m[kv.Key] = strings.TrimSpace(strings.SplitN(kv.Value.String(), ":", 2)[1])
		}
	}
	return m
}

// fixture is an exporter that runs.
type fixture struct {
	*Exporter
	registry *prometheus.Registry
	logged   *lockedText
	stop     context.CancelFunc
	ended    chan error
}

func prepare(t *testing.T, o Options) *fixture {
	t.Helper()
	f := &fixture{registry: prometheus.NewRegistry(), logged: &lockedText{}, ended: make(chan error, 1)}
	o.Registry, o.Log = f.registry, slog.New(slog.NewTextHandler(f.logged, nil))
	var err error
	if f.Exporter, err = New(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f.stop = cancel
	go func() { f.ended <- f.Run(ctx) }()
	t.Cleanup(cancel)
}

func (f *fixture) end(t *testing.T) {
	t.Helper()
	f.stop()
	if err := <-f.ended; err != nil {
		t.Errorf("Run returned %v", err)
	}
}

// count is a metric's value; labels are the values of its labels.
func (f *fixture) count(t *testing.T, name string, labels ...string) int {
	t.Helper()
	return int(metrictest.Value(t, f.registry, "fairway_otlp_"+name, labels...))
}

type lockedText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (w *lockedText) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *lockedText) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

var began = time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)

// retried is a request that one account refused and another served.
func retried() journal.Entry {
	return journal.Entry{
		Time: began, RequestID: "req_1", ClientRequestID: "mine", UpstreamRequestID: "theirs", Method: "POST", Operation: "chat",
		Model: "gpt-x", UpstreamModel: "gpt-x-up", ResponseModel: "gpt-x-2026", Stream: true, Status: 200,
		KeyID: "k1", KeyName: "laptop", Tenant: "acme", Group: "default", Channel: "second", Account: "acc-b",
		Attempts: 2, Retried: true, TTFT: 300 * time.Millisecond, Duration: 2 * time.Second,
		Tokens:      money.Tokens{Input: 100, Cached: 40, Output: 20, CacheWrite: 5, CacheWriteLong: 6, Reasoning: 7},
		CostNanoUSD: 1234, PriceVersion: 3, Estimated: true,
		Trail: []journal.Attempt{
			{Channel: "first", Account: "acc-a", Provider: "anthropic", Host: "api.anthropic.com", Model: "claude", Verdict: "rate_limit", Status: 429, After: 10 * time.Millisecond, Took: 20 * time.Millisecond},
			{Channel: "second", Account: "acc-b", Provider: "openai_compatible", Host: "api.deepseek.com", Model: "gpt-x-up", Status: 200, After: 40 * time.Millisecond, Took: 260 * time.Millisecond},
		},
	}
}
