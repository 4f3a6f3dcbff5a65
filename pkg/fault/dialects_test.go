package fault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"fairway/pkg/fault"
)

// words are the dialects' own for each kind, and for statuses that no kind has.
var words = []struct {
	name      string
	err       *fault.Error
	anthropic string
	gemini    string
}{
	{"invalid", fault.New(fault.Invalid, "m"), "invalid_request_error", "INVALID_ARGUMENT"},
	{"unauthenticated", fault.New(fault.Unauthenticated, "m"), "authentication_error", "UNAUTHENTICATED"},
	{"denied", fault.New(fault.Denied, "m"), "permission_error", "PERMISSION_DENIED"},
	{"not found", fault.New(fault.NotFound, "m"), "not_found_error", "NOT_FOUND"},
	{"exists", fault.New(fault.Exists, "m"), "invalid_request_error", "ALREADY_EXISTS"},
	{"stale", fault.New(fault.Stale, "m"), "invalid_request_error", "FAILED_PRECONDITION"},
	{"exhausted", fault.New(fault.Exhausted, "m"), "rate_limit_error", "RESOURCE_EXHAUSTED"},
	{"unavailable", fault.New(fault.Unavailable, "m"), "overloaded_error", "UNAVAILABLE"},
	{"canceled", fault.New(fault.Canceled, "m"), "api_error", "CANCELLED"},
	{"deadline", fault.New(fault.Deadline, "m"), "timeout_error", "DEADLINE_EXCEEDED"},
	{"too large", fault.New(fault.TooLarge, "m"), "request_too_large", "INVALID_ARGUMENT"},
	{"unimplemented", fault.New(fault.Unimplemented, "m"), "invalid_request_error", "UNIMPLEMENTED"},
	{"internal", fault.New(fault.Internal, "m"), "api_error", "INTERNAL"},
	{"upstream", fault.New(fault.Upstream, "m"), "api_error", "UNAVAILABLE"},
	{"no kind", &fault.Error{Message: "m"}, "api_error", "INTERNAL"},
	{"402", fault.New(fault.Denied, "m").WithStatus(402), "billing_error", "FAILED_PRECONDITION"},
	{"408", fault.New(fault.Deadline, "m").WithStatus(408), "timeout_error", "DEADLINE_EXCEEDED"},
	{"422", fault.New(fault.Invalid, "m").WithStatus(422), "invalid_request_error", "INVALID_ARGUMENT"},
	{"529", fault.New(fault.Unavailable, "m").WithStatus(529), "overloaded_error", "UNAVAILABLE"},
}

func TestDialectWords(t *testing.T) {
	for _, tt := range words {
		t.Run(tt.name, func(t *testing.T) {
			want := fmt.Sprintf(`{"type":"error","error":{"type":%q,"message":"m"},"request_id":"r-1"}`, tt.anthropic)
			if got := string(fault.AppendAnthropic(nil, tt.err, "r-1")); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			want = fmt.Sprintf(`{"error":{"code":%d,"message":"m","status":%q}}`, tt.err.HTTPStatus(), tt.gemini)
			if got := string(fault.AppendGemini(nil, tt.err)); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
	if kinds := int(fault.Upstream); len(words) < kinds {
		t.Errorf("%d rows for %d kinds", len(words), kinds)
	}
}

func TestDialectDetails(t *testing.T) {
	e := fault.New(fault.Exhausted, "slow down").With(errors.New("sk-secret")).
		WithCode("budget_spent").WithParam("model").WithRetryAfter(1500 * time.Millisecond)
	got := string(fault.AppendAnthropic([]byte("x"), e, ""))
	want := `x{"type":"error","error":{"type":"rate_limit_error","message":"model: slow down"},"request_id":null}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got = string(fault.AppendAnthropic(nil, fault.New(fault.Invalid, "no model %q", "a").WithParam("model"), ""))
	want = `{"type":"error","error":{"type":"invalid_request_error","message":"no model \"a\""},"request_id":null}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got = string(fault.AppendGemini([]byte("x"), e))
	want = `x{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED","details":[` +
		`{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"budget_spent","domain":"fairway"},` +
		`{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"model","description":"slow down"}]},` +
		`{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"2s"}]}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	got = string(fault.AppendGemini(nil, &fault.Error{Kind: fault.Denied}))
	want = `{"error":{"code":403,"message":"denied","status":"PERMISSION_DENIED"}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Whatever the text: the envelopes are JSON on one line, and say what they were given.
func FuzzAppendAnthropic(f *testing.F) {
	f.Add("plain", "model", "req_1")
	f.Add("</script>\u2028\n\r\t\x00\x7f\"\\", "", "")
	f.Add("\xff\xfe broken \xe2\x28", "é", "日本")
	f.Fuzz(func(t *testing.T, message, param, id string) {
		out := fault.AppendAnthropic(nil, fault.New(fault.Invalid, "%s", message).WithParam(param), id)
		var got struct {
			Error     struct{ Type, Message string }
			RequestID *string `json:"request_id"`
		}
		decode(t, out, &got)
		if got.Error.Type != "invalid_request_error" || got.Error.Message == "" {
			t.Fatalf("%s", out)
		}
		if (got.RequestID == nil) != (id == "") || got.RequestID != nil && *got.RequestID != string([]rune(id)) {
			t.Fatalf("request id of %s, want %q", out, id)
		}
	})
}

func FuzzAppendGemini(f *testing.F) {
	f.Add("plain", "model", "code", 7)
	f.Add("</script>\u2028\n\r\t\x00\x7f\"\\", "", "", 0)
	f.Add("\xff\xfe broken \xe2\x28", "é", "日本", -1)
	f.Fuzz(func(t *testing.T, message, param, code string, seconds int) {
		e := fault.New(fault.Exhausted, "%s", message).WithParam(param).WithCode(code).WithRetryAfter(time.Duration(seconds))
		out := fault.AppendGemini(nil, e)
		var got struct {
			Error struct {
				Code            int
				Message, Status string
				Details         []map[string]any
			}
		}
		decode(t, out, &got)
		if got.Error.Code != 429 || got.Error.Status != "RESOURCE_EXHAUSTED" {
			t.Fatalf("%s", out)
		}
		if message != "" && got.Error.Message != string([]rune(message)) {
			t.Fatalf("message of %s, want %q", out, message)
		}
		want := 0
		for _, there := range []bool{param != "", code != "", seconds > 0} {
			if there {
				want++
			}
		}
		if len(got.Error.Details) != want {
			t.Fatalf("%d details in %s, want %d", len(got.Error.Details), out, want)
		}
	})
}

func decode(t *testing.T, out []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(out, into); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	for _, c := range out {
		if c < 0x20 || c == '<' || c == '>' || c == 0x7f {
			t.Fatalf("byte %#x is not escaped in %q", c, out)
		}
	}
}
