package gateway

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"fairway/dataplane/internal/accesslog"
	"fairway/dataplane/internal/otlp"
	"fairway/pkg/testkit/fakellm"
)

const (
	promptCanary = "canary-of-a-prompt"
	parentTrace  = "0af7651916cd43dd8448eb211c80319c"
	traceParent  = "traceparent: 00-" + parentTrace + "-b7ad6b7169203331-01"
)

// observed runs requests through a proxy with an access log and an OTLP exporter, and returns what the log says, what the
// collector got, decoded from gzip, and the spans in it.
func observed(t *testing.T, log accesslog.Options, requests func(w *world)) (lines, sent string, spans []*tracepb.Span) {
	t.Helper()
	var out, raw lockedBuffer
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		unzipped, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		b, err := io.ReadAll(unzipped)
		if err != nil {
			t.Error(err)
		}
		_, _ = raw.Write(b)
		if r.URL.Path == "/v1/traces" {
			var m coltracepb.ExportTraceServiceRequest
			if err := proto.Unmarshal(b, &m); err != nil {
				t.Error(err)
			}
			for _, of := range m.ResourceSpans {
				for _, s := range of.ScopeSpans {
					spans = append(spans, s.Spans...) // read when the exporter has ended
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	defer collector.Close()
	w := newWorld(t)
	w.tiers(secretA, secretB)
	log.File, log.Sample, log.Stdout = "-", 1, &out
	access, err := accesslog.New(log)
	if err != nil {
		t.Fatal(err)
	}
	exporter, err := otlp.New(t.Context(), otlp.Options{Endpoint: collector.URL, Sample: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- access.Run(ctx) }()
	go func() { ended <- exporter.Run(ctx) }()
	w.gateway.access, w.gateway.otlp = access, exporter

	requests(w)
	w.settled(t)
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	collector.Close()
	for name, text := range map[string]string{"access log": out.String(), "exports": raw.String()} {
		for _, secret := range []string{w.key, w.key[6:30], secretA, secretB} {
			if strings.Contains(text, secret) {
				t.Errorf("%q… is in the %s", secret[:8], name)
			}
		}
	}
	if len(spans) == 0 {
		t.Error("the collector got no spans")
	}
	return out.String(), raw.String(), spans
}

func withPrompt(stream string) string {
	return `{"model":"gpt-x"` + stream + `,"messages":[{"role":"user","content":"` + promptCanary + `"}]}`
}

// Nothing of what was said is in the log or goes to the collector; the facts of it do.
func TestRequestLogTellsNoWords(t *testing.T) {
	var answers []string
	lines, sent, spans := observed(t, accesslog.Options{}, func(w *world) {
		w.provider.SetBehaviour(secretA, fakellm.Status(429, "rate_limit_exceeded", 0))
		answers = append(answers,
			w.post("/v1/chat/completions", withPrompt(""), traceParent),
			w.post("/v1/chat/completions", withPrompt(`,"stream":true`), traceParent),
			w.post("/v1/chat/completions", `{"model":"gpt-x","messages":"`+promptCanary),
			w.post("/v1/chat/completions", withPrompt(""), traceParent, traceParent))
	})
	_, body, _ := strings.Cut(answers[0], "\r\n\r\n")
	var answer struct {
		ID      string
		Model   string
		Choices []struct{ Message struct{ Content string } }
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || len(answer.Choices) != 1 || len(answer.Choices[0].Message.Content) < 5 {
		t.Fatalf("no answer to look for: %v: %q", err, answers[0])
	}
	for name, text := range map[string]string{"access log": lines, "exports": sent} {
		for _, words := range []string{promptCanary, answer.Choices[0].Message.Content} {
			if strings.Contains(text, words) {
				t.Errorf("%q is in the %s", words, name)
			}
		}
	}
	type line struct {
		TraceID       string `json:"trace_id"`
		Model         string `json:"model"`
		UpstreamModel string `json:"upstream_model"`
		ResponseModel string `json:"response_model"`
		KeyName       string `json:"key_name"`
		Tenant        string `json:"tenant"`
		UpstreamID    string `json:"upstream_request_id"`
		Stream        bool   `json:"stream"`
		PriceVersion  int64  `json:"price_version"`
		Unpriced      bool   `json:"unpriced"`
		Trail         []struct {
			Account, Error string
			Status         int
		} `json:"trail"`
	}
	var all []line
	for raw := range bytes.Lines([]byte(lines)) {
		var l line
		if err := json.Unmarshal(raw, &l); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		all = append(all, l)
	}
	if len(all) != 4 {
		t.Fatalf("%d lines for 4 requests:\n%s", len(all), lines)
	}
	for i, l := range all[:2] {
		if l.TraceID != parentTrace || l.UpstreamModel != "gpt-x" || l.ResponseModel != answer.Model || l.UpstreamID == "" || l.Stream != (i == 1) {
			t.Errorf("line %d: %+v", i, l)
		}
	}
	if trail := all[0].Trail; len(trail) != 2 || trail[0].Account != "acc-a0" || trail[0].Error == "" || trail[0].Status != 429 || trail[1].Account != "acc-b0" || trail[1].Error != "" {
		t.Errorf("trail: %+v", trail)
	}
	if all[3].TraceID != "" {
		t.Error("two traces are one")
	}
	children := map[string]int{}
	for _, s := range spans {
		if bytes.Equal(s.TraceId, []byte("\x0a\xf7\x65\x19\x16\xcd\x43\xdd\x84\x48\xeb\x21\x1c\x80\x31\x9c")) {
			children[s.Kind.String()]++
		}
		if s.EndTimeUnixNano < s.StartTimeUnixNano {
			t.Errorf("span: %v", s)
		}
	}
	if children["SPAN_KIND_SERVER"] != 2 || children["SPAN_KIND_CLIENT"] < 3 {
		t.Errorf("spans of the client's trace: %v", children)
	}
}

// Where the operator wants words, they are in the log alone, without credentials.
func TestRequestLogBodies(t *testing.T) {
	const key, token = "sk-proj-canarycanarycanary0123", "ghp_canarycanarycanarycanary0123"
	lines, sent, _ := observed(t, accesslog.Options{Bodies: true}, func(w *world) {
		w.post("/v1/chat/completions", strings.Replace(withPrompt(""), promptCanary, promptCanary+" with "+key, 1))
		w.post("/v1/chat/completions", withPrompt(`,"stream":true`))
		w.post("/v1/embeddings", `{"model":"gpt-x","input":"`+token+`"}`)
	})
	if strings.Contains(sent, promptCanary) || strings.Contains(lines, key) || strings.Contains(lines, token) {
		t.Error("a prompt is in the exports, or a credential in the log")
	}
	var bodies []struct {
		Request  string `json:"request_body"`
		Response string `json:"response_body"`
	}
	dec := json.NewDecoder(strings.NewReader(lines))
	for dec.More() {
		bodies = append(bodies, struct {
			Request  string `json:"request_body"`
			Response string `json:"response_body"`
		}{})
		if err := dec.Decode(&bodies[len(bodies)-1]); err != nil {
			t.Fatal(err)
		}
	}
	if len(bodies) != 3 {
		t.Fatalf("%d lines:\n%s", len(bodies), lines)
	}
	if b := bodies[0]; !strings.Contains(b.Request, promptCanary+" with ***") || !strings.Contains(b.Response, `"choices"`) {
		t.Errorf("a plain one: %+v", b)
	}
	if b := bodies[1]; b.Request != withPrompt(`,"stream":true`) || !strings.HasPrefix(b.Response, "data: ") || !strings.HasSuffix(b.Response, "data: [DONE]\n\n") {
		t.Errorf("a stream: %+v", b)
	}
}

// A collector that never answers and a log that nobody drains cost no request its time: all are served though none of it
// ends before they are.
func TestRequestLogNeverWaits(t *testing.T) {
	stuck := make(chan struct{})
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-stuck
	}))
	defer collector.Close()
	w := newWorld(t)
	w.tiers(secretA)
	access, err := accesslog.New(accesslog.Options{File: "-", Sample: 1, Buffer: 16, Bodies: true, Stdout: writer(func(p []byte) (int, error) {
		<-stuck
		return len(p), nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	exporter, err := otlp.New(t.Context(), otlp.Options{Endpoint: collector.URL, Sample: 1, Buffer: 16})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- access.Run(ctx) }()
	go func() { ended <- exporter.Run(ctx) }()
	w.gateway.access, w.gateway.otlp = access, exporter
	for i := range 200 {
		if got := status(w.post("/v1/chat/completions", plainBody)); got != "200" {
			t.Fatalf("request %d: %s", i, got)
		}
	}
	w.settled(t)
	close(stuck)
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }
