// Package judge is the leader's engine of health: it merges what all proxies saw of each account, decides which rest, who
// tries them again and how they come back, and says what every proxy has to know of it.
//
// It is pure: times come from the caller, reports and updates are messages that others carry, and decisions are handed
// out to be kept. It refuses to store, send or log anything, to know why an attempt failed (proxies say what a fault
// meant), and to choose who serves a request (they do that too). All that it counts is soft: a new leader starts with
// the verdicts that were kept and with what proxies say next.
//
// Its memory is bounded by the accounts, and by proxies where they have traffic: about 1.2 kB per account that is idle,
// 600 bytes more while it has traffic, and 60 for each proxy that sends it (BenchmarkMemory).
package judge

import (
	"cmp"
	"hash/fnv"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/pkg/breaker"
)

// PermitTTL is how long a permit may be used at most. A new leader, which does not know what its predecessor granted,
// grants none before it is over.
const PermitTTL = 30 * time.Second

// Options of a Judge. The zero value works, for a leader that may have had predecessors.
type Options struct {
	Term               string    // names the leadership, in updates and in ids of permits, in 40 bytes at most; "" = "0"
	Leader             string    // id of the replica that leads, for views; "" = not said
	Now                time.Time // when it began to lead; zero = at the first call
	FirstEver          bool      // nobody led before: permits need not wait
	Seed               uint64    // of what is drawn by chance; 0 is as good as any
	DecisionsPerSecond int       // to be kept; more wait, disabled accounts first; 0 = 100
	ChecksPerSecond    int       // permits, those of half-open accounts first; 0 = 200
}

// moment is a time as the judge counts it, in nanoseconds: it never goes back, whatever is done to the clock. 0 is long
// before it began.
type moment int64

// beginning is the moment at which a judge begins: far enough from 0 for all that happened before.
const beginning = moment(366 * 24 * time.Hour)

func (m moment) add(d time.Duration) moment { return m + moment(d) }

// sub is how long before m the other moment was.
func (m moment) sub(o moment) time.Duration { return time.Duration(m - o) }

// Spans of the judge's own.
const (
	scanEvery  = time.Second      // all accounts are looked at
	factsEvery = 5 * time.Second  // weights go out
	alive      = 10 * time.Second // since a proxy's last report, for it to get permits
	lately     = 10 * time.Second // traffic that is recent enough to go by
	contest    = 2 * time.Second  // for other proxies to contradict one that alone sees failures
	silence    = time.Minute      // after which a proxy that says nothing is gone
	stride     = 24 * time.Hour   // at most, between two calls
	grace      = 2 * time.Second  // after a reset, in which rests without new failures are echoes
)

// Judge is the leader's. It is not safe for concurrent use.
type Judge struct {
	o     Options
	rules breaker.Rules
	calm  breaker.Rules // rules without rates: for accounts that may not be ejected by them

	began bool
	base  time.Time // of the moment 0
	wall  time.Time // the newest time that a caller gave
	now   moment

	accounts map[string]*account
	early    []early    // oldest first
	list     []*account // by channel and name
	tiers    map[tierID]*tier

	organizations map[organizationID]*organization

	channels   map[string]*place
	models     map[string]*model
	proxies    map[string]*proxy
	fleet      []*proxy // by id
	configured bool
	reasons    map[string]string // interned, a few dozen

	revision   uint64
	fleetSince uint64   // revision of the list of proxies
	oldest     *account // of those that have facts, by revision
	newest     *account

	scanned, batched moment
	decisions        bucket
	decided          uint64 // decisions ever made
	waiting          [classes][]*account
	retries          []*account

	half      []*account // half open
	checks    bucket
	turns     uint64 // of half-open accounts
	cursor    int    // of idle checks in list
	permits   map[string]*account
	permitted uint64 // permits ever granted, for their ids
	grantFrom moment
}

// New returns a judge without accounts.
func New(o Options) *Judge {
	o.Term = cmp.Or(o.Term, "0")
	j := &Judge{
		o: o, rules: breaker.Defaults(),
		accounts: map[string]*account{}, tiers: map[tierID]*tier{}, organizations: map[organizationID]*organization{}, channels: map[string]*place{}, models: map[string]*model{},
		proxies: map[string]*proxy{}, reasons: map[string]string{}, permits: map[string]*account{},
		revision:  1, // 0 asks for everything
		decisions: newBucket(cmp.Or(max(o.DecisionsPerSecond, 0), 100)), checks: newBucket(cmp.Or(max(o.ChecksPerSecond, 0), 200)),
	}
	j.calm = j.rules
	if !o.Now.IsZero() {
		j.tell(o.Now)
	}
	return j
}

// tell takes the time from a caller. A clock that was set back stands still instead, until spans pass again; one that
// was set forward has passed a day at most.
func (j *Judge) tell(now time.Time) moment {
	if !j.began {
		j.began = true
		j.base, j.wall, j.now = now.Add(-time.Duration(beginning)), now, beginning
		j.scanned, j.batched = j.now, j.now
		j.decisions.at, j.checks.at = j.now, j.now
		j.grantFrom = j.now
		if !j.o.FirstEver {
			j.grantFrom = j.now.add(PermitTTL)
		}
	}
	j.now = j.now.add(min(max(now.Sub(j.wall), 0), stride))
	j.wall = now
	return j.now
}

// time is a moment for breakers: it runs as moments do.
func (j *Judge) time(m moment) time.Time { return j.base.Add(time.Duration(m)) }

// clock is a breaker's time as the caller's clock shows it; zero stays zero.
func (j *Judge) clock(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return j.wall.Add(t.Sub(j.time(j.now))).Round(0)
}

// heard is a time of the caller's clock as breakers know it: clock's opposite.
func (j *Judge) heard(t *timestamppb.Timestamp) time.Time {
	if t == nil || t.CheckValid() != nil {
		return time.Time{}
	}
	return j.time(j.now).Add(t.AsTime().Sub(j.wall))
}

// Configure tells the rules and the whole set of accounts, at first and when they change. The verdict of an account
// counts when it is seen for the first time; later the judge knows better, and hears of operators by Reset. A new
// credential is a new chance.
func (j *Judge) Configure(rules breaker.Rules, accounts []Account, now time.Time) {
	m := j.tell(now)
	j.rules, j.calm = rules, rules
	j.calm.MaxErrorRate = 1
	seen := make(map[string]*account, len(accounts))
	list := make([]*account, 0, len(accounts))
	for i := range accounts {
		c := &accounts[i]
		if c.ID == "" || seen[c.ID] != nil {
			continue
		}
		a := j.accounts[c.ID]
		switch {
		case a == nil:
			a = j.admit(c, m)
		case a.Credential != c.Credential:
			a.Account = *c
			j.renew(a, m)
		case a.Token != c.Token && a.refused():
			a.Account = *c
			j.renew(a, m)
		default:
			woken := a.Disabled && !c.Disabled
			a.Account = *c
			if woken {
				a.checkAt = m
			}
		}
		seen[c.ID] = a
		list = append(list, a)
	}
	for id, a := range j.accounts {
		if seen[id] == nil {
			j.dismiss(a)
		}
	}
	slices.SortFunc(list, func(a, b *account) int {
		return cmp.Or(cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	j.accounts, j.list, j.configured = seen, list, true
	j.arrange()
	j.catchUp(m)
}

// Reset is an operator's word that the account is well. It is kept already: no decision comes of it, and one that is
// being kept is void.
func (j *Judge) Reset(accountID string, now time.Time) {
	m := j.tell(now)
	a := j.accounts[accountID]
	if a == nil {
		return
	}
	a.forgive(m)
	a.breaker.Reset(j.time(m))
	j.after(a, "an operator reset it")
	a.saved, a.writing = a.verdict(), 0
}

// Tick moves on what time moves, and returns what has to be kept, a bounded number at a time: each is answered by
// Persisted. Call it several times a second.
func (j *Judge) Tick(now time.Time) []Decision {
	m := j.tell(now)
	if m.sub(j.scanned) >= scanEvery {
		j.scanned = m
		j.scan(m)
	}
	if m.sub(j.batched) >= factsEvery {
		j.batched = m
		j.batch(m)
	}
	j.grant(m)
	return j.decide(m)
}

// bucket bounds how much happens in a second; what a second did not use is lost.
type bucket struct {
	rate, left float64
	at         moment
}

func newBucket(perSecond int) bucket {
	return bucket{rate: float64(perSecond), left: float64(perSecond)}
}

func (b *bucket) refill(m moment) {
	b.left = min(b.rate, b.left+b.rate*m.sub(b.at).Seconds())
	b.at = m
}

func (b *bucket) take() bool {
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// hash spreads things over time and proxies.
func (j *Judge) hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return h.Sum64() ^ j.o.Seed
}
