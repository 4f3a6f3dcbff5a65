package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

const (
	// maxMarks bounds what is remembered of all events that were told.
	maxMarks = 200_000
	// maxQueue bounds what waits for one notifier. Keys that end take half of it at most: the next look finds them again.
	maxQueue = 100
	// maxModelsTold bounds the models that one notifier is told of, by one kind of event, in a day: clients make names up.
	maxModelsTold = 100
	// storeTime bounds a write that must not end with the term.
	storeTime = 5 * time.Second
	// grace is how long an event is remembered beyond what it is about: clocks of leaders differ.
	grace = time.Hour
)

// mark is what the leader remembers of an event and a notifier.
type mark struct {
	Until   int64      `json:"until,omitempty"` // Unix seconds; 0 = as long as its subject is there
	Kind    model.Kind `json:"kind,omitempty"`  // of what the event is about; empty = of nothing that is kept
	Subject string     `json:"subject,omitempty"`
}

// notice is a mark as it is stored.
type notice struct {
	mark
	Event *Event `json:"event,omitempty"` // that is still to be sent; absent = it was, or was given up
}

func parseNotice(body []byte) (n notice, ok bool) {
	err := json.Unmarshal(body, &n)
	return n, err == nil
}

// toldOf names what is told of models: to which notifier, by which event.
type toldOf struct{ notifier, event string }

// term is one leadership. Its fields are its own goroutine's, but for what workers use.
type term struct {
	n       *Notify
	fence   store.Fence
	marks   map[string]map[string]mark // by notifier and event
	marked  int
	workers map[string]*worker // by notifier
	working sync.WaitGroup
	day     int64
	models  map[toldOf]int // how many, on that day
	swept   time.Time
}

// load takes over what is remembered and sends what the leader before did not; false when ctx ended first.
func (t *term) load(ctx context.Context) bool {
	for pause := t.n.firstPause; ; pause = min(2*pause, time.Minute) {
		waiting, err := t.read(ctx)
		if err == nil {
			for _, i := range waiting {
				t.worker(ctx, i.notifier).push(i)
			}
			return true
		}
		if ctx.Err() == nil {
			t.n.log.Warn("what notifiers were told is not known yet; trying again", "error", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false
		}
	}
}

func (t *term) read(ctx context.Context) (waiting []*item, err error) {
	clear(t.marks)
	t.marked = 0
	err = t.n.store.Notices(ctx, func(s store.Notice) error {
		if n, ok := parseNotice(s.Body); ok {
			t.mark(s.Notifier, s.Event, n.mark)
			if n.Event != nil {
				waiting = append(waiting, &item{notifier: s.Notifier, notice: n})
			}
			return nil
		}
		t.n.log.Warn("a notice cannot be read; the event may be told again", "notifier", s.Notifier, "event", s.Event)
		return nil
	})
	return waiting, err
}

func (t *term) mark(notifier, event string, m mark) {
	of := t.marks[notifier]
	if of == nil {
		of = map[string]mark{}
		t.marks[notifier] = of
	}
	if _, ok := of[event]; !ok {
		t.marked++
	}
	of[event] = m
}

func (t *term) run(ctx context.Context) {
	t.swept = time.Now()
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		var looks bool
		select {
		case <-ctx.Done():
			return
		case <-t.n.inbox.wake:
		case <-look.C:
			looks = true
			look.Reset(t.n.lookEvery)
		}
		state := t.n.store.State()
		if state == nil || ctx.Err() != nil {
			continue
		}
		t.follow(ctx, state)
		t.hear(ctx, state)
		if looks {
			t.expiring(ctx, state)
			if time.Since(t.swept) >= t.n.sweepEvery {
				t.swept = time.Now()
				t.sweep(ctx, state)
			}
		}
	}
}

// follow ends the workers of notifiers that are gone, and wakes those that were changed.
func (t *term) follow(ctx context.Context, s *model.State) {
	for id, w := range t.workers {
		r, ok := s.Get(model.KindNotifier, id)
		if ok {
			w.changed(model.Version(r))
			continue
		}
		w.stop()
		delete(t.workers, id)
	}
	for id := range t.marks {
		if _, ok := s.Get(model.KindNotifier, id); !ok {
			t.forget(ctx, id, t.marks[id])
		}
	}
}

// hear tells what other rooms have told.
func (t *term) hear(ctx context.Context, s *model.State) {
	budgets, models, drifts := t.n.inbox.take()
	for _, e := range budgets {
		t.budget(ctx, s, e)
	}
	for _, use := range models {
		t.unpriced(ctx, s, use)
	}
	for _, d := range drifts {
		t.drift(ctx, s, d)
	}
}

// budget tells each notifier of the highest of its percents that a budget has come to, once for each window. The window
// of a rolling budget is, here, one of its lengths after the other.
func (t *term) budget(ctx context.Context, s *model.State, e BudgetEvent) {
	now := t.n.now()
	tenant := tenantOf(s, e.Scope, e.ID)
	m := mark{Kind: model.Kind(e.Scope), Subject: e.ID}
	number, rolling := e.WindowNumber, time.Duration(0)
	switch {
	case e.Window == "rolling":
		if rolling = rollingOf(s, e.Scope, e.ID); rolling == 0 {
			return // the budget was removed meanwhile
		}
		number = now.UnixNano() / int64(rolling)
		m.Until = now.Add(2*rolling + grace).Unix()
	case !e.Ends.IsZero():
		m.Until = e.Ends.Add(grace).Unix()
	}
	for _, n := range notifiers(s, resourcev1.NotificationEvent_NOTIFICATION_EVENT_BUDGET) {
		percent := reached(n, e.Percent)
		if percent == 0 || !concerns(s, n, tenant) {
			continue
		}
		id := eventID(s.Lineage(), eventBudget, e.Scope, e.ID, e.Window, rolling.String(), number64(number), number64(int64(percent)))
		t.tell(ctx, n, m, budgetEvent(n, id, e, rolling, percent, tenant, now))
	}
}

// unpriced tells each notifier of a model without a price, once a day.
func (t *term) unpriced(ctx context.Context, s *model.State, use unpricedUse) {
	now := t.n.now()
	r, _ := s.Get(model.KindKey, use.key)
	key, _ := r.(*resourcev1.Key)
	for _, n := range notifiers(s, resourcev1.NotificationEvent_NOTIFICATION_EVENT_UNKNOWN_PRICE) {
		if concerns(s, n, key.GetTenant()) {
			id := eventID(s.Lineage(), eventUnknownPrice, use.model, number64(dayOf(now)))
			t.tellOfModel(ctx, n, unpricedEvent(n, id, use.model, key, now), now)
		}
	}
}

// drift tells each notifier of a model whose estimates are far off, once a day. Whose requests these were is not known:
// a tenant's notifiers are not told.
func (t *term) drift(ctx context.Context, s *model.State, d drift) {
	now := t.n.now()
	for _, n := range notifiers(s, resourcev1.NotificationEvent_NOTIFICATION_EVENT_ESTIMATE_DRIFT) {
		if concerns(s, n, "") {
			id := eventID(s.Lineage(), eventEstimateDrift, d.model, number64(d.day))
			t.tellOfModel(ctx, n, driftEvent(n, id, d, now), now)
		}
	}
}

// tellOfModel tells a notifier of so many models a day, and not of more.
func (t *term) tellOfModel(ctx context.Context, n *resourcev1.Notifier, e *Event, now time.Time) {
	if day := dayOf(now); day != t.day {
		t.day = day
		clear(t.models)
	}
	of := toldOf{n.GetMetadata().GetId(), e.Event}
	if t.models[of] < maxModelsTold && t.tell(ctx, n, mark{Until: now.Add(24*time.Hour + grace).Unix()}, e) {
		t.models[of]++
	}
}

// expiring looks through the keys for those that end soon. What does not fit in a queue is found by the next look.
func (t *term) expiring(ctx context.Context, s *model.State) {
	all := notifiers(s, resourcev1.NotificationEvent_NOTIFICATION_EVENT_KEY_EXPIRY)
	if len(all) == 0 {
		return
	}
	now := t.n.now()
	for r := range s.All(model.KindKey) {
		k, ok := r.(*resourcev1.Key)
		if !ok || k.GetExpireTime() == nil {
			continue
		}
		for _, n := range all {
			days := dueDays(n, k, now)
			if days == 0 || !concerns(s, n, k.GetTenant()) || t.worker(ctx, n.GetMetadata().GetId()).waiting() >= maxQueue/2 {
				continue
			}
			ends := k.GetExpireTime().AsTime()
			id := eventID(s.Lineage(), eventKeyExpiry, k.GetMetadata().GetId(), number64(ends.Unix()), number64(int64(days)))
			m := mark{Until: ends.Add(grace).Unix(), Kind: model.KindKey, Subject: k.GetMetadata().GetId()}
			t.tell(ctx, n, m, expiryEvent(n, id, k, days, now))
		}
		if ctx.Err() != nil {
			return
		}
	}
}

func number64(n int64) string { return strconv.FormatInt(n, 10) }

// tell hands an event to a notifier's worker, unless it was told before or too many wait. It is written down first,
// so that a leader who comes next sends it; when that fails it is sent all the same.
func (t *term) tell(ctx context.Context, n *resourcev1.Notifier, m mark, e *Event) bool {
	id := n.GetMetadata().GetId()
	if _, told := t.marks[id][e.ID]; told {
		return false
	}
	w := t.worker(ctx, id)
	if t.marked >= maxMarks || w.waiting() >= maxQueue {
		t.n.metrics.count(n, resultDropped)
		return false
	}
	i := &item{notifier: id, notice: notice{mark: m, Event: e}}
	if err := t.write(ctx, id, e.ID, i.notice); err != nil {
		if over(err) || ctx.Err() != nil {
			return false
		}
		t.n.log.Warn("a notification is not written down", "notifier", n.GetMetadata().GetName(), "event", e.Event, "error", err)
	}
	t.mark(id, e.ID, m)
	w.push(i)
	return true
}

// write stores what is remembered of an event.
func (t *term) write(ctx context.Context, notifier, event string, n notice) error {
	body, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode a notice: %w", err)
	}
	return t.n.store.PutNotice(ctx, t.fence, store.Notice{Notifier: notifier, Event: event, Body: body})
}

// over says whether the leadership is.
func over(err error) bool {
	f, ok := errors.AsType[*fault.Error](err)
	return ok && f.Kind == fault.Stale && f.Code == store.CodeNotLeader
}

// sweep forgets what is over: windows that have ended, keys that have, and what is about something that is gone.
func (t *term) sweep(ctx context.Context, s *model.State) {
	now := t.n.now().Unix()
	for id, of := range t.marks {
		done := map[string]mark{}
		for event, m := range of {
			gone := false
			if m.Kind != "" {
				_, there := s.Get(m.Kind, m.Subject)
				gone = !there
			}
			if gone || m.Until != 0 && m.Until < now {
				done[event] = m
			}
		}
		if len(done) > 0 {
			t.forget(ctx, id, done)
		}
	}
}

// forget drops marks of a notifier, here and in the store. What the store does not drop the next leader finds and drops.
func (t *term) forget(ctx context.Context, notifier string, events map[string]mark) {
	all := make([]store.Notice, 0, len(events))
	for event := range events {
		all = append(all, store.Notice{Notifier: notifier, Event: event})
	}
	if err := t.n.store.DropNotices(ctx, t.fence, all); err != nil {
		if ctx.Err() == nil {
			t.n.log.Warn("what a notifier was told is not forgotten yet; trying again", "error", err)
		}
		return
	}
	of := t.marks[notifier]
	for _, n := range all {
		delete(of, n.Event)
	}
	t.marked -= len(all)
	if len(of) == 0 {
		delete(t.marks, notifier)
	}
}
