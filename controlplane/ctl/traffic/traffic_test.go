package traffic

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"fairway/pkg/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "sk-fw-very-secret"

// script is a server that answers the n-th request as its n-th step says, and starts over after the last.
func script(t *testing.T, steps ...http.HandlerFunc) string {
	t.Helper()
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-request-id", "req_1")
		steps[int(n.Add(1)-1)%len(steps)](w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// cut sends a part of what it promised and closes the connection.
func cut(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Length", "100000")
		_, _ = io.WriteString(w, body)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

// hang begins, perhaps, and then waits for the client to leave.
func hang(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if body != "" {
			_, _ = io.WriteString(w, body)
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	}
}

func drop(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

const good = `{"choices":[{"message":{"content":"hello"}}]}`

func run(t *testing.T, o Options) *Report {
	t.Helper()
	o.Key, o.Model = secret.New(key), first(o.Model, "m")
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// classes are what failed, as "count class".
func classes(r *Report) []string {
	var all []string
	for _, f := range r.Failures {
		all = append(all, fmt.Sprintf("%d %s", f.Count, f.Class))
	}
	return all
}

func TestFailures(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	const delta = `data: {"choices":[{"delta":{"content":"a"}}]}` + "\n\n"
	tests := []struct {
		name   string
		stream bool
		step   http.HandlerFunc
		class  string // "" = answered
		next   string // part of the command
	}{
		{"answered", false, answer(200, good), "", ""},
		{"429", false, answer(429, `{"error":{"code":"rate_limit_exceeded","type":"requests","message":"slow down"}}`), "429 rate_limit_exceeded", "fairway top --once"},
		{"503", false, answer(503, `{"error":{"code":"no_account_available","message":"none"}}`), "503 no_account_available", "fairway explain --request-id req_1"},
		{"overloaded", false, answer(503, `{"error":{"code":"overloaded"}}`), "503 overloaded", "fairway top"},
		{"anthropic's words", false, answer(529, `{"type":"error","error":{"type":"overloaded_error","message":"m"}}`), "529 overloaded_error", "fairway explain --request-id req_1"},
		{"gemini's words", false, answer(404, `{"error":{"code":404,"status":"NOT_FOUND","message":"m","details":[{"reason":"model_not_found"}]}}`),
			"404 model_not_found", "fairway explain --key KEY --model m"},
		{"gemini without a reason", false, answer(403, `{"error":{"code":403,"status":"PERMISSION_DENIED"}}`), "403 PERMISSION_DENIED", "fairway key list"},
		{"a text for an error", false, answer(400, `{"error":"no"}`), "400", "fairway explain --request-id req_1"},
		{"no error of an API", false, answer(502, `<html>bad gateway</html>`), "502", "fairway explain --request-id req_1"},
		{"a code that is none", false, answer(500, `{"error":{"code":"rm -rf / \u001b[31m"}}`), "500", "fairway explain --request-id req_1"},
		{"not this API", false, answer(200, `{"ok":true}`), "200 without an answer", "fairway status"},
		{"elsewhere", false, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
		}, "302", "fairway status"},
		{"cut", false, cut(`{"choices":[`), "cut answer", "fairway explain --request-id req_1"},
		{"dropped", false, drop, "no answer", "fairway status"},
		{"silent", false, hang(""), "timeout", "fairway top"},
		{"never ends", false, hang(`{"choices":[`), "timeout", "fairway top"},
		{"stream", true, answer(200, delta+"data: [DONE]\n\n"), "", ""},
		{"stream with comments", true, answer(200, ": hello\n\n"+delta+": still there\n\ndata: [DONE]\n\n"), "", ""},
		{"stream without an end", true, answer(200, delta), "cut stream", "fairway explain --request-id req_1"},
		{"stream cut in an event", true, answer(200, delta+"data: {\"cho"), "cut stream", "fairway explain --request-id req_1"},
		{"stream cut by the connection", true, cut(delta), "cut stream", "fairway explain --request-id req_1"},
		{"stream that fails", true, answer(200, delta+`data: {"error":{"code":"upstream_stream_interrupted"}}`+"\n\n"),
			"error event upstream_stream_interrupted", "fairway explain --request-id req_1"},
		{"stream without events", true, answer(200, ""), "200 without an answer", "fairway status"},
		{"stream that stalls", true, hang(delta), "timeout", "fairway top"},
		{"stream refused", true, answer(503, `{"error":{"code":"no_account_available"}}`), "503 no_account_available", "fairway explain --request-id req_1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := Options{URL: script(t, tt.step), Requests: 3, Concurrency: 2, Stream: tt.stream}
			if tt.class == "timeout" {
				o.Timeout = 500 * time.Millisecond
			}
			r := run(t, o)
			var want []string
			if tt.class != "" {
				want = []string{"3 " + tt.class}
			}
			if d := cmp.Diff(want, classes(r)); d != "" {
				t.Fatalf("(-want +got):\n%s", d)
			}
			if r.Sent != 3 || r.OK+r.Failed != 3 || (r.OK == 3) != (tt.class == "") || r.Stopped {
				t.Errorf("%+v", r)
			}
			for _, f := range r.Failures {
				if f.Next != tt.next || f.Means == "" || strings.ContainsFunc(f.Example, func(r rune) bool { return r < ' ' }) {
					t.Errorf("%+v, want next %q", f, tt.next)
				}
			}
		})
	}
	r := run(t, Options{URL: "http://" + closed.Addr().String(), Requests: 2})
	if d := cmp.Diff([]string{"2 connect"}, classes(r)); d != "" || r.Failures[0].Next != "fairway status" {
		t.Errorf("nobody listens: %+v", r.Failures)
	}
}

func TestMixture(t *testing.T) {
	var done atomic.Int64
	url := script(t, answer(200, good), answer(200, good), answer(200, good), answer(200, good), answer(200, good), answer(200, good),
		answer(503, `{"error":{"code":"no_account_available"}}`), answer(503, `{"error":{"code":"no_account_available"}}`),
		answer(429, `{"error":{"code":"rate_limit_exceeded"}}`), drop)
	r := run(t, Options{URL: url, Requests: 50, Concurrency: 8, Done: func() { done.Add(1) }})
	if d := cmp.Diff([]string{"10 503 no_account_available", "5 429 rate_limit_exceeded", "5 no answer"}, classes(r)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if r.Sent != 50 || r.OK != 30 || r.SuccessPercent != 60 || r.Unavailable != 10 || r.UnavailablePercent != 20 || done.Load() != 50 {
		t.Errorf("%+v, done %d", r, done.Load())
	}
	if l := r.Latency; l.P50 <= 0 || l.P50 > l.P95 || l.P95 > l.P99 || l.P99 > l.Max || r.TTFT.Max > l.Max {
		t.Errorf("latencies %+v, ttft %+v", l, r.TTFT)
	}
}

// What is sent is what each API takes: where, with the key in its place, and once.
func TestDialects(t *testing.T) {
	tests := []struct {
		dialect, url string
		stream       bool
		wantPath     string
		wantAuth     string
		wantBody     string
		answer       string
	}{
		{"openai", "", false, "/v1/chat/completions", "Authorization: Bearer " + key,
			`{"max_tokens":16,"messages":[{"content":"Say hello.","role":"user"}],"model":"a/b"}`, good},
		{"openai", "/v1/", true, "/v1/chat/completions", "Authorization: Bearer " + key,
			`{"max_tokens":16,"messages":[{"content":"Say hello.","role":"user"}],"model":"a/b","stream":true}`, "data: {}\n\ndata: [DONE]\n\n"},
		{"anthropic", "/", false, "/v1/messages", "X-Api-Key: " + key,
			`{"max_tokens":16,"messages":[{"content":"Say hello.","role":"user"}],"model":"a/b"}`, `{"content":[]}`},
		{"anthropic", "/base", true, "/base/v1/messages", "X-Api-Key: " + key,
			`{"max_tokens":16,"messages":[{"content":"Say hello.","role":"user"}],"model":"a/b","stream":true}`,
			"event: ping\ndata: {\"type\":\"ping\"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"},
		{"gemini", "", false, "/v1beta/models/a%2Fb:generateContent", "X-Goog-Api-Key: " + key,
			`{"contents":[{"parts":[{"text":"Say hello."}],"role":"user"}],"generationConfig":{"maxOutputTokens":16}}`, `{"candidates":[]}`},
		{"gemini", "", true, "/v1beta/models/a%2Fb:streamGenerateContent?alt=sse", "X-Goog-Api-Key: " + key,
			`{"contents":[{"parts":[{"text":"Say hello."}],"role":"user"}],"generationConfig":{"maxOutputTokens":16}}`,
			"data: {\"candidates\":[{}]}\n\ndata: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s stream=%t", tt.dialect, tt.stream), func(t *testing.T) {
			var n atomic.Int64
			url := script(t, func(w http.ResponseWriter, r *http.Request) {
				n.Add(1)
				body, _ := io.ReadAll(r.Body)
				if got := r.URL.RequestURI(); got != tt.wantPath {
					t.Errorf("asked %s", got)
				}
				name, value, _ := strings.Cut(tt.wantAuth, ": ")
				if got := r.Header.Get(name); got != value {
					t.Errorf("%s: %s", name, got)
				}
				if d := cmp.Diff(tt.wantBody, string(body)); d != "" {
					t.Errorf("body (-want +got):\n%s", d)
				}
				_, _ = io.WriteString(w, tt.answer)
			})
			r := run(t, Options{URL: url + tt.url, Model: "a/b", Dialect: tt.dialect, Stream: tt.stream, Requests: 1, MaxTokens: 16})
			if r.OK != 1 || n.Load() != 1 {
				t.Errorf("%d requests, %+v", n.Load(), r.Failures[0])
			}
		})
	}
}

// Nothing of the report holds the key, whatever the server makes of it.
func TestKeyIsNeverShown(t *testing.T) {
	r := run(t, Options{Requests: 3, URL: script(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("x-request-id", key)
		answer(401, `{"error":{"code":"`+key+`","message":"the key `+key+` is not known"}}`)(w, &http.Request{Body: http.NoBody})
	})})
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(raw), key) || strings.Contains(fmt.Sprintf("%+v", r), key) {
		t.Errorf("%s", raw)
	}
	if !strings.Contains(string(raw), "the key [key] is not known") {
		t.Errorf("no example: %s", raw)
	}
}

// Who stops a run gets a report of what was done, without what the stop itself cut short.
func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var once sync.Once
	steps := []http.HandlerFunc{answer(200, good), answer(200, good), answer(200, good), func(w http.ResponseWriter, r *http.Request) {
		once.Do(cancel)
		hang("")(w, r)
	}}
	r, err := Run(ctx, Options{URL: script(t, steps...), Key: secret.New(key), Model: "m", Requests: 1000, Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	r.Judge(Limits{MinSuccess: 99, MaxUnavailable: 100})
	if r.Sent != 3 || r.OK != 3 || !r.Stopped || r.Pass {
		t.Errorf("%+v", r)
	}
	if d := cmp.Diff([]string{"stopped after 3 of 1000 requests"}, r.Reasons); d != "" {
		t.Error(d)
	}
}

func TestOptionsRefused(t *testing.T) {
	fine := Options{URL: "http://127.0.0.1:1", Key: secret.New(key), Model: "m"}
	for want, change := range map[string]func(o *Options){
		`dialect "soap" is not one of anthropic, gemini, openai`: func(o *Options) { o.Dialect = "soap" },
		"no model":                  func(o *Options) { o.Model = "" },
		"no key":                    func(o *Options) { o.Key = secret.String{} },
		"is it a key?":              func(o *Options) { o.Key = secret.New("two\nlines") },
		"1000001 requests":          func(o *Options) { o.Requests = MaxRequests + 1 },
		"-1 requests":               func(o *Options) { o.Requests = -1 },
		"1001 at once":              func(o *Options) { o.Concurrency = MaxConcurrency + 1 },
		"a timeout of -1s":          func(o *Options) { o.Timeout = -time.Second },
		"-1 tokens":                 func(o *Options) { o.MaxTokens = -1 },
		"must be http://HOST:PORT":  func(o *Options) { o.URL = "ftp://x" },
		"must be http://HOST:PORT ": func(o *Options) { o.URL = "http://user:" + key + "@x" },
	} {
		o := fine
		change(&o)
		_, err := Run(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), key) {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
}

// However many kinds of failure a server makes up, the report stays short and counts all.
func TestManyClasses(t *testing.T) {
	var n atomic.Int64
	r := run(t, Options{Requests: 200, Concurrency: 4, URL: script(t, func(w http.ResponseWriter, r *http.Request) {
		answer(500, fmt.Sprintf(`{"error":{"code":"code_%d"}}`, n.Add(1)))(w, r)
	})})
	sum := 0
	for _, f := range r.Failures {
		sum += f.Count
	}
	if len(r.Failures) != maxFailures+1 || sum != 200 || r.Failures[0].Class != "others" || r.Failures[0].Next == "" {
		t.Errorf("%d classes, %d failures, the first %+v", len(r.Failures), sum, r.Failures[0])
	}
}
