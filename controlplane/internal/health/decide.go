package health

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/judge"
)

const (
	// maxWrites bounds the decisions that are being written at once.
	maxWrites = 8
	// writeTime bounds one of them; the store tries again by itself meanwhile.
	writeTime = 10 * time.Second
	// firstPause and maxPause bound how long writing rests after the store failed.
	firstPause = 250 * time.Millisecond
	maxPause   = 10 * time.Second
	// conflictPause is how long a decision waits whose account has changed meanwhile: the news is on its way.
	conflictPause = 500 * time.Millisecond
)

// procedure is what the audit log says of decisions.
const procedure = "/fairway.health/Decide"

var errOutdated = errors.New("another decision about the account has come")

// desk is where decisions wait to be written, one at a time for each account. It belongs to the goroutine that runs the
// term, but for what says otherwise.
type desk struct {
	order    []string                             // account ids, by when they came
	waiting  map[string]judge.Decision            // not begun yet
	busy     map[string]bool                      // being written
	tried    map[string]*resourcev1.AccountHealth // what was last sent to the store; it may be there or come there
	told     map[string]*resourcev1.AccountHealth // what was last logged
	returned []returned
	failures int       // of the store, in a row
	rests    time.Time // nothing is written before
	lost     bool      // the leadership is: nothing is written any more

	results chan result // from writers; has room for all
	writing sync.WaitGroup
}

// returned is a decision that goes back to the judge after a while.
type returned struct {
	decision judge.Decision
	err      error
	at       time.Time
}

// result is what became of a write.
type result struct {
	decision judge.Decision
	version  int64
	err      error
}

func newDesk() desk {
	return desk{
		waiting: map[string]judge.Decision{}, busy: map[string]bool{},
		tried: map[string]*resourcev1.AccountHealth{}, told: map[string]*resourcev1.AccountHealth{},
		results: make(chan result, maxWrites),
	}
}

// ours says whether a verdict is what we sent to the store.
func (d *desk) ours(id string, h *resourcev1.AccountHealth) bool {
	sent, ok := d.tried[id]
	return ok && same(sent, h)
}

// forget lets go of what was decided before an operator spoke. It returns what was not written yet.
func (d *desk) forget(id string) (unwritten judge.Decision, ok bool) {
	unwritten, ok = d.waiting[id]
	delete(d.waiting, id)
	delete(d.tried, id)
	delete(d.told, id)
	return unwritten, ok
}

// prune forgets accounts that are gone.
func (d *desk) prune(there map[string]*made) {
	for id := range d.tried {
		if _, ok := there[id]; !ok && !d.busy[id] {
			delete(d.tried, id)
		}
	}
	for id := range d.told {
		if _, ok := there[id]; !ok {
			delete(d.told, id)
		}
	}
}

// decided takes a decision to be written. It is logged here and not when it is written: people must hear of an account
// that is out for good also while the store is away. The judge gives out a decision again whose write failed; that is no
// news.
func (t *term) decided(d judge.Decision) {
	id := d.AccountID
	if !same(t.desk.told[id], d.Health) {
		t.desk.told[id] = d.Health
		t.announce(d)
	}
	if old, ok := t.desk.waiting[id]; ok {
		t.persisted(old, errOutdated)
	} else {
		t.desk.order = append(t.desk.order, id)
	}
	t.desk.waiting[id] = d
}

func (t *term) announce(d judge.Decision) {
	channel, name := "", d.AccountID
	if m := t.roster.made[d.AccountID]; m != nil {
		channel, name = m.judged.Channel, m.judged.Name
	}
	attrs := []any{
		"channel", channel, "account", name, "state", stateName(d.Health.GetState()),
		"reason", d.Health.GetReason(), "detail", d.Detail,
	}
	if until := d.Health.GetUntil(); until != nil {
		attrs = append(attrs, "until", until.AsTime())
	}
	if d.Alert {
		t.h.log.Warn("account needs attention", attrs...)
		return
	}
	t.h.log.Info("account's health changed", attrs...)
}

// write begins what can be written, and gives back what has waited long enough.
func (t *term) write(ctx context.Context) {
	d, now := &t.desk, time.Now()
	kept := d.returned[:0]
	for _, r := range d.returned {
		if now.Before(r.at) {
			kept = append(kept, r)
		} else {
			t.persisted(r.decision, r.err)
		}
	}
	d.returned = kept
	if d.lost || now.Before(d.rests) {
		return
	}
	order := d.order
	d.order = nil
	for i, id := range order {
		decision, ok := d.waiting[id]
		if !ok {
			continue // an operator spoke meanwhile
		}
		if d.busy[id] {
			d.order = append(d.order, id)
			continue
		}
		if t.stands(decision) {
			delete(d.waiting, id)
			t.persisted(decision, nil)
			continue
		}
		if len(d.busy) == maxWrites {
			d.order = append(d.order, order[i:]...)
			return // a result makes room and wakes us
		}
		delete(d.waiting, id)
		d.busy[id] = true
		d.tried[id] = decision.Health
		before := t.verdicts[id].version
		d.writing.Go(func() {
			version, err := t.put(ctx, decision, before)
			d.results <- result{decision: decision, version: version, err: err}
		})
	}
}

// stands says whether a decision need not be written: what is stored says the same, because the answer to a write was
// lost, or says in other words that the account serves, or nothing.
func (t *term) stands(d judge.Decision) bool {
	stored := t.verdicts[d.AccountID].health
	if same(stored, d.Health) {
		return true
	}
	serves := func(h *resourcev1.AccountHealth) bool {
		return h == nil || h.GetState() == resourcev1.HealthState_HEALTH_STATE_CLOSED
	}
	return serves(stored) && serves(d.Health)
}

func (t *term) put(ctx context.Context, d judge.Decision, before int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	now := timestamppb.New(t.h.now())
	return t.h.store.PutVerdict(ctx, t.fence, &resourcev1.Verdict{
		Metadata: &resourcev1.Metadata{Id: d.AccountID, Name: d.AccountID, CreateTime: now, UpdateTime: now},
		Health:   d.Health,
	}, before, store.Actor{Operator: "system", Procedure: procedure})
}

// settle takes in what became of a write.
func (t *term) settle(r result) {
	d, id := &t.desk, r.decision.AccountID
	delete(d.busy, id)
	f, _ := errors.AsType[*fault.Error](r.err)
	switch {
	case r.err == nil:
		d.failures = 0
		if r.version > t.verdicts[id].version {
			t.verdicts[id] = verdict{version: r.version, health: r.decision.Health}
		}
		t.h.metrics.decided(r.decision.Health)
		t.persisted(r.decision, nil)
	case f != nil && f.Kind == fault.Stale && f.Code == store.CodeNotLeader:
		d.lost = true
	case f != nil && (f.Kind == fault.Stale || f.Kind == fault.NotFound):
		// The account is gone, or an operator was faster. What the data set says about it is on its way.
		d.returned = append(d.returned, returned{decision: r.decision, err: r.err, at: time.Now().Add(conflictPause)})
	default:
		pause := min(firstPause<<min(d.failures, 10), maxPause)
		d.failures++
		d.rests = time.Now().Add(pause/2 + rand.N(pause/2))
		t.h.metrics.failures.Inc()
		t.h.log.Warn("decision not stored; trying again", "account_id", id, "attempt", d.failures, "error", r.err)
		t.persisted(r.decision, r.err)
	}
}

// persisted tells the judge what became of a decision; one that failed it offers again, as things are then.
func (t *term) persisted(d judge.Decision, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.judge.Persisted(d, err)
}
