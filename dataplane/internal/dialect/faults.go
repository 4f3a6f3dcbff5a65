package dialect

import (
	"slices"
	"time"
)

// row is one line of the table: the first whose conditions all hold decides.
type row struct {
	name      string // of the fault, for tests and for people
	low, high int    // status; high 0 = low only; low 0 = any
	code      string // of the error, or its type where it has no code; "" = any; a * matches any middle or end
	verdict   Verdict
}

//nolint:gochecknoglobals // constant rows of the table; Go has no constants of this type
var (
	limited  = Cooling{First: 2 * time.Second, Most: time.Minute, Ask: true}
	throttle = Cooling{First: 2 * time.Second, Most: 30 * time.Second, Ask: true}
	overload = Cooling{First: 5 * time.Second, Most: 30 * time.Second, Ask: true}
	crowded  = Cooling{First: 5 * time.Second, Most: time.Minute, Ask: true}
	flaky    = Cooling{From: 3, First: 5 * time.Second, Most: 5 * time.Second}

	badCredential = Verdict{Reason: "credential", Retry: true, Disable: true, Alert: true}
	noMoney       = Verdict{Reason: "quota", Retry: true, Disable: true, Organization: true, Alert: true}
	monthSpent    = Verdict{Reason: "quota", Retry: true, Disable: true, Organization: true, Alert: true, Over: NextMonth}
	rateLimited   = Verdict{Reason: "rate_limit", Retry: true, Healthy: true, Cool: limited}
	noModel       = Verdict{Reason: "model_not_found", Retry: true, Healthy: true, ExcludeModel: true}
	noPermission  = Verdict{Reason: "forbidden", Retry: true, Healthy: true, Alert: true}
	overloaded    = Verdict{Reason: "overloaded", Retry: true, Cool: overload}
	// modelCrowded is a model that everybody wants: neither the credential's fault nor cured by another of the same provider.
	modelCrowded = Verdict{Reason: "overloaded", Retry: true, Healthy: true, Family: true, Elsewhere: true, Cool: crowded}
	// modelCrowdedBriefly is likewise, of OpenAI.
	modelCrowdedBriefly = Verdict{Reason: "overloaded", Retry: true, Healthy: true, Family: true, Cool: overload}
	serverError         = Verdict{Reason: "server_error", Retry: true, Cool: flaky}
	clientsOwn          = Verdict{Reason: "client", Pass: true}
)

// table says what an upstream's error means, for all providers: their codes do not collide. Numbers among the codes are of
// those who answer everything with 200 and put a number in the body, as Coze does.
//
//nolint:gochecknoglobals // the table is data, and constant; Go has no constants of this type
var table = []row{
	// Gemini says that a key is wrong with a 400, and that a model has no quota at all with a limit of 0. What is used up
	// for the day is so for the model, and its RetryInfo, which is of seconds, does not know.
	{"gemini invalid key", 400, 0, "API_KEY_INVALID", badCredential},
	{"gemini service disabled", 403, 0, "SERVICE_DISABLED", badCredential},
	{"gemini no quota for the model", 429, 0, "limit0", noModel},
	{"gemini quota of the day", 429, 0, "PerDay", Verdict{Reason: "rate_limit", Retry: true, Healthy: true, Family: true, Over: NextDay}},
	{"gemini quota of the minute", 429, 0, "PerMinute", rateLimited},
	{"gemini internal", 500, 0, "INTERNAL", Verdict{Reason: "server_error", Retry: true, Cool: overload}},
	{"gemini unavailable", 503, 0, "UNAVAILABLE", overloaded},
	{"gemini deadline", 504, 0, "DEADLINE_EXCEEDED", Verdict{Reason: "timeout", Retry: true, Cool: overload}},
	// Anthropic.
	{"anthropic billing", 402, 0, "billing_error", noMoney},
	{"anthropic spend limit", 429, 0, "enforced_spend_limit_reached", monthSpent},
	{"anthropic spend limit as a bad request", 400, 0, "enforced_spend_limit_reached", monthSpent},
	{"anthropic no credit", 400, 0, "credit_balance_exhausted", noMoney},
	{"anthropic overloaded", 529, 0, "", modelCrowded},
	// Bedrock.
	{"bedrock throttled", 429, 0, "ThrottlingException", Verdict{Reason: "rate_limit", Retry: true, Healthy: true, Cool: throttle}},
	{"bedrock throttled as a bad request", 400, 0, "ThrottlingException", Verdict{Reason: "rate_limit", Retry: true, Healthy: true, Cool: throttle}},
	{"bedrock model not ready", 429, 0, "ModelNotReadyException", Verdict{Reason: "overloaded", Retry: true, Healthy: true, Family: true, Cool: throttle}},
	{"bedrock unavailable", 503, 0, "ServiceUnavailableException", Verdict{Reason: "overloaded", Retry: true, Cool: throttle}},
	{"bedrock model error", 424, 0, "ModelErrorException", serverError},
	{"bedrock broken stream", 424, 0, "ModelStreamErrorException", serverError},
	// Azure.
	{"azure no deployment", 404, 0, "DeploymentNotFound", noModel},
	// Coze.
	{"coze invalid token", 200, 0, "4100", badCredential},
	{"coze invalid access token", 200, 0, "700012006", badCredential},
	{"coze no permission", 200, 0, "4101", noPermission},
	{"coze no credit", 200, 0, "4028", noMoney},
	{"coze rate limit", 200, 0, "4013", rateLimited},
	{"coze bad request", 200, 0, "4000", clientsOwn},
	// OpenAI, and whoever speaks like it.
	{"openai no quota", 429, 0, "insufficient_quota", noMoney},
	{"openai no credit", 429, 0, "credit_balance_exhausted", noMoney},
	{
		"openai organisation limit", 429, 0, "organization_*_limit_exceeded",
		Verdict{Reason: "organization_limit", Retry: true, Disable: true, Organization: true, Alert: true},
	},
	{
		// Keys do not say of which project they are; the others find out by themselves.
		"openai project limit", 429, 0, "project_spend_limit_exceeded",
		Verdict{Reason: "project_limit", Retry: true, Disable: true, Alert: true},
	},
	{"openai model overloaded", 503, 0, "server_is_overloaded", modelCrowdedBriefly},
	{"openai region", 403, 0, "unsupported_country_region_territory", Verdict{Reason: "region", Retry: true, Healthy: true, Alert: true}},
	{"rate limit", 429, 0, "", rateLimited},
	{"credential", 401, 0, "", badCredential},
	{"payment required", 402, 0, "", noMoney},
	{"permission", 403, 0, "", noPermission},
	{"model not found", 404, 0, "model_not_found", noModel},
	// Not the model: a wrong base URL, or something that the request names. No client may exclude a channel with that.
	{"not found", 404, 0, "", Verdict{Reason: "not_found", Retry: true, Healthy: true, Alert: true}},
	{"request timeout", 408, 0, "", Verdict{Reason: "timeout", Retry: true, Cool: flaky}},
	{"the client's own", 400, 499, "", clientsOwn},
	{"unavailable", 503, 0, "", overloaded},
	{"server error", 500, 599, "", serverError},
	{"anything else", 0, 0, "", Verdict{Reason: "unexpected_status", Retry: true, Cool: flaky, Alert: true}},
}

// Reasons are all that a Verdict's Reason may be, sorted: those of the table, of Transport and of gateways.
func Reasons() []string {
	reasons := []string{ReasonConnection, ReasonNoFirstByte, "not_convertible"}
	for i := range table {
		reasons = append(reasons, table[i].verdict.Reason)
	}
	slices.Sort(reasons)
	return slices.Compact(reasons)
}
