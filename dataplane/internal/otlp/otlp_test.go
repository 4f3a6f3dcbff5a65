package otlp

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"math"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"fairway/dataplane/internal/journal"
)

// A request becomes a span, each attempt one below it, with the conventions' attributes; usage is in one place.
func TestSpans(t *testing.T) {
	c := listen(t)
	f := prepare(t, Options{Endpoint: c.URL, Sample: 1, Version: "v9", Instance: "boot", Host: "host"})
	f.run(t)
	e := retried()
	e.RemoteIP = netip.MustParseAddr("192.0.2.7")
	f.Record(&e)
	f.end(t)

	if len(c.spans) != 3 {
		t.Fatalf("%d spans: %v", len(c.spans), c.spans)
	}
	byName := map[string]*tracepb.Span{}
	for _, s := range c.spans {
		byName[s.Name] = s
	}
	root, first, second := byName["chat gpt-x"], byName["chat claude"], byName["chat gpt-x-up"]
	if root == nil || first == nil || second == nil {
		t.Fatalf("spans: %v", c.spans)
	}
	if len(root.ParentSpanId) != 0 || string(first.ParentSpanId) != string(root.SpanId) || string(second.ParentSpanId) != string(root.SpanId) ||
		string(first.TraceId) != string(root.TraceId) || string(second.TraceId) != string(root.TraceId) {
		t.Error("the spans are not a tree of one request")
	}
	at := func(d time.Duration) uint64 { return uint64(began.Add(d).UnixNano()) }
	for _, tt := range []struct {
		span       *tracepb.Span
		kind       tracepb.Span_SpanKind
		code       tracepb.Status_StatusCode
		from, to   time.Duration
		attributes map[string]string
	}{
		{root, tracepb.Span_SPAN_KIND_SERVER, tracepb.Status_STATUS_CODE_UNSET, 0, 2 * time.Second, map[string]string{
			"gen_ai.operation.name": "chat", "gen_ai.request.stream": "true", "gen_ai.request.model": "gpt-x", "gen_ai.response.model": "gpt-x-2026",
			"gen_ai.provider.name": "deepseek", "gen_ai.response.time_to_first_chunk": "0.3", "gen_ai.usage.input_tokens": "100",
			"gen_ai.usage.output_tokens": "20", "gen_ai.usage.cache_read.input_tokens": "40", "gen_ai.usage.cache_creation.input_tokens": "11",
			"gen_ai.usage.reasoning.output_tokens": "7", "http.request.method": "POST", "http.response.status_code": "200", "client.address": "192.0.2.7",
			"fairway.attempts": "2", "fairway.upstream.model": "gpt-x-up", "fairway.request_id": "req_1", "fairway.client_request_id": "mine",
			"fairway.upstream_request_id": "theirs", "fairway.operation": "chat", "fairway.key.id": "k1", "fairway.key.name": "laptop",
			"fairway.tenant": "acme", "fairway.group": "default", "fairway.channel": "second", "fairway.account": "acc-b",
			"fairway.cost_nano_usd": "1234", "fairway.price_version": "3", "fairway.usage.estimated": "true",
		}},
		{first, tracepb.Span_SPAN_KIND_CLIENT, tracepb.Status_STATUS_CODE_ERROR, 10 * time.Millisecond, 30 * time.Millisecond, map[string]string{
			"gen_ai.operation.name": "chat", "gen_ai.request.stream": "true", "gen_ai.request.model": "claude", "gen_ai.provider.name": "anthropic",
			"server.address": "api.anthropic.com", "http.response.status_code": "429", "error.type": "rate_limit",
			"fairway.channel": "first", "fairway.account": "acc-a",
		}},
		{second, tracepb.Span_SPAN_KIND_CLIENT, tracepb.Status_STATUS_CODE_UNSET, 40 * time.Millisecond, 2 * time.Second, map[string]string{
			"gen_ai.operation.name": "chat", "gen_ai.request.stream": "true", "gen_ai.request.model": "gpt-x-up", "gen_ai.provider.name": "deepseek",
			"server.address": "api.deepseek.com", "http.response.status_code": "200", "fairway.channel": "second", "fairway.account": "acc-b",
		}},
	} {
		if tt.span.Kind != tt.kind || tt.span.Status.GetCode() != tt.code || tt.span.StartTimeUnixNano != at(tt.from) || tt.span.EndTimeUnixNano != at(tt.to) {
			t.Errorf("%s: %v", tt.span.Name, tt.span)
		}
		if diff := cmp.Diff(tt.attributes, texts(tt.span.Attributes)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.span.Name, diff)
		}
	}
	want := map[string]string{"service.name": "fairway-dataplane", "service.version": "v9", "service.instance.id": "boot", "host.name": "host"}
	if diff := cmp.Diff(want, c.resource); diff != "" {
		t.Errorf("resource (-want +got):\n%s", diff)
	}
	if n := f.count(t, "spans_total"); n != 3 {
		t.Errorf("%d spans counted", n)
	}
}

// The client's trace goes on; whether it is recorded is the client's word.
func TestContinuesTrace(t *testing.T) {
	c := listen(t)
	f := prepare(t, Options{Endpoint: c.URL, NoMetrics: true}) // a sample of nothing
	f.run(t)
	parent := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
	for _, flags := range []string{"0", "1"} {
		e := retried()
		e.Model, e.Trail, e.Trace = "asked-"+flags, nil, journal.ParseTrace([]byte(parent+flags))
		f.Record(&e)
	}
	f.end(t)
	if len(c.spans) != 1 {
		t.Fatalf("%d spans, want the one whose client wants it recorded", len(c.spans))
	}
	s := c.spans[0]
	if hex.EncodeToString(s.TraceId) != parent[3:35] || hex.EncodeToString(s.ParentSpanId) != parent[36:52] || s.Name != "chat asked-1" {
		t.Errorf("span: %v", s)
	}
}

func TestSampling(t *testing.T) {
	const share, n = .25, 1000
	f := prepare(t, Options{Endpoint: "http://localhost:1", Sample: share})
	i := 0
	f.lot = func() float64 { i++; return float64(i%n) / n }
	good, failed := 0, 0
	for range n {
		if f.sampled(&journal.Entry{}) {
			good++
		}
		if f.sampled(&journal.Entry{Error: "rate_limit"}) {
			failed++
		}
	}
	if good != share*n || failed != n {
		t.Errorf("%d good ones and %d failed of %d", good, failed, n)
	}
}

// What an error is: the attempt's, ours, and not the client's own.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		err    string
		want   tracepb.Status_StatusCode
	}{
		{"refused", 401, "invalid_api_key", tracepb.Status_STATUS_CODE_UNSET},
		{"gone", 499, "client_gone", tracepb.Status_STATUS_CODE_UNSET},
		{"failed", 503, "upstream_unavailable", tracepb.Status_STATUS_CODE_ERROR},
		{"died", 200, "died", tracepb.Status_STATUS_CODE_ERROR},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := listen(t)
			f := prepare(t, Options{Endpoint: c.URL, Sample: 1})
			f.run(t)
			f.Record(&journal.Entry{Time: began, Operation: "messages", Model: "\xff<anything>", Status: tt.status, Error: tt.err})
			f.end(t)
			if len(c.spans) != 1 {
				t.Fatalf("spans: %v", c.spans)
			}
			s := c.spans[0]
			if s.Status.GetCode() != tt.want || s.Name != "chat" || texts(s.Attributes)["error.type"] != tt.err {
				t.Errorf("span: %v", s)
			}
			if len(c.metrics) != 0 {
				t.Errorf("a request that reached nobody is measured: %v", c.metrics)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	c := listen(t)
	f := prepare(t, Options{Endpoint: c.URL + "/base/", NoTraces: true})
	c.answer = func(_ http.ResponseWriter, r *http.Request) bool {
		r.URL.Path = strings.TrimPrefix(r.URL.Path, "/base")
		return true
	}
	f.run(t)
	for range 3 {
		e := retried()
		f.Record(&e)
	}
	bad := retried()
	bad.Error, bad.TTFT, bad.Tokens.Input, bad.Tokens.Output = "died", 0, 0, 0
	f.Record(&bad)
	f.end(t)
	if len(c.spans) != 0 {
		t.Errorf("%d spans though there shall be none", len(c.spans))
	}
	type point struct {
		count uint64
		sum   float64
	}
	got := map[string]point{}
	for name, m := range c.metrics {
		for _, p := range m.GetHistogram().DataPoints {
			a := texts(p.Attributes)
			if a["gen_ai.request.model"] != "gpt-x" || a["gen_ai.provider.name"] != "deepseek" || a["gen_ai.operation.name"] != "chat" ||
				a["gen_ai.response.model"] != "gpt-x-2026" || a["server.address"] != "api.deepseek.com" {
				t.Errorf("%s: %v", name, a)
			}
			got[name+" "+m.Unit+" "+a["gen_ai.token.type"]+a["error.type"]] = point{p.Count, p.GetSum()}
		}
	}
	want := map[string]point{
		"gen_ai.client.operation.duration s ":      {3, 6},
		"gen_ai.client.operation.duration s died":  {1, 2},
		"gen_ai.server.time_to_first_token s ":     {3, .9},
		"gen_ai.client.token.usage {token} input":  {3, 300},
		"gen_ai.client.token.usage {token} output": {3, 60},
	}
	if diff := cmp.Diff(want, got, cmp.Transformer("", func(p point) [2]float64 { return [2]float64{float64(p.count), math.Round(p.sum*1e6) / 1e6} })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Headers are sent to the collector, and told to nobody: not where it leads, and not to the log, whatever it answers.
func TestHeaders(t *testing.T) {
	const canary = "Basic c2VjcmV0LWNhbmFyeQ=="
	file := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(file, []byte("# a comment\n\nAuthorization:  "+canary+"\nX-Scope: a: b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	elsewhere := listen(t)
	c := listen(t)
	var seen []http.Header
	var leads bool
	c.answer = func(w http.ResponseWriter, r *http.Request) bool {
		seen = append(seen, r.Header)
		if leads {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
			return false
		}
		http.Error(w, "who is "+r.Header.Get("Authorization")+"?", http.StatusUnauthorized)
		return false
	}
	for _, leads = range []bool{false, true} {
		f := prepare(t, Options{Endpoint: c.URL, HeadersFile: file, Sample: 1, NoMetrics: true})
		f.run(t)
		e := retried()
		f.Record(&e)
		f.end(t)
		if n := f.count(t, "spans_dropped_total", "send"); n != 3 || f.count(t, "errors_total", "traces") != 1 {
			t.Errorf("%d spans counted as lost", n)
		}
		if text := f.logged.String(); strings.Contains(text, "c2VjcmV0") || !strings.Contains(text, "otlp export fails") {
			t.Errorf("logged %q", text)
		}
	}
	if len(seen) != 2 || seen[0].Get("Authorization") != canary || seen[0].Get("X-Scope") != "a: b" {
		t.Errorf("headers: %v", seen)
	}
	if elsewhere.exports != 0 {
		t.Error("the exporter went where the collector led it")
	}
}

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("Authorization canary-value\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		o    Options
		want string // in the error; empty = none
	}{
		{Options{}, ""},
		{Options{Endpoint: "https://collector:4318"}, ""},
		{Options{Endpoint: "http://127.0.0.1:4318"}, ""},
		{Options{Endpoint: "http://[::1]:4318/base"}, ""},
		{Options{Endpoint: "http://collector:4318", Insecure: true}, ""},
		{Options{Endpoint: "http://collector:4318"}, "not encrypted"},
		{Options{Endpoint: "https://me:canary-value@collector"}, "file of headers"},
		{Options{Endpoint: "https://collector?key=canary-value"}, "file of headers"},
		{Options{Endpoint: "collector:4318"}, "must be a URL"},
		{Options{Endpoint: "grpc://collector:4317"}, "must be a URL"},
		{Options{Endpoint: "http://can\x7fary-value"}, "no URL"},
		{Options{Sample: 2}, "is 2"},
		{Options{Sample: math.NaN()}, "NaN"},
		{Options{Buffer: -1}, "-1 requests"},
		{Options{Endpoint: "https://collector", HeadersFile: bad}, "line 1"},
		{Options{Endpoint: "https://collector", HeadersFile: filepath.Join(dir, "none")}, "no such file"},
		{Options{Endpoint: "https://collector", CAFile: bad}, "has none"},
	} {
		_, err := New(t.Context(), tt.o)
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary-value")) {
			t.Errorf("%d: %v, want %q", i, err, tt.want)
		}
	}
	if _, err := New(t.Context(), Options{Endpoint: "https://collector", HeadersFile: "none"}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// Whoever exports nothing calls the same methods.
func TestOff(t *testing.T) {
	for name, x := range map[string]*Exporter{
		"nil": nil, "no endpoint": prepare(t, Options{}).Exporter,
		"no signal": prepare(t, Options{Endpoint: "https://collector", NoTraces: true, NoMetrics: true}).Exporter,
	} {
		f := &fixture{Exporter: x, ended: make(chan error, 1)}
		f.run(t)
		e := retried()
		f.Record(&e)
		if f.On() {
			t.Errorf("%s: it is on", name)
		}
		f.end(t)
	}
}

func TestProviderName(t *testing.T) {
	for _, tt := range [][3]string{
		{"openai", "gateway.example", "openai"}, {"gemini", "", "gcp.gemini"}, {"vertex", "", "gcp.vertex_ai"},
		{"azure_openai", "x.openai.azure.com", "azure.ai.openai"}, {"bedrock", "", "aws.bedrock"}, {"anthropic", "", "anthropic"},
		{"openai_compatible", "api.x.ai", "x_ai"}, {"openai_compatible", "api.notx.ai", "openai_compatible"},
		{"openai_compatible", "api.groq.com", "groq"}, {"openai_compatible", "10.0.0.1", "openai_compatible"},
	} {
		if got := providerName(tt[0], tt[1]); got != tt[2] {
			t.Errorf("%s at %s: %s, want %s", tt[0], tt[1], got, tt[2])
		}
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	f := prepare(t, Options{Endpoint: "http://localhost:1", Buffer: 16})
	e := retried()
	if n := testing.AllocsPerRun(100, func() { f.Record(&e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if n := f.count(t, "requests_dropped_total"); n != 101-16 {
		t.Errorf("%d requests counted as dropped of %s that found no room", n, strconv.Itoa(101-16))
	}
}

// Spans outlive the queue's slots: what they say must not change with the next request that takes the slot.
func TestSpansKeepNoViews(t *testing.T) {
	f := prepare(t, Options{Endpoint: "http://localhost:1", Sample: 1, Buffer: 16, NoMetrics: true})
	batches := make(chan []sdktrace.ReadOnlySpan, 2)
	for _, name := range []string{"one", "two"} {
		for range f.queue.Size() {
			e := retried()
			for _, s := range []*string{
				&e.Model, &e.UpstreamModel, &e.ResponseModel, &e.KeyID, &e.KeyName, &e.Tenant, &e.Group, &e.Channel, &e.Account, &e.Error,
				&e.RequestID, &e.ClientRequestID, &e.UpstreamRequestID, &e.Method, &e.Operation,
			} {
				*s = name
			}
			for i := range e.Trail {
				a := &e.Trail[i]
				a.Channel, a.Account, a.Provider, a.Host, a.Model, a.Verdict = name, name, name, name, name, name
			}
			f.Record(&e)
		}
		f.drain(t.Context(), batches)
	}
	first := <-batches
	if len(first) != 3*f.queue.Size() {
		t.Fatalf("%d spans", len(first))
	}
	for _, s := range first {
		if strings.Contains(s.Name(), "two") || strings.Contains(s.Status().Description, "two") {
			t.Errorf("span %q, %q", s.Name(), s.Status().Description)
		}
		for _, kv := range s.Attributes() {
			if kv.Value.AsString() == "two" {
				t.Errorf("%s has become the next request's", kv.Key)
			}
		}
	}
}
