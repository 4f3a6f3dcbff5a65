package health

import (
	"math"
	"sync/atomic"
	"time"
)

// jump is how far the clock may go wrong between ticks before it counts as set, in ms.
const jump = 2_000

// watchClock moves what ends at a time when the clock was set. A clock that only went too fast cannot be told from time
// that passed unless the times have a monotonic reading, as those of time.Now do.
func (k *Keeper) watchClock(now time.Time) {
	last := k.last
	k.last = now
	if last.IsZero() {
		return
	}
	by := now.UnixMilli() - last.UnixMilli() - max(now.Sub(last), 0).Milliseconds()
	if by < jump && by > -jump {
		return
	}
	k.log.Warn("the clock was set", "by", time.Duration(by)*time.Millisecond)
	k.shift(by)
}

// shift moves every time that is kept by so many ms.
func (k *Keeper) shift(by int64) {
	for _, a := range k.index {
		move(&a.Cell.CooldownUntil, by)
		move(&a.Cell.HeldUntil, by)
	}
	for _, w := range k.list {
		move(&w.roomReset, by)
		move(&w.roomHeard, by)
		if p := w.plan.Load(); p != nil {
			move(&p.opened, by)
			move(&p.othersStarted, by)
			move(&p.requests.paid, by*int64(time.Millisecond))
			move(&p.tokens.paid, by*int64(time.Millisecond))
		}
		if r := w.rest.Load(); r != nil {
			moved := *r
			moved.until += by
			w.rest.Store(&moved)
			if w.toldRest == r {
				w.toldRest = w.rest.Load()
			}
		}
		if f := w.facts; f != nil {
			f.at += by
			f.roomReset += by
			f.session.began += by
			if f.slowSince != 0 {
				f.slowSince += by
			}
			if f.rest != nil {
				f.rest.until += by
			}
		}
		w.window.at += by
	}
	k.turned += by
	k.heard = k.heard.Add(time.Duration(by) * time.Millisecond)
	k.indexAt += by
	k.bar(math.MinInt64, func(b *bars) {
		for at, until := range b.excluded {
			b.excluded[at] = until + by
		}
		for at, r := range b.families {
			r.until += by
			b.families[at] = r
		}
	})
	k.side.Lock()
	defer k.side.Unlock()
	if old := k.permits.Load(); old != nil {
		k.permits.Store(nil) // what was granted cannot be moved; new ones come
	}
}

func move(at *atomic.Int64, by int64) {
	for {
		was := at.Load()
		if was == 0 || was == math.MaxInt64 || at.CompareAndSwap(was, was+by) {
			return
		}
	}
}
