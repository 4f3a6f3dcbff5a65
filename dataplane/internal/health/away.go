package health

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/dataplane/internal/snapshot"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
	"fairway/pkg/splitmix"
)

const (
	// awayTime is how long the leader must be silent before proxies agree without it.
	awayTime = 10 * time.Second
	// windowTime is how long one proxy may try an account while there is no leader, in ms.
	windowTime = 30_000
	// patience is how far into such a window no client's request has come, in ms, when the account is tried all the same.
	patience = 10_000
)

// selfGoverned grants permits where there is no leader to do it. In each window one of the proxies that were known last may
// try an account: the one with the highest hash of its id, the account's and the window's. A permit ends with its window.
// The caller holds the lock.
func (k *Keeper) selfGoverned(now time.Time) {
	nowMS := now.UnixMilli()
	if k.connected.Load() || now.Sub(k.heard) < awayTime && !now.Before(k.heard) {
		return
	}
	window := nowMS / windowTime
	end := (window + 1) * windowTime
	if permits := k.permits.Load(); permits != nil {
		for _, t := range *permits {
			switch {
			case !t.self && t.until > nowMS:
				return // the leader's word still holds
			case t.self && nowMS >= end-windowTime+patience && !t.taken.Load():
				t.asked.Active = true
				k.start(t)
			}
		}
	}
	if window == k.window {
		return
	}
	k.window = window
	me := k.id()
	check := int32(k.snapshots.Current().Settings().Breaker.Check)
	var granted []*permit
	for id, a := range k.index {
		if len(granted) == maxPermits {
			break
		}
		if a.Channel == nil || !due(a, nowMS) || owner(me, k.proxies, string(id), window) != me {
			continue
		}
		t := &permit{
			id: "away-" + string(id) + "-" + time.UnixMilli(end).UTC().Format(time.RFC3339), account: id, channel: a.Channel.ID,
			until: end, self: true, asked: &syncv1.ProbePermit{AccountId: string(id), Check: check},
		}
		t.asked.Id, t.asked.Ttl = t.id, durationpb.New(time.Duration(end-nowMS)*time.Millisecond)
		if len(a.Channel.Models) > 0 {
			t.asked.Model = a.Channel.Models[0]
		}
		granted = append(granted, t)
	}
	k.grant(granted)
}

// due says whether an account that a verdict keeps out may be tried.
func due(a *snapshot.Account, nowMS int64) bool {
	v := a.Verdict
	if v == nil || a.Cell.CooldownUntil.Load() <= nowMS {
		return false // it serves here
	}
	return v.State == halfOpen || v.State == open && v.UntilMS != 0 && v.UntilMS <= nowMS
}

// owner is who may try an account in a window, of me and the others.
func owner(me string, others []string, account string, window int64) string {
	best, top := me, hash(me, account, uint64(window))
	for _, id := range others {
		if h := hash(id, account, uint64(window)); h > top || h == top && id > best {
			best, top = id, h
		}
	}
	return best
}

// hash mixes names and a number, the same in every process: FNV-1a, and SplitMix64.
func hash(a, b string, n uint64) uint64 {
	h := uint64(14695981039346656037)
	for _, s := range [...]string{a, b} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	return splitmix.Mix(h ^ n)
}
