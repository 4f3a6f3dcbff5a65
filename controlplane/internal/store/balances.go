package store

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// BalanceKey names whose balances they are.
type BalanceKey struct {
	Scope string // key, group or tenant
	ID    string
}

func balanceKey(k BalanceKey) (string, error) {
	switch {
	case k.Scope != "key" && k.Scope != "group" && k.Scope != "tenant":
		return "", fmt.Errorf("balance key: there is no scope %q", k.Scope)
	case !validSegment(k.ID):
		return "", fmt.Errorf("balance key: malformed id %q", k.ID)
	}
	return balancePrefix + k.Scope + "/" + k.ID, nil
}

func parseBalanceKey(key string) (BalanceKey, bool) {
	scope, id, ok := strings.Cut(strings.TrimPrefix(key, balancePrefix), "/")
	k := BalanceKey{Scope: scope, ID: id}
	if !ok || !strings.HasPrefix(key, balancePrefix) {
		return k, false
	}
	_, err := balanceKey(k)
	return k, err == nil
}

// balanceOps stores balances as they are to be; those without any are dropped.
func balanceOps(balances map[BalanceKey]*resourcev1.Balances) ([]clientv3.Op, error) {
	var ops []clientv3.Op
	for k, b := range balances {
		key, err := balanceKey(k)
		if err != nil {
			return nil, fault.New(fault.Invalid, "malformed balance key").With(err)
		}
		if len(b.GetBalances()) == 0 {
			ops = append(ops, clientv3.OpDelete(key))
			continue
		}
		value, err := proto.MarshalOptions{Deterministic: true}.Marshal(b)
		if err != nil {
			return nil, fmt.Errorf("encode balances: %w", err)
		}
		ops = append(ops, clientv3.OpPut(key, string(value)))
	}
	return ops, nil
}

// Balances calls fn for the balances of every owner, ordered by scope and id, all as of one revision. It stops at fn's
// first error and returns it.
func (s *Store) Balances(ctx context.Context, fn func(BalanceKey, *resourcev1.Balances) error) error {
	revision, err := s.revision(ctx)
	if err != nil {
		return translate(ctx, fmt.Errorf("read balances: %w", err))
	}
	var stopped error
	err = s.scan(ctx, balancePrefix, prefixEnd(balancePrefix), revision, func(kv *kv) error {
		k, ok := parseBalanceKey(string(kv.GetKey()))
		balances := &resourcev1.Balances{}
		if !ok || proto.Unmarshal(kv.GetValue(), balances) != nil {
			return fault.New(fault.Internal, "a balance beside the books cannot be read")
		}
		stopped = fn(k, balances)
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	return translate(ctx, err)
}

// PutBalances stores balances of at most 100 owners, in one transaction under the leader's fence; those without any are
// dropped. It is idempotent: what fails without telling whether it happened is to be tried again. A fence that fell is a
// fault of kind Stale with CodeNotLeader.
func (s *Store) PutBalances(ctx context.Context, f Fence, balances map[BalanceKey]*resourcev1.Balances) error {
	if len(balances) > maxUsageKeys {
		return fault.New(fault.Internal, "balances of more than %d owners in one transaction", maxUsageKeys)
	}
	ops, err := balanceOps(balances)
	if err != nil || len(ops) == 0 {
		return err
	}
	return s.fenced(ctx, f, "store balances", ops...)
}

// DropBalances removes all balances of at most 100 owners, as PutBalances does.
func (s *Store) DropBalances(ctx context.Context, f Fence, keys []BalanceKey) error {
	none := make(map[BalanceKey]*resourcev1.Balances, len(keys))
	for _, k := range keys {
		none[k] = nil
	}
	return s.PutBalances(ctx, f, none)
}

// fenced makes an idempotent write under a fence.
func (s *Store) fenced(ctx context.Context, f Fence, what string, ops ...clientv3.Op) error {
	if f == (Fence{}) {
		return errNotLeader()
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	fence, held := f.guard(), false
	err := s.retry(ctx, func(ctx context.Context) error {
		resp, err := s.client.Txn(ctx).If(fence.cmp).Then(ops...).Commit()
		if err != nil {
			return err
		}
		held = resp.Succeeded
		return nil
	})
	switch {
	case err != nil:
		return translate(ctx, fmt.Errorf("%s: %w", what, err))
	case !held:
		return errNotLeader()
	}
	return nil
}
