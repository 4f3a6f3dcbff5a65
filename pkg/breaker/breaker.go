package breaker

import (
	"math"
	"time"

	"fairway/pkg/splitmix"
)

// Reasons of states that rules alone led to. Others are the fault table's, or an operator's.
const (
	ReasonConsecutive = "consecutive_failures"
	ReasonErrorRate   = "error_rate"
	ReasonSlow        = "slow"
	ReasonDue         = "due"       // half open because its rest is over
	ReasonRecovered   = "recovered" // closed because a probe answered
	ReasonReset       = "reset"     // closed because somebody said so
	ReasonNew         = "new"       // closed, and never anything else
)

// MaxAsked bounds the rest that a provider may ask for; beyond a month a number is a mistake or an attack.
const MaxAsked = 31 * 24 * time.Hour

// jitter is how far a rest may be from what the rules say, either way, as a share of it: accounts that fell together do
// not come back together. What a provider asked for has none.
const jitter = 0.1

// Least is the share of its weight with which an account comes back.
const Least = 0.1

// Breaker is one account's. The zero value is closed. It is not safe for concurrent use.
//
// Times may come from a clock that is set while it runs: nothing that began in the future keeps an account out for
// longer than its whole rest.
type Breaker struct {
	// Seed makes the jitter of this account its own; 0 is as good as any, but accounts that share it and open in the same
	// moment rest equally long.
	Seed uint64

	state   State // 0 = Closed
	opens   int
	row     int
	since   time.Time // when state began; zero = unknown, long ago
	until   time.Time // of Open
	ordered bool
	reason  string
	window  window
}

// State is where the breaker stands.
func (b *Breaker) State() State {
	if b.state == 0 {
		return Closed
	}
	return b.state
}

// Health is all that is worth keeping of it. since is zero where it is unknown, until where the state has no end of its
// own; opens is how often in a row it opened.
func (b *Breaker) Health() (state State, reason string, since, until time.Time, opens int) {
	return b.State(), b.reason, b.since, b.until, b.opens
}

// Ordered reports whether it is open because its provider asked for that.
func (b *Breaker) Ordered() bool { return b.ordered }

// Restore makes it what Health and Ordered returned, maybe in another process. What was counted is lost.
func (b *Breaker) Restore(state State, reason string, since, until time.Time, opens int, ordered bool) {
	*b = Breaker{Seed: b.Seed, state: state, reason: reason, since: since, until: until, opens: max(opens, 0)}
	if state < Closed || state > Disabled {
		b.state = Closed
	}
	if b.state == Open {
		b.ordered = ordered
	} else {
		b.until = time.Time{}
	}
}

// Begin makes it that of a new account, which starts slowly.
func (b *Breaker) Begin(now time.Time) {
	b.Restore(Closed, ReasonNew, now, time.Time{}, 0, false)
}

// Success counts an attempt that was answered well.
func (b *Breaker) Success(now time.Time, r *Rules) {
	b.row = 0
	b.window.add(now, r.Window, 1, 0)
}

// Failure counts an attempt that speaks against the account, and opens when it is one too many, in a row or by rate.
// reason is the fault's; the state's says which rule it was.
func (b *Breaker) Failure(now time.Time, reason string, r *Rules) (opened bool) {
	b.window.add(now, r.Window, 0, 1)
	if b.State() != Closed {
		return false
	}
	b.row = min(b.row+1, math.MaxInt32)
	switch {
	case r.ConsecutiveFailures > 0 && b.row >= r.ConsecutiveFailures:
		b.open(now, ReasonConsecutive, 0, r)
	case b.Failing(now, r):
		b.open(now, ReasonErrorRate, 0, r)
	default:
		return false
	}
	return true
}

// Add counts attempts of many proxies. Their order is unknown, so that nothing is in a row; Tick judges the rate.
func (b *Breaker) Add(now time.Time, ok, failed int, r *Rules) {
	b.window.add(now, r.Window, ok, failed)
}

// Counts are the attempts in the window.
func (b *Breaker) Counts(now time.Time, r *Rules) (ok, failed uint64) {
	return b.window.sums(now, r.Window)
}

// Failing reports whether the account fails more often than it may, with enough attempts to say so.
func (b *Breaker) Failing(now time.Time, r *Rules) bool {
	ok, failed := b.window.sums(now, r.Window)
	all := ok + failed
	return all > 0 && all >= uint64(max(r.MinRequests, 0)) && float64(failed) > r.MaxErrorRate*float64(all)
}

// Open lets the account rest: for asked where its provider asked for that (0 = it did not), else by the rules, twice as
// long each time. One that rests already rests on, longer only when its provider asks for it.
func (b *Breaker) Open(now time.Time, reason string, asked time.Duration, r *Rules) {
	switch b.State() {
	case Disabled:
	case Open:
		if until := now.Add(min(asked, MaxAsked)); asked > 0 && until.After(b.until) {
			b.until, b.reason, b.ordered = until, reason, true
		}
	default:
		b.open(now, reason, asked, r)
	}
}

func (b *Breaker) open(now time.Time, reason string, asked time.Duration, r *Rules) {
	b.steady(now, r)
	b.opens = min(b.opens+1, math.MaxInt32)
	rest := min(asked, MaxAsked)
	if asked <= 0 {
		rest = b.rest(now, r)
	}
	b.enter(now, Open, reason)
	b.until, b.ordered = now.Add(rest), asked > 0
}

// rest is how long the rules say that the opening of now lasts: spread by a tenth either way, and never longer than the
// longest.
func (b *Breaker) rest(now time.Time, r *Rules) time.Duration {
	most := max(r.MaxOpen, 0)
	rest := min(max(r.Open, 0), most)
	for n := 1; n < b.opens && rest > 0 && rest < most; n++ {
		rest += min(rest, most-rest)
	}
	spread := time.Duration(jitter * float64(rest))
	low, high := rest-spread, min(rest+spread, most)
	return low + time.Duration(b.spread(now)*float64(high-low))
}

// spread is a number from 0 to 1 that differs between accounts and from one opening to the next, and is the same
// when the same happens again.
func (b *Breaker) spread(now time.Time) float64 {
	x := splitmix.Mix(b.Seed ^ uint64(now.UnixNano()) ^ uint64(b.opens)<<56) //nolint:gosec // bits, not a number
	return float64(x>>11) / (1 << 53)
}

// steady forgets earlier openings of an account that has served since for as long as a first rest: the next is a new
// trouble.
func (b *Breaker) steady(now time.Time, r *Rules) {
	if b.State() == Closed && (b.since.IsZero() || now.Sub(b.since) >= max(r.Open, r.SlowStart)) {
		b.opens = 0
	}
}

// Disable keeps the account out until somebody acts.
func (b *Breaker) Disable(now time.Time, reason string) {
	if b.State() == Disabled {
		return
	}
	b.enter(now, Disabled, reason)
}

// Tick moves on what time alone moves: the end of a rest, and the judgement of what Add counted.
func (b *Breaker) Tick(now time.Time, r *Rules) (changed bool) {
	if b.since.After(now) {
		// The clock was set back, or it was another's: the state begins now, and a rest is not cut short.
		b.until = shift(b.until, now.Sub(b.since))
		b.since = now
	}
	switch b.State() {
	case Open:
		if now.Before(b.until) {
			return false
		}
		b.enter(now, HalfOpen, ReasonDue)
		return true
	case Closed:
		b.steady(now, r)
		if b.Failing(now, r) {
			b.open(now, ReasonErrorRate, 0, r)
			return true
		}
	}
	return false
}

func shift(t time.Time, by time.Duration) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(by)
}

// Probed is how the one request went that tried a half-open account: it comes back slowly, or rests again, for asked
// where the provider asked for that. An outcome that comes when the account is no longer half open is too late.
func (b *Breaker) Probed(now time.Time, ok bool, reason string, asked time.Duration, r *Rules) {
	switch {
	case b.State() != HalfOpen:
	case ok:
		b.enter(now, Closed, ReasonRecovered)
	default:
		b.open(now, reason, asked, r)
	}
}

// Reset forgets all that was held against the account: somebody says that it is well. It comes back slowly.
func (b *Breaker) Reset(now time.Time) {
	b.opens = 0
	b.enter(now, Closed, ReasonReset)
}

// enter begins a state; what was counted in the one before is not held against it.
func (b *Breaker) enter(now time.Time, s State, reason string) {
	b.state, b.reason, b.since, b.until, b.ordered = s, reason, now, time.Time{}, false
	b.row = 0
	b.window = window{}
}

// Share is how much of its weight the account gets: from a tenth to all of it over Rules.SlowStart while it is new or
// comes back, nothing while it is not closed.
func (b *Breaker) Share(now time.Time, r *Rules) float64 {
	if b.State() != Closed {
		return 0
	}
	if age, coming := b.Coming(now, r); coming {
		return r.Share(age)
	}
	return 1
}

// Coming says whether the account is new or coming back, and for how long it has been.
func (b *Breaker) Coming(now time.Time, r *Rules) (age time.Duration, coming bool) {
	if b.State() != Closed || b.since.IsZero() || r.SlowStart <= 0 {
		return 0, false
	}
	age = max(now.Sub(b.since), 0)
	return age, age < r.SlowStart
}
