package health

import (
	"maps"
	"math"
	"slices"
	"time"

	"fairway/dataplane/internal/snapshot"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// facts are what the leader knows of one account. Spans have become times.
type facts struct {
	at         int64 // unix ms
	ok, failed uint64
	ratio, use float64 // 0 = unknown
	others     uint32  // attempts under way elsewhere
	mean       int64   // ms that an attempt takes
	ppm        uint32
	slowSince  int64   // unix ms since which it has been coming back; 0 = it is back
	room       float64 // -1 = unknown
	roomReset  int64
	rest       *rest
	families   []*syncv1.FamilyRest
	session    session
}

// session is an account's usage window as the leader knows it.
type session struct {
	began            int64 // unix ms; 0 = none is open
	requests, tokens int64 // that others used
}

// factTime is how long facts count in full; they have faded when twice that is over.
const factTime = 30_000 // ms

// weight is how much facts count: 1, and then less and less.
func (f *facts) weight(nowMS int64) float64 {
	if f == nil {
		return 0
	}
	age := nowMS - f.at
	return min(max(float64(2*factTime-age)/factTime, 0), 1)
}

// fresh says whether what is under way elsewhere is still worth something.
func (f *facts) fresh(nowMS int64) bool {
	return f.mean > 0 && nowMS-f.at <= f.mean/8 && nowMS >= f.at
}

// Apply takes over what the leader says.
func (k *Keeper) Apply(u *syncv1.HealthUpdate, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.heard = now
	if u.GetTerm() == k.term && !u.GetFull() && u.GetRevision() < k.revision {
		return // older than what is known
	}
	if u.GetTerm() != k.term && k.term != "" {
		k.log.Info("another leader looks after the fleet's health", "term", u.GetTerm())
	}
	k.term, k.revision = u.GetTerm(), u.GetRevision()
	k.adopt(now)
	nowMS := now.UnixMilli()
	named := make(map[snapshot.AccountID]bool)
	for _, a := range u.GetAccounts() {
		id := snapshot.AccountID(a.GetAccountId())
		if u.GetFull() {
			named[id] = true
		}
		f := factsOf(a, nowMS)
		if w := k.known(id); w != nil {
			k.learn(w, f, nowMS)
			k.fold(w, now)
		} else if len(k.pending) < maxPending {
			k.pending[id] = f // its account is on its way
		}
	}
	if u.GetFull() {
		for _, w := range k.list {
			if w.facts != nil && !named[w.id] {
				k.learn(w, nil, nowMS)
				k.fold(w, now)
			}
		}
		maps.DeleteFunc(k.pending, func(id snapshot.AccountID, _ *facts) bool { return !named[id] })
	}
	k.applyFits(u)
	if u.GetProxiesChanged() || u.GetFull() {
		k.proxies = slices.Sorted(slices.Values(u.GetProxies()))
		k.proxies = slices.Compact(k.proxies)
		if at, ok := slices.BinarySearch(k.proxies, k.id()); ok {
			k.self = at
		} else {
			k.self = -1
		}
	}
	var granted []*permit
	for _, p := range u.GetPermits() {
		granted = append(granted, newPermit(p, now))
	}
	k.grant(granted)
}

// maxPending bounds the facts that wait for their account.
const maxPending = 100_000

func (k *Keeper) applyFits(u *syncv1.HealthUpdate) {
	if len(u.GetLatencies()) == 0 && !u.GetFull() {
		return
	}
	next := make(map[string]fit)
	if old := k.fits.Load(); old != nil && !u.GetFull() {
		next = maps.Clone(*old)
	}
	for _, l := range u.GetLatencies() {
		if finite(l.GetBaseMs()) && finite(l.GetMsPerToken()) && (len(next) < maxModels || next[l.GetModel()] != (fit{})) {
			next[l.GetModel()] = fit{base: l.GetBaseMs(), perToken: l.GetMsPerToken()}
		}
	}
	k.fits.Store(&next)
}

func finite(v float64) bool { return v >= 0 && !math.IsInf(v, 0) }

func factsOf(a *syncv1.AccountFacts, nowMS int64) *facts {
	f := &facts{
		at: nowMS, ok: a.GetOk(), failed: a.GetFailed(), others: a.GetInFlightOthers(),
		mean: a.GetMeanDuration().AsDuration().Milliseconds(), ppm: min(a.GetSharePpm(), whole), room: -1, families: a.GetFamilies(),
	}
	if finite(a.GetTtftRatio()) {
		f.ratio = a.GetTtftRatio()
	}
	if finite(a.GetUseFactor()) {
		f.use = a.GetUseFactor()
	}
	if s := a.GetSlowStartAge(); s != nil {
		f.slowSince = max(nowMS-s.AsDuration().Milliseconds(), 1)
	}
	if a.Headroom != nil && finite(a.GetHeadroom()) {
		f.room, f.roomReset = min(a.GetHeadroom(), 1), nowMS+a.GetHeadroomReset().AsDuration().Milliseconds()
	}
	if r := a.GetRest(); r != nil && r.AsDuration() > 0 {
		f.rest = &rest{until: nowMS + ms(r.AsDuration()), ordered: a.GetRestOrdered(), reason: a.GetRestReason()}
	}
	if s := a.GetSessionAge(); s != nil {
		f.session = session{
			began: max(nowMS-s.AsDuration().Milliseconds(), 1), requests: int64(min(a.GetSessionRequests(), math.MaxInt64)),
			tokens: int64(min(a.GetSessionTokens(), math.MaxInt64)),
		}
	}
	return f
}

// known is the ward of an account that the snapshot has, with a new one if need be; nil = it has none. The caller holds the
// lock.
func (k *Keeper) known(id snapshot.AccountID) *ward {
	if w := k.wards[id]; w != nil {
		return w
	}
	a := k.index[id]
	if a == nil {
		return nil
	}
	w := k.ward(a)
	k.gather()
	return w
}

// learn puts new facts in the place of the old, nil = none, and does what cannot wait. The caller holds the lock.
func (k *Keeper) learn(w *ward, f *facts, nowMS int64) {
	old := w.facts
	w.facts = f
	if old != nil && old.rest != nil && (f == nil || f.rest == nil) {
		// The leader ended it before its time.
		until := &w.cell.CooldownUntil
		if old.rest.ordered {
			until = &w.cell.HeldUntil
		}
		until.CompareAndSwap(old.rest.until, 0)
	}
	if f == nil {
		return
	}
	if r := f.rest; r != nil {
		if r.ordered {
			w.cell.Hold(r.until)
		} else {
			w.cell.Cool(r.until)
		}
	}
	for _, r := range f.families {
		if d := r.GetRest().AsDuration(); d > 0 {
			k.layFamily(w.cell, r.GetFamily(), familyRest{until: nowMS + ms(d), reason: r.GetReason()}, nowMS)
		}
	}
	f.families = nil
	if s := &f.session; s.began != 0 {
		k.join(w, s)
	}
}

// join takes over a usage window that another proxy opened, and what others used of it. Of two that opened one each at
// about the same time the earlier counts.
func (k *Keeper) join(w *ward, s *session) {
	a := w.account.Load()
	length := a.Caps.Session.Length.Milliseconds()
	if length == 0 {
		return
	}
	p := w.capped()
	own := p.opened.Load()
	switch {
	case s.began >= own+length || own == 0:
		p.opened.Store(s.began)
		p.used.Store(0)
		p.usedTokens.Store(0)
		own = s.began
	case own >= s.began+length:
		return // over: here another is open already
	case s.began < own:
		p.opened.Store(s.began)
		own = s.began
	}
	p.othersStarted.Store(own)
	p.othersUsed.Store(s.requests)
	p.othersTokens.Store(s.tokens)
}
