package bank

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// proxy keeps the proxies' side of the contract, to the letter and no better.
type proxy struct {
	boot     string
	term     int64
	sequence uint64
	lastFull uint64
	declare  bool
	asked    map[uint64]time.Duration // when requests were sent
	heard    time.Duration            // when the newest that was answered was sent
	ever     bool
	limits   []ID
	demand   map[ID]int64 // what it would like to hold
	least    map[ID]int64
	purses   map[slot]*purse
	dead     bool
	ttl      time.Duration
	ttlBooks time.Duration
	lapsed   func(p *proxy, u *purse) // told when a lease with something in it ends by silence
	states   map[ID]syncv1.GrantState
	left     map[ID]int64
}

type slot struct {
	id     ID
	window int64
}

type purse struct {
	slot
	granted, returned, used, booked int64
	begin, end                      time.Duration
	keep                            int64
	void                            bool
}

func (u *purse) held() int64 { return u.granted - u.returned - u.used }

func newProxy(boot string, limits ...ID) *proxy {
	return &proxy{
		boot: boot, declare: true, limits: limits, asked: map[uint64]time.Duration{}, demand: map[ID]int64{},
		least: map[ID]int64{}, purses: map[slot]*purse{}, states: map[ID]syncv1.GrantState{}, left: map[ID]int64{},
		ttl: 10 * time.Second, ttlBooks: time.Minute,
	}
}

// valid tells whether credits of this kind may be spent now.
func (p *proxy) valid(k Kind, now time.Duration) bool {
	ttl := p.ttl
	if k.Booked() {
		ttl = p.ttlBooks
	}
	return p.ever && now-p.heard < ttl
}

// now returns the purse of the window that is now.
func (p *proxy) now(id ID, now time.Duration) *purse {
	for _, u := range p.purses {
		if u.id == id && u.begin <= now && now < u.end {
			return u
		}
	}
	return nil
}

// take spends n credits if it may.
func (p *proxy) take(id ID, n int64, now time.Duration) bool {
	p.expire(now)
	u := p.now(id, now)
	if u == nil || !p.valid(id.Kind, now) || u.held() < n {
		return false
	}
	u.used += n
	return true
}

func (p *proxy) expire(now time.Duration) {
	for _, u := range p.purses {
		if !p.valid(u.id.Kind, now) {
			if !u.void && p.lapsed != nil {
				p.lapsed(p, u)
			}
			u.void = true
			u.returned = max(u.returned, u.granted-u.used)
		}
	}
}

// request says what it holds and wants.
func (p *proxy) request(now time.Duration, full bool) *syncv1.LeaseRequest {
	p.expire(now)
	p.sequence++
	p.asked[p.sequence] = now
	r := &syncv1.LeaseRequest{BootId: p.boot, Sequence: p.sequence, Term: p.term, Full: full || p.declare}
	if r.Full {
		p.lastFull, p.declare = p.sequence, false
	}
	for _, u := range slices.SortedFunc(maps.Values(p.purses), func(a, b *purse) int {
		return cmp.Or(cmp.Compare(a.window, b.window), cmp.Compare(a.id.What, b.id.What), cmp.Compare(a.id.ID, b.id.ID), cmp.Compare(a.id.Period, b.id.Period))
	}) {
		over := now >= u.end
		want := p.demand[u.id]
		switch {
		case over:
			u.returned, want = max(u.returned, u.granted-u.used), 0
		case u.id.slots() && u.granted-u.returned > u.keep:
			u.returned = u.granted - u.keep
		case !u.id.slots() && u.held() > u.keep:
			u.returned += u.held() - u.keep
		case u.held() > want:
			u.returned += u.held() - want
		}
		u.keep = all
		h := &syncv1.Holding{
			Limit: u.id.ref(), Window: u.window, Granted: u.granted, Returned: u.returned, Used: max(0, u.used),
			Booked: u.booked, Want: want, Least: p.least[u.id],
		}
		if u.end < never {
			h.EndsIn = durationpb.New(max(0, u.end-now))
		}
		r.Holdings = append(r.Holdings, h)
	}
	for _, id := range p.limits {
		if p.now(id, now) == nil && p.demand[id] > 0 {
			r.Holdings = append(r.Holdings, &syncv1.Holding{Limit: id.ref(), Want: p.demand[id], Least: p.least[id]})
		}
	}
	return r
}

const never = time.Duration(1 << 62)

// hear takes an answer.
func (p *proxy) hear(r *syncv1.LeaseResponse, now time.Duration) {
	p.expire(now)
	if r == nil || r.GetTerm() < p.term || r.GetSequence() < p.lastFull {
		return
	}
	p.term = r.GetTerm()
	if r.GetDeclare() {
		p.declare = true
		return
	}
	sent := p.asked[r.GetSequence()]
	if r.GetTtl() != nil && (!p.ever || sent > p.heard) {
		p.ever, p.heard = true, sent
		p.ttl, p.ttlBooks = r.GetTtl().AsDuration(), r.GetBookedTtl().AsDuration()
	}
	for _, g := range r.GetGrants() {
		at := slot{idOf(g.GetLimit()), g.GetWindow()}
		p.states[at.id], p.left[at.id] = g.GetState(), g.GetLeft()
		u := p.purses[at]
		if g.GetState() == syncv1.GrantState_GRANT_STATE_OVER || g.GetWindow() == 0 {
			delete(p.purses, at)
			continue
		}
		end := never
		if g.GetEndsIn() != nil {
			end = sent + g.GetEndsIn().AsDuration()
		}
		if u == nil {
			if g.GetState() != syncv1.GrantState_GRANT_STATE_OPEN || end <= now {
				continue
			}
			u = &purse{slot: at, keep: all, begin: now, end: end}
			if g.GetStartsIn() != nil {
				u.begin = now + g.GetStartsIn().AsDuration()
			}
			p.purses[at] = u
		}
		u.granted = max(u.granted, g.GetGranted())
		u.void = false
		if g.Keep != nil {
			u.keep = g.GetKeep()
		}
	}
	p.expire(now)
}
