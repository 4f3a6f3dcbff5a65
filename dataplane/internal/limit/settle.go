package limit

import "time"

// Settle replaces the estimate by what was used, and gives the slot back. Only the first call for a reservation does
// anything, Cancel included. What was used beyond the estimate is taken though it may not be there: the next credits pay it.
func (k *Keeper) Settle(r *Reservation, u Usage, now time.Time) {
	if !r.state.CompareAndSwap(held, free) {
		return
	}
	at := k.reading(now)
	used := [whatCount]int64{Requests: 1, Tokens: clamp(u.Tokens), Cost: clamp(u.Cost)}
	for _, c := range r.panes[:r.n] {
		p := c.purse
		c.settle(r.need[p.what], used[p.what], at)
		k.back(p, c)
		if !p.long {
			continue
		}
		if c == &p.aside {
			c = p.live(at) // which is charged for it when the leader is back
		}
		c.settled.Add(used[p.what])
	}
	r.leave()
}

// settle puts right what was taken. What is on books is on those of the window in which the request began. A minute that
// is over takes nothing back, for it has no use for it, and what was used beyond the estimate is then the open minute's.
func (p *pane) settle(took, used, now int64) {
	if took == used {
		return
	}
	if now >= p.ends.Load() && !p.purse.long {
		if p = p.purse.live(now); used < took {
			return
		}
	}
	p.give(took - used)
}

// Cancel gives back all that a reservation took, the request included: it reached nobody. Only the first call for a
// reservation does anything, Settle included.
func (k *Keeper) Cancel(r *Reservation) {
	if !r.state.CompareAndSwap(held, free) {
		return
	}
	panes := r.panes[:r.n]
	r.giveBack()
	for _, c := range panes {
		k.back(c.purse, c)
	}
}

// back says that a slot came back: to a request that waits for it, or to the leader, which called for it.
func (k *Keeper) back(p *purse, c *pane) {
	if p.freed == nil {
		return
	}
	p.nudge(c)
	if p.left.Load() == 0 {
		k.ask(p.state.wallet) // others may wait for it
	}
}
