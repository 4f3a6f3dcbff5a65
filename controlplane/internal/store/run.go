package store

import (
	"context"
	"errors"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"fairway/controlplane/internal/model"
)

var (
	errNoLineage   = errors.New("the data set has no lineage; it was emptied or replaced")
	errImplausible = errors.New("the data set shows no resources where there were some")
	errRunning     = errors.New("the store runs already")
)

// Run keeps State equal to the data set until ctx ends, then returns nil. It loads everything at one revision and
// watches from there; after anything that breaks the watch it goes on where it was, and where the history is gone it
// reads again and finds the differences.
//
// onChange is called after each step, from one goroutine, with the new state and what changed: first with every
// resource as created, later with real changes only, and without changes when only the revision advanced. All changes
// of one revision come in one call. When the lineage changes, everything comes as created again. It must not block.
//
// A read that failed, was cut short or is implausible (no resources where there were some) publishes nothing. A resource
// that does not decode is logged by its key and keeps its last good form.
func (s *Store) Run(ctx context.Context, onChange func(next *model.State, changes []model.Change)) error {
	if !s.running.CompareAndSwap(false, true) {
		return errRunning
	}
	defer s.running.Store(false)
	f := &follower{store: s, onChange: onChange}
	wait := newBackoff()
	for ctx.Err() == nil {
		before := f.steps
		err := f.follow(ctx)
		if ctx.Err() != nil {
			break
		}
		s.log.Warn("reading the data set again", "reason", err)
		if f.steps > before {
			wait.reset()
		}
		if wait.sleep(ctx) != nil {
			break
		}
	}
	return nil
}

// follower is Run's memory.
type follower struct {
	store     *Store
	onChange  func(*model.State, []model.Change)
	cur       *model.State // nil before the first load
	clusterID uint64
	steps     uint64 // how often something was published
}

func (f *follower) publish(next *model.State, changes []model.Change) {
	f.cur = next
	f.steps++
	f.store.publish(next)
	f.onChange(next, changes)
}

// follow reads everything, publishes the differences and watches until that is not enough any more.
func (f *follower) follow(ctx context.Context) error {
	head, err := f.head(ctx)
	if err != nil {
		return err
	}
	if f.cur != nil && head.lineage == f.cur.Lineage() && head.revision < f.cur.Revision() {
		// Revisions never go back by themselves: somebody restored a backup and left its lineage.
		lineage, err := f.store.rotateFrom(ctx, head.lineageRevision)
		if err != nil {
			return fmt.Errorf("rotate lineage: %w", err)
		}
		f.store.log.Warn("the data set went back in time; it has a new lineage", "lineage", lineage,
			"revision", head.revision, "known_revision", f.cur.Revision())
		if head, err = f.head(ctx); err != nil {
			return err
		}
	}
	if err := f.load(ctx, head); err != nil {
		return err
	}
	return f.watch(ctx)
}

// head is what identifies the data set at a moment.
type head struct {
	lineage         string
	lineageRevision int64 // when the lineage was written
	revision        int64
	clusterID       uint64
}

// head asks the cluster's majority, not the memory of one member.
func (f *follower) head(ctx context.Context) (head, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	got, err := f.store.client.Get(ctx, lineageKey)
	if err != nil {
		return head{}, fmt.Errorf("read lineage: %w", err)
	}
	f.store.reached.Store(f.store.now().UnixMilli())
	if len(got.Kvs) == 0 {
		return head{}, errNoLineage
	}
	return head{
		lineage:         string(got.Kvs[0].Value),
		lineageRevision: got.Kvs[0].ModRevision,
		revision:        got.Header.Revision,
		clusterID:       got.Header.ClusterId,
	}, nil
}

// load reads all resources at the head's revision and publishes what is different from the current state.
func (f *follower) load(ctx context.Context, h head) error {
	base := f.cur
	if base == nil || base.Lineage() != h.lineage {
		base = model.Empty(h.lineage)
	}
	var changes []model.Change
	found := 0
	present := make(map[model.Kind]map[string]bool) // only of kinds that may have lost some
	for _, k := range model.Kinds() {
		if n := base.Len(k); n > 0 {
			present[k] = make(map[string]bool, n)
		}
	}
	err := f.store.scan(ctx, resourcePrefix, clientv3.GetPrefixRangeEnd(resourcePrefix), h.revision, func(kv *kv) error {
		c, ok := f.decode(kv)
		if c.Kind == "" {
			return nil
		}
		found++
		if ids := present[c.Kind]; ids != nil {
			ids[c.ID] = true
		}
		if !ok {
			return nil
		}
		c.Old, _ = base.Get(c.Kind, c.ID)
		if c.Old == nil || model.Version(c.Old) != model.Version(c.New) {
			changes = append(changes, c)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if found == 0 && f.cur != nil {
		return errImplausible
	}
	for _, k := range model.Kinds() {
		for r := range base.All(k) {
			if id := r.GetMetadata().GetId(); !present[k][id] {
				changes = append(changes, model.Change{Kind: k, ID: id, Old: r})
			}
		}
	}
	f.clusterID = h.clusterID
	if base == f.cur && len(changes) == 0 && h.revision == f.cur.Revision() {
		return nil
	}
	f.publish(base.Apply(h.revision, changes), changes)
	return nil
}

// decode turns a stored pair into a change with New set. c.Kind is "" for a key that is no resource of ours; ok is
// false for one that cannot be read.
func (f *follower) decode(kv *kv) (c model.Change, ok bool) {
	k, id, ok := parseResourceKey(string(kv.GetKey()))
	if !ok {
		return model.Change{}, false
	}
	r, err := decode(k, id, kv.GetValue(), kv.GetModRevision())
	if err != nil {
		f.store.log.Error("skipped a stored resource that cannot be read; its last good form stays",
			"key", string(kv.GetKey()), "revision", kv.GetModRevision(), "error", err)
		return model.Change{Kind: k, ID: id}, false
	}
	return model.Change{Kind: k, ID: id, New: r}, true
}
