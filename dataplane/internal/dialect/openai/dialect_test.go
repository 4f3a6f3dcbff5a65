package openai

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairway/pkg/money"
)

func TestParse(t *testing.T) {
	for target, want := range map[string]struct {
		op    Operation
		model string
	}{
		"/v1/chat/completions":         {Chat, ""},
		"/v1/chat/completions?a=b":     {Chat, ""},
		"/v1/completions":              {Completions, ""},
		"/v1/embeddings":               {Embeddings, ""},
		"/v1/models":                   {Models, ""},
		"/v1/models/gpt-x":             {Model, "gpt-x"},
		"/v1/models/org%2Fm":           {Model, "org/m"},
		"/v1/models/org/m":             {Model, "org/m"},
		"/v1/models/a%252Fb":           {Model, "a%2Fb"},
		"/v1/models/":                  {Unknown, ""},
		"/v1/models/%zz":               {Unknown, ""},
		"":                             {Unknown, ""},
		"*":                            {Unknown, ""},
		"/v1/chat/completions/":        {Unknown, ""},
		"/v1//chat/completions":        {Unknown, ""},
		"//v1/chat/completions":        {Unknown, ""},
		"/v1/chat%2fcompletions":       {Unknown, ""},
		"/v1/./chat/completions":       {Unknown, ""},
		"/v1/x/../chat/completions":    {Unknown, ""},
		"/V1/chat/completions":         {Unknown, ""},
		"/v1/chat/completions#x":       {Unknown, ""},
		"/v1/chat/completions;x":       {Unknown, ""},
		"http://h/v1/chat/completions": {Unknown, ""},
	} {
		op, model := Parse([]byte(target))
		if op != want.op || model != want.model {
			t.Errorf("%q: %v %q, want %v %q", target, op, model, want.op, want.model)
		}
	}
}

func TestClassify(t *testing.T) {
	for _, tc := range []struct {
		status int
		code   string
		want   string
		retry  bool
		off    bool
	}{
		{429, "insufficient_quota", "quota", true, true},
		{429, "organization_spend_limit_exceeded", "organization_limit", true, true},
		{429, "organization_limit_exceeded", "rate_limit", true, false},
		{429, "project_spend_limit_exceeded", "project_limit", true, true},
		{429, "rate_limit_exceeded", "rate_limit", true, false},
		{429, "", "rate_limit", true, false},
		{401, "invalid_api_key", "credential", true, true},
		{401, "anything", "credential", true, true},
		{402, "", "quota", true, true},
		{403, "", "forbidden", true, false},
		{404, "model_not_found", "model_not_found", true, false},
		{404, "", "not_found", true, false},
		{400, "context_length_exceeded", "client", false, false},
		{413, "", "client", false, false},
		{422, "", "client", false, false},
		{500, "", "server_error", true, false},
		{503, "server_is_overloaded", "overloaded", true, false},
		{529, "", "overloaded", true, false},
		{302, "", "unexpected_status", true, false},
	} {
		v := Classify(&UpstreamError{Status: tc.status, Code: tc.code})
		if v.Reason != tc.want || v.Retry != tc.retry || v.Disable != tc.off || v.Pass == v.Retry {
			t.Errorf("%d %q: %+v, want %+v", tc.status, tc.code, v, tc)
		}
	}
}

func TestCooling(t *testing.T) {
	for _, tc := range []struct {
		c        Cooling
		failures int
		asked    time.Duration
		want     time.Duration
	}{
		{limited, 1, 0, 2 * time.Second},
		{limited, 3, 0, 8 * time.Second},
		{limited, 1000, 0, time.Minute},
		{limited, 1, 5 * time.Minute, 5 * time.Minute},
		{limited, 9, time.Second, time.Second},
		{limited, 1, 1000 * time.Hour, maxAsked},
		{flaky, 2, time.Hour, 0},
		{flaky, 3, time.Hour, 5 * time.Second},
		{flaky, 99, 0, 5 * time.Second},
		{Cooling{}, 9, time.Hour, 0},
	} {
		if got := tc.c.For(tc.failures, tc.asked); got != tc.want {
			t.Errorf("%+v after %d, asked %v: %v, want %v", tc.c, tc.failures, tc.asked, got, tc.want)
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
		{"fraction", map[string]string{"Retry-After": "0.5"}, 500 * time.Millisecond},
		{"milliseconds first", map[string]string{"Retry-After": "20", "Retry-After-Ms": "150"}, 150 * time.Millisecond},
		{"date", map[string]string{"Retry-After": "Fri, 02 Jan 2026 03:05:05 GMT"}, time.Minute},
		{"past date", map[string]string{"Retry-After": "Fri, 02 Jan 2026 03:03:05 GMT"}, 0},
		{"nonsense", map[string]string{"Retry-After": "soon"}, 0},
		{"negative", map[string]string{"Retry-After": "-5"}, 0},
		{"not a number", map[string]string{"Retry-After": "NaN"}, 0},
		{"huge", map[string]string{"Retry-After": "1e300"}, maxAsked},
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
			if got := RetryAfter(h.Get, now); got != tc.want {
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
		if u.Input < 0 || u.Output < 0 || u.Cached < 0 || u.Cached > u.Input || u.Input > maxTokens || u.Output > maxTokens {
			t.Fatalf("%q: %+v", b, u)
		}
		_, _ = ParseErrorEvent(b)
		_, _ = ParseErrorBody(b)
		_ = IsUsageEvent(b)
		if n := OutputText(b); n < 0 || n > 2*len(b) {
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
func TestOutputText(t *testing.T) {
	for _, tc := range []struct {
		name, piece string
		want        int
	}{
		{"chat", `data: {"id":"x","choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}`, 5},
		{"two choices", `{"choices":[{"delta":{"content":"ab"}},{"delta":{"content":"c","refusal":"d"}}]}`, 4},
		{"two events", "data: {\"delta\":{\"content\":\"ab\"}}\n\ndata: {\"delta\":{\"content\":\"c\"}}\n\n", 3},
		{"completions", `data: {"choices":[{"text":"hello: \"text\":","index":0}]}`, 16},
		{"spaces", `{"delta": { "content" : "abc" } }`, 3},
		{"inside a delta once", `{"delta":{"text":"abc"}}`, 3},
		{"other names", `{"xdelta":"a","delta2":"b","context":"c","text":"d"}`, 1},
		{"none", `data: [DONE]`, 0},
		{"cut in the delta", `{"delta":{"content":"abc`, 0},
		{"cut in the delta after text", `{"delta":{"a":"xy","b":"abc`, 0},
		{"cut in the delta, whole text in it", `{"delta":{"x":[{"text":"abc"}`, 3},
		{"cut before", `tent":"abc"}}],"text":"d"`, 1},
		{"starts with a colon", `:"abc","delta":"d"`, 1},
		{"nothing", ``, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := OutputText([]byte(tc.piece)); got != tc.want {
				t.Errorf("%d bytes, want %d", got, tc.want)
			}
		})
	}
}

func BenchmarkOutputText(b *testing.B) {
	event := []byte(`data: {"id":"chatcmpl-0123456789","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o",` +
		`"choices":[{"index":0,"delta":{"content":" hello there"},"finish_reason":null}],"x":"y"}` + "\n\n")
	b.ReportAllocs()
	for b.Loop() {
		if OutputText(event) == 0 {
			b.Fatal("no text")
		}
	}
}

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
