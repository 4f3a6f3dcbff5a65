package anthropic

import (
	"strconv"
	"time"

	"fairway/dataplane/internal/dialect"
)

// retryAfter reads what the API asks for from its headers, which header finds by their names in lower case; 0 = nothing.
// now is what dates are measured from. The reset times (RFC 3339) count only where nothing of their dimension remains.
func retryAfter(header func(name string) string, now time.Time) time.Duration {
	if v := header("retry-after"); v != "" {
		if s, err := strconv.ParseFloat(v, 64); err == nil && s >= 0 {
			return time.Duration(min(s, dialect.MaxAsked.Seconds()) * float64(time.Second))
		}
		if d := until(now, time.RFC1123, v); d > 0 {
			return d
		}
	}
	var longest time.Duration
	for _, dimension := range [...]string{"requests", "tokens", "input-tokens", "output-tokens"} {
		if header("anthropic-ratelimit-"+dimension+"-remaining") == "0" {
			longest = max(longest, until(now, time.RFC3339, header("anthropic-ratelimit-"+dimension+"-reset")))
		}
	}
	return longest
}

// until is how long it is to a date, 0 if it is past or none.
func until(now time.Time, layout, date string) time.Duration {
	at, err := time.Parse(layout, date)
	if err != nil || !at.After(now) {
		return 0
	}
	return min(at.Sub(now), dialect.MaxAsked)
}
