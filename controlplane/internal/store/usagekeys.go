package store

import (
	"fmt"
	"strconv"
	"strings"
)

// UsageKey is what a counter is kept for.
type UsageKey struct {
	Hour    int64 // UTC, hours since 1970; the first one of a day that is kept as a whole
	Key     string
	Group   string // of the key, at the time; empty for what was put on the books before groups were kept
	Channel string
	Account string
	Model   string
}

// A counter's key ends with its place: <key>[@<group>]/<channel>/<account>/<model>. The group shares a segment with the
// key because books from before it was kept have places without one, and lie in the same range. Models may contain
// slashes; they come last.

// maxHour keeps hours at ten digits, so that their order as text is that in time.
const maxHour = 9_999_999_999

const hoursOfDay = 24

// usageKey is the key of an hour's counter. It refuses parts that would move it elsewhere.
func usageKey(k UsageKey) (string, error) { return counterKey(hourPrefix, k.Hour, k) }

// counterKey is the key of a counter of the hour or day n.
func counterKey(prefix string, n int64, k UsageKey) (string, error) {
	for _, part := range []string{k.Key, k.Group, k.Channel, k.Account} {
		if strings.Contains(part, "/") {
			return "", fmt.Errorf("usage key: id %q contains a slash", part)
		}
	}
	holder := k.Key
	switch {
	case strings.Contains(k.Group, "@"):
		return "", fmt.Errorf("usage key: group id %q contains an at sign", k.Group)
	case k.Group != "":
		holder += "@" + k.Group
	case strings.Contains(k.Key, "@") && !strings.HasSuffix(k.Key, "@"):
		return "", fmt.Errorf("usage key: key id %q would be read as one with a group", k.Key)
	}
	if n < 0 || n > maxHour {
		return "", fmt.Errorf("usage key: time %d is out of range", n)
	}
	return numbered(prefix, n) + holder + "/" + k.Channel + "/" + k.Account + "/" + k.Model, nil
}

func numbered(prefix string, n int64) string { return fmt.Sprintf("%s%010d/", prefix, n) }

func hourKey(hour int64) string { return numbered(hourPrefix, hour) }

// parseUsageKey is the reverse of usageKey.
func parseUsageKey(key string) (UsageKey, bool) { return parseCounterKey(hourPrefix, key) }

// parseCounterKey is the reverse of counterKey; the result's Hour is n.
func parseCounterKey(prefix, key string) (UsageKey, bool) {
	rest, ok := strings.CutPrefix(key, prefix)
	if !ok {
		return UsageKey{}, false
	}
	parts := strings.SplitN(rest, "/", 5)
	if len(parts) != 5 {
		return UsageKey{}, false
	}
	n, ok := parseNumber(parts[0])
	if !ok {
		return UsageKey{}, false
	}
	k := UsageKey{Hour: n, Key: parts[1], Channel: parts[2], Account: parts[3], Model: parts[4]}
	if at := strings.LastIndexByte(k.Key, '@'); at >= 0 && at+1 < len(k.Key) {
		k.Key, k.Group = k.Key[:at], k.Key[at+1:]
	}
	return k, true
}

func parseNumber(s string) (int64, bool) {
	if len(s) != 10 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil
}

// prefix is where rows like this one lie.
func (r UsageRow) prefix() string {
	switch {
	case r.Day && r.Correction:
		return fixDayPrefix
	case r.Day:
		return dayPrefix
	case r.Correction:
		return fixHourPrefix
	}
	return hourPrefix
}

// key is where the row lies.
func (r UsageRow) key() (string, error) {
	n := r.Hour
	if r.Day {
		if n%hoursOfDay != 0 {
			return "", fmt.Errorf("usage key: hour %d does not begin a day", n)
		}
		n /= hoursOfDay
	}
	return counterKey(r.prefix(), n, r.UsageKey)
}
