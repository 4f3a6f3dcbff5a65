package limit

import (
	"math"
	"strconv"
	"time"

	"fairway/pkg/operation"
)

// Rate is where one kind of limit stands, as clients are told.
type Rate struct {
	// Limit is how much there is in a window; 0 = there is no such limit.
	Limit int64
	// Remaining is what is left of it over the fleet, as far as this proxy knows.
	Remaining int64
	// Reset is when the window ends.
	Reset time.Duration
}

// View is where a request's limits stand: those of requests and of tokens, of the scope with the least left.
type View struct{ Requests, Tokens Rate }

// View looks at the purses above a request. It takes nothing, and allocates nothing.
func (k *Keeper) View(s *Scopes, now time.Time) View {
	at := k.reading(now)
	var v View
	for _, t := range s {
		if t == nil {
			continue
		}
		w := t.wallet.Load()
		if w == nil {
			continue
		}
		for _, p := range *w.purses.Load() {
			switch p.what {
			case Requests:
				v.Requests.tighten(p, at)
			case Tokens:
				v.Tokens.tighten(p, at)
			}
		}
	}
	return v
}

// tighten takes a purse's rate where that has less left.
func (r *Rate) tighten(p *purse, at int64) {
	c := p.live(at)
	limit, ends := p.amount.Load(), c.ends.Load()
	left := p.left.Load()
	if at >= ends || left < 0 {
		left = limit // nothing is known of the window that is open now
	} else {
		left = min(plus(left, max(c.balance.Load(), 0)), limit)
	}
	if limit == 0 || r.Limit > 0 && r.Remaining <= left {
		return
	}
	*r = Rate{Limit: limit, Remaining: left}
	if ends != never {
		r.Reset = time.Duration(max(ends-at, 0))
	}
}

// Headers tells add the rate-limit headers of a dialect: x-ratelimit-* for OpenAI's, anthropic-ratelimit-* for Anthropic's,
// none for Gemini's, which has none. The value is valid during the call only; scratch is where it is written.
func (v *View) Headers(d operation.Dialect, now time.Time, scratch []byte, add func(name string, value []byte)) {
	var names *[2][3]string
	switch d {
	case operation.Anthropic:
		names = &[2][3]string{
			{"anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"},
			{"anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"},
		}
	case operation.Gemini:
		return
	default:
		names = &[2][3]string{
			{"x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"},
			{"x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"},
		}
	}
	for i, r := range [2]*Rate{&v.Requests, &v.Tokens} {
		if r.Limit == 0 {
			continue
		}
		add(names[i][0], strconv.AppendInt(scratch[:0], r.Limit, 10))
		add(names[i][1], strconv.AppendInt(scratch[:0], max(r.Remaining, 0), 10))
		if d == operation.Anthropic {
			// Rounded up: a client that comes back at that time must find room.
			at := now.Add(r.Reset + time.Second - 1).UTC().Truncate(time.Second)
			add(names[i][2], at.AppendFormat(scratch[:0], time.RFC3339))
		} else {
			add(names[i][2], appendSpan(scratch[:0], r.Reset))
		}
	}
}

// appendSpan writes a span as OpenAI does: 120ms, 6.5s, 6m0s, 1h2m3s.
func appendSpan(b []byte, d time.Duration) []byte {
	ms := int64(math.Ceil(float64(d) / float64(time.Millisecond)))
	if ms < 1000 {
		return append(strconv.AppendInt(b, ms, 10), "ms"...)
	}
	if h := ms / 3_600_000; h > 0 {
		b = append(strconv.AppendInt(b, h, 10), 'h')
	}
	if ms >= 60_000 {
		b = append(strconv.AppendInt(b, ms/60_000%60, 10), 'm')
	}
	b = strconv.AppendInt(b, ms/1000%60, 10)
	if rest := ms % 1000; rest != 0 && ms < 60_000 {
		b = append(b, '.', byte('0'+rest/100), byte('0'+rest/10%10), byte('0'+rest%10))
	}
	return append(b, 's')
}
