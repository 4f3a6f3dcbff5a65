package dialect

import (
	"strconv"
	"time"
)

// RetryAfter reads what a provider of OpenAI's manners asks for from its headers, which header finds by their names in lower
// case; 0 = nothing. now is for dates in Retry-After. The reset times count only where the dimension that they belong to is
// used up.
func RetryAfter(header func(name string) string, now time.Time) time.Duration {
	if d, ok := askedFor(header("retry-after-ms"), time.Millisecond); ok {
		return d
	}
	if v := header("retry-after"); v != "" {
		if d, ok := askedFor(v, time.Second); ok {
			return d
		}
		if at, err := time.Parse(time.RFC1123, v); err == nil && at.After(now) {
			return min(at.Sub(now), MaxAsked)
		}
	}
	var longest time.Duration
	for _, dimension := range [...]string{"requests", "tokens"} {
		if header("x-ratelimit-remaining-"+dimension) != "0" {
			continue
		}
		// A Go-like duration ("6m0s", "120ms"), or seconds (Azure).
		v := header("x-ratelimit-reset-" + dimension)
		d, err := time.ParseDuration(v)
		if err != nil {
			d, _ = askedFor(v, time.Second)
		}
		longest = max(longest, min(d, MaxAsked))
	}
	return longest
}

// askedFor reads a non-negative decimal count of units; fractions are allowed.
func askedFor(v string, unit time.Duration) (time.Duration, bool) {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || !(f >= 0) {
		return 0, false
	}
	limit := MaxAsked.Seconds() / unit.Seconds()
	return time.Duration(min(f, limit) * float64(unit)), true
}
