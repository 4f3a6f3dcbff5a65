package limit

import (
	"math"
	"time"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	// memory is how long a demand counts: its weight falls to 1/e in that time.
	memory = float64(2 * time.Second)
	// ahead is for how long of demand credits are asked.
	ahead = float64(time.Second)
	// idle is how long after its last request a scope wants nothing any more.
	idle = int64(5 * time.Second)
)

// lending is what the keeper knows of a purse beyond what requests need. Keeper.mu guards it.
type lending struct {
	wallet *wallet
	ref    *syncv1.LimitRef
	former bool    // the limit is gone
	panes  []*pane // those with a number, oldest first; the ended ones until the leader says that they are over

	rate float64 // credits a nanosecond
	used int64   // of which the rate knows
	of   *pane   // whose used that was
	at   int64   // when
	want int64   // as was said last

	need   int64 // the most that one request wanted in the time before
	forgot int64 // when that began
}

// least is what serves a request, by those that came lately. The caller holds Keeper.mu.
func (p *purse) least() int64 { return max(p.need.Load(), p.state.need, 1) }

// demand brings the rate up to date and returns what the purse would like to hold unspent; waits says whether requests wait.
func (p *purse) demand(w *wallet, now int64, waits bool) int64 {
	s := &p.state
	if s.former {
		return 0
	}
	open := p.live(now)
	missed, used := p.missed.Swap(0), open.used()
	if s.of != open {
		s.of, s.used = open, 0
	}
	took := max(used-s.used, 0)
	s.used = used
	if dt := float64(now - s.at); s.at != 0 && dt > 0 {
		weight := 1 - math.Exp(-dt/memory)
		s.rate += weight * ((float64(took)+float64(missed))/dt - s.rate)
	}
	if now-s.forgot >= int64(memory) && p.need.Load() > 0 {
		s.forgot, s.need = now, p.need.Swap(0)
	}
	s.at = now
	if now-w.used.Load() > idle && missed == 0 {
		s.rate = 0
		return 0
	}
	want := s.rate * ahead
	if p.what == Concurrency {
		if p.left.Load() == 0 {
			// Others need them: one that is idle may be used in a moment, but nothing is wanted in advance.
			if waits {
				missed = p.queue.Load()
			}
			return min(plus(missed, min(max(open.balance.Load(), 0), 1)), max(p.amount.Load(), 0))
		}
		// Slots come back: what is wanted are some more than are in use.
		want = float64(used) / 4
	}
	want = max(want+float64(missed), float64(p.least()))
	if limit := p.amount.Load(); want > float64(limit) {
		return max(limit, 0)
	}
	return int64(math.Ceil(want))
}
