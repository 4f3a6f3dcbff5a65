package limit

import (
	"math"
	"slices"
	"sync/atomic"
)

// retired is the number of users of a wallet that is no longer in use; adding to it leaves it below 0.
const retired = math.MinInt64 / 2

// wallet is a scope's purses. It lives as long as the scope is in use here, whatever becomes of its terms.
type wallet struct {
	scope Scope
	id    string

	users  atomic.Int64 // reservations that are held; below 0 = it is retired
	used   atomic.Int64 // when the last one was asked for
	purses atomic.Pointer[[]*purse]

	asking atomic.Bool // it is on the keeper's stack of those with something to ask
	next   *wallet     // on that stack

	// Guarded by Keeper.mu.
	version int64    // of the terms
	asked   int64    // when the last question about it was put
	former  []*purse // of limits that are gone; what was lent goes back
	waiters int
	news    chan struct{} // closed and replaced by an answer of the leader; nil = nobody waits
}

// scopeID names a wallet.
type scopeID struct {
	scope Scope
	id    string
}

// enter finds the wallet of terms and counts a reservation in it.
func (k *Keeper) enter(t *Terms, now int64) *wallet {
	w := t.wallet.Load()
	if w != nil {
		if w.users.Add(1) > 0 {
			w.used.Store(now)
			return w
		}
		w.users.Add(-1)
	}
	return k.open(t, now)
}

// open finds or makes the wallet of terms, the first time that they are used.
func (k *Keeper) open(t *Terms, now int64) *wallet {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := scopeID{t.scope, t.id}
	w := k.wallets[at]
	if w == nil || w.users.Add(1) < 0 {
		w = &wallet{scope: t.scope, id: t.id, version: math.MinInt64}
		w.users.Store(1)
		w.purses.Store(&[]*purse{})
		k.wallets[at] = w
	}
	w.used.Store(now)
	if t.version > w.version || w.version == math.MinInt64 {
		k.adopt(w, t)
	}
	t.wallet.Store(w)
	k.ask(w)
	return w
}

// adopt gives a wallet the purses that terms say. Those of limits that stay keep what they hold. The caller holds the lock.
func (k *Keeper) adopt(w *wallet, t *Terms) {
	w.version = t.version
	old := *w.purses.Load()
	purses := make([]*purse, 0, len(t.limits))
	for _, l := range t.limits {
		p := find(old, l)
		if p == nil {
			p = find(w.former, l)
		}
		if p == nil {
			p = newPurse(l)
			p.state.wallet, p.state.ref = w, ref(w, p)
			k.purses[name(p.state.ref)] = p
		}
		p.state.former = false
		p.amount.Store(l.Amount)
		purses = append(purses, p)
	}
	var former []*purse
	for _, p := range slices.Concat(old, w.former) {
		if find(purses, Limit{What: p.what, Over: p.over, Minutes: p.minutes}) == nil {
			p.state.former = true
			former = append(former, p)
		}
	}
	w.former = former
	w.purses.Store(&purses)
}

func find(purses []*purse, l Limit) *purse {
	for _, p := range purses {
		if p.what == l.What && p.over == l.Over && p.minutes == l.Minutes {
			return p
		}
	}
	return nil
}

func newPurse(l Limit) *purse {
	p := &purse{what: l.What, over: l.Over, minutes: l.Minutes}
	p.long = l.Over != Minute && l.What != Concurrency
	first := &pane{purse: p}
	first.ends.Store(never)
	p.current.Store(first)
	p.left.Store(-1)
	p.aside.purse = p
	if l.What == Concurrency {
		p.freed = make(chan struct{}, 1)
	}
	p.aside.ends.Store(never)
	return p
}

// ask puts a wallet on the stack of those with something to ask, and wakes who asks. It is on the stack once.
func (k *Keeper) ask(w *wallet) {
	if w.asking.Load() || !w.asking.CompareAndSwap(false, true) {
		return
	}
	for {
		head := k.asking.Load()
		w.next = head
		if k.asking.CompareAndSwap(head, w) {
			break
		}
	}
	select {
	case k.wake <- struct{}{}:
	default: // it is awake
	}
}
