package anthropic

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/money"
)

func TestUsage(t *testing.T) {
	start := `event: message_start` + "\n" + `data: {"type":"message_start","message":{"content":[],"usage":{"input_tokens":25,"cache_creation_input_tokens":10,"cache_read_input_tokens":5,"cache_creation":{"ephemeral_5m_input_tokens":7,"ephemeral_1h_input_tokens":3},"output_tokens":1}}}` + "\n\n"
	end := `event: message_delta` + "\n" + `data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":15}}` + "\n\nevent: message_stop\ndata: {}\n\n"
	both := money.Tokens{Input: 40, Cached: 5, CacheWrite: 7, CacheWriteLong: 3, Output: 15}
	plain := `{"content":[{"type":"tool_use","input":{"usage":{"input_tokens":9,"cache_read_input_tokens":8}}}],"usage":{"input_tokens":2,"output_tokens":3}}`
	for _, tc := range []struct {
		name, head, tail string
		want             money.Tokens
		ok               bool
	}{
		{"head and tail", start, end, both, true},
		{"whole as both", start + end, start + end, both, true},
		{"whole as tail", "", start + end, both, true},
		{"whole as head", start + end, "", both, true},
		{"only the start", start, "event: ping\ndata: {}\n\n", money.Tokens{Input: 40, Cached: 5, CacheWrite: 7, CacheWriteLong: 3, Output: 1}, true},
		{"totals at the end", start, `data: {"usage":{"input_tokens":30,"cache_creation_input_tokens":0,"cache_creation":null,"cache_read_input_tokens":6,"output_tokens":9,"output_tokens_details":{"thinking_tokens":4}}}`,
			money.Tokens{Input: 46, Cached: 6, CacheWrite: 7, CacheWriteLong: 3, Output: 9, Reasoning: 4}, true},
		{"plain", "", plain, money.Tokens{Input: 2, Output: 3}, true},
		{"plain with a head", plain[:60], plain, money.Tokens{Input: 2, Output: 3}, true},
		{"plain, said in the head", plain, "", money.Tokens{Input: 2, Output: 3}, true},
		{"nobody said", "event: ping\ndata: {}\n\n", `data: {"text":"\"usage\":{\"input_tokens\":5}"}`, money.Tokens{}, false},
		{"cut", "", `"usage":{"input_tokens":5`, money.Tokens{}, false},
		{"no counts", "", `"usage":{"x":1}`, money.Tokens{}, false},
		{"more thought than said", "", `{"usage":{"output_tokens":3,"output_tokens_details":{"thinking_tokens":9}}}`, money.Tokens{Output: 3, Reasoning: 3}, true},
		{"negative", "", `{"usage":{"input_tokens":-3}}`, money.Tokens{}, false},
		{"nothing", "", "", money.Tokens{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := Answers{}.Usage([]byte(tc.head), []byte(tc.tail))
			if ok != tc.ok || ok && got != tc.want {
				t.Errorf("got %+v %v, want %+v %v", got, ok, tc.want, tc.ok)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		name, event string
		want        *dialect.UpstreamError
	}{
		{"overloaded", "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n",
			&dialect.UpstreamError{Status: 529, Type: "overloaded_error", Message: "Overloaded"}},
		{"without a name", "data: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"m\"}}\n\n",
			&dialect.UpstreamError{Status: 429, Type: "rate_limit_error", Message: "m"}},
		{"name alone", "event: error\ndata: oops\n\n", &dialect.UpstreamError{Status: 500}},
		{"no money", `data: {"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API."}}`,
			&dialect.UpstreamError{Status: 400, Type: "invalid_request_error", Code: "credit_balance_exhausted", Message: "Your credit balance is too low to access the API."}},
		{"details", `data: {"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"enforced_spend_limit_reached"}}}`,
			&dialect.UpstreamError{Status: 429, Type: "rate_limit_error", Code: "enforced_spend_limit_reached", Message: "m"}},
		{"text", `data: {"error":"boom"}`, &dialect.UpstreamError{Status: 500, Message: "boom"}},
		{"no error", "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"\\\"error\\\"\"}}\n\n", nil},
		{"null", `data: {"type":"message_start","error":null}`, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := Answers{}.ErrorEvent([]byte(tc.event))
			if ok != (tc.want != nil) || ok && got != *tc.want {
				t.Errorf("got %+v %v, want %+v", got, ok, tc.want)
			}
			_, data, _ := strings.Cut(tc.event, "data: ")
			got, ok = Answers{}.ErrorBody([]byte(data))
			if want := tc.want != nil && tc.name != "name alone"; ok != want || ok && got != *tc.want {
				t.Errorf("of the body: %+v %v, want %+v", got, ok, tc.want)
			}
			if tc.want != nil {
				if got := (Answers{}).Error(418, []byte(data)); got.Status != 418 || got.Type != tc.want.Type {
					t.Errorf("with a status: %+v", got)
				}
			}
		})
	}
	for status := 400; status < 600; status++ {
		kind := errorType(status)
		if back := impliedStatus(kind); back != 500 && back != status && errorType(back) != kind {
			t.Errorf("%d is %s, which is %d", status, kind, back)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tc := range []struct {
		name string
		h    map[string]string
		want time.Duration
	}{
		{"nothing", nil, 0},
		{"seconds", map[string]string{"Retry-After": "20"}, 20 * time.Second},
		{"date", map[string]string{"Retry-After": "Fri, 02 Jan 2026 03:05:05 GMT"}, time.Minute},
		{"negative", map[string]string{"Retry-After": "-5"}, 0},
		{"huge", map[string]string{"Retry-After": "1e300"}, dialect.MaxAsked},
		{"not a number", map[string]string{"Retry-After": "NaN"}, 0},
		{"longest reset of what is used up", map[string]string{
			"Anthropic-Ratelimit-Requests-Remaining": "0", "Anthropic-Ratelimit-Requests-Reset": "2026-01-02T03:04:15Z",
			"Anthropic-Ratelimit-Input-Tokens-Remaining": "0", "Anthropic-Ratelimit-Input-Tokens-Reset": "2026-01-02T03:05:05Z",
			"Anthropic-Ratelimit-Tokens-Remaining": "7", "Anthropic-Ratelimit-Tokens-Reset": "2026-01-02T09:00:00Z",
		}, time.Minute},
		{"seconds win", map[string]string{
			"Retry-After": "1", "Anthropic-Ratelimit-Requests-Remaining": "0", "Anthropic-Ratelimit-Requests-Reset": "2026-01-02T03:04:15Z",
		}, time.Second},
		{"past", map[string]string{"Anthropic-Ratelimit-Requests-Remaining": "0", "Anthropic-Ratelimit-Requests-Reset": "2026-01-02T03:00:00Z"}, 0},
		{"far", map[string]string{"Anthropic-Ratelimit-Requests-Remaining": "0", "Anthropic-Ratelimit-Requests-Reset": "2036-01-02T03:00:00Z"}, dialect.MaxAsked},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := http.Header{}
			for k, v := range tc.h {
				h.Set(k, v)
			}
			if got := (Answers{}).RetryAfter(h.Get, nil, now); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestAnswersOfStreams(t *testing.T) {
	for path, stream := range inputs(t, "stream/*.sse") {
		a := Answers{}
		complete := !strings.Contains(path, "cut") && !strings.Contains(path, "overloaded")
		if got := a.Finished(stream); got != complete {
			t.Errorf("%s: finished = %v, want %v", path, got, complete)
		}
		if got := strings.Contains(string(stream), "\n"+a.LastLine()+"\n"); got != complete {
			t.Errorf("%s: has %q = %v, want %v", path, a.LastLine(), got, complete)
		}
		if n := a.OutputText(stream); n < 3 || n > 300 {
			t.Errorf("%s: %d bytes of text", path, n)
		}
	}
	for path, body := range inputs(t, "response/*.json") {
		if n := (Answers{}).BodyText(body); n < 20 || n > 200 {
			t.Errorf("%s: %d bytes of text", path, n)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	for _, stream := range inputs(f, "stream/*.sse") {
		f.Add(stream[:min(len(stream), 2048)], stream)
	}
	f.Add([]byte(`{"usage":{"input_tokens":1e3}}`), []byte{})
	f.Fuzz(func(t *testing.T, head, tail []byte) {
		a := Answers{}
		u, _ := a.Usage(head, tail)
		if u.Cached < 0 || u.CacheWrite < 0 || u.CacheWriteLong < 0 || u.Reasoning < 0 ||
			u.Input < u.Cached+u.CacheWrite+u.CacheWriteLong || u.Output < u.Reasoning {
			t.Fatalf("%+v", u)
		}
		if e, ok := a.ErrorEvent(tail); ok && (e.Status < 400 || e.Status > 599) {
			t.Fatalf("%+v", e)
		}
		if e, ok := a.ErrorBody(tail); ok && (e.Status < 400 || e.Status > 599) {
			t.Fatalf("%+v", e)
		}
		if n := a.BodyText(tail); n < 0 || n > 4*len(tail) {
			t.Fatalf("%d bytes of text", n)
		}
		_ = a.Finished(tail)
	})
}

func BenchmarkUsage(b *testing.B) {
	streams := inputs(b, "stream/text.sse")
	stream := streams["testdata/stream/text.sse"]
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := (Answers{}).Usage(stream[:min(len(stream), 2048)], stream); !ok {
			b.Fatal("no usage")
		}
	}
}
