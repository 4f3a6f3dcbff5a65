package limit

import (
	"sync/atomic"
	"time"
)

// Estimate is what a request will probably use. It is one request, and one at once, besides.
type Estimate struct {
	Tokens int64 // input and output
	Cost   int64 // nano-USD
}

// Usage is what a request really used.
type Usage Estimate

// States of a reservation.
const (
	free uint32 = iota
	held
)

// Reservation is what one request has taken. Its zero value has taken nothing, and it may be used again once it is settled.
// It must not be copied.
type Reservation struct {
	// Unmetered says that the leader could not be reached, and a policy let the request in.
	Unmetered bool

	state   atomic.Uint32
	need    [whatCount]int64
	wallets [places]*wallet
	panes   [int(places) * maxLimits]*pane
	n       int
	refusal Refusal
	waits   *wallet // whose answer would help; nil = none would
	purse   *purse  // that it is about
}

// Reserve takes a request's estimate from every limit above it, or from none, and says which one refuses. It takes no lock
// and waits for nothing, but for the first use of terms, which opens their purses. now must be fresh: it is compared with
// the end of leases. What was reserved must be settled or cancelled, once.
//
// The refusal is valid until the reservation is used again.
func (k *Keeper) Reserve(r *Reservation, s *Scopes, e Estimate, now time.Time) *Refusal {
	return k.reserve(r, s, e, k.reading(now), false)
}

// reserve does so; last says that there is no more waiting.
func (k *Keeper) reserve(r *Reservation, s *Scopes, e Estimate, now int64, last bool) *Refusal {
	r.Unmetered = false
	if *s == (Scopes{}) {
		return nil
	}
	r.need = [whatCount]int64{Requests: 1, Tokens: clamp(e.Tokens), Concurrency: 1, Cost: clamp(e.Cost)}
	r.n, r.waits, r.purse, r.refusal = 0, nil, nil, Refusal{}
	for i, t := range s {
		r.wallets[i] = nil
		if t == nil {
			continue
		}
		t.maxima(r)
		w := k.enter(t, now)
		r.wallets[i] = w
		for _, p := range *w.purses.Load() {
			n := r.need[p.what]
			c := p.take(n, now, k.until(p))
			if c == nil {
				if c = k.lacking(r, t, w, p, n, now, last); c == nil {
					continue
				}
			} else if c.balance.Load() < p.low.Load() {
				k.ask(w)
			}
			r.panes[r.n] = c
			r.n++
		}
	}
	if r.refusal.Cause == 0 {
		r.state.Store(held)
		return nil
	}
	r.giveBack()
	return &r.refusal
}

// maxima refuses what is too much for one request.
func (t *Terms) maxima(r *Reservation) {
	if most, need := t.tokens, r.need[Tokens]; most > 0 && need > most {
		r.refuse(Refusal{Cause: TooMuch, Scope: t.scope, What: Tokens, Limit: most, Need: need})
	}
	if most, need := t.cost, r.need[Cost]; most > 0 && need > most {
		r.refuse(Refusal{Cause: TooMuch, Scope: t.scope, What: Cost, Limit: most, Need: need})
	}
}

func (r *Reservation) refuse(f Refusal) {
	if r.refusal.Cause == 0 || r.refusal.worse(&f) {
		r.refusal = f
	}
}

// lacking decides about a purse that holds too little. It returns the pane that n was taken from after all, or nil when it
// has refused.
func (k *Keeper) lacking(r *Reservation, t *Terms, w *wallet, p *purse, n, now int64, last bool) *pane {
	p.missed.Add(n)
	k.ask(w)
	f := Refusal{Scope: t.scope, What: p.what, Over: p.over, Minutes: p.minutes, Limit: p.amount.Load(), Need: n}
	away := k.away(now)
	switch {
	case n > f.Limit && f.Limit > 0:
		f.Cause = TooMuch
	case !last && p.waitable(now, k.until(p)):
		f.Cause, f.Retry = Pending, soon
		r.waits, r.purse = w, p
	case f.Limit == 0 || now < p.dry.Load() && p.short(n, now):
		f.Cause, f.Retry = Spent, p.again(now)
	case !away && !last && now >= p.quiet.Load():
		f.Cause, f.Retry = Pending, soon
		r.waits, r.purse = w, p
	case !away && p.live(now).number.Load() != 0 && now < k.until(p) && now >= p.vague.Load():
		f.Cause, f.Retry = Short, soon
	default:
		if c := k.beside(t.policy, p, n, now); c != nil {
			r.Unmetered = true
			return c
		}
		f.Cause, f.Retry = Away, soon
	}
	r.refuse(f)
	return nil
}

// short says whether what is held and what nobody holds, together, are less than n.
func (p *purse) short(n, now int64) bool {
	return plus(p.live(now).balance.Load(), max(p.left.Load(), 0)) < n
}

// again is when the limit has room again.
func (p *purse) again(now int64) time.Duration {
	if p.what == Concurrency {
		return soon
	}
	ends := p.live(now).ends.Load()
	switch {
	case p.over == Always || p.amount.Load() == 0:
		return 0
	case ends == never:
		return soon
	}
	return time.Duration(max(ends-now, 0))
}

// beside takes n from what the policy lets through.
func (k *Keeper) beside(policy Policy, p *purse, n, now int64) *pane {
	switch policy {
	case Open:
		p.aside.give(-n)
		return &p.aside
	case Safe:
		p.layOut(k.proxies.Load(), now)
		if p.aside.take(n) {
			return &p.aside
		}
	}
	return nil
}

// giveBack undoes what a reservation took.
func (r *Reservation) giveBack() {
	for _, c := range r.panes[:r.n] {
		c.give(r.need[c.purse.what])
	}
	r.leave()
}

// Tokens is the estimate that is reserved: 0 = nothing is, or not any more.
func (r *Reservation) Tokens() int64 {
	if r.state.Load() != held {
		return 0
	}
	return r.need[Tokens]
}

// leave ends the reservation in its wallets.
func (r *Reservation) leave() {
	r.n = 0
	for i, w := range r.wallets {
		if w != nil {
			w.users.Add(-1)
			r.wallets[i] = nil
		}
	}
}
