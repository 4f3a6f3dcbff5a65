package accesslog

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"fairway/dataplane/internal/journal"
	"fairway/pkg/money"
	"fairway/pkg/testkit/metrictest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

// full is an entry with everything in it.
func full() journal.Entry {
	return journal.Entry{
		Time:      time.Date(2026, 11, 21, 23, 4, 5, 6_789_000, time.FixedZone("", 3600)),
		RequestID: "req_1", ClientRequestID: "mine-1", RemoteIP: netip.MustParseAddr("::ffff:192.0.2.7"),
		Method: "POST", Operation: "chat", Model: "gpt-4o", Stream: true, Status: 200,
		KeyID: "key_1", Group: "default", Channel: "openai", Account: "acc_1", Attempts: 2, Retried: true, ClientGone: true,
		TTFT: 123456789, Duration: 9_000_001_999, BytesIn: 1024, BytesOut: 2048,
		Tokens: money.Tokens{
			Input: 10, Cached: 4, Output: 20, CacheWrite: 5, CacheWriteLong: 6, Reasoning: 7, AudioInput: 8, AudioOutput: 9,
		},
		KeyName: "laptop", Tenant: "acme", UpstreamRequestID: "up-1", UpstreamModel: "gpt-4o-deployed", ResponseModel: "gpt-4o-2024-08-06",
		Trail: []journal.Attempt{
			{Channel: "azure", Account: "acc_0", Provider: "azure_openai", Host: "x.example", Model: "m0", Verdict: "rate_limit", Status: 429, After: 1e6, Took: 2e6},
			{Channel: "openai", Account: "acc_1", Provider: "openai", Host: "y.example", Model: "gpt-4o-deployed", Status: 200, After: 3e6, Took: 4e6},
		},
		Trace:     journal.Trace{ID: [16]byte{1, 15: 2}, Parent: [8]byte{3}, Sampled: true},
		Estimated: true, CostNanoUSD: 1234567, PriceVersion: 12, Unpriced: true, Error: "the upstream closed the connection",
	}
}

// fixture is a Log that runs.
type fixture struct {
	*Log
	registry *prometheus.Registry
	logged   *text // by slog
	stop     context.CancelFunc
	ended    chan error
}

// start makes a Log and runs it; the test stops it, or the end of the test does.
func start(t *testing.T, o Options) *fixture {
	t.Helper()
	f := prepare(t, o)
	f.run(t)
	return f
}

// prepare makes a Log that does not run yet.
func prepare(t *testing.T, o Options) *fixture {
	t.Helper()
	f := &fixture{registry: prometheus.NewRegistry(), logged: &text{}, ended: make(chan error, 1)}
	o.Registry, o.Log = f.registry, slog.New(slog.NewTextHandler(f.logged, nil))
	var err error
	if f.Log, err = New(o); err != nil {
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

// end stops the Log and waits for it.
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
	return int(metrictest.Value(t, f.registry, "fairway_access_log_"+name, labels...))
}

// wantCounts compares all metrics.
func (f *fixture) wantCounts(t *testing.T, lines, full, write, errors int) {
	t.Helper()
	got := [4]int{f.count(t, "lines_total"), f.count(t, "dropped_total", "full"), f.count(t, "dropped_total", "write"), f.count(t, "errors_total")}
	if want := [4]int{lines, full, write, errors}; got != want {
		t.Errorf("lines, full, write, errors = %v, want %v", got, want)
	}
}

// ids are the request ids in what was written; every line must be JSON, whole.
func ids(t *testing.T, written string) []string {
	t.Helper()
	if written == "" {
		return nil
	}
	rest, ok := strings.CutSuffix(written, "\n")
	if !ok {
		t.Errorf("the last line has no end: %q", written[max(0, len(written)-80):])
	}
	var list []string
	for l := range strings.SplitSeq(rest, "\n") {
		var got struct {
			RequestID string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(l), &got); err != nil {
			t.Errorf("not a line: %q: %v", l, err)
			continue
		}
		list = append(list, got.RequestID)
	}
	return list
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// text is a writer that keeps everything, and each write.
type text struct {
	mu     sync.Mutex
	b      strings.Builder
	writes int
}

func (w *text) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes++
	return w.b.Write(p)
}

func (w *text) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func (w *text) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writes
}
