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
	// Healthy: what it asks for is all that follows; it does not count among the failures that open the account's breaker.
	// Clients could open breakers otherwise, by asking for what does not exist.
	Healthy bool
	// Disable: the credential is of no use until an operator acts, or until Ends.
	Disable bool
	// Organization: so are those of all accounts of its organisation (with Disable).
	Organization bool
	// Family: what Cool says is for the model's family at this account; other models may be asked for.
	Family bool
	// Elsewhere: another provider, if there is one, is a better next try than another account of this.
	Elsewhere bool
	// ExcludeModel: the channel does not serve this model, whichever the account.
	ExcludeModel bool
	// Alert: an operator should hear of it.
	Alert bool
	// Cool: how long the account rests.
	Cool Cooling
	// Over: when the rest ends by the calendar, if it does.
	Over Calendar
}

// Calendar is a rest's end that providers fix by the date.
type Calendar uint8

// The ends.
const (
	// Never: by no date.
	Never Calendar = iota
	// NextMonth: spend limits of a month begin anew with the UTC month.
	NextMonth
	// NextDay: Google's daily quotas begin anew at midnight of its Pacific time.
	NextDay
)

// pacific is the offset of Pacific time in winter. In summer the day begins an hour earlier; a rest may be too long, but
// never too short.
const pacific = -8 * time.Hour

// After is the first end after now; the zero time for Never.
func (c Calendar) After(now time.Time) time.Time {
	switch c {
	case NextMonth:
		y, m, _ := now.UTC().Date()
		return time.Date(y, m+1, 1, 0, 0, 0, 0, time.UTC)
	case NextDay:
		y, m, d := now.UTC().Add(pacific).Date()
		return time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC).Add(-pacific)
	default:
		return time.Time{}
	}
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
		return strings.EqualFold(pattern, s) // AWS writes its exceptions in two ways
	}
	return len(s) >= len(before)+len(after) && strings.HasPrefix(s, before) && strings.HasSuffix(s, after)
}

// Reasons of attempts that failed without an answer.
const (
	ReasonConnection  = "connection"
	ReasonNoFirstByte = "no_first_byte"
)

// Transport is the verdict on an attempt that failed without an answer.
func Transport(timeout bool) Verdict {
	if timeout {
		return Verdict{Reason: ReasonNoFirstByte, Retry: true, Cool: flaky}
	}
	return Verdict{Reason: ReasonConnection, Retry: true, Cool: flaky}
}
