package store

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"fairway/pkg/fault"
)

// Meta returns a value that belongs to the data set as a whole, such as a wrapped data key.
func (s *Store) Meta(ctx context.Context, name string) ([]byte, bool, error) {
	if err := checkMetaName(name); err != nil {
		return nil, false, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	got, err := s.client.Get(ctx, metaPrefix+name)
	if err != nil {
		return nil, false, translate(ctx, fmt.Errorf("read meta %s: %w", name, err))
	}
	if len(got.Kvs) == 0 {
		return nil, false, nil
	}
	return got.Kvs[0].Value, true, nil
}

// CreateMeta stores a value under a name that has none, and returns what is stored: the caller's value, or that of
// whoever was faster. Values are written once and never changed.
func (s *Store) CreateMeta(ctx context.Context, name string, value []byte) ([]byte, error) {
	if err := checkMetaName(name); err != nil {
		return nil, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	// A store that is full answers this and refuses the transaction, even if it would write nothing.
	if there, ok, err := s.Meta(ctx, name); err != nil || ok {
		return there, err
	}
	key := metaPrefix + name
	var stored []byte
	// Idempotent, so that a lost answer is simply asked for again.
	err := s.retry(ctx, func(ctx context.Context) error {
		resp, err := s.client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
			Then(clientv3.OpPut(key, string(value))).
			Else(clientv3.OpGet(key)).
			Commit()
		if err != nil {
			return err
		}
		if stored = value; !resp.Succeeded {
			stored = resp.Responses[0].GetResponseRange().GetKvs()[0].GetValue()
		}
		return nil
	})
	if err != nil {
		return nil, translate(ctx, fmt.Errorf("create meta %s: %w", name, err))
	}
	return stored, nil
}

func checkMetaName(name string) error {
	for segment := range strings.SplitSeq(name, "/") {
		if !validSegment(segment) {
			return fault.New(fault.Internal, "malformed meta name")
		}
	}
	if name == "lineage" || name == "schema" {
		return fault.New(fault.Internal, "meta name %q is reserved", name)
	}
	return nil
}

// retry repeats an idempotent request until it is answered or ctx ends.
func (s *Store) retry(ctx context.Context, request func(context.Context) error) error {
	wait := newBackoff()
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := request(attempt)
		cancel()
		if err == nil || rejected(err) {
			return err
		}
		if wait.sleep(ctx) != nil {
			return err
		}
	}
}

// readAll makes several reads at one revision.
func (s *Store) readAll(ctx context.Context, gets ...clientv3.Op) (resp *clientv3.TxnResponse, err error) {
	err = s.retry(ctx, func(ctx context.Context) error {
		resp, err = s.client.Txn(ctx).Then(gets...).Commit()
		return err
	})
	return resp, err
}
