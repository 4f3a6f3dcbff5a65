package health

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"fairway/dataplane/internal/snapshot"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

const (
	// maxPermits bounds the permits that this proxy holds at once.
	maxPermits = 1000
	// helpers bounds the permits that are tried at once.
	helpers = 8
)

// permit lets this proxy, and no other, try an account that is half open. What was tried with it is void after its end.
type permit struct {
	id      string
	account snapshot.AccountID
	channel snapshot.ChannelID // "" = not known when it came
	until   int64              // unix ms
	self    bool               // there is no leader; it was agreed upon
	asked   *syncv1.ProbePermit
	taken   atomic.Bool
	over    atomic.Bool
}

// Permit takes a permit for one of the pool's accounts, if there is one: the candidate that it is for, and its id. The
// attempt is the caller's to make, at an account that rests otherwise, and to bound by PermitLeft; Outcome.Permit says that
// it was made with it.
func (k *Keeper) Permit(p *snapshot.Pool, nowMS int64) (*snapshot.Candidate, string) {
	permits := k.permits.Load()
	if permits == nil {
		return nil, ""
	}
	for _, t := range *permits {
		if t.until <= nowMS || t.taken.Load() {
			continue
		}
		c := find(p, t)
		if c == nil || c.Cell.HeldUntil.Load() > nowMS || !t.taken.CompareAndSwap(false, true) {
			continue
		}
		return c, t.id
	}
	return nil, ""
}

// find is the permit's account in a pool; nil = it is not there.
func find(p *snapshot.Pool, t *permit) *snapshot.Candidate {
	for i := range p.Tiers {
		for _, r := range p.Tiers[i].Rosters {
			if t.channel != "" && r.Channel.ID != t.channel {
				continue
			}
			at, ok := slices.BinarySearchFunc(r.Candidates, t.account, func(c snapshot.Candidate, id snapshot.AccountID) int {
				return cmp.Compare(c.Account.ID, id)
			})
			if ok {
				return &r.Candidates[at]
			}
		}
	}
	return nil
}

// PermitLeft is how long a permit holds; 0 = it is over.
func (k *Keeper) PermitLeft(id string, now time.Time) time.Duration {
	if t := k.permit(id); t != nil {
		return max(time.Duration(t.until-now.UnixMilli())*time.Millisecond, 0)
	}
	return 0
}

// Return gives a permit back that was taken and not used.
func (k *Keeper) Return(id string) { k.unused(id, "") }

func (k *Keeper) permit(id string) *permit {
	permits := k.permits.Load()
	if permits == nil {
		return nil
	}
	for _, t := range *permits {
		if t.id == id {
			return t
		}
	}
	return nil
}

// probed notes how an attempt with a permit went. One that comes after the permit's end, or a second one, says nothing.
func (k *Keeper) probed(o *Outcome, ok bool) {
	t := k.permit(o.Permit)
	if t == nil || o.Now.UnixMilli() > t.until || !t.over.CompareAndSwap(false, true) {
		return
	}
	result := &syncv1.ProbeOutcome{PermitId: t.id, AccountId: string(t.account), Ok: ok, Failed: !ok}
	if !ok && o.Verdict != nil {
		result.Reason = o.Verdict.Reason
	}
	if o.Asked > 0 {
		result.Asked = durationpb.New(o.Asked)
	}
	k.conclude(t, result)
	if t.self && ok && o.Candidate != nil {
		k.recover(o)
	}
}

// recover lets an account serve here again that was tried without a leader. It comes back slowly.
func (k *Keeper) recover(o *Outcome) {
	w := k.ward(o.Candidate.Account)
	w.cell.CooldownUntil.Store(0)
	w.trouble.CompareAndSwap(nil, &trouble{})
	t := w.trouble.Load()
	if t == nil {
		return // somebody forgave it meanwhile
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.Reset(o.Now)
}

// unused ends a permit without a result.
func (k *Keeper) unused(id, reason string) {
	if t := k.permit(id); t != nil && t.over.CompareAndSwap(false, true) {
		k.conclude(t, &syncv1.ProbeOutcome{PermitId: t.id, AccountId: string(t.account), Reason: reason})
	}
}

func (k *Keeper) conclude(t *permit, result *syncv1.ProbeOutcome) {
	switch {
	case result.GetOk():
		k.meters.probes.WithLabelValues("ok").Inc()
	case result.GetFailed():
		k.meters.probes.WithLabelValues("failed").Inc()
	default:
		k.meters.probes.WithLabelValues("unused").Inc()
	}
	if t.self {
		return // nobody granted it
	}
	k.side.Lock()
	if len(k.outcomes) < maxPermits {
		k.outcomes = append(k.outcomes, result)
	}
	k.side.Unlock()
	k.hurry()
}

// grant adds permits to those that requests may take.
func (k *Keeper) grant(granted []*permit) {
	if len(granted) == 0 {
		return
	}
	k.side.Lock()
	defer k.side.Unlock()
	var all []*permit
	if old := k.permits.Load(); old != nil {
		all = slices.Clone(*old)
	}
	for _, t := range granted {
		if len(all) < maxPermits && !slices.ContainsFunc(all, func(o *permit) bool { return o.id == t.id }) {
			all = append(all, t)
			k.start(t)
		}
	}
	k.permits.Store(&all)
}

// start has a permit that asks for it tried at once.
func (k *Keeper) start(t *permit) {
	if !t.asked.GetActive() || !t.taken.CompareAndSwap(false, true) {
		return
	}
	if k.o.Probe != nil {
		select {
		case k.active <- t:
			return
		default:
		}
	}
	t.taken.Store(false) // a request may take it
}

// expire takes out the permits that are over.
func (k *Keeper) expire(nowMS int64) {
	permits := k.permits.Load()
	if permits == nil {
		return
	}
	for _, t := range *permits {
		if t.until <= nowMS && t.over.CompareAndSwap(false, true) {
			reason := "not_used"
			if t.taken.Load() {
				reason = "too_late"
			}
			k.conclude(t, &syncv1.ProbeOutcome{PermitId: t.id, AccountId: string(t.account), Reason: reason})
		}
	}
	k.side.Lock()
	defer k.side.Unlock()
	left := slices.DeleteFunc(slices.Clone(*k.permits.Load()), func(t *permit) bool { return t.over.Load() })
	if len(left) == 0 {
		k.permits.Store(nil)
		return
	}
	k.permits.Store(&left)
}

// tryPermits tries the permits that are to be tried at once, until ctx ends.
func (k *Keeper) tryPermits(ctx context.Context) {
	var trying sync.WaitGroup
	for range helpers {
		trying.Go(func() {
			for {
				select {
				case t := <-k.active:
					k.try(ctx, t)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	trying.Wait()
}

// try makes the attempt that a permit is for. It ends with the permit.
func (k *Keeper) try(ctx context.Context, t *permit) {
	now := k.o.Now()
	left := time.Duration(t.until-now.UnixMilli()) * time.Millisecond
	if left <= 0 || t.over.Load() {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	o := k.o.Probe(bounded, t.asked)
	if ctx.Err() != nil {
		return
	}
	if o.Gone {
		k.unused(t.id, "not_tried") // nothing can be said of the account from here
		return
	}
	o.Permit, o.Now = t.id, k.o.Now()
	if o.Candidate == nil {
		if a, ok := k.account(t.account); ok {
			o.Candidate = &snapshot.Candidate{Account: a, Cell: a.Cell}
		}
	}
	if v := o.Verdict; v != nil && !v.Pass {
		k.probed(&o, false)
		if o.Candidate != nil && (v.Disable || o.Asked > 0) {
			k.restAccount(k.ward(o.Candidate.Account), &o, 1)
		}
		return
	}
	k.probed(&o, true)
}

func (k *Keeper) account(id snapshot.AccountID) (*snapshot.Account, bool) {
	k.mu.Lock()
	a, ok := k.index[id]
	k.mu.Unlock()
	if !ok {
		a, ok = k.snapshots.Current().Account(id)
	}
	return a, ok && a.Channel != nil
}

// newPermit is what the leader granted.
func newPermit(p *syncv1.ProbePermit, now time.Time) *permit {
	return &permit{
		id: strings.Clone(p.GetId()), account: snapshot.AccountID(p.GetAccountId()),
		until: now.UnixMilli() + p.GetTtl().AsDuration().Milliseconds(), asked: p,
	}
}
