package responses

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/money"
)

func file(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The window is all that a relay keeps of a long stream: its end.
func window(s string, n int) []byte { return []byte(s[max(0, len(s)-n):]) }

func TestUsage(t *testing.T) {
	for _, tc := range []struct {
		name, head, tail string
		want             money.Tokens
		ok               bool
	}{
		{"stream", "", file(t, "reasoning_tools.sse"), money.Tokens{Input: 300, Cached: 256, Output: 90, Reasoning: 64}, true},
		{"end of a stream", "", string(window(file(t, "reasoning_tools.sse"), 300)), money.Tokens{Input: 300, Cached: 256, Output: 90, Reasoning: 64}, true},
		{"body", file(t, "tools.body.json"), "", money.Tokens{Input: 300, Cached: 200, CacheWrite: 56, Output: 90, Reasoning: 64}, true},
		{"begun", "", strings.SplitAfter(file(t, "text.sse"), "\n\n")[0], money.Tokens{}, false},
		{"text of a model", "", `data: {"delta":"\"usage\":{\"input_tokens\":9,\"output_tokens\":9}"}`, money.Tokens{}, false},
		{"a schema of the request", `{"usage":{"input_tokens":{"type":"integer"}}}`, "", money.Tokens{}, false},
		{"more parts than the whole", `"usage":{"input_tokens":3,"input_tokens_details":{"cached_tokens":5,"cache_write_tokens":5},"output_tokens":1,"output_tokens_details":{"reasoning_tokens":9}}`, "",
			money.Tokens{Input: 3, Cached: 3, Output: 1, Reasoning: 1}, true},
		{"null", `{"usage":null}`, "", money.Tokens{}, false},
	} {
		got, ok := Answers{}.Usage([]byte(tc.head), []byte(tc.tail))
		if d := cmp.Diff(tc.want, got); ok != tc.ok || ok && d != "" {
			t.Errorf("%s: %v %s", tc.name, ok, d)
		}
	}
}

func TestFinished(t *testing.T) {
	for name, want := range map[string]bool{
		"text.sse": true, "incomplete.sse": true, "failed.sse": true, "only_completed.sse": true,
	} {
		stream := file(t, name)
		for _, n := range []int{200, 400, 8192} {
			// A response that failed has no counts; its event is short.
			if name == "failed.sse" && n < 8192 {
				continue
			}
			if got := (Answers{}).Finished(window(stream, n)); got != want {
				t.Errorf("%s, the last %d bytes: %v", name, n, got)
			}
		}
		if (Answers{}).Finished(window(strings.TrimSuffix(stream, "\n"), 8192)) {
			t.Errorf("%s: finished within its last event", name)
		}
		events := strings.SplitAfter(stream, "\n\n")
		if name != "failed.sse" && len(events) > 3 && (Answers{}).Finished([]byte(strings.Join(events[:len(events)-2], ""))) {
			t.Errorf("%s: finished without its last event", name)
		}
	}
	for tail, want := range map[string]bool{
		"data: {\"type\": \"response.completed\"}\n\n":                      true,
		"event:response.incomplete\r\ndata: {}\r\n\r\n":                     true,
		"data: {\"delta\":\"\\\"type\\\":\\\"response.completed\\\"\"}\n\n": false,
		"data: {\"delta\":\"event: response.completed\"}\n\n":               false,
		"data: {\"type\":\"response.completed_soon\"}\n\n":                  false,
		"":                 false,
		"data: [DONE]\n\n": false,
		"data: {\"type\":\"response.created\",\"response\":{\"tools\":[],\"usage\":null}}\n\n":      false,
		"ls\":[]}],\"usage\":{\"input_tokens\":1,\"output_tokens\":1},\"metadata\":{}}}\n\n":        true,
		"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"": false,
	} {
		if got := (Answers{}).Finished([]byte(tail)); got != want {
			t.Errorf("%q: %v", tail, got)
		}
	}
}

func TestErrors(t *testing.T) {
	failedBody := `{"id":"resp_1","object":"response","status":"failed","error":{"code":"rate_limit_exceeded","message":"slow"},"output":[]}`
	slow := dialect.UpstreamError{Status: 429, Code: "rate_limit_exceeded", Message: "slow"}
	for _, tc := range []struct {
		name  string
		read  func([]byte) (dialect.UpstreamError, bool)
		input string
		want  dialect.UpstreamError // zero = none
	}{
		{"failed event", Answers{}.ErrorEvent, "event: response.failed\ndata: {\"type\":\"response.failed\",\"response\":" + failedBody + "}\n\n", slow},
		{"failed event without a name", Answers{}.ErrorEvent, "data: {\"type\":\"response.failed\",\"response\":" + failedBody + "}\n\n", slow},
		{"failed event of a stored response", Answers{Stored: true}.ErrorEvent, "data: {\"type\":\"response.failed\",\"response\":" + failedBody + "}\n\n", dialect.UpstreamError{}},
		{"flat error event", Answers{}.ErrorEvent, `data: {"type":"error","code":"invalid_prompt","message":"bad","param":null,"sequence_number":0}`,
			dialect.UpstreamError{Status: 400, Code: "invalid_prompt", Message: "bad"}},
		{"error event with an envelope", Answers{Stored: true}.ErrorEvent, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"insufficient_quota\",\"code\":\"insufficient_quota\",\"message\":\"pay\"}}",
			dialect.UpstreamError{Status: 429, Code: "insufficient_quota", Type: "insufficient_quota", Message: "pay"}},
		{"envelope alone", Answers{}.ErrorEvent, `data: {"error":{"message":"gone","code":"model_not_found"}}`,
			dialect.UpstreamError{Status: 404, Code: "model_not_found", Message: "gone"}},
		{"created", Answers{}.ErrorEvent, strings.SplitAfter(file(t, "text.sse"), "\n\n")[0], dialect.UpstreamError{}},
		{"text of errors", Answers{}.ErrorEvent, `data: {"type":"response.output_text.delta","delta":"\"error\":{} response.failed"}`, dialect.UpstreamError{}},
		{"failed body", Answers{}.ErrorBody, failedBody, slow},
		{"failed body of a stored response", Answers{Stored: true}.ErrorBody, failedBody, dialect.UpstreamError{}},
		{"error body", Answers{Stored: true}.ErrorBody, `{"error":{"message":"m","type":"server_error"}}`, dialect.UpstreamError{Status: 500, Type: "server_error", Message: "m"}},
		{"invalid image", Answers{}.ErrorBody, `{"object":"response","status":"failed","error":{"code":"invalid_image","message":"m"}}`, dialect.UpstreamError{Status: 400, Code: "invalid_image", Message: "m"}},
		{"good body", Answers{}.ErrorBody, file(t, "tools.body.json"), dialect.UpstreamError{}},
		{"deleted", Answers{Stored: true}.ErrorBody, `{"id":"resp_1","object":"response","deleted":true}`, dialect.UpstreamError{}},
	} {
		got, ok := tc.read([]byte(tc.input))
		if d := cmp.Diff(tc.want, got); d != "" || ok != (tc.want.Status != 0) {
			t.Errorf("%s: %v %s", tc.name, ok, d)
		}
	}
	got := Answers{}.Error(418, []byte(`{"error":{"message":"m","type":"t","code":"c"}}`))
	if want := (dialect.UpstreamError{Status: 418, Code: "c", Type: "t", Message: "m"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Only deltas count, however often the stream repeats them.
func TestOutputText(t *testing.T) {
	stream := file(t, "text.sse")
	want := len(`Hello`) + len(`\"quoted\"\n`) + len(` wörld `) + len("\U0001F600")
	if got := (Answers{}).OutputText([]byte(stream)); got != want {
		t.Errorf("stream: %d, want %d", got, want)
	}
	if got := (Answers{}).OutputText([]byte(`{"delta":"abc","x":1} {"delta":"cut`)); got != 3 {
		t.Errorf("cut: %d, want 3", got)
	}
	if got := (Answers{}).BodyText([]byte(`{"output":[{"content":[{"text":"abc"},{"refusal":"no"}]},{"arguments":"{}"},{"summary":[{"text":"x"}]}]}`)); got != 16 {
		t.Errorf("body: %d, want 16", got)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tc := range []struct {
		headers map[string]string
		want    time.Duration
	}{
		{nil, 0},
		{map[string]string{"retry-after-ms": "1500", "retry-after": "9"}, 1500 * time.Millisecond},
		{map[string]string{"retry-after": "2.5"}, 2500 * time.Millisecond},
		{map[string]string{"retry-after": "Fri, 02 Jan 2026 03:05:05 GMT"}, time.Minute},
		{map[string]string{"retry-after": "-1"}, 0},
		{map[string]string{"retry-after": "1e30"}, dialect.MaxAsked},
		{map[string]string{"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 6 * time.Minute},
		{map[string]string{"x-ratelimit-remaining-tokens": "1", "x-ratelimit-reset-tokens": "6m0s"}, 0},
	} {
		if got := (Answers{}).RetryAfter(func(name string) string { return tc.headers[name] }, nil, now); got != tc.want {
			t.Errorf("%v: %v, want %v", tc.headers, got, tc.want)
		}
	}
}

func TestPinsAndID(t *testing.T) {
	for body, want := range map[string]string{
		`{"previous_response_id":"resp_1","input":"x"}`:       "resp_1",
		`{"previous_response_id":null}`:                       "",
		`{"previous_response_id":""}`:                         "",
		`{"previous_response_id":7}`:                          "",
		`{"metadata":{"previous_response_id":"resp_2"}}`:      "",
		`{"input":[{"type":"item_reference","id":"resp_3"}]}`: "",
		``: "",
	} {
		if got, ok := Pins([]byte(body)); got != want || ok != (want != "") {
			if want != "" || ok {
				t.Errorf("%s: %q %v, want %q", body, got, ok, want)
			}
		}
	}
	for body, want := range map[string]string{
		file(t, "tools.body.json"):                                    "resp_68b1f0c2",
		strings.SplitAfter(file(t, "text.sse"), "\n\n")[0]:            "resp_68b1f0c2",
		`{"type":"response.created","response":{"id":"resp_2"}}`:      "resp_2",
		`{"id":"chatcmpl-1","object":"chat.completion"}`:              "",
		`{"error":{"message":"m"}}`:                                   "",
		`data: {"type":"response.created","response":{"id":"resp_3"}`: "resp_3",
	} {
		if got := ID([]byte(body)); got != want {
			t.Errorf("%.60s: %q, want %q", body, got, want)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	for _, name := range []string{"text.sse", "failed.sse", "reasoning_tools.sse", "tools.body.json"} {
		f.Add([]byte(file(f, name)))
	}
	f.Add([]byte(`"usage":{"input_tokens":1e3,"output_tokens":-1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		u, ok := Answers{}.Usage(nil, b)
		if ok && (u.Input < u.Cached+u.CacheWrite+u.CacheWriteLong+u.AudioInput || u.Output < u.Reasoning+u.AudioOutput || u.Cached < 0) {
			t.Errorf("parts beyond the whole: %+v", u)
		}
		if n := (Answers{}).OutputText(b); n < 0 || n > len(b) {
			t.Errorf("%d bytes of text in %d", n, len(b))
		}
		if n := (Answers{}).BodyText(b); n < 0 {
			t.Errorf("%d bytes of text", n)
		}
		for _, a := range []Answers{{}, {Stored: true}} {
			for _, read := range []func([]byte) (dialect.UpstreamError, bool){a.ErrorEvent, a.ErrorBody} {
				if e, is := read(b); is && (e.Status < 400 || e.Status > 599) {
					t.Errorf("an error with status %d", e.Status)
				}
			}
		}
		Answers{}.Finished(b)
		Pins(b)
		ID(b)
	})
}
