package judge

import (
	"cmp"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/pkg/breaker"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// Bounds of what one report is read of; its own rules say the same.
const (
	maxDeltas    = 20_000
	maxProbes    = 1_000
	maxLatencies = 2_000
	maxFamilies  = 64 // per account
	maxReasons   = 256
)

// longest is how long a proxy's own rest may be; what a provider orders may be breaker.MaxAsked.
const longest = 5 * time.Minute

// echo is how much longer than known a rest must be to be news: proxies also report what they were told, a little late.
const echo = 500 * time.Millisecond

// Report takes what one proxy saw since its report before.
func (j *Judge) Report(proxyID, bootID, hostname string, r *syncv1.HealthReport, now time.Time) {
	m := j.tell(now)
	p := j.meet(proxyID)
	if p == nil || r == nil {
		return
	}
	if !p.joined {
		p.joined = true
		j.muster()
	}
	if p.boot != bootID {
		if p.boot != "" {
			j.leave(p)
		}
		p.boot, p.sequence, p.sampled = strings.Clone(bootID), 0, 0
	}
	if r.GetSequence() <= p.sequence {
		return
	}
	p.sequence, p.reported, p.seen, p.host = r.GetSequence(), m, m, hostname
	p.count(m, r.GetStats())
	for _, o := range first(r.GetProbes(), maxProbes) {
		j.probed(p, o, m)
	}
	for _, d := range first(r.GetAccounts(), maxDeltas) {
		if a := j.accounts[d.GetAccountId()]; a != nil {
			j.delta(a, p, d, m)
		} else {
			j.await(p, d, m)
		}
	}
	for _, l := range first(r.GetLatencies(), maxLatencies) {
		j.fit(p, l, m)
	}
}

func first[T any](s []T, n int) []T { return s[:min(len(s), n)] }

// delta merges what p saw of a.
func (j *Judge) delta(a *account, p *proxy, d *syncv1.AccountDelta, m moment) {
	ok := min(d.GetOk(), most)
	var failed, other uint64
	for _, f := range d.GetFaults() {
		if f.GetUnhealthy() {
			failed = min(failed+min(f.GetCount(), most), most)
		} else {
			other = min(other+min(f.GetCount(), most), most)
		}
	}
	attempts := ok + failed + other
	if attempts > 0 || d.GetInFlight() > 0 || len(a.seats) > 0 {
		a.seat(p).inFlight = min(d.GetInFlight(), most)
	}
	if attempts > 0 || d.GetTokens() > 0 {
		s := a.seat(p)
		a.last = m
		s.add(m, float64(attempts))
		if ok > 0 {
			s.ok = m
		}
		j.stand(a.place, p, m, float64(attempts))
		j.merge(a, d, ok, failed, m)
		a.breaker.Add(j.time(m), int(ok), int(failed), &j.rules) //nolint:gosec // bounded above
	}
	j.window(a, p, d, attempts, m)
	if h := d.Headroom; h != nil && *h == *h { // not NaN
		a.headroom = float32(finite(*h, 0, 1))
		a.headroomReset = 0
		if left := span(d.GetHeadroomReset(), breaker.MaxAsked); left > 0 {
			a.headroomReset = m.add(left)
		}
	}
	if !a.Disabled {
		j.inRow(a, p, d, ok, failed, m)
		j.rests(a, p, d, failed+other > 0 || a.failed != 0 && m.sub(a.failed) < grace, m)
	}
}

// stand notes that p has traffic at a channel.
func (j *Judge) stand(c *place, p *proxy, m moment, n float64) {
	for i := range c.seats {
		if c.seats[i].proxy == p {
			c.seats[i].add(m, n)
			return
		}
	}
	c.seats = append(c.seats, seat{proxy: p, recent: n, at: m})
}

// merge adds counts to the window.
func (j *Judge) merge(a *account, d *syncv1.AccountDelta, ok, failed uint64, m moment) {
	t := a.traffic
	if t == nil {
		t = &traffic{}
		a.traffic = t
	}
	j.turn(t, m)
	h := &t.halves[0]
	h.ok, h.failed = plus(h.ok, ok), plus(h.failed, failed)
	t.rate[t.second%ring] = plus(t.rate[t.second%ring], ok+failed)
	h.tokens += min(d.GetTokens(), 1<<40)
	for i, n := range first(d.GetTtftHistogram(), buckets) {
		h.ttft[i] = plus(h.ttft[i], uint64(n))
	}
	if n := min(d.GetTtftRatioCount(), most); n > 0 && d.GetTtftRatioSum() >= 0 {
		h.ratio += finite(d.GetTtftRatioSum(), 0, 1000*float64(n))
		h.ratios = plus(h.ratios, n)
	}
	if n := min(d.GetDurationCount(), most); n > 0 {
		h.duration += min(d.GetDurationMsSum(), n*uint64(24*time.Hour/time.Millisecond))
		h.durations = plus(h.durations, n)
	}
	for _, f := range first(d.GetFaults(), maxFaults) {
		if f.GetCount() > 0 {
			h.fault(j.reason(f.GetReason()), f.GetCount())
		}
	}
}

func (j *Judge) turn(t *traffic, m moment) {
	t.turn(m, j.rules.Window, j.rules.MaxTTFTRatio, j.rules.MinRequests)
}

// inRow counts failures in a row over the fleet. Reports come a second at a time, so that their order is only known
// inside one proxy: what failed after its last good answer, or all where it had none. A proxy that alone sees failures
// where another is answered may be the one that is ill, and gets time to be contradicted; its failures still count in
// the rate.
func (j *Judge) inRow(a *account, p *proxy, d *syncv1.AccountDelta, ok, failed uint64, m moment) {
	limit := j.rules.ConsecutiveFailures
	if ok+failed == 0 || limit <= 0 || a.breaker.State() != breaker.Closed {
		return
	}
	seen := min(int(d.GetFailuresInRow()), most)
	fresh := int(failed) //nolint:gosec // at most a million
	contested := a.contested(p, m)
	switch {
	case ok > 0:
		a.row, a.rowBy, a.rowAt = min(seen, fresh), p, 0
	case a.row == 0:
		a.row, a.rowBy = fresh, p
	default:
		if a.rowBy != p {
			a.rowBy = nil
		}
		a.row = min(a.row+fresh, most)
	}
	if ok == 0 && !contested {
		a.row = max(a.row, seen) // a leader that is new, or a report that was lost
	}
	switch {
	case a.row < limit:
		a.rowAt = 0
	case a.rowBy != nil && contested:
		if a.rowAt == 0 {
			a.rowAt = m
		}
	default:
		j.trip(a, lastFault(d))
	}
}

// trip opens an account that failed too often in a row.
func (j *Judge) trip(a *account, fault string) {
	a.breaker.Open(j.time(j.now), breaker.ReasonConsecutive, 0, &j.rules)
	j.after(a, "last fault: "+cmp.Or(fault, "unknown"))
}

// lastFault names one of the report's faults against the account.
func lastFault(d *syncv1.AccountDelta) string {
	for _, f := range d.GetFaults() {
		if f.GetUnhealthy() && f.GetCount() > 0 {
			return bounded(f.GetReason())
		}
	}
	return ""
}

// window follows the account's session window: the oldest opening that is not over counts, and attempts open one.
func (j *Judge) window(a *account, p *proxy, d *syncv1.AccountDelta, attempts uint64, m moment) {
	if a.Session <= 0 {
		return
	}
	over := a.session == 0 || m.sub(a.session) >= a.Session
	opened := moment(0)
	if d.GetSessionAge() != nil {
		if age := span(d.GetSessionAge(), a.Session); age < a.Session {
			opened = m.add(-age)
		}
	}
	if opened == 0 && attempts > 0 && over {
		opened = m
	}
	switch {
	case opened == 0 && over:
		return
	case over:
		for i := range a.seats {
			a.seats[i].requests, a.seats[i].tokens = 0, 0
		}
		a.session, a.requests, a.tokens = opened, 0, 0
	case opened != 0 && opened < a.session:
		a.session = opened
	}
	if attempts > 0 || d.GetTokens() > 0 {
		s, tokens := a.seat(p), min(d.GetTokens(), 1<<40)
		s.requests, a.requests = s.requests+attempts, a.requests+attempts
		s.tokens, a.tokens = s.tokens+tokens, a.tokens+tokens
	}
}

// span is a duration from elsewhere: none below 0, none above longest.
func span(d *durationpb.Duration, longest time.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return min(max(d.AsDuration(), 0), longest)
}

// reason returns the judge's own copy of a fault's reason: there are a few dozen, and a report must not keep more.
func (j *Judge) reason(s string) string {
	if s == "" {
		return ""
	}
	if own, ok := j.reasons[s]; ok {
		return own
	}
	if len(j.reasons) >= maxReasons || len(s) > 64 {
		return "other"
	}
	own := strings.ToValidUTF8(strings.Clone(s), "?")
	j.reasons[own] = own
	return own
}

// bounded is a text from elsewhere that a decision may hold.
func bounded(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strings.ToValidUTF8(s, "?")
}
