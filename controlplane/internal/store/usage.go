package store

import (
	"context"
	"fmt"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// maxUsageKeys keeps the books' transaction below the operations that a cluster allows by default.
const maxUsageKeys = 100

// Watermark returns how much of a proxy's usage is on the books: the sequence number of the last record; 0 = none.
func (s *Store) Watermark(ctx context.Context, bootID string) (uint64, error) {
	if !validSegment(bootID) {
		return 0, fault.New(fault.Invalid, "malformed boot id").WithParam("boot_id")
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	got, err := s.client.Get(ctx, markPrefix+bootID)
	if err != nil {
		return 0, translate(ctx, fmt.Errorf("read watermark: %w", err))
	}
	mark, err := parseMark(got.Kvs)
	if err != nil {
		return 0, fault.New(fault.Internal, "the watermark of %s cannot be read", bootID).With(err)
	}
	return mark, nil
}

func parseMark(kvs []*kv) (uint64, error) {
	if len(kvs) == 0 {
		return 0, nil
	}
	mark, err := strconv.ParseUint(string(kvs[0].GetValue()), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse watermark: %w", err)
	}
	return mark, nil
}

// CommitUsage moves a proxy's watermark from one sequence number to a later one and stores the counters that result, as
// totals, and the balances that these records have changed, in one transaction under the leader's fence. Of two equal
// calls one succeeds. A guard that fails is a fault of kind Stale: with CodeNotLeader for the fence, without for the
// watermark. totals and balances have at most 100 entries together; balances without any are dropped. A lost answer is
// resolved as in Commit.
func (s *Store) CommitUsage(
	ctx context.Context, f Fence, bootID string, from, to uint64,
	totals map[UsageKey]*adminv1.UsageCounters, balances map[BalanceKey]*resourcev1.Balances,
) error {
	switch {
	case !validSegment(bootID):
		return fault.New(fault.Invalid, "malformed boot id").WithParam("boot_id")
	case to <= from:
		return fault.New(fault.Internal, "a watermark only moves forward")
	case len(totals)+len(balances) > maxUsageKeys:
		return fault.New(fault.Internal, "more than %d counters and balances in one transaction", maxUsageKeys)
	case f == Fence{}:
		return errNotLeader()
	}
	mark := markPrefix + bootID
	ops := []clientv3.Op{clientv3.OpPut(mark, strconv.FormatUint(to, 10))}
	for k, counters := range totals {
		key, err := usageKey(k)
		if err != nil {
			return fault.New(fault.Invalid, "malformed usage key").With(err)
		}
		value, err := proto.MarshalOptions{Deterministic: true}.Marshal(counters)
		if err != nil {
			return fmt.Errorf("encode usage: %w", err)
		}
		ops = append(ops, clientv3.OpPut(key, string(value)))
	}
	more, err := balanceOps(balances)
	if err != nil {
		return err
	}
	ops = append(ops, more...)
	at := clientv3.Compare(clientv3.Value(mark), "=", strconv.FormatUint(from, 10))
	if from == 0 {
		at = clientv3.Compare(clientv3.CreateRevision(mark), "=", 0)
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	return s.commitUsage(ctx, f, mark, to, at, ops)
}

func (s *Store) commitUsage(
	ctx context.Context, f Fence, mark string, to uint64, at clientv3.Cmp, ops []clientv3.Op,
) error {
	fence := f.guard()
	var verdict error
	attempts := 0
	err := s.retry(ctx, func(ctx context.Context) error {
		attempts++
		verdict = nil
		resp, err := s.client.Txn(ctx).If(fence.cmp, at).Then(ops...).Else(fence.read, clientv3.OpGet(mark)).Commit()
		if err != nil || resp.Succeeded {
			return err
		}
		current, err := parseMark(resp.Responses[1].GetResponseRange().GetKvs())
		switch {
		case err != nil:
			verdict = fault.New(fault.Internal, "the watermark cannot be read").With(err)
		case current == to && attempts > 1:
			// An earlier attempt whose answer was lost: only the leader moves watermarks, and it made this one step.
		default:
			if _, verdict = fence.explain(resp.Responses[0].GetResponseRange().GetKvs()); verdict == nil {
				verdict = fault.New(fault.Stale, "the usage up to %d is on the books already", current)
			}
		}
		return nil
	})
	if err != nil {
		return translate(ctx, fmt.Errorf("commit usage: %w", err))
	}
	return verdict
}

// Usage calls fn for every counter of the hours [fromHour, toHour), ordered by hour and then by key, all as of one
// revision. It stops at fn's first error and returns it.
func (s *Store) Usage(
	ctx context.Context, fromHour, toHour int64, fn func(UsageKey, *adminv1.UsageCounters) error,
) error {
	fromHour, toHour = max(fromHour, 0), min(toHour, maxHour)
	if fromHour >= toHour {
		return nil
	}
	revision, err := s.revision(ctx)
	if err != nil {
		return translate(ctx, fmt.Errorf("read usage: %w", err))
	}
	var stopped error
	err = s.scan(ctx, hourKey(fromHour), hourKey(toHour), revision, func(kv *kv) error {
		k, ok := parseUsageKey(string(kv.GetKey()))
		counters := &adminv1.UsageCounters{}
		if !ok || proto.Unmarshal(kv.GetValue(), counters) != nil {
			return fault.New(fault.Internal, "a counter of the books cannot be read")
		}
		stopped = fn(k, counters)
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	return translate(ctx, err)
}

// revision asks the majority how far the data set is.
func (s *Store) revision(ctx context.Context) (int64, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	got, err := s.client.Get(ctx, lineageKey, clientv3.WithKeysOnly())
	if err != nil {
		return 0, fmt.Errorf("read revision: %w", err)
	}
	return got.Header.Revision, nil
}
