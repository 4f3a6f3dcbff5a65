package openai

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/money"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tc := range []struct {
		name string
		h    map[string]string
		want time.Duration
	}{
		{"nothing", nil, 0},
		{"seconds", map[string]string{"Retry-After": "20"}, 20 * time.Second},
		{"fraction", map[string]string{"Retry-After": "0.5"}, 500 * time.Millisecond},
		{"milliseconds first", map[string]string{"Retry-After": "20", "Retry-After-Ms": "150"}, 150 * time.Millisecond},
		{"date", map[string]string{"Retry-After": "Fri, 02 Jan 2026 03:05:05 GMT"}, time.Minute},
		{"past date", map[string]string{"Retry-After": "Fri, 02 Jan 2026 03:03:05 GMT"}, 0},
		{"nonsense", map[string]string{"Retry-After": "soon"}, 0},
		{"negative", map[string]string{"Retry-After": "-5"}, 0},
		{"not a number", map[string]string{"Retry-After": "NaN"}, 0},
		{"huge", map[string]string{"Retry-After": "1e300"}, dialect.MaxAsked},
		{"reset of what is used up", map[string]string{
			"X-Ratelimit-Remaining-Requests": "0", "X-Ratelimit-Reset-Requests": "1m2s",
			"X-Ratelimit-Remaining-Tokens": "5", "X-Ratelimit-Reset-Tokens": "1h",
		}, 62 * time.Second},
		{"Azure's seconds", map[string]string{"X-Ratelimit-Remaining-Tokens": "0", "X-Ratelimit-Reset-Tokens": "7"}, 7 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := http.Header{}
			for k, v := range tc.h {
				h.Set(k, v)
			}
			if got := dialect.RetryAfter(h.Get, now); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestParseErrorEvent(t *testing.T) {
	for _, tc := range []struct {
		event  string
		status int // 0 = no error
		code   string
	}{
		{`data: {"choices":[{"delta":{"content":"error"}}]}`, 0, ""},
		{`data: {"choices":[],"error":null}`, 0, ""},
		{`data: {"error":{"message":"m","type":"server_error","code":"server_is_overloaded"}}`, 503, "server_is_overloaded"},
		{`data: {"error":{"message":"m","type":"x","code":429}}`, 429, "429"},
		{`data: {"error":"boom"}`, 500, ""},
		{`data: {"error":{"type":"invalid_request_error","code":"odd"}}`, 400, "odd"},
		{`data: {"error":{"type":"requests","code":null}}`, 429, ""},
		{"event: error\ndata: {}", 500, ""},
	} {
		e, found := ParseErrorEvent([]byte(tc.event + "\n\n"))
		if found != (tc.status != 0) || e.Status != tc.status || e.Code != tc.code {
			t.Errorf("%s: %+v %v, want %d %q", tc.event, e, found, tc.status, tc.code)
		}
	}
}

func TestParseUsage(t *testing.T) {
	for _, tc := range []struct {
		name, window string
		want         money.Tokens
		ok           bool
	}{
		{"chat", `{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":4}}}`, money.Tokens{Input: 9, Cached: 4, Output: 12}, true},
		{"spaces", `"usage" : { "prompt_tokens" : 9 }`, money.Tokens{Input: 9}, true},
		{"last counts", `"usage":{"prompt_tokens":1} "usage":{"prompt_tokens":2} "usage":null`, money.Tokens{Input: 2}, true},
		{"cut at the start", `tokens":9},"usage":{"prompt_tokens":2}}`, money.Tokens{Input: 2}, true},
		{"cut at the end", `"usage":{"prompt_tokens":2`, money.Tokens{}, false},
		{"text is not usage", `{"content":"\"usage\":{\"prompt_tokens\":5}"}`, money.Tokens{}, false},
		{"without counts", `"usage":{"x":1}`, money.Tokens{}, false},
		{"negative", `"usage":{"prompt_tokens":-1}`, money.Tokens{}, false},
		{"absurd", `"usage":{"prompt_tokens":1e30}`, money.Tokens{}, false},
		{"no number", `"usage":{"prompt_tokens":"7"}`, money.Tokens{}, false},
		{"more cached than read", `"usage":{"prompt_tokens":1,"prompt_tokens_details":{"cached_tokens":7}}`, money.Tokens{Input: 1, Cached: 1}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := ParseUsage([]byte(tc.window))
			if d := cmp.Diff(tc.want, got); ok != tc.ok || ok && d != "" {
				t.Errorf("found = %v, (-want +got):\n%s", ok, d)
			}
		})
	}
}

func FuzzParseUsage(f *testing.F) {
	f.Add([]byte(`"usage":{"prompt_tokens":2,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}`))
	f.Add([]byte("data: {\"usage\":{\"prompt_tokens\":1e3}}\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		u, _ := ParseUsage(b)
		if u.Input < 0 || u.Output < 0 || u.Cached < 0 || u.Cached > u.Input || u.Input > dialect.MaxTokens || u.Output > dialect.MaxTokens {
			t.Fatalf("%q: %+v", b, u)
		}
		_, _ = ParseErrorEvent(b)
		_, _ = ParseErrorBody(b)
		_ = IsUsageEvent(b)
		if n := dialect.OutputText(b); n < 0 || n > 2*len(b) {
			t.Fatalf("%q: %d bytes of text", b, n)
		}
	})
}

func TestIsUsageEvent(t *testing.T) {
	for event, want := range map[string]bool{
		`data: {"choices":[],"usage":{"prompt_tokens":1}}`:         true,
		`data: {"usage": {"x":1}, "choices": [ ]}`:                 true,
		`data: {"choices":[],"usage":null}`:                        false,
		`data: {"choices":[]}`:                                     false,
		`data: {"usage":{"x":1}}`:                                  false,
		`data: {"choices":[{"delta":{}}],"usage":{"x":1}}`:         false,
		`data: {"choices":[{"delta":{"content":"\"usage\":{}"}}]}`: false,
		`data: [DONE]`: false,
	} {
		if got := IsUsageEvent([]byte(event + "\n\n")); got != want {
			t.Errorf("%s: %v", event, got)
		}
	}
}

func TestAppendModels(t *testing.T) {
	var got struct {
		Object string
		Data   []struct {
			ID, Object string
			OwnedBy    string `json:"owned_by"`
			Created    int64
		}
	}
	if err := json.Unmarshal(AppendModels(nil, []string{"a", `b"\`}), &got); err != nil {
		t.Fatal(err)
	}
	if got.Object != "list" || len(got.Data) != 2 || got.Data[1].ID != `b"\` || got.Data[0].Object != "model" {
		t.Errorf("list = %+v", got)
	}
	if string(AppendModels(nil, nil)) != `{"object":"list","data":[]}` {
		t.Error("an empty list is no list")
	}
}

// The data of one event each, and the text that is counted.
func BenchmarkParseUsage(b *testing.B) {
	const usage = `"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":4,` +
		`"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}}}`
	body := `{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("word ", 200) + `"}}],`
	event := `data: {"id":"chatcmpl-0123456789","choices":[{"index":0,"delta":{"content":" word"}}],"usage":null}` + "\n\n"
	for name, window := range map[string]string{
		"body":   body + usage,
		"stream": strings.Repeat(event, 80) + `data: {"choices":[],` + usage + "\n\ndata: [DONE]\n\n",
		"none":   strings.Repeat(event, 80) + "data: [DONE]\n\n",
	} {
		b.Run(name, func(b *testing.B) {
			window := []byte(window)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = ParseUsage(window)
			}
		})
	}
}

// TestLastUsage: against the library, wherever the stride cuts.
func TestLastUsage(t *testing.T) {
	for _, piece := range []string{usageKey, `usage"`, `"usage`, `""usage""usage"`, "u", ""} {
		for _, before := range []int{0, 1, 7, 500, usageStride - 7, usageStride, 3 * usageStride} {
			for after := range usageStride + 20 {
				b := []byte(usageKey[:3] + strings.Repeat(" ", before) + piece + strings.Repeat("u", after))
				if got, want := lastUsage(b), bytes.LastIndex(b, []byte(usageKey)); got != want {
					t.Fatalf("%d bytes, %q, %d bytes: %d, want %d", before, piece, after, got, want)
				}
			}
		}
	}
}
