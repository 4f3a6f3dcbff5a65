package publish

import (
	"slices"
	"sync"
	"time"

	"fairway/controlplane/internal/model"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Windows gather changes after a publication: the first change after a quiet time goes at once.
const (
	windowShort = 20 * time.Millisecond  // the last publication was small
	windowBusy  = 50 * time.Millisecond  // it had more than busyChanges
	windowMax   = 200 * time.Millisecond // it had more than floodChanges
	// windowProgress is for revisions that change nothing for proxies.
	windowProgress = 100 * time.Millisecond
	// windowAwaited is for what somebody waits for.
	windowAwaited = 2 * time.Millisecond

	busyChanges  = 32
	floodChanges = 1024
)

// change names a resource that changed; what it is now stands in the state.
type change struct {
	kind model.Kind
	id   string
}

// batch is one Observe.
type batch struct {
	state   *model.State
	changes []model.Change
	at      time.Time
}

// inbox hands batches from Observe to Run.
type inbox struct {
	signal chan struct{} // one slot: there is something
	mu     *sync.Mutex
	queue  *[]batch
}

func newInbox() inbox {
	return inbox{signal: make(chan struct{}, 1), mu: new(sync.Mutex), queue: new([]batch)}
}

func (i inbox) put(s *model.State, changes []model.Change, now time.Time) {
	i.mu.Lock()
	*i.queue = append(*i.queue, batch{state: s, changes: changes, at: now})
	i.mu.Unlock()
	select {
	case i.signal <- struct{}{}:
	default:
	}
}

func (i inbox) take() []batch {
	i.mu.Lock()
	defer i.mu.Unlock()
	taken := *i.queue
	*i.queue = nil
	return taken
}

// pending is what waits to be published. A resource that changes twice is published once, as it is in the newest state.
type pending struct {
	state  *model.State // nil = nothing waits
	order  []change
	seen   map[change]struct{}
	since  time.Time // when the oldest came in
	urgent bool
}

// take adds batches. Before the first load there is nothing to tell changes from: only the state counts then.
func (p *pending) take(batches []batch, loaded bool) {
	for _, b := range batches {
		if p.state == nil {
			p.since = b.at
		}
		p.state = b.state
		if !loaded {
			continue
		}
		for _, c := range b.changes {
			p.urgent = p.urgent || urgent(c)
			key := change{kind: c.Kind, id: c.ID}
			if _, ok := p.seen[key]; ok {
				continue
			}
			if p.seen == nil {
				p.seen = make(map[change]struct{}, len(b.changes))
			}
			p.seen[key] = struct{}{}
			p.order = append(p.order, key)
		}
	}
}

// wait returns how long to gather further changes; 0 or less = publish now. last is when the last publication was, size
// how many changes it had, awaited whether somebody waits for what is pending.
func (p *pending) wait(now, last time.Time, size int, awaited bool) time.Duration {
	window := windowShort
	switch {
	case p.urgent:
		return 0
	case awaited:
		window = windowAwaited
	case len(p.order) == 0:
		window = windowProgress
	case size > floodChanges:
		window = windowMax
	case size > busyChanges:
		window = windowBusy
	}
	return last.Add(window).Sub(now)
}

// urgent says whether a change takes something away that was allowed before, so that no window may hold it up.
// Everything that waits goes with it: the order of revisions stays.
func urgent(c model.Change) bool {
	switch c.Kind {
	case model.KindChannel, model.KindAccount, model.KindTenant, model.KindKey:
	case model.KindVerdict:
		return ejected(c)
	case model.KindGroup, model.KindModel, model.KindOperator, model.KindNotifier, model.KindSettings, model.KindCredential:
		return false
	default:
		return false
	}
	if c.New == nil {
		return true
	}
	if c.Old == nil {
		return false
	}
	if disabled(c.New) && !disabled(c.Old) {
		return true
	}
	switch after := c.New.(type) {
	case *resourcev1.Key:
		before, ok := c.Old.(*resourcev1.Key)
		return ok && narrowed(before, after)
	case *resourcev1.Tenant: // its new parent may be disabled
		before, ok := c.Old.(*resourcev1.Tenant)
		return ok && after.GetParent() != "" && after.GetParent() != before.GetParent()
	default:
		return false
	}
}

// ejected says whether a verdict takes an account out, or leaves it out for longer than was known. One that lets it back
// in, or tried, can wait for a window; one that goes, goes with its account.
func ejected(c model.Change) bool {
	after, ok := c.New.(*resourcev1.Verdict)
	if !ok {
		return false
	}
	before, _ := c.Old.(*resourcev1.Verdict)
	now, then := after.GetHealth(), before.GetHealth()
	const rests, out = resourcev1.HealthState_HEALTH_STATE_OPEN, resourcev1.HealthState_HEALTH_STATE_DISABLED
	switch {
	case then.GetState() == out:
		return false
	case now.GetState() == rests && then.GetState() == rests:
		return now.GetUntil().AsTime().After(then.GetUntil().AsTime())
	default:
		return now.GetState() == rests || now.GetState() == out
	}
}

func disabled(r model.Resource) bool {
	d, ok := r.(interface{ GetDisabled() bool })
	return ok && d.GetDisabled()
}

// narrowed says whether a key lost rights: it expires earlier, moved to another group or tenant, or its rules changed.
func narrowed(before, after *resourcev1.Key) bool {
	if e := after.GetExpireTime(); e != nil {
		if b := before.GetExpireTime(); b == nil || e.AsTime().Before(b.AsTime()) {
			return true
		}
	}
	changed := func(before, after []string) bool { return len(after) > 0 && !slices.Equal(before, after) }
	return before.GetGroup() != after.GetGroup() || before.GetTenant() != after.GetTenant() ||
		changed(before.GetModels(), after.GetModels()) || changed(before.GetDeniedModels(), after.GetDeniedModels()) ||
		changed(before.GetAllowedIps(), after.GetAllowedIps()) || changed(before.GetClients(), after.GetClients()) ||
		changed(before.GetAccounts(), after.GetAccounts())
}
