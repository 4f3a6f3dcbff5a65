package health

import (
	"math"
	"time"

	"fairway/dataplane/internal/snapshot"
	"fairway/pkg/breaker"
)

// Short for what the local breakers go by.
const (
	closed      = breaker.Closed
	open        = breaker.Open
	halfOpen    = breaker.HalfOpen
	consecutive = "consecutive_failures"
	headroom    = "headroom"
)

const (
	// perTick is how many accounts' numbers are worked out anew at once; of more, a quarter.
	perTick = 10_000
	// decay is what is left after a second of what was counted for reliability: a window of about a minute.
	decay = 0.984
)

// typical is what accounts come to on average, as this process sees them.
type typical struct {
	latency     float64 // ms to the first byte; 0 = unknown
	reliability float64

	latencySum, reliabilitySum float64
	latencies, reliabilities   int
}

func unknown() typical { return typical{reliability: 1} }

// window is what was counted lately, of what only grows.
type window struct {
	ok, failed         float64
	seenOK, seenFailed uint64
	at                 int64 // unix ms
}

// Tick does what time alone asks for: it works out the numbers that draws read, ends what is over, and shares out caps.
// It takes milliseconds where there are many accounts; four times a second is enough.
func (k *Keeper) Tick(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.watchClock(now)
	nowMS := now.UnixMilli()
	k.adopt(now)
	n := len(k.list)
	if n > perTick {
		n = max(perTick, n/4)
	}
	for range n {
		if k.cursor >= len(k.list) {
			k.cursor = 0
			k.round()
		}
		k.fold(k.list[k.cursor], now)
		k.cursor++
	}
	k.planning(nowMS)
	k.throttling(nowMS)
	k.clearing(nowMS)
	k.expire(nowMS)
	k.selfGoverned(now)
	if k.sums.Load().crowded() {
		k.sums.Store(newBook[sums](maxModels))
	}
}

// adopt sees what is new: wards that requests made, and a new snapshot. The caller holds the lock.
func (k *Keeper) adopt(now time.Time) {
	k.gather()
	s := k.snapshots.Current()
	nowMS := now.UnixMilli()
	// A large index is made anew once a second at most; until then it is a little old.
	if s == k.indexed || k.indexed != nil && nowMS-k.indexAt < int64(len(k.index)/100) && nowMS >= k.indexAt {
		return
	}
	k.indexed, k.indexAt = s, nowMS
	k.index = make(map[snapshot.AccountID]*snapshot.Account, len(k.index))
	for a := range s.Serving {
		k.index[a.ID] = a
	}
	for id, w := range k.wards {
		a := k.index[id]
		switch {
		case a == nil:
			delete(k.wards, id) // disabled or gone; its cell has it should it come back
		case a.Cell != w.cell:
			delete(k.wards, id) // another credential or endpoint
			if nw, ok := a.Cell.Side.Load().(*ward); ok {
				k.wards[id] = nw
			}
		}
	}
	for id, a := range k.index {
		w := k.wards[id]
		if w == nil {
			if w, _ = a.Cell.Side.Load().(*ward); w == nil {
				continue
			}
			k.wards[id] = w
		}
		if was := w.account.Swap(a); was != nil && was != a && !same(was.Verdict, a.Verdict) {
			w.forget()
			k.forgetFamilies(w.cell, nowMS)
		}
		if capped(&a.Caps) {
			w.capped()
		}
	}
	k.relist()
	for id, f := range k.pending {
		if w := k.known(id); w != nil {
			delete(k.pending, id)
			k.learn(w, f, nowMS)
		}
	}
}

// same says whether two verdicts are one and the same decision.
func same(a, b *snapshot.Verdict) bool {
	return a == b || a != nil && b != nil && *a == *b
}

func (k *Keeper) forgetFamilies(cell *snapshot.Cell, nowMS int64) {
	if b := k.bars.Load(); b == nil || len(b.families) == 0 {
		return
	}
	k.bar(nowMS, func(b *bars) {
		for at := range b.families {
			if at.cell == cell {
				delete(b.families, at)
			}
		}
	})
}

// gather takes in the wards that were made since.
func (k *Keeper) gather() {
	for w := k.fresh.Swap(nil); w != nil; w = w.nextNew {
		a := w.account.Load()
		if now := k.index[a.ID]; k.indexed != nil && now != nil && now.Cell != w.cell {
			continue // of a credential that is gone
		}
		if k.wards[a.ID] == w {
			continue
		}
		k.wards[a.ID] = w
		k.list = append(k.list, w)
		if w.plan.Load() != nil {
			k.capped = append(k.capped, w)
		}
	}
}

func (k *Keeper) relist() {
	k.list, k.capped = k.list[:0], k.capped[:0]
	for _, w := range k.wards {
		k.list = append(k.list, w)
		if w.plan.Load() != nil {
			k.capped = append(k.capped, w)
		}
	}
	clear(k.list[len(k.list):cap(k.list)])
	clear(k.capped[len(k.capped):cap(k.capped)])
}

// round takes the means of all accounts once each has been looked at.
func (k *Keeper) round() {
	t := &k.typical
	next := unknown()
	if t.latencies > 0 {
		next.latency = t.latencySum / float64(t.latencies)
	}
	if t.reliabilities > 0 {
		next.reliability = t.reliabilitySum / float64(t.reliabilities)
	}
	k.typical = next
}

// fold works out what draws read of an account. The caller holds the lock.
func (k *Keeper) fold(w *ward, now time.Time) {
	nowMS := now.UnixMilli()
	w.count(nowMS)
	if v := latency(w.cell); v > 0 {
		k.typical.latencySum += v
		k.typical.latencies++
	}
	f, trust := w.facts, w.facts.weight(nowMS)

	vigor := k.coming(w, now)
	if share, known := w.left(nowMS); known {
		vigor *= headroomFactor(share)
	}
	// Half for each failure in a row, until the breaker opens or an answer comes.
	vigor *= math.Pow(0.5, float64(min(w.bad.Load(), 4)))

	fast := performance(k.localRatio(w))
	if trust > 0 && f.ratio > 0 {
		fast += trust * (performance(f.ratio) - fast)
	}
	sure := k.typical.reliability
	if n := w.window.ok + w.window.failed; n >= 0.5 {
		sure = (w.window.ok + 1) / (n + 2)
		k.typical.reliabilitySum += sure
		k.typical.reliabilities++
	}
	if trust > 0 && f.ok+f.failed > 0 {
		sure += trust * ((float64(f.ok)+1)/(float64(f.ok+f.failed)+2) - sure)
	}
	use := 1.0
	if trust > 0 && f.use > 0 {
		use += trust * (min(max(f.use, 0.25), 4) - 1)
	}
	w.cell.Vigor.Store(float32(min(max(vigor, 0), 1)))
	w.cell.Performance.Store(float32(fast))
	w.cell.Reliability.Store(float32(sure))
	w.cell.Use.Store(float32(use))
}

// count moves the window on to what was counted since.
func (w *ward) count(nowMS int64) {
	win := &w.window
	f := w.flow.Load()
	if f == nil {
		return
	}
	if win.at != 0 && nowMS > win.at {
		d := math.Pow(decay, float64(nowMS-win.at)/1000)
		win.ok *= d
		win.failed *= d
	}
	win.at = nowMS
	ok, failed := f.ok.Load(), f.unhealthy()
	win.ok += float64(ok - win.seenOK)
	win.failed += float64(failed - win.seenFailed)
	win.seenOK, win.seenFailed = ok, failed
}

// coming is how much of its weight an account that comes back gets: what the leader says, and what the local breaker does,
// whichever is less.
func (k *Keeper) coming(w *ward, now time.Time) float64 {
	rules := k.snapshots.Current().Settings().Breaker
	share := 1.0
	if t := w.trouble.Load(); t != nil {
		t.mu.Lock()
		t.b.Tick(now, &rules)
		state, _, since, _, _ := t.b.Health()
		share = t.b.Share(now, &rules)
		t.mu.Unlock()
		if state != closed {
			share = breaker.Least // it rests, or one answer will tell
		}
		if state == closed && now.Sub(since) > max(rules.Open, rules.SlowStart) {
			w.trouble.CompareAndSwap(t, nil)
		}
	}
	if f := w.facts; f != nil && f.slowSince != 0 {
		share = min(share, rules.Share(now.Sub(time.UnixMilli(f.slowSince))))
	}
	return share
}
