package health

import "time"

// limits are what a provider's headers say of one dimension of its limits.
type limits struct {
	limit, remaining float64
	reset            int64 // unix ms; 0 = it does not say
	tokens           bool
}

// share is what is left, 0 to 1, with reserved of it given away already.
func (l *limits) share(reserved float64) float64 {
	return min(max((l.remaining-reserved)/l.limit, 0), 1)
}

// dimension names the headers of one dimension.
type dimension struct {
	limit, remaining, reset string
	tokens                  bool
}

//nolint:gochecknoglobals // constant tables; Go has no constants of these types
var (
	openAI = [...]dimension{
		{"x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", false},
		{"x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", true},
	}
	anthropic = [...]dimension{
		{"anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset", false},
		{"anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset", true},
		{"anthropic-ratelimit-input-tokens-limit", "anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset", true},
		{"anthropic-ratelimit-output-tokens-limit", "anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset", true},
	}
	// Of subscriptions: a share that is used, a status and when the window ends.
	unified = [...]struct{ status, utilization, reset string }{
		{"anthropic-ratelimit-unified-5h-status", "anthropic-ratelimit-unified-5h-utilization", "anthropic-ratelimit-unified-5h-reset"},
		{"anthropic-ratelimit-unified-7d-status", "anthropic-ratelimit-unified-7d-utilization", "anthropic-ratelimit-unified-7d-reset"},
	}
)

// maxDimensions is how many a response may speak of.
const maxDimensions = len(anthropic)

// maxReset bounds resets; the longest window that a provider has is a week.
const maxReset = 8 * 24 * time.Hour

// reading is what the headers of one response say.
type reading struct {
	dims     [maxDimensions]limits
	n        int
	rejected int64 // unix ms until which the provider refuses everything; 0 = it does not
}

// read reads OpenAI's, Azure's and their likes' headers. Azure writes resets in seconds and a limit of -1 where it does
// not know.
func (r *reading) read(dims []dimension, header func(lower string) []byte, now time.Time, when func([]byte, time.Time) (int64, bool)) {
	for i := range dims {
		d := &dims[i]
		remaining, ok := number(header(d.remaining))
		if !ok {
			continue
		}
		limit, ok := number(header(d.limit))
		if !ok || limit <= 0 {
			continue // -1 is no number here
		}
		l := limits{limit: limit, remaining: min(remaining, limit), tokens: d.tokens}
		if at, ok := when(header(d.reset), now); ok {
			l.reset = bound(at, now)
		}
		r.dims[r.n] = l
		r.n++
	}
}

// readUnified reads what subscriptions of Claude answer with. A window says "allowed", "allowed_warning" or "rejected"; all
// windows must let a request through, so the last reset of those that reject counts. The status of the whole may be
// "rejected" for one model's own window alone, which says nothing of others.
func (r *reading) readUnified(header func(lower string) []byte, now time.Time) {
	for i := range unified {
		u := &unified[i]
		at, known := epoch(header(u.reset), now)
		if known {
			at = bound(at, now)
		}
		if string(header(u.status)) == "rejected" && known && at > now.UnixMilli() {
			r.rejected = max(r.rejected, at)
		}
		if used, ok := number(header(u.utilization)); ok {
			r.dims[r.n] = limits{limit: 1, remaining: max(1-used, 0), reset: at}
			r.n++
		}
	}
}

func bound(at int64, now time.Time) int64 {
	return min(max(at, 0), now.Add(maxReset).UnixMilli())
}

// number reads a decimal number that is not negative. Twelve digits are more than any limit has.
func number(b []byte) (float64, bool) {
	if len(b) == 0 || len(b) > 24 {
		return 0, false
	}
	v, scale, point := 0.0, 1.0, false
	figures := 0
	for _, c := range b {
		switch {
		case c >= '0' && c <= '9':
			figures++
			if point {
				scale /= 10
				v += float64(c-'0') * scale
			} else {
				v = v*10 + float64(c-'0')
			}
		case c == '.' && !point:
			point = true
		default:
			return 0, false
		}
	}
	return v, figures > 0 && v < 1e15
}

// span reads how long it is until a reset: a Go-like duration ("6m0s", "120ms", "1d2h"), or seconds; as the time then.
func span(b []byte, now time.Time) (int64, bool) {
	if s, ok := number(b); ok {
		return now.UnixMilli() + int64(min(s, maxReset.Seconds())*1000), true
	}
	total := 0.0
	for len(b) > 0 {
		n := 0
		for n < len(b) && (b[n] >= '0' && b[n] <= '9' || b[n] == '.') {
			n++
		}
		v, ok := number(b[:n])
		if !ok {
			return 0, false
		}
		b = b[n:]
		n = 0
		for n < len(b) && (b[n] < '0' || b[n] > '9') {
			n++
		}
		unit, ok := unitMS(string(b[:n]))
		if !ok {
			return 0, false
		}
		total += v * unit
		b = b[n:]
	}
	return now.UnixMilli() + int64(min(total, float64(maxReset.Milliseconds()))), total > 0
}

func unitMS(u string) (float64, bool) {
	switch u {
	case "ns":
		return 1e-6, true
	case "us", "µs":
		return 1e-3, true
	case "ms":
		return 1, true
	case "s":
		return 1e3, true
	case "m":
		return 60e3, true
	case "h":
		return 3600e3, true
	case "d":
		return 86400e3, true
	}
	return 0, false
}

// epoch reads seconds since 1970.
func epoch(b []byte, now time.Time) (int64, bool) {
	s, ok := number(b)
	if !ok || s < float64(now.Add(-maxReset).Unix()) {
		return 0, false // it is a span, or nonsense
	}
	return int64(min(s, float64(now.Add(maxReset).Unix())) * 1000), true
}

// moment reads a date as RFC 3339 has it. time.Parse would take a string, and allocate it.
func moment(b []byte, _ time.Time) (int64, bool) {
	const form = "2006-01-02T15:04:05"
	if len(b) < len(form)+1 || b[4] != '-' || b[7] != '-' || b[10]|0x20 != 't' || b[13] != ':' || b[16] != ':' {
		return 0, false
	}
	var f [6]int
	for i, at := range [...][2]int{{0, 4}, {5, 7}, {8, 10}, {11, 13}, {14, 16}, {17, 19}} {
		v, ok := whole2(b[at[0]:at[1]])
		if !ok {
			return 0, false
		}
		f[i] = v
	}
	if f[1] < 1 || f[1] > 12 || f[2] < 1 || f[2] > daysIn(f[0], f[1]) || f[3] > 23 || f[4] > 59 || f[5] > 59 {
		return 0, false
	}
	rest := b[len(form):]
	millis := 0
	if rest[0] == '.' {
		n := 1
		for scale := 100; n < len(rest) && rest[n] >= '0' && rest[n] <= '9'; n++ {
			millis += int(rest[n]-'0') * scale
			scale /= 10
		}
		if n == 1 {
			return 0, false
		}
		rest = rest[n:]
	}
	offset := 0
	switch {
	case len(rest) == 1 && rest[0]|0x20 == 'z':
	case len(rest) == 6 && (rest[0] == '+' || rest[0] == '-') && rest[3] == ':':
		h, ok1 := whole2(rest[1:3])
		m, ok2 := whole2(rest[4:6])
		if !ok1 || !ok2 || h > 24 || m > 60 { // as time.Parse has it
			return 0, false
		}
		if offset = h*60 + m; rest[0] == '-' {
			offset = -offset
		}
	default:
		return 0, false
	}
	at := time.Date(f[0], time.Month(f[1]), f[2], f[3], f[4]-offset, f[5], millis*int(time.Millisecond), time.UTC)
	return at.UnixMilli(), true
}

func whole2(b []byte) (int, bool) {
	v := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + int(c-'0')
	}
	return v, true
}

func daysIn(year, month int) int {
	return time.Date(year, time.Month(month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
}
