package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
)

// Write is a set of changes that happen together or not at all.
type Write struct {
	Actor   Actor
	Puts    []Put
	Deletes []Delete
	// Fence of the leader on whose behalf the write is made; the zero value asks for none.
	Fence Fence
}

// Put creates or updates a resource. Id, name, times and everything that a caller decides are in it; the etag is not
// stored.
type Put struct {
	Resource      model.Resource
	Old           model.Resource // what it replaces, with its etag; nil = create
	ChangedFields []string       // for the audit record
}

// Delete removes a resource, as it was read, with its etag.
type Delete struct {
	Resource model.Resource
}

// maxRetargets bounds how often a write whose references moved is planned anew.
const maxRetargets = 4

// Commit makes the changes in one transaction with their guards, indexes and audit records, and returns the revision,
// which is the new version of every resource put.
//
// Errors are faults: Stale with a StaleError when a version moved on, Stale with model.CodeInUse when a deletion would
// leave references dangling, Stale with CodeNotLeader when the fence fell, Exists for a name or id that is taken,
// NotFound for a resource that is gone, Invalid for a reference to nothing, TooLarge, Unavailable. A lost answer is
// resolved: the same transaction is sent again, whose guards and audit key let it happen once, until its outcome is
// known; only when ctx ends before that does Deadline or Canceled leave it open.
func (s *Store) Commit(ctx context.Context, w Write) (int64, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	p, err := s.plan(ctx, w)
	if err != nil {
		return 0, translate(ctx, err)
	}
	for range maxRetargets {
		revision, retarget, err := s.submit(ctx, p)
		if err != nil {
			return 0, translate(ctx, err)
		}
		if !retarget {
			return revision, nil
		}
		if err := p.build(); err != nil {
			return 0, err
		}
	}
	return 0, fault.New(fault.Unavailable, "what the change refers to keeps moving")
}

// submit sends the plan's transaction until its outcome is known. retarget asks for a plan with what was learned.
func (s *Store) submit(ctx context.Context, p *plan) (revision int64, retarget bool, err error) {
	wait := newBackoff()
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		resp, err := s.client.Txn(attempt).If(p.cmps...).Then(p.ops...).Else(p.reads...).Commit()
		cancel()
		switch {
		case err == nil && resp.Succeeded:
			return resp.Header.Revision, false, nil
		case err == nil:
			revision, err := p.verdict(resp.Responses)
			return revision, err == nil && revision == 0, err
		case rejected(err):
			return 0, false, fmt.Errorf("commit: %w", err)
		}
		// The request may have been applied or may still be. Once more: either the guards or the audit key tell.
		if sleepErr := wait.sleep(ctx); sleepErr != nil {
			if revision, ok := s.readBack(ctx, p.proof); ok {
				return revision, false, nil
			}
			return 0, false, fmt.Errorf("commit, outcome unknown: %w", err)
		}
	}
}

// readBack looks once more for the proof of a commit whose caller's time is over.
func (s *Store) readBack(ctx context.Context, proof string) (int64, bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readBackTimeout)
	defer cancel()
	got, err := s.client.Get(ctx, proof, clientv3.WithKeysOnly())
	if err != nil || len(got.Kvs) == 0 {
		return 0, false
	}
	return got.Kvs[0].CreateRevision, true
}

// Read returns a resource as it is now, after every write that was acknowledged to anyone: fault NotFound when it is
// absent.
func (s *Store) Read(ctx context.Context, k model.Kind, id string) (model.Resource, error) {
	if !k.Valid() || !validSegment(id) {
		return nil, fault.New(fault.NotFound, "there is no %s %q", k, id)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	got, err := s.client.Get(ctx, resourceKey(k, id))
	if err != nil {
		return nil, translate(ctx, fmt.Errorf("read %s: %w", k, err))
	}
	if len(got.Kvs) == 0 {
		return nil, fault.New(fault.NotFound, "there is no %s %q", k, id)
	}
	kv := got.Kvs[0]
	r, err := decode(k, id, kv.Value, kv.ModRevision)
	if err != nil {
		return nil, fault.New(fault.Internal, "%s %q cannot be read", k, id).With(err)
	}
	return r, nil
}
