package dialect

import (
	"testing"
	"time"
)

func TestClassify(t *testing.T) {
	for _, tc := range []struct {
		status int
		code   string
		want   string
		retry  bool
		off    bool
	}{
		{429, "insufficient_quota", "quota", true, true},
		{400, "API_KEY_INVALID", "credential", true, true},
		{429, "limit0", "model_not_found", true, false},
		{402, "billing_error", "quota", true, true},
		{400, "ThrottlingException", "rate_limit", true, false},
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
		{limited, 1, 1000 * time.Hour, MaxAsked},
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
