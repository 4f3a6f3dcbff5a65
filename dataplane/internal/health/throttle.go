package health

import (
	"math/rand/v2"
	"sync/atomic"

	"fairway/dataplane/internal/snapshot"
)

// Throttling follows "Handling Overload" of Google's Site Reliability Engineering: of a channel that accepts less than half
// of what it is asked for a model, so many requests are refused here that it is asked about twice what it accepts.
const (
	turns    = 8
	turnTime = 15_000 // ms: together two minutes
	maxRolls = 4096
)

// tally counts attempts at a channel for a model, and those that were accepted, in turns.
type tally struct {
	asked, accepted [turns]atomic.Uint32
}

func (t *tally) add(turn uint32, accepted bool) {
	t.asked[turn%turns].Add(1)
	if accepted {
		t.accepted[turn%turns].Add(1)
	}
}

// drop is the share of requests to refuse; with fewer attempts than least it is none, for those say nothing.
func (t *tally) drop(least int) float64 {
	var asked, accepted float64
	for i := range turns {
		asked += float64(t.asked[i].Load())
		accepted += float64(t.accepted[i].Load())
	}
	if asked < float64(least) {
		return 0
	}
	return max(0, (asked-2*accepted)/(asked+1))
}

// throttling recomputes what Refuses goes by, and moves on to the next turn when it is time.
func (k *Keeper) throttling(nowMS int64) {
	rolls := k.rolls.Load()
	if passed := nowMS - k.turned; passed >= turnTime || passed < 0 {
		k.turned = nowMS
		if rolls.crowded() {
			// Most of it is of models that nobody asks for any more. What is lost is the count of two minutes.
			rolls = newBook[tally](maxRolls)
			k.rolls.Store(rolls)
		}
		next := k.turn.Load() + 1
		rolls.each(func(_, _ string, t *tally) {
			t.asked[next%turns].Store(0)
			t.accepted[next%turns].Store(0)
		})
		k.turn.Store(next)
	}
	least := k.snapshots.Current().Settings().Breaker.MinRequests
	var drops map[modelAt]uint32
	rolls.each(func(channel, model string, t *tally) {
		if p := t.drop(least); p > 0 {
			if drops == nil {
				drops = make(map[modelAt]uint32)
			}
			drops[modelAt{snapshot.ChannelID(channel), model}] = uint32(p * (1 << 32))
		}
	})
	if old := k.bars.Load(); drops != nil || old != nil && old.drops != nil {
		k.bar(nowMS, func(b *bars) { b.drops = drops })
	}
}

// unlucky draws whether a request is refused.
func unlucky(drop uint32) bool { return rand.Uint32() < drop }
