package health

import (
	"maps"
	"strings"
	"time"

	"fairway/dataplane/internal/snapshot"
)

// Refusal says why an account is not to be asked now, though its cell speaks for it. Zero = it may be.
type Refusal uint8

// The refusals.
const (
	// ModelExcluded: its channel said that it does not know the model.
	ModelExcluded Refusal = iota + 1
	// FamilyResting: the model's family rests at it.
	FamilyResting
	// Throttled: its channel refuses most of what it is asked for the model.
	Throttled
	// RequestsSpent: its plan's requests per minute, this proxy's part of them, are used up.
	RequestsSpent
	// TokensSpent: likewise, of tokens.
	TokensSpent
	// SessionSpent: its plan's usage window is used up.
	SessionSpent
	// Busy: as many attempts as its plan allows are under way.
	Busy
	refusalCount
)

// String is the refusal for logs and metrics.
func (r Refusal) String() string {
	switch r {
	case ModelExcluded:
		return "model_excluded"
	case FamilyResting:
		return "family_resting"
	case Throttled:
		return "throttled"
	case RequestsSpent:
		return "requests"
	case TokensSpent:
		return "tokens"
	case SessionSpent:
		return "session"
	case Busy:
		return "concurrency"
	default:
		return "none"
	}
}

// maxBars bounds each kind of bar; beyond it nothing more is barred, which costs attempts only.
const maxBars = 4096

// modelAt is a model at a channel.
type modelAt struct {
	channel snapshot.ChannelID
	model   string
}

// exclusion is a model that a channel said it does not know. A channel that an operator has changed is another one, and
// asked again.
type exclusion struct {
	channel *snapshot.Channel
	model   string
}

// familyAt is a model's family at an account, by its cell: with a new credential it is another one.
type familyAt struct {
	cell   *snapshot.Cell
	family string
}

type familyRest struct {
	until  int64 // unix ms
	reason string
	own    bool // it began here
}

// bars are what keeps single models from accounts. They are immutable; nil = nothing is barred.
type bars struct {
	excluded map[exclusion]int64 // until, unix ms
	families map[familyAt]familyRest
	resting  map[*snapshot.Cell]struct{} // those with families among them: most accounts have none, and are done with that
	drops    map[modelAt]uint32          // the share of requests to refuse, of 2^32
}

func (b *bars) refuse(a *snapshot.Account, model string, nowMS int64) Refusal {
	if len(b.excluded) > 0 && b.excluded[exclusion{a.Channel, model}] > nowMS {
		return ModelExcluded
	}
	if len(b.resting) > 0 {
		if _, ok := b.resting[a.Cell]; ok && b.families[familyAt{a.Cell, family(model)}].until > nowMS {
			return FamilyResting
		}
	}
	if len(b.drops) > 0 {
		if drop, ok := b.drops[modelAt{a.Channel.ID, model}]; ok && unlucky(drop) {
			return Throttled
		}
	}
	return 0
}

// Refuses says why a is not to be asked for model now. It is for an account that routing has chosen, just before the
// attempt: where nothing is barred and the account has no caps it costs one load.
func (k *Keeper) Refuses(a *snapshot.Account, model string, nowMS int64) Refusal {
	b := k.bars.Load()
	if b == nil && !capped(&a.Caps) {
		return 0
	}
	return k.refuses(b, a, model, nowMS)
}

func (k *Keeper) refuses(b *bars, a *snapshot.Account, model string, nowMS int64) Refusal {
	var r Refusal
	if b != nil {
		r = b.refuse(a, model, nowMS)
	}
	if r == 0 && capped(&a.Caps) {
		w := k.ward(a)
		r = w.capped().refuse(w, &a.Caps, nowMS)
	}
	if r != 0 {
		k.meters.refused(r)
		if r == Throttled {
			k.stats[throttled].n.Add(1)
		}
	}
	return r
}

// bar changes the bars; what is over is taken out.
func (k *Keeper) bar(nowMS int64, change func(*bars)) {
	k.side.Lock()
	defer k.side.Unlock()
	var next bars
	if old := k.bars.Load(); old != nil {
		next = bars{excluded: maps.Clone(old.excluded), families: maps.Clone(old.families), drops: old.drops}
	}
	maps.DeleteFunc(next.excluded, func(_ exclusion, until int64) bool { return until <= nowMS })
	maps.DeleteFunc(next.families, func(_ familyAt, r familyRest) bool { return r.until <= nowMS })
	change(&next)
	if len(next.excluded)+len(next.families)+len(next.drops) == 0 {
		k.bars.Store(nil)
		return
	}
	if len(next.families) > 0 {
		next.resting = make(map[*snapshot.Cell]struct{})
		for at := range next.families {
			next.resting[at.cell] = struct{}{}
		}
	}
	k.bars.Store(&next)
}

// exclude has a channel not asked for a model.
func (k *Keeper) exclude(ch *snapshot.Channel, model string, now time.Time) {
	until := now.Add(k.o.ExcludeFor).UnixMilli()
	k.bar(now.UnixMilli(), func(b *bars) {
		if b.excluded == nil {
			b.excluded = make(map[exclusion]int64)
		}
		if len(b.excluded) < maxBars {
			b.excluded[exclusion{ch, strings.Clone(model)}] = until
		}
	})
}

// restFamily lets a model's family rest at the account.
func (k *Keeper) restFamily(w *ward, o *Outcome) {
	v := o.Verdict
	count := int(w.crowded.Add(1))
	until := o.Now.UnixMilli() + ms(v.Cool.For(count, o.Asked))
	if over := v.Over.After(o.Now); !over.IsZero() {
		until = over.UnixMilli()
	}
	if until <= o.Now.UnixMilli() {
		return
	}
	k.meters.rests.WithLabelValues(k.reasons.names[k.reasons.of(v.Reason)]).Inc()
	k.layFamily(w.cell, family(o.Model), familyRest{until: until, reason: v.Reason, own: true}, o.Now.UnixMilli())
}

func (k *Keeper) layFamily(cell *snapshot.Cell, name string, r familyRest, nowMS int64) {
	k.bar(nowMS, func(b *bars) {
		if b.families == nil {
			b.families = make(map[familyAt]familyRest)
		}
		at := familyAt{cell, name}
		was, known := b.families[at]
		if was.until >= r.until || !known && len(b.families) >= maxBars {
			return
		}
		at.family = strings.Clone(name)
		b.families[at] = r
	})
}

// clearing takes out what is over, so that requests go by the short way again.
func (k *Keeper) clearing(nowMS int64) {
	b := k.bars.Load()
	if b == nil {
		return
	}
	for _, until := range b.excluded {
		if until <= nowMS {
			k.bar(nowMS, func(*bars) {})
			return
		}
	}
	for _, r := range b.families {
		if r.until <= nowMS {
			k.bar(nowMS, func(*bars) {})
			return
		}
	}
}
