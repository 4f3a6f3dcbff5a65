package dialect

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestFaults has a case for each row of the table, by the row's name: what an upstream says, and what it means. Cases
// without a row of their name are of faults that two rows could be taken for.
func TestFaults(t *testing.T) {
	disable := Verdict{Retry: true, Disable: true, Alert: true}
	with := func(v Verdict, change func(*Verdict)) Verdict {
		change(&v)
		return v
	}
	credential := with(disable, func(v *Verdict) { v.Reason = "credential" })
	quota := with(disable, func(v *Verdict) { v.Reason, v.Organization = "quota", true })
	month := with(quota, func(v *Verdict) { v.Over = NextMonth })
	exclude := Verdict{Reason: "model_not_found", Retry: true, Healthy: true, ExcludeModel: true}
	rate := func(most time.Duration) Verdict {
		return Verdict{Reason: "rate_limit", Retry: true, Healthy: true, Cool: Cooling{First: 2 * time.Second, Most: most, Ask: true}}
	}
	rest := func(reason string, first, most time.Duration) Verdict {
		return Verdict{Reason: reason, Retry: true, Cool: Cooling{First: first, Most: most, Ask: true}}
	}
	third := func(reason string) Verdict {
		return Verdict{Reason: reason, Retry: true, Cool: Cooling{From: 3, First: 5 * time.Second, Most: 5 * time.Second}}
	}
	family := func(v Verdict) Verdict {
		v.Family, v.Healthy = true, true
		return v
	}
	alert := func(reason string) Verdict { return Verdict{Reason: reason, Retry: true, Healthy: true, Alert: true} }
	client := Verdict{Reason: "client", Pass: true}

	cases := []struct {
		name string
		e    UpstreamError
		want Verdict
	}{
		{"gemini invalid key", UpstreamError{Status: 400, Code: "API_KEY_INVALID", Type: "INVALID_ARGUMENT"}, credential},
		{"gemini service disabled", UpstreamError{Status: 403, Code: "SERVICE_DISABLED"}, credential},
		{"gemini no quota for the model", UpstreamError{Status: 429, Code: "limit0"}, exclude},
		{
			"gemini quota of the day", UpstreamError{Status: 429, Code: "PerDay"},
			Verdict{Reason: "rate_limit", Retry: true, Healthy: true, Family: true, Over: NextDay},
		},
		{"gemini quota of the minute", UpstreamError{Status: 429, Code: "PerMinute"}, rate(time.Minute)},
		{"gemini internal", UpstreamError{Status: 500, Type: "INTERNAL"}, rest("server_error", 5*time.Second, 30*time.Second)},
		{"gemini unavailable", UpstreamError{Status: 503, Type: "UNAVAILABLE"}, rest("overloaded", 5*time.Second, 30*time.Second)},
		{"gemini deadline", UpstreamError{Status: 504, Type: "DEADLINE_EXCEEDED"}, rest("timeout", 5*time.Second, 30*time.Second)},
		{"anthropic billing", UpstreamError{Status: 402, Type: "billing_error"}, quota},
		{"anthropic spend limit", UpstreamError{Status: 429, Code: "enforced_spend_limit_reached"}, month},
		{"anthropic spend limit as a bad request", UpstreamError{Status: 400, Code: "enforced_spend_limit_reached"}, month},
		{"anthropic no credit", UpstreamError{Status: 400, Code: "credit_balance_exhausted"}, quota},
		{
			"anthropic overloaded", UpstreamError{Status: 529, Type: "overloaded_error"},
			with(family(rest("overloaded", 5*time.Second, time.Minute)), func(v *Verdict) { v.Elsewhere = true }),
		},
		{"anthropic rate limit", UpstreamError{Status: 429, Type: "rate_limit_error"}, rate(time.Minute)},
		{"bedrock throttled", UpstreamError{Status: 429, Type: "throttlingException"}, rate(30 * time.Second)},
		{"bedrock throttled as a bad request", UpstreamError{Status: 400, Type: "ThrottlingException"}, rate(30 * time.Second)},
		{
			"bedrock model not ready", UpstreamError{Status: 429, Type: "ModelNotReadyException"},
			family(rest("overloaded", 2*time.Second, 30*time.Second)),
		},
		{"bedrock unavailable", UpstreamError{Status: 503, Type: "serviceUnavailableException"}, rest("overloaded", 2*time.Second, 30*time.Second)},
		{"bedrock model error", UpstreamError{Status: 424, Type: "ModelErrorException"}, third("server_error")},
		{"bedrock broken stream", UpstreamError{Status: 424, Type: "modelStreamErrorException"}, third("server_error")},
		{"azure no deployment", UpstreamError{Status: 404, Code: "DeploymentNotFound"}, exclude},
		{"azure rate limit", UpstreamError{Status: 429, Code: "429"}, rate(time.Minute)},
		{"coze invalid token", UpstreamError{Status: 200, Code: "4100"}, credential},
		{"coze invalid access token", UpstreamError{Status: 200, Code: "700012006"}, credential},
		{"coze no permission", UpstreamError{Status: 200, Code: "4101"}, alert("forbidden")},
		{"coze no credit", UpstreamError{Status: 200, Code: "4028"}, quota},
		{"coze rate limit", UpstreamError{Status: 200, Code: "4013"}, rate(time.Minute)},
		{"coze bad request", UpstreamError{Status: 200, Code: "4000"}, client},
		{"openai no quota", UpstreamError{Status: 429, Code: "insufficient_quota"}, quota},
		{"openai no credit", UpstreamError{Status: 429, Code: "credit_balance_exhausted"}, quota},
		{
			"openai organisation limit", UpstreamError{Status: 429, Code: "organization_spend_limit_exceeded"},
			with(disable, func(v *Verdict) { v.Reason, v.Organization = "organization_limit", true }),
		},
		{"openai organisation limit without a kind", UpstreamError{Status: 429, Code: "organization_limit_exceeded"}, rate(time.Minute)},
		{
			"openai project limit", UpstreamError{Status: 429, Code: "project_spend_limit_exceeded"},
			with(disable, func(v *Verdict) { v.Reason = "project_limit" }),
		},
		{"openai model overloaded", UpstreamError{Status: 503, Code: "server_is_overloaded"}, family(rest("overloaded", 5*time.Second, 30*time.Second))},
		{"openai region", UpstreamError{Status: 403, Code: "unsupported_country_region_territory"}, alert("region")},
		{"rate limit", UpstreamError{Status: 429, Code: "rate_limit_exceeded"}, rate(time.Minute)},
		{"slow down", UpstreamError{Status: 429, Code: "slow_down"}, rate(time.Minute)},
		{"credential", UpstreamError{Status: 401, Code: "account_deactivated"}, credential},
		{"payment required", UpstreamError{Status: 402}, quota},
		{"permission", UpstreamError{Status: 403}, alert("forbidden")},
		{"model not found", UpstreamError{Status: 404, Code: "model_not_found"}, exclude},
		{"not found", UpstreamError{Status: 404, Code: "response_not_found"}, alert("not_found")},
		{"request timeout", UpstreamError{Status: 408}, third("timeout")},
		{"the client's own", UpstreamError{Status: 400, Code: "context_length_exceeded"}, client},
		{"too large", UpstreamError{Status: 413}, client},
		{"content policy", UpstreamError{Status: 422, Code: "content_policy_violation"}, client},
		{"unavailable", UpstreamError{Status: 503}, rest("overloaded", 5*time.Second, 30*time.Second)},
		{"server error", UpstreamError{Status: 500, Type: "api_error"}, third("server_error")},
		{"anything else", UpstreamError{Status: 302}, with(third("unexpected_status"), func(v *Verdict) { v.Alert = true })},
	}
	var names []string
	for _, tc := range cases {
		names = append(names, tc.name)
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Classify(&tc.e)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	reasons := Reasons()
	for i := range table {
		if !slices.Contains(names, table[i].name) {
			t.Errorf("no case for the row %q", table[i].name)
		}
		if !slices.Contains(reasons, table[i].verdict.Reason) {
			t.Errorf("reason %q is not among Reasons", table[i].verdict.Reason)
		}
	}
}

func TestTransport(t *testing.T) {
	for timeout, reason := range map[bool]string{true: ReasonNoFirstByte, false: ReasonConnection} {
		v := Transport(timeout)
		if v.Reason != reason || !v.Retry || v.Healthy || v.Cool.For(2, 0) != 0 || v.Cool.For(3, 0) != 5*time.Second {
			t.Errorf("timeout %v: %+v", timeout, v)
		}
	}
}

func TestCalendar(t *testing.T) {
	for _, tc := range []struct {
		name      string
		c         Calendar
		now, want string
	}{
		{"month", NextMonth, "2026-02-27T23:59:59Z", "2026-03-01T00:00:00Z"},
		{"month, at its start", NextMonth, "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"},
		{"year", NextMonth, "2026-12-31T12:00:00Z", "2027-01-01T00:00:00Z"},
		{"month elsewhere", NextMonth, "2026-02-28T23:30:00-02:00", "2026-04-01T00:00:00Z"},
		{"day", NextDay, "2026-01-02T07:59:59Z", "2026-01-02T08:00:00Z"},
		{"day, at its start", NextDay, "2026-01-02T08:00:00Z", "2026-01-03T08:00:00Z"},
	} {
		now, err := time.Parse(time.RFC3339, tc.now)
		if err != nil {
			t.Fatal(err)
		}
		if got := tc.c.After(now).Format(time.RFC3339); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
	if !Never.After(time.Now()).IsZero() {
		t.Error("never has an end")
	}
}
