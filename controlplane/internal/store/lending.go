package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// BeginLending notes, under the leader's fence, that shares of limits may be out from now on. first tells that none can be:
// nobody has lent any in this data set before, or whoever did has noted with EndLending that all came back. It is to be
// called once in a leadership, before anything is lent.
func (s *Store) BeginLending(ctx context.Context, f Fence) (first bool, err error) {
	if f == (Fence{}) {
		return false, errNotLeader()
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	fence, mark := f.guard(), fmt.Sprint(f.revision)
	var resp *clientv3.TxnResponse
	err = s.retry(ctx, func(ctx context.Context) (err error) {
		resp, err = s.client.Txn(ctx).
			If(fence.cmp, clientv3.Compare(clientv3.CreateRevision(lentKey), "=", 0)).
			Then(clientv3.OpPut(lentKey, mark)).
			Else(fence.read, clientv3.OpGet(lentKey)).
			Commit()
		return err
	})
	switch {
	case err != nil:
		return false, translate(ctx, fmt.Errorf("note that limits are lent: %w", err))
	case resp.Succeeded:
		return true, nil
	}
	if _, err := fence.explain(resp.Responses[0].GetResponseRange().GetKvs()); err != nil {
		return false, err
	}
	// Our own mark is that of an earlier attempt whose answer was lost.
	kvs := resp.Responses[1].GetResponseRange().GetKvs()
	return len(kvs) == 1 && string(kvs[0].GetValue()) == mark, nil
}

// EndLending notes, under the leader's fence, that nothing is lent any more and that it will lend no more.
func (s *Store) EndLending(ctx context.Context, f Fence) error {
	return s.fenced(ctx, f, "note that all came back", clientv3.OpDelete(lentKey))
}

// Leads asks the majority whether a leadership lasts.
func (s *Store) Leads(ctx context.Context, f Fence) (bool, error) {
	if f == (Fence{}) {
		return false, nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	got, err := s.client.Get(ctx, f.key, clientv3.WithKeysOnly())
	if err != nil {
		return false, translate(ctx, fmt.Errorf("read who leads: %w", err))
	}
	return len(got.Kvs) == 1 && got.Kvs[0].CreateRevision == f.revision, nil
}
