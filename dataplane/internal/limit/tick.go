package limit

import (
	"math"
	"time"
)

const (
	// scanEvery is how often all scopes in use are looked through.
	scanEvery = int64(time.Second)
	// beforeEnd is how long before the end of a window that is in use the next one is asked about.
	beforeEnd = int64(5 * time.Second)
	// restful is how long after its last request a scope may be dropped.
	restful = int64(time.Minute)
	// sweepAt is from how many scopes on it is worth saying everything anew to drop those that rest, if they are a quarter.
	sweepAt = 1024
)

// Tick finds what is to be asked without a request's doing. It is called a few times a second.
func (k *Keeper) Tick(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := k.reading(now)
	later := k.talk.later
	k.talk.later = nil
	for _, w := range later {
		k.ask(w)
	}
	if at-k.talk.scanned < scanEvery {
		return
	}
	k.talk.scanned = at
	resting := 0
	for _, w := range k.wallets {
		if k.due(w, at) {
			k.ask(w)
		}
		if k.rests(w, at) {
			resting++
		}
	}
	if resting >= sweepAt && resting >= len(k.wallets)/4 {
		k.talk.whole = true
	}
}

// due says whether there is something to say of a wallet.
func (k *Keeper) due(w *wallet, at int64) bool {
	if len(w.former) > 0 {
		return true
	}
	active := at-w.used.Load() <= idle
	for _, p := range *w.purses.Load() {
		open := p.live(at)
		ends := open.ends.Load()
		if active && at >= ends-min(beforeEnd, ends) && open.next.Load() == nil || !active && p.state.want > 0 {
			return true
		}
		for _, c := range p.state.panes {
			if at >= c.ends.Load() || c.used() != c.told || c.mark.set || p.long && c.booked < c.settled.Load() {
				return true
			}
		}
	}
	return false
}

// rests says whether a wallet can be dropped without a loss: nothing is held, and all that was spent is on the books or of
// a window that is over.
func (k *Keeper) rests(w *wallet, at int64) bool {
	if w.users.Load() != 0 || at-w.used.Load() < restful || len(w.former) > 0 {
		return false
	}
	for _, p := range *w.purses.Load() {
		if p.asideAt.Load() != 0 && p.what != Concurrency || p.outside() != 0 {
			return false
		}
		for _, c := range p.state.panes {
			if at >= c.ends.Load() {
				continue
			}
			if c.balance.Load() > 0 || c.used() > c.booked {
				return false
			}
		}
	}
	return true
}

// sweep drops the wallets that rest. It goes before a full request: what that does not name is not held.
func (k *Keeper) sweep(at int64) {
	for id, w := range k.wallets {
		if !k.rests(w, at) || !w.users.CompareAndSwap(0, retired) {
			continue
		}
		delete(k.wallets, id)
		for _, p := range *w.purses.Load() {
			delete(k.purses, name(p.state.ref))
		}
	}
}

// newPane is the pane of a window that the leader has not named.
func newPane(p *purse) *pane {
	c := &pane{purse: p}
	c.ends.Store(math.MaxInt64)
	return c
}
