package gemini

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairway/dataplane/internal/dialect"
	"fairway/pkg/money"
)

const quotaError = `{
  "error": {
    "code": 429,
    "message": "You exceeded your current quota, please check your plan and billing details.\n* Quota exceeded for metric: generativelanguage.googleapis.com/generate_content_free_tier_requests, limit: LIMIT, model: gemini-2.5-flash\nPlease retry in 20.223932614s.",
    "status": "RESOURCE_EXHAUSTED",
    "details": [
      {"@type": "type.googleapis.com/google.rpc.Help", "links": [{"description": "Learn more", "url": "https://ai.google.dev/gemini-api/docs/rate-limits"}]},
      {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [VIOLATIONS]},
      {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "20.223932614s"}
    ]
  }
}`

func quota(limit string, violations ...string) string {
	return strings.NewReplacer("LIMIT", limit, "VIOLATIONS", strings.Join(violations, ",")).Replace(quotaError)
}

const (
	perMinute = `{"quotaMetric": "m", "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "quotaValue": "5"}`
	perDay    = `{"quotaMetric": "m", "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "20"}`
	zeroDay   = `{"quotaMetric": "m", "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "0"}`
	unsaid    = `{"quotaMetric": "m", "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}`
)

func TestError(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		want       dialect.UpstreamError // Message: a part of it
	}{
		{"per minute", quota("5", perMinute), dialect.UpstreamError{Status: 429, Code: "PerMinute", Type: "RESOURCE_EXHAUSTED"}},
		{"per day wins", quota("5", perMinute, perDay, perMinute), dialect.UpstreamError{Status: 429, Code: "PerDay", Type: "RESOURCE_EXHAUSTED"}},
		{"no quota at all wins", quota("5", zeroDay, perMinute), dialect.UpstreamError{Status: 429, Code: "limit0", Type: "RESOURCE_EXHAUSTED"}},
		{"no quota, left out", quota("0", unsaid), dialect.UpstreamError{Status: 429, Code: "limit0", Type: "RESOURCE_EXHAUSTED"}},
		{
			"key", `{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com","metadata":{"service":"generativelanguage.googleapis.com"}},{"@type":"type.googleapis.com/google.rpc.LocalizedMessage","locale":"en-US","message":"x"}]}}`,
			dialect.UpstreamError{Status: 400, Code: "API_KEY_INVALID", Type: "INVALID_ARGUMENT"},
		},
		{"in a list", `[{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}]`, dialect.UpstreamError{Status: 503, Type: "UNAVAILABLE"}},
		{"no code", `{"error":{"message":"m","status":"PERMISSION_DENIED"}}`, dialect.UpstreamError{Status: 403, Type: "PERMISSION_DENIED"}},
		{"text", `{"error":"nope"}`, dialect.UpstreamError{Status: 500, Message: "nope"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := Answers{}.ErrorBody([]byte(tc.body))
			if !ok {
				t.Fatal("no error")
			}
			if tc.want.Message == "" {
				got.Message = ""
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if e := (Answers{}).Error(418, []byte(tc.body)); e.Status != 418 || e.Code != tc.want.Code {
				t.Errorf("Error = %+v", e)
			}
			line := strings.ReplaceAll(tc.body, "\n", "")
			for _, event := range []string{"data: " + line + "\r\n\r\n", line + "\n"} {
				e, ok := Answers{}.ErrorEvent([]byte(event))
				if !ok || e.Status != tc.want.Status || e.Code != tc.want.Code {
					t.Errorf("ErrorEvent(%q) = %+v, %v", event, e, ok)
				}
			}
		})
	}
	for _, fine := range []string{
		``, `{}`, `[]`, `{"error":null}`, `{"candidates":[{"content":{"parts":[{"text":"\"error\":{}"}]}}]}`, `{"text":"error"}`,
	} {
		if e, ok := (Answers{}).ErrorBody([]byte(fine)); ok {
			t.Errorf("%s: %+v", fine, e)
		}
		if e, ok := (Answers{}).ErrorEvent([]byte("data: " + fine + "\n\n")); ok {
			t.Errorf("%s: %+v", fine, e)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	delay := func(s string) string {
		return `{"error":{"details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"` + s + `"}]}}`
	}
	for _, tc := range []struct {
		name, header, body string
		want               time.Duration
	}{
		{"nothing", "", "", 0},
		{"body", "", quota("5", perDay), 20223932614 * time.Nanosecond},
		{"body before header", "9", delay("17s"), 17 * time.Second},
		{"header", "9", `{"error":{}}`, 9 * time.Second},
		{"date", "Fri, 02 Jan 2026 03:05:05 GMT", "", time.Minute},
		{"past", "Fri, 02 Jan 2026 03:03:05 GMT", "", 0},
		{"nonsense", "soon", delay("soon"), 0},
		{"negative", "-1", delay("-5s"), 0},
		{"too long", "", delay("90000s"), dialect.MaxAsked},
	} {
		t.Run(tc.name, func(t *testing.T) {
			header := func(name string) string {
				if name == "retry-after" {
					return tc.header
				}
				return ""
			}
			if got := (Answers{}).RetryAfter(header, []byte(tc.body), now); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestUsage(t *testing.T) {
	for _, tc := range []struct {
		name, head, tail string
		want             money.Tokens
		ok               bool
	}{
		{"nothing", "", `{"embedding":{"values":[0.1]}}`, money.Tokens{}, false},
		{"embeddings that say", "", `{"embedding":{"values":[0.1]},"usageMetadata":{"promptTokenCount":7,"totalTokenCount":7}}`, money.Tokens{Input: 7}, true},
		{
			"last wins", "", `data: {"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":1}}` + "\n\n" + `data: {"usageMetadata" : {"promptTokenCount": 10, "candidatesTokenCount": 3, "thoughtsTokenCount": 4, "cachedContentTokenCount": 8, "toolUsePromptTokenCount": 5}}` + "\n\n",
			money.Tokens{Input: 15, Cached: 8, Output: 7, Reasoning: 4}, true,
		},
		{"cut at the end", "", `{"usageMetadata":{"promptTokenCount":1}} {"usageMetadata":{"promptTokenCount":1`, money.Tokens{Input: 1}, true},
		{"head", `{"usageMetadata":{"promptTokenCount":2}}`, `no`, money.Tokens{Input: 2}, true},
		{"text is not usage", "", `{"text":"\"usageMetadata\":{\"promptTokenCount\":2}"}`, money.Tokens{}, false},
		{
			"sound", "", `{"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":6,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":4},{"tokenCount":6,"modality":"TEXT"}],"candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":6}]}}`,
			money.Tokens{Input: 10, Output: 6, AudioInput: 4, AudioOutput: 6}, true,
		},
		{"nonsense", "", `{"usageMetadata":{"promptTokenCount":-1,"candidatesTokenCount":"many","promptTokensDetails":7,"candidatesTokensDetails":[1,[]]}}`, money.Tokens{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := Answers{}.Usage([]byte(tc.head), []byte(tc.tail))
			if diff := cmp.Diff(tc.want, got); diff != "" || ok != tc.ok {
				t.Errorf("ok = %v\n%s", ok, diff)
			}
		})
	}
}

func TestAnswersText(t *testing.T) {
	body := []byte(`{"candidates":[{"content":{"parts":[{"text":"12345"},{"text":"678","thought":true},{"functionCall":{"name":"f","args":{}}}]}}]}`)
	if got := (Answers{}).BodyText(body); got != 10 {
		t.Errorf("BodyText = %d", got)
	}
	if got := (Answers{}).OutputText(body); got != 8 {
		t.Errorf("OutputText = %d", got)
	}
	if got := (Answers{}).LastLine(); got != "" {
		t.Errorf("LastLine = %q", got)
	}
}

func TestFinished(t *testing.T) {
	for tail, want := range map[string]bool{
		``:                                   false,
		`"finishReason": "STOP"`:             true,
		`"finishReason":null`:                false,
		`"finishReason"`:                     false,
		`"text":"\"finishReason\":\"STOP\""`: false,
		`"finishReason":"FINISH_REASON_UNSPECIFIED"`:       false,
		`"promptFeedback": {"blockReason": "SAFETY"}`:      true,
		`"finishReason":"STOP"}, {"finishReason" : "X", "`: true,
	} {
		if got := (Answers{}).Finished([]byte(tail)); got != want {
			t.Errorf("%s: %v", tail, got)
		}
	}
}

func TestModelsAndCounts(t *testing.T) {
	const x = `{"name":"models/x","version":"","displayName":"x","description":"","supportedGenerationMethods":` +
		`["generateContent","streamGenerateContent","countTokens","embedContent","batchEmbedContents"]}`
	if got := string(AppendModels(nil, []string{"x", "x"})); got != `{"models":[`+x+`,`+x+`]}` {
		t.Error(got)
	}
	if got := string(AppendModels(nil, nil)); got != `{"models":[]}` {
		t.Error(got)
	}
	body := AppendCount(nil, 42)
	if n, ok := ReadCount(body); n != 42 || !ok {
		t.Errorf("%s: %d, %v", body, n, ok)
	}
	for _, body := range []string{`{}`, `{"totalTokens":"many"}`, `{"totalTokens":-1}`, `no`} {
		if n, ok := ReadCount([]byte(body)); ok {
			t.Errorf("%s: %d", body, n)
		}
	}
	request := []byte(`{"contents":[{"parts":[{"text":"x"}],"role":"user"}],"systemInstruction":{"parts":[{"text":"s"}]}}`)
	r, f := ReadCountRequest(request, "m")
	if f != nil {
		t.Fatal(f)
	}
	out, f := AppendCountRequest(nil, r, "gemini-x")
	if f != nil {
		t.Fatal(f)
	}
	want := `{"generateContentRequest":{"model":"models/gemini-x","systemInstruction":{"parts":[{"text":"s"}]},"contents":[{"role":"user","parts":[{"text":"x"}]}]}}`
	if string(out) != want {
		t.Errorf("got %s", out)
	}
	again, f := ReadCountRequest(out, "m")
	if f != nil {
		t.Fatal(f)
	}
	if diff := cmp.Diff(r, again); diff != "" {
		t.Error(diff)
	}
}

func TestPeekText(t *testing.T) {
	for body, want := range map[string]int{
		`{"contents":[{"role":"user","parts":[{"text":"12345"}]}]}`: 9,
		`{ "a" : ["b", 1] }`: 1,
		`{"contents":[{"parts":[{"inlineData":{"data":"` + strings.Repeat("A", 4096) + `"}}]}]}`: 0,
	} {
		if got, f := PeekText([]byte(body)); f != nil || got != want {
			t.Errorf("%.60s: %d, %v, want %d", body, got, f, want)
		}
	}
	for body, want := range map[string]string{
		``: "must be a JSON object", `[]`: "must be a JSON object", `{`: "not valid JSON", `{} {}`: "follows",
		`{"a":` + strings.Repeat("[", 600) + strings.Repeat("]", 600) + `}`: "too deeply",
	} {
		if _, f := PeekText([]byte(body)); f == nil || !strings.Contains(f.Message, want) || f.HTTPStatus() != 400 {
			t.Errorf("%.60s: %v, want %q", body, f, want)
		}
	}
}
