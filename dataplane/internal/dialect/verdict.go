package dialect

import (
	"strings"
	"time"
)

// Verdict is what a failed attempt means for the request and for the account that failed it.
type Verdict struct {
	// Reason names the row, for logs and metrics: constant, a few dozen values at most.
	Reason string
	// Retry: another account may do better.
	Retry bool
	// Pass: the answer is the client's business; it says nothing about the account's health.
	Pass bool
	// Disable: the credential is of no use until an operator acts.
	Disable bool
	// ExcludeModel: the channel does not serve this model, whichever the account.
	ExcludeModel bool
	// Alert: an operator should hear of it.
	Alert bool
	// Cool: how long the account rests.
	Cool Cooling
}

// Cooling says how long an account rests after a failure: what the provider asks for, else First doubled with each
// failure in a row, Most at most. The zero value is no rest.
type Cooling struct {
	// From is the failure in a row from which on it rests; 0 and 1 = the first.
	From int
	// First is the first rest; Most bounds both ours and, where Asked is 0, nothing of the provider's.
	First, Most time.Duration
	// Ask: the provider's own Retry-After or reset time wins.
	Ask bool
}

// For returns the rest after failures in a row (1 = the first), when the provider asked for asked (0 = it did not).
func (c Cooling) For(failures int, asked time.Duration) time.Duration {
	if failures < c.From || c.Most == 0 {
		return 0
	}
	if c.Ask && asked > 0 {
		return min(asked, MaxAsked)
	}
	doublings := min(max(failures-max(c.From, 1), 0), 30)
	return min(c.First<<doublings, c.Most)
}

// row is one line of the table: the first whose conditions all hold decides.
type row struct {
	low, high int    // status; high 0 = low only; low 0 = any
	code      string // of the error; "" = any; a * matches any middle or end
	verdict   Verdict
}

//nolint:gochecknoglobals // constant rows of the table; Go has no constants of this type
var (
	limited  = Cooling{First: 2 * time.Second, Most: time.Minute, Ask: true}
	overload = Cooling{First: 5 * time.Second, Most: 30 * time.Second, Ask: true}
	flaky    = Cooling{From: 3, First: 5 * time.Second, Most: 5 * time.Second}
)

// table says what an upstream's error means, for all providers: their codes do not collide.
//
//nolint:gochecknoglobals // the table is data, and constant; Go has no constants of this type
var table = []row{
	// Gemini says that a key is wrong with a 400, and that a model has no quota at all with a limit of 0.
	{400, 0, "API_KEY_INVALID", Verdict{Reason: "credential", Retry: true, Disable: true, Alert: true}},
	{403, 0, "SERVICE_DISABLED", Verdict{Reason: "credential", Retry: true, Disable: true, Alert: true}},
	{429, 0, "limit0", Verdict{Reason: "model_not_found", Retry: true, ExcludeModel: true}},
	// Anthropic.
	{402, 0, "billing_error", Verdict{Reason: "quota", Retry: true, Disable: true, Alert: true}},
	{429, 0, "enforced_spend_limit_reached", Verdict{Reason: "quota", Retry: true, Disable: true, Alert: true}},
	{400, 0, "credit_balance_exhausted", Verdict{Reason: "quota", Retry: true, Disable: true, Alert: true}},
	{400, 0, "enforced_spend_limit_reached", Verdict{Reason: "quota", Retry: true, Disable: true, Alert: true}},
	// Bedrock.
	{400, 0, "ThrottlingException", Verdict{Reason: "rate_limit", Retry: true, Cool: limited}},
	{429, 0, "ModelNotReadyException", Verdict{Reason: "overloaded", Retry: true, Cool: overload}},
	{424, 0, "ModelErrorException", Verdict{Reason: "server_error", Retry: true, Cool: flaky}},
	// OpenAI, and whoever speaks like it.
	{429, 0, "insufficient_quota", Verdict{Reason: "quota", Retry: true, Disable: true, Alert: true}},
	{429, 0, "credit_balance_exhausted", Verdict{Reason: "quota", Retry: true, Disable: true, Alert: true}},
	{429, 0, "organization_*_limit_exceeded", Verdict{Reason: "organization_limit", Retry: true, Disable: true, Alert: true}},
	{429, 0, "project_spend_limit_exceeded", Verdict{Reason: "project_limit", Retry: true, Disable: true, Alert: true}},
	{429, 0, "", Verdict{Reason: "rate_limit", Retry: true, Cool: limited}},
	{401, 0, "", Verdict{Reason: "credential", Retry: true, Disable: true, Alert: true}},
	{402, 0, "", Verdict{Reason: "quota", Retry: true, Disable: true, Alert: true}},
	{403, 0, "", Verdict{Reason: "forbidden", Retry: true, Alert: true}},
	{404, 0, "model_not_found", Verdict{Reason: "model_not_found", Retry: true, ExcludeModel: true}},
	// Not the model: a wrong base URL, or something that the request names. No client may exclude a channel with that.
	{404, 0, "", Verdict{Reason: "not_found", Retry: true, Alert: true}},
	{408, 0, "", Verdict{Reason: "timeout", Retry: true, Cool: flaky}},
	{400, 499, "", Verdict{Reason: "client", Pass: true}},
	{503, 0, "", Verdict{Reason: "overloaded", Retry: true, Cool: overload}},
	{529, 0, "", Verdict{Reason: "overloaded", Retry: true, Cool: overload}},
	{500, 599, "", Verdict{Reason: "server_error", Retry: true, Cool: flaky}},
	{0, 0, "", Verdict{Reason: "unexpected_status", Retry: true, Cool: flaky, Alert: true}},
}

// Classify says what an upstream's error means.
func Classify(e *UpstreamError) Verdict {
	for i := range table {
		r := &table[i]
		if r.low != 0 && (e.Status < r.low || e.Status > max(r.low, r.high)) {
			continue
		}
		if r.code == "" || match(r.code, e.Code) || e.Code == "" && match(r.code, e.Type) {
			return r.verdict
		}
	}
	return Verdict{Reason: "unexpected_status", Retry: true}
}

// match compares with a pattern that may hold one *.
func match(pattern, s string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	return len(s) >= len(before)+len(after) && strings.HasPrefix(s, before) && strings.HasSuffix(s, after)
}

// Transport is the verdict on an attempt that failed without an answer.
func Transport(timeout bool) Verdict {
	if timeout {
		return Verdict{Reason: "no_first_byte", Retry: true, Cool: flaky}
	}
	return Verdict{Reason: "connection", Retry: true, Cool: flaky}
}
