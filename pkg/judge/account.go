package judge

import (
	"time"

	"fairway/pkg/breaker"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Account is what the judge has to know of one. Slices are shared and never changed.
type Account struct {
	ID, Name           string
	Channel, ChannelID string
	Provider           int32    // a resource.v1.Provider
	Organization       string   // with Provider: whose limits it shares; "" = nobody's
	Credential         string   // differs when the secret does: a hash or a version, never the secret
	Token              string   // changes with each short-lived credential that the account's is exchanged for; "" = it is not
	Models             []string // as clients name them
	Groups             []string
	Priority           int32 // of its channel: with each group, a tier
	ChannelWeight      float64
	Weight             float64 // among its channel's accounts
	Disabled           bool    // by an operator, or by its channel's being so
	Capped             bool    // it has caps or plan limits that proxies share
	Session            time.Duration
	Verdict            *resourcev1.AccountHealth // what was decided last; nil = nothing ever was
}

// account is one, with all that is known of it.
type account struct {
	Account
	gone    bool
	hash    uint64
	breaker breaker.Breaker
	state   breaker.State // as j.after saw it last
	since   time.Time     // likewise
	opens   int           // likewise
	until   time.Time     // likewise
	out     bool          // counted as out by its tiers
	tiers   []*tier
	place   *place
	portion float64 // of the weights of its tier's channels, not of their sum
	detail  string

	// Failures in a row, over the fleet.
	row   int
	rowBy *proxy // the only one that saw them; nil = several
	rowAt moment // since when they are too many, but contested; 0 = they are not

	traffic  *traffic // nil = none for a while
	last     moment   // attempt
	seats    []seat   // proxies with traffic here
	forgiven moment   // when the past was last forgotten

	soft     rest // of proxies
	ordered  rest // of the provider
	families []family

	headroom      float32 // -1 = not known
	headroomReset moment
	session       moment // when its window opened; 0 = never
	requests      uint64 // in it
	tokens        uint64

	permit     *permit
	permitFrom moment // no sooner
	prober     *proxy // the last, where it did not succeed
	failed     moment // when a permit did last
	unused     bool   // the last permit was not
	checkAt    moment // when it is looked after, if nothing came until then

	queued  uint8  // classes of decisions that it waits in, as bits
	writing uint64 // the decision that is being kept; 0 = none
	saved   saved
	retryAt moment

	use        float32 // factor of least_used; 0 = not known
	gist       uint64  // of the facts that went out
	revision   uint64
	prev, next *account // by revision
}

type rest struct {
	until  moment // 0 = none
	reason string
}

type family struct {
	name string
	rest
}

// admit makes a configured account known.
func (j *Judge) admit(c *Account, m moment) *account {
	a := &account{Account: *c, hash: j.hash(c.ID), headroom: -1}
	a.breaker.Seed = a.hash
	now := j.time(m)
	switch v := c.Verdict; {
	case v != nil:
		a.breaker.Restore(breaker.State(v.GetState()), v.GetReason(), j.heard(v.GetSince()), j.heard(v.GetUntil()), int(v.GetOpens()), v.GetOrdered())
		a.breaker.Tick(now, &j.calm) // a beginning in the future is another's clock
	case j.configured:
		a.breaker.Begin(now)
	}
	a.saved = a.verdict()
	state := a.saved.state
	a.state, a.since, a.until, a.opens = state, a.saved.since, a.saved.until, a.saved.opens
	if v := c.Verdict; v != nil && breaker.State(v.GetState()) != state {
		a.saved = saved{state: breaker.State(v.GetState())}
		j.enqueue(a)
	}
	if state == breaker.HalfOpen {
		j.half = append(j.half, a)
	}
	// The first looks at all accounts are spread over one interval.
	a.checkAt = m.add(time.Duration(a.hash % uint64(max(j.rules.CheckInterval, 1)))) //nolint:gosec // below an interval
	if state != breaker.Closed || j.coming(a, m) {
		j.bump(a)
	}
	return a
}

// renew gives an account with a new credential a new chance: what the old one did is not held against it.
func (j *Judge) renew(a *account, m moment) {
	a.forgive(m)
	a.headroom, a.session, a.checkAt = -1, 0, m
	if a.breaker.State() == breaker.Closed {
		j.bump(a)
		return
	}
	a.breaker.Restore(breaker.Closed, "new_credential", j.time(m), time.Time{}, 0, false)
	j.after(a, "its credential was replaced")
}

// refused says whether the account is disabled because its credential was refused: a token that was taken back is no reason
// to refuse the next one.
func (a *account) refused() bool {
	state, reason, _, _, _ := a.breaker.Health()
	return state == breaker.Disabled && reason == "credential"
}

// forgive forgets failures and rests.
func (a *account) forgive(m moment) {
	a.row, a.rowBy, a.rowAt = 0, nil, 0
	a.soft, a.ordered, a.families = rest{}, rest{}, nil
	a.forgiven, a.prober, a.unused = m, nil, false
}

// dismiss forgets an account that is configured no more.
func (j *Judge) dismiss(a *account) {
	a.gone = true
	if a.permit != nil {
		j.end(a)
	}
	j.unlink(a)
	j.leaveHalf(a)
}

// after is called when a's breaker may have changed: it tells proxies, and has it kept.
func (j *Judge) after(a *account, detail string) {
	state, _, since, until, opens := a.breaker.Health()
	if state == a.state && since.Equal(a.since) && until.Equal(a.until) && opens == a.opens {
		return
	}
	was := a.state
	a.state, a.since, a.until, a.opens, a.detail = state, since, until, opens, detail
	a.count()
	a.row, a.rowBy, a.rowAt = 0, nil, 0
	if state == breaker.Closed {
		// What proxies said before that is over.
		a.soft, a.prober, a.unused, a.forgiven = rest{}, nil, false, j.now
		a.checkAt = j.now.add(j.rules.CheckInterval)
		if a.traffic != nil {
			a.traffic.unslow()
		}
	}
	switch {
	case state == breaker.HalfOpen && was != breaker.HalfOpen:
		j.half = append(j.half, a)
		a.permitFrom, a.unused = 0, false
	case state != breaker.HalfOpen && was == breaker.HalfOpen:
		j.leaveHalf(a)
	}
	j.bump(a)
	j.enqueue(a)
}

func (j *Judge) leaveHalf(a *account) {
	for i, b := range j.half {
		if a == b {
			j.half[i] = j.half[len(j.half)-1]
			j.half[len(j.half)-1] = nil
			j.half = j.half[:len(j.half)-1]
			return
		}
	}
}

// coming says whether a comes back or is new.
func (j *Judge) coming(a *account, m moment) bool {
	_, coming := a.breaker.Coming(j.time(m), &j.rules)
	return coming
}

// seat returns p's at a; it is added where there is none.
func (a *account) seat(p *proxy) *seat {
	for i := range a.seats {
		if a.seats[i].proxy == p {
			return &a.seats[i]
		}
	}
	a.seats = append(a.seats, seat{proxy: p})
	return &a.seats[len(a.seats)-1]
}

// inFlight is how many attempts are under way, without those of one proxy.
func (a *account) inFlight(without *proxy) uint64 {
	var n uint64
	for i := range a.seats {
		if a.seats[i].proxy != without {
			n += uint64(a.seats[i].inFlight)
		}
	}
	return n
}

// contested reports whether another proxy than p was answered well here lately: then p's failures may be its own.
func (a *account) contested(p *proxy, m moment) bool {
	for i := range a.seats {
		if s := &a.seats[i]; s.proxy != p && s.ok != 0 && m.sub(s.ok) <= lately {
			return true
		}
	}
	return false
}
