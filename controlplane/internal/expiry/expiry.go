// Package expiry begins the life of keys that live for some time from their first use on: when the leader hears of the
// first use, it sets the key's expire_time, once, with an audit record.
//
// It refuses to change an end that is set, to write where it does not lead, and to keep more than a bounded number of first
// uses in mind: what it misses, it hears of again with the key's next use.
package expiry

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/internal/model"
	"fairway/controlplane/internal/store"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

const (
	// maxWaiting bounds the keys whose first use is noted and not written.
	maxWaiting = 10_000
	// maxAge is how far back a first use can lie: as far as usage can be late.
	maxAge = 31 * 24 * time.Hour
	// writeTime bounds one write with all its attempts.
	writeTime = 20 * time.Second
	// attempts is how often a key is read again because somebody else changed it.
	attempts = 5
	// quiet is how long nothing more is heard of a key after its end was set, or could not be: this replica's copy may not
	// show it yet, and what fails comes again.
	quiet = 5 * time.Second
)

// Store is where keys are.
type Store interface {
	Read(ctx context.Context, k model.Kind, id string) (model.Resource, error)
	Commit(ctx context.Context, w store.Write) (int64, error)
}

// Options of an Expiry. The zero value works.
type Options struct {
	Now func() time.Time // nil = time.Now
	Log *slog.Logger     // nil = none
}

// Expiry sets the ends of keys while it leads. Safe for concurrent use.
type Expiry struct {
	store Store
	now   func() time.Time
	log   *slog.Logger
	woken chan struct{} // one place: there is something to write

	mu      sync.Mutex
	leads   bool
	waiting map[string]time.Time // when keys were used first
	done    map[string]time.Time // until when nothing more is heard of them
}

// New returns an Expiry that writes nothing before Lead.
func New(s Store, o Options) *Expiry {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Expiry{
		store: s, now: o.Now, log: o.Log, woken: make(chan struct{}, 1),
		waiting: map[string]time.Time{}, done: map[string]time.Time{},
	}
}

// FirstUse notes that a key was used whose life is to begin with that. It never blocks. Where another replica leads, it
// does nothing.
func (e *Expiry) FirstUse(keyID string, at time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before, known := e.waiting[keyID]
	switch {
	case !e.leads, e.now().Before(e.done[keyID]):
		return
	case known && !at.Before(before), !known && len(e.waiting) >= maxWaiting:
		return
	}
	e.waiting[keyID] = at
	select {
	case e.woken <- struct{}{}:
	default:
	}
}

// Lead makes this the Expiry that writes, under the fence, until ctx ends.
func (e *Expiry) Lead(ctx context.Context, f store.Fence) error {
	e.become(true)
	defer e.become(false)
	for {
		select {
		case <-e.woken:
		case <-ctx.Done():
			return nil
		}
		for key, at, ok := e.next(); ok && ctx.Err() == nil; key, at, ok = e.next() {
			if err := e.begin(ctx, f, key, at); err != nil && ctx.Err() == nil {
				e.log.Warn("cannot set the end of a key; it is tried again at its next use", "key_id", key, "error", err)
			}
		}
	}
}

// become forgets what was noted in another leadership.
func (e *Expiry) become(leads bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.leads = leads
	clear(e.waiting)
	clear(e.done)
}

// next takes a key whose end is to be set.
func (e *Expiry) next() (key string, at time.Time, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	for id, until := range e.done {
		if !now.Before(until) || until.Sub(now) > quiet { // or the clock was set back
			delete(e.done, id)
		}
	}
	for key, at := range e.waiting {
		delete(e.waiting, key)
		e.done[key] = now.Add(quiet)
		return key, at, true
	}
	return "", time.Time{}, false
}

// begin sets a key's end, unless it has one.
func (e *Expiry) begin(ctx context.Context, f store.Fence, id string, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	var err error
	for range attempts {
		if err = e.try(ctx, f, id, at); err == nil {
			return nil
		}
		if _, stale := errors.AsType[*store.StaleError](err); !stale {
			break
		}
	}
	if fault.KindOf(err) == fault.NotFound {
		return nil // the key is gone
	}
	return err
}

func (e *Expiry) try(ctx context.Context, f store.Fence, id string, at time.Time) error {
	r, err := e.store.Read(ctx, model.KindKey, id)
	if err != nil {
		return err
	}
	old, ok := r.(*resourcev1.Key)
	if !ok || old.GetExpireAfterFirstUse() == nil || old.GetExpireTime() != nil {
		return nil
	}
	now := e.now()
	key := proto.CloneOf(old)
	key.ExpireTime = timestamppb.New(used(at, old.GetMetadata().GetCreateTime().AsTime(), now).Add(old.GetExpireAfterFirstUse().AsDuration()))
	key.Metadata.UpdateTime = timestamppb.New(now)
	_, err = e.store.Commit(ctx, store.Write{
		Actor: store.Actor{Operator: "system", Procedure: "first use"},
		Puts:  []store.Put{{Resource: key, Old: old, ChangedFields: []string{"expire_time"}}},
		Fence: f,
	})
	if err == nil {
		e.log.Info("a key was used for the first time", "key_id", id, "expire_time", key.GetExpireTime().AsTime())
	}
	return err
}

// used is when a key was used, as far as that can be believed of a proxy: after it was made, and not in the future.
func used(at, created, now time.Time) time.Time {
	for _, earliest := range []time.Time{now.Add(-maxAge), created} {
		if at.Before(earliest) {
			at = earliest
		}
	}
	if at.After(now) {
		at = now
	}
	return at
}
