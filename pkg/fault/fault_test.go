package fault_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairway/pkg/fault"
)

// kinds with the numbers that the outside knows. The codes are google.rpc.Code's.
var kinds = []struct {
	kind   fault.Kind
	status int
	code   uint32
	back   fault.Kind // what the code alone still says
	openAI string
}{
	{fault.Invalid, 400, 3, fault.Invalid, "invalid_request_error"},
	{fault.Unauthenticated, 401, 16, fault.Unauthenticated, "invalid_request_error"},
	{fault.Denied, 403, 7, fault.Denied, "permission_error"},
	{fault.NotFound, 404, 5, fault.NotFound, "invalid_request_error"},
	{fault.Exists, 409, 6, fault.Exists, "invalid_request_error"},
	{fault.Stale, 412, 9, fault.Stale, "invalid_request_error"},
	{fault.Exhausted, 429, 8, fault.Exhausted, "rate_limit_error"},
	{fault.Unavailable, 503, 14, fault.Unavailable, "server_error"},
	{fault.Canceled, 499, 1, fault.Canceled, "server_error"},
	{fault.Deadline, 504, 4, fault.Deadline, "server_error"},
	{fault.TooLarge, 413, 8, fault.Exhausted, "invalid_request_error"},
	{fault.Unimplemented, 501, 12, fault.Unimplemented, "invalid_request_error"},
	{fault.Internal, 500, 13, fault.Internal, "server_error"},
	{fault.Upstream, 502, 14, fault.Unavailable, "server_error"},
}

func TestKinds(t *testing.T) {
	names := map[string]bool{}
	for _, k := range kinds {
		t.Run(k.kind.String(), func(t *testing.T) {
			if got := k.kind.HTTPStatus(); got != k.status {
				t.Errorf("HTTPStatus = %d, want %d", got, k.status)
			}
			if got := k.kind.RPCCode(); got != k.code {
				t.Errorf("RPCCode = %d, want %d", got, k.code)
			}
			if got := fault.FromRPCCode(k.code); got != k.back {
				t.Errorf("FromRPCCode(%d) = %v, want %v", k.code, got, k.back)
			}
			if names[k.kind.String()] {
				t.Errorf("two kinds are called %q", k.kind)
			}
			names[k.kind.String()] = true
		})
	}
	if len(kinds) != int(fault.Upstream) {
		t.Errorf("%d kinds in this test, there are %d", len(kinds), fault.Upstream)
	}
}

func TestFromRPCCodeOfOthers(t *testing.T) {
	for code, want := range map[uint32]fault.Kind{
		0: 0, 2: fault.Internal, 10: fault.Stale, 11: fault.Invalid, 15: fault.Internal, 17: fault.Internal, 1 << 31: fault.Internal,
	} {
		if got := fault.FromRPCCode(code); got != want {
			t.Errorf("FromRPCCode(%d) = %v, want %v", code, got, want)
		}
	}
}

func TestPublic(t *testing.T) {
	cause := errors.New("dial tcp 10.0.0.1: sk-secret")
	tests := []struct {
		name   string
		err    error
		kind   fault.Kind
		public string
	}{
		{"nil", nil, 0, ""},
		{"foreign", cause, fault.Internal, "internal error"},
		{"wrapped foreign", fmt.Errorf("get key: %w", cause), fault.Internal, "internal error"},
		{"ours", fault.New(fault.NotFound, "no key %q", "k"), fault.NotFound, `no key "k"`},
		{"ours with a cause", fault.New(fault.Unavailable, "try later").With(cause), fault.Unavailable, "try later"},
		{"ours, wrapped", fmt.Errorf("outer: %w", fault.New(fault.Stale, "changed")), fault.Stale, "changed"},
		{"no text", &fault.Error{Kind: fault.Denied, Cause: cause}, fault.Denied, "denied"},
		{"no kind", &fault.Error{}, fault.Internal, "internal"},
		{"canceled", fmt.Errorf("read: %w", context.Canceled), fault.Canceled, "canceled"},
		{"deadline", fmt.Errorf("read: %w", context.DeadlineExceeded), fault.Deadline, "deadline exceeded"},
		{"ours caused by a cancel", fault.New(fault.Upstream, "reset").With(context.Canceled), fault.Upstream, "reset"},
		{"a percent sign", fault.New(fault.Invalid, "%d%%", 100), fault.Invalid, "100%"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := fault.KindOf(tt.err); got != tt.kind {
				t.Errorf("KindOf = %v, want %v", got, tt.kind)
			}
			if got := fault.Public(tt.err); got != tt.public {
				t.Errorf("Public = %q, want %q", got, tt.public)
			}
			if got := fault.From(tt.err); got != nil && strings.Contains(string(fault.AppendOpenAI(nil, got)), "sk-secret") {
				t.Error("the cause's text is in the envelope")
			}
		})
	}
}

func TestErrorIsForLogs(t *testing.T) {
	cause := errors.New("boom")
	err := fault.New(fault.Upstream, "the provider failed").With(cause)
	if got, want := err.Error(), "the provider failed: boom"; got != want {
		t.Errorf("Error = %q, want %q", got, want)
	}
	if !errors.Is(err, cause) {
		t.Error("the cause is not found in the chain")
	}
}

// Errors are shared, package-level ones too: the With methods must not change what they are called on.
func TestWithCopies(t *testing.T) {
	base := fault.New(fault.Exhausted, "slow down")
	got := base.With(errors.New("x")).WithCode("c").WithParam("p").WithRetryAfter(time.Second).WithStatus(529)
	if diff := cmp.Diff(fault.Error{Kind: fault.Exhausted, Message: "slow down"}, *base); diff != "" {
		t.Errorf("the original changed (-want +got):\n%s", diff)
	}
	if got.Cause == nil || got.Code != "c" || got.Param != "p" || got.RetryAfter != time.Second || got.HTTPStatus() != 529 {
		t.Errorf("the copy lacks something: %+v", got)
	}
	if got := base.HTTPStatus(); got != http.StatusTooManyRequests {
		t.Errorf("HTTPStatus = %d, want the kind's", got)
	}
	if got := base.WithRetryAfter(-time.Second).RetryAfter; got != 0 {
		t.Errorf("negative RetryAfter = %v, want 0", got)
	}
}

func TestAppendOpenAI(t *testing.T) {
	for _, k := range kinds {
		want := fmt.Sprintf(`{"error":{"message":"m","type":%q,"param":null,"code":null}}`, k.openAI)
		if got := string(fault.AppendOpenAI(nil, fault.New(k.kind, "m"))); got != want {
			t.Errorf("%v: %s, want %s", k.kind, got, want)
		}
	}
	quota := string(fault.AppendOpenAI(nil, fault.New(fault.Exhausted, "m").WithCode("insufficient_quota")))
	if want := `{"error":{"message":"m","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`; quota != want {
		t.Errorf("got  %s\nwant %s", quota, want)
	}
	got := string(fault.AppendOpenAI([]byte("x"), fault.New(fault.NotFound, "no model %q", "a").WithCode("model_not_found").WithParam("model")))
	want := `x{"error":{"message":"no model \"a\"","type":"invalid_request_error","param":"model","code":"model_not_found"}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Whatever the text: the envelope is JSON on one line, and decodes to what encoding/json makes of the text.
func FuzzAppendOpenAI(f *testing.F) {
	f.Add("plain", "model", "code")
	f.Add("</script>\u2028\n\r\t\x00\x7f\"\\", "", "")
	f.Add("\xff\xfe broken \xe2\x28", "é", "日本")
	f.Fuzz(func(t *testing.T, message, param, code string) {
		out := fault.AppendOpenAI(nil, fault.New(fault.Invalid, "%s", message).WithParam(param).WithCode(code))
		var got struct {
			Error struct {
				Message     string
				Param, Code *string
			}
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
		same := func(field, text string, got *string) {
			if got == nil {
				if text != "" {
					t.Errorf("%s is null, want %q", field, text)
				}
				return
			}
			// Each broken byte becomes one U+FFFD, as in a conversion to runes.
			if want := string([]rune(text)); *got != want {
				t.Errorf("%s = %q, want %q", field, *got, want)
			}
		}
		if message != "" {
			same("message", message, &got.Error.Message)
		}
		same("param", param, got.Error.Param)
		same("code", code, got.Error.Code)
		for _, c := range out {
			if c < 0x20 || c == '<' || c == '>' || c == 0x7f {
				t.Fatalf("byte %#x is not escaped in %q", c, out)
			}
		}
	})
}
