package health

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/judge"
)

// term is one leadership. One goroutine runs it; the streams of proxies share the judge with it.
type term struct {
	h         *Health
	fence     store.Fence
	began     time.Time
	firstEver bool
	inbox     *inbox
	hurry     chan struct{} // one place: a report cannot wait for the next tick
	over      chan struct{} // closed when the leadership has ended
	fulls     chan struct{} // one place: whoever gets a full update; the others leave the judge to the rest meanwhile

	mu      sync.Mutex // guards judge and streams
	judge   *judge.Judge
	streams map[string]*stream // by proxy: who speaks for it
	ended   bool

	viewing sync.Mutex
	seen    *adminv1.FleetHealth
	seenAt  time.Time

	// Only run's goroutine touches these.
	roster     roster
	stale      *model.State // accounts are to be read again from it; nil = not
	configured time.Time
	reading    time.Duration      // how long that took
	verdicts   map[string]verdict // by account id: what is stored, as far as it was taken in
	desk       desk
}

// verdict is what is stored about an account.
type verdict struct {
	version int64
	health  *resourcev1.AccountHealth
}

func newTerm(h *Health, f store.Fence, o judge.Options) *term {
	return &term{
		h: h, fence: f, began: o.Now, firstEver: o.FirstEver,
		inbox: newInbox(), hurry: make(chan struct{}, 1), over: make(chan struct{}), fulls: make(chan struct{}, 1),
		judge: judge.New(o), streams: map[string]*stream{},
		verdicts: map[string]verdict{}, desk: newDesk(),
	}
}

// begin gives the judge the accounts and what was decided about them before.
func (t *term) begin(s *model.State) {
	for r := range s.All(model.KindVerdict) {
		if v, ok := r.(*resourcev1.Verdict); ok {
			t.verdicts[v.GetMetadata().GetId()] = verdict{version: model.Version(v), health: v.GetHealth()}
		}
	}
	t.configure(s)
}

// run decides until ctx ends, and returns when nothing is being written any more.
func (t *term) run(ctx context.Context) {
	defer t.desk.writing.Wait()
	tick := time.NewTicker(t.h.tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-t.desk.results:
			t.settle(r)
			t.write(ctx)
			continue
		case <-tick.C:
		case <-t.inbox.signal:
			t.gather(ctx)
		case <-t.hurry:
			t.gather(ctx)
		}
		if ctx.Err() != nil {
			return
		}
		t.observe()
		t.look()
		t.write(ctx)
	}
}

// gather waits for what comes along with news that cannot wait for the next tick: the judge is not asked for each alone.
func (t *term) gather(ctx context.Context) {
	select {
	case <-time.After(t.h.hurryAfter):
	case <-ctx.Done():
	}
}

// end ends the streams.
func (t *term) end() {
	t.mu.Lock()
	t.ended = true
	t.mu.Unlock()
	close(t.over)
}

// observe takes in what has changed in the data set.
func (t *term) observe() {
	n := t.inbox.take()
	if n.state != nil {
		for _, c := range n.verdicts {
			t.heard(n.state, c)
		}
		if n.accounts || t.stale != nil {
			t.stale = n.state
		}
	}
	// With very many accounts reading them takes time that the judge's ticks need too.
	if t.stale != nil && time.Since(t.configured) >= max(t.h.configureEvery, 5*t.reading) {
		t.configure(t.stale)
		t.stale = nil
	}
}

// configure reads all accounts again.
func (t *term) configure(s *model.State) {
	began := time.Now()
	accounts := t.roster.read(s, func(id string) *resourcev1.AccountHealth { return t.verdicts[id].health })
	r := rules(s.Settings())
	t.mu.Lock()
	t.judge.Configure(r, accounts, t.h.now())
	t.configured = time.Now()
	t.mu.Unlock()
	t.reading = time.Since(began)
	t.desk.prune(t.roster.made)
}

// heard takes in a verdict that was stored or deleted. One that is not ours is an operator's word: the account begins
// anew.
func (t *term) heard(s *model.State, c model.Change) {
	known := t.verdicts[c.ID]
	v, stored := c.New.(*resourcev1.Verdict)
	if !stored {
		if c.Old != nil && model.Version(c.Old) < known.version {
			return // what came after it is known already
		}
		delete(t.verdicts, c.ID)
		if _, there := s.Get(model.KindAccount, c.ID); there {
			t.reset(c.ID)
		}
		return
	}
	if model.Version(v) <= known.version {
		return
	}
	t.verdicts[c.ID] = verdict{version: model.Version(v), health: v.GetHealth()}
	if t.desk.ours(c.ID, v.GetHealth()) {
		return
	}
	if v.GetHealth().GetState() == resourcev1.HealthState_HEALTH_STATE_CLOSED {
		t.reset(c.ID)
		return
	}
	t.h.log.Warn("somebody else wrote a verdict under this leadership; it holds until the next decision",
		"account_id", c.ID, "state", v.GetHealth().GetState(), "reason", v.GetHealth().GetReason())
}

func (t *term) reset(accountID string) {
	if d, ok := t.desk.forget(accountID); ok {
		t.persisted(d, errOutdated)
	}
	t.mu.Lock()
	t.judge.Reset(accountID, t.h.now())
	t.mu.Unlock()
	t.h.log.Info("account's health was reset", "account_id", accountID)
}

// look lets the judge look at the clock, takes its decisions, and wakes the streams.
func (t *term) look() {
	t.mu.Lock()
	decisions := t.judge.Tick(t.h.now())
	for _, s := range t.streams {
		s.wake()
	}
	t.mu.Unlock()
	for _, d := range decisions {
		t.decided(d)
	}
}

// view returns what the judge knows, and makes it anew when it is too old.
func (t *term) view() *adminv1.FleetHealth {
	t.viewing.Lock()
	defer t.viewing.Unlock()
	if t.seen != nil && time.Since(t.seenAt) < t.h.viewAge {
		return t.seen
	}
	t.mu.Lock()
	v := t.judge.View(t.h.now())
	t.mu.Unlock()
	v.LeadingSince = timestamppb.New(t.began)
	t.seen, t.seenAt = v, time.Now()
	return v
}

// same says whether two verdicts say the same. Times may differ a little: they are counted anew from a clock that is
// being set each time that a decision is given out.
func same(a, b *resourcev1.AccountHealth) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.GetState() == b.GetState() && a.GetReason() == b.GetReason() && a.GetOpens() == b.GetOpens() && a.GetOrdered() == b.GetOrdered() &&
		near(a.GetSince(), b.GetSince()) && near(a.GetUntil(), b.GetUntil())
}

func near(a, b *timestamppb.Timestamp) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.AsTime().Sub(b.AsTime()).Abs() < time.Second
}
