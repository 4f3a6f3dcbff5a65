package judge

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// maxProxies bounds how many the judge knows; more get facts, and have no say.
const maxProxies = 10_000

// proxy is one that reports, or did.
type proxy struct {
	id, boot, host string
	joined         bool
	sequence       uint64
	reported       moment // 0 = never
	seen           moment // its report, or when it joined
	stats          *syncv1.ProxyStats
	samples        [12]sample
	sampled        int
	permits        []*permit // that it may hold
}

type sample struct {
	at                 moment
	requests, failures uint64
}

// seat is one proxy's traffic at an account or a channel.
type seat struct {
	proxy    *proxy
	inFlight uint32
	recent   float64 // attempts, those of half a minute ago as halves
	at       moment  // of recent
	ok       moment  // the last good answer; 0 = none
	requests uint64  // in the session window
	tokens   uint64
}

// halfLife of traffic that says who has it.
const halfLife = 30 * time.Second

// add counts attempts.
func (s *seat) add(m moment, n float64) {
	s.recent = s.level(m) + n
	s.at = m
}

// level is the traffic as of m.
func (s *seat) level(m moment) float64 {
	if s.recent == 0 {
		return 0
	}
	return s.recent * math.Exp2(-float64(m.sub(s.at))/float64(halfLife))
}

// stale reports whether nothing is left to know of the seat.
func (s *seat) stale(m moment) bool {
	return s.inFlight == 0 && s.requests == 0 && s.tokens == 0 && s.level(m) < 0.01
}

// Joined says that a proxy opened its stream of reports.
func (j *Judge) Joined(proxyID string, now time.Time) {
	m := j.tell(now)
	if p := j.meet(proxyID); p != nil && !p.joined {
		p.joined, p.seen = true, m
		j.muster()
	}
}

// Gone says that a proxy's stream ended. What it had under way is not counted any more; a permit of it stays until its
// time is over, for it may still be used.
func (j *Judge) Gone(proxyID string, now time.Time) {
	j.tell(now)
	if p := j.proxies[proxyID]; p != nil {
		j.part(p)
	}
}

// part takes p out of the fleet.
func (j *Judge) part(p *proxy) {
	if p.joined {
		p.joined = false
		j.leave(p)
		j.muster()
	}
}

// meet returns the proxy, new or known; nil when there are too many.
func (j *Judge) meet(id string) *proxy {
	p := j.proxies[id]
	if p == nil && id != "" && len(j.proxies) < maxProxies {
		p = &proxy{id: strings.Clone(id)}
		j.proxies[p.id] = p
	}
	return p
}

// leave forgets what p has under way.
func (j *Judge) leave(p *proxy) {
	mine := func(s seat) bool { return s.proxy == p }
	j.early = slices.DeleteFunc(j.early, func(e early) bool { return e.proxy == p })
	for _, a := range j.list {
		a.seats = slices.DeleteFunc(a.seats, mine)
		if a.rowBy == p {
			a.row, a.rowBy, a.rowAt = 0, nil, 0 // maybe it was its own
		}
		if a.prober == p {
			a.prober = nil
		}
	}
	for _, c := range j.channels {
		c.seats = slices.DeleteFunc(c.seats, mine)
	}
	for _, m := range j.models {
		m.seats = slices.DeleteFunc(m.seats, mine)
	}
}

// muster lists the proxies that report.
func (j *Judge) muster() {
	j.fleet = j.fleet[:0]
	for _, p := range j.proxies {
		if p.joined {
			j.fleet = append(j.fleet, p)
		}
	}
	slices.SortFunc(j.fleet, func(a, b *proxy) int { return cmp.Compare(a.id, b.id) })
	j.revision++
	j.fleetSince = j.revision
}

// alive reports whether p can be asked to try an account.
func (p *proxy) alive(m moment) bool {
	return p.joined && p.reported != 0 && m.sub(p.reported) <= alive
}

// count takes p's counters.
func (p *proxy) count(m moment, s *syncv1.ProxyStats) {
	if s == nil {
		return
	}
	if p.sampled > 0 && s.GetRequests() < p.samples[(p.sampled-1)%len(p.samples)].requests {
		p.sampled = 0
	}
	p.stats = s
	if p.sampled > 0 && m.sub(p.samples[(p.sampled-1)%len(p.samples)].at) < time.Second/2 {
		return // more often than once a second would push the ten seconds out
	}
	p.samples[p.sampled%len(p.samples)] = sample{m, s.GetRequests(), s.GetFailures()}
	p.sampled++
}

// rates are requests and failures per second over the last ten.
func (p *proxy) rates(m moment) (requests, failures float64) {
	if p.sampled == 0 {
		return 0, 0
	}
	last := p.samples[(p.sampled-1)%len(p.samples)]
	if m.sub(last.at) > lately {
		return 0, 0
	}
	first := last
	for n := p.sampled - 1; n >= 0 && n > p.sampled-1-len(p.samples); n-- {
		if s := p.samples[n%len(p.samples)]; last.at.sub(s.at) <= lately {
			first = s
		}
	}
	span := last.at.sub(first.at).Seconds()
	if span <= 0 {
		return 0, 0
	}
	requests = float64(last.requests-first.requests) / span
	if last.failures >= first.failures {
		failures = float64(last.failures-first.failures) / span
	}
	return requests, failures
}

// busiest is the live proxy with the most recent traffic among seats, not but if there is another; nil = none had any.
func busiest(seats []seat, but *proxy, m moment) *proxy {
	var best *proxy
	var most float64
	for i := range seats {
		s := &seats[i]
		if s.proxy == but || !s.proxy.alive(m) || m.sub(s.at) > lately {
			continue
		}
		if level := s.level(m); level > most {
			best, most = s.proxy, level
		}
	}
	return best
}
