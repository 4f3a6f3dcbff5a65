package health

import (
	"math"
	"time"

	"fairway/dataplane/internal/snapshot"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

const (
	// ample is the share that is left from which on headroom says nothing.
	ample = 0.2
	// tight is the share that is left below which the account rests until the reset.
	tight = 0.02
)

// Headers reads what a response's headers say is left of the account's limits; header finds one by its name in lower case,
// nil = it is not there. What is given to it is not kept.
func (k *Keeper) Headers(a *snapshot.Account, header func(lower string) []byte, now time.Time) {
	var r reading
	switch resourcev1.Provider(a.Channel.Provider) {
	case resourcev1.Provider_PROVIDER_GEMINI, resourcev1.Provider_PROVIDER_BEDROCK, resourcev1.Provider_PROVIDER_VERTEX:
		return // they have none
	case resourcev1.Provider_PROVIDER_ANTHROPIC:
		switch {
		case header("anthropic-ratelimit-unified-status") != nil:
			r.readUnified(header, now)
		case header(anthropic[0].remaining) != nil || header(anthropic[1].remaining) != nil:
			r.read(anthropic[:], header, now, moment)
		default:
			return
		}
	default:
		if header(openAI[0].remaining) == nil && header(openAI[1].remaining) == nil {
			return
		}
		r.read(openAI[:], header, now, span)
	}
	if r.n == 0 && r.rejected == 0 {
		return
	}
	k.leave(k.ward(a), &r, now)
}

// leave notes what is left. Only what the provider says itself lets an account rest; what this process has given away
// since makes it less likely to be drawn.
func (k *Keeper) leave(w *ward, r *reading, now time.Time) {
	nowMS := now.UnixMilli()
	// This one is counted already.
	others := float64(max(w.cell.InFlight.Load()-1, 0))
	share, reset := 1.0, int64(0)
	for i := range r.n {
		d := &r.dims[i]
		reserved := 0.0
		switch {
		case d.limit <= 1: // a share that is used: nothing to count with
		case d.tokens:
			reserved = others * w.meanTokens()
		default:
			reserved = others
		}
		if s := d.share(reserved); s < share {
			share, reset = s, d.reset
		}
		if d.share(0) < tight && d.limit > 1 && d.reset > nowMS {
			k.layRoom(w, &rest{until: d.reset, reason: headroom, ordered: d.remaining == 0})
		}
	}
	if r.rejected > nowMS {
		share, reset = 0, r.rejected
		k.layRoom(w, &rest{until: r.rejected, reason: headroom, ordered: true})
	}
	w.roomReset.Store(reset)
	w.roomHeard.Store(nowMS)
	w.room.Store(math.Float32bits(float32(share)) + 1)
	w.touch()
}

func (k *Keeper) layRoom(w *ward, r *rest) {
	if k.lay(w, r) {
		k.meters.headroom.Inc()
		k.hurry()
	}
}

// roomTime is how long a header is news. Afterwards other proxies may have used what it says is left.
const roomTime = 10_000 // ms

// left is the share that is left of the account's limits, by the newest headers that the fleet knows of; false = unknown,
// or the limits have been reset since.
func (w *ward) left(nowMS int64) (float64, bool) {
	own, at := w.room.Load(), w.roomHeard.Load()
	reset := w.roomReset.Load()
	known := own != 0 && (reset > nowMS || reset == 0 && nowMS-at < roomTime)
	if known && nowMS-at < roomTime {
		return float64(math.Float32frombits(own - 1)), true
	}
	if f := w.facts; f != nil && f.room >= 0 && f.at > at && f.roomReset > nowMS {
		return f.room, true
	}
	if known {
		return float64(math.Float32frombits(own - 1)), true
	}
	return 0, false
}

// headroomFactor is what is left to the weight of an account with that share of its limits left.
func headroomFactor(share float64) float64 {
	f := min(1, share/ample)
	return f * f
}
