package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"fairway/pkg/fault"
)

// maxMoves keeps a transaction of moves below the operations that a cluster allows by default: each puts and deletes,
// and has up to three guards.
const maxMoves = 40

// OldestUsageHour returns the first hour that is still kept by hour; false when there is none.
func (s *Store) OldestUsageHour(ctx context.Context) (int64, bool, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	oldest, found := int64(0), false
	for _, prefix := range []string{hourPrefix, fixHourPrefix} {
		got, err := s.client.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithLimit(1), clientv3.WithKeysOnly())
		if err != nil {
			return 0, false, translate(ctx, fmt.Errorf("find the oldest usage: %w", err))
		}
		if len(got.Kvs) == 0 {
			continue
		}
		k, ok := parseCounterKey(prefix, string(got.Kvs[0].Key))
		if !ok {
			return 0, false, fault.New(fault.Internal, "a counter of the books cannot be read")
		}
		if !found || k.Hour < oldest {
			oldest, found = k.Hour, true
		}
	}
	return oldest, found, nil
}

// UsageRows returns the rows as they are now, in the order given; one that is not there has Version 0. Of each, Day,
// Correction and the key say which is meant. There are at most 100.
func (s *Store) UsageRows(ctx context.Context, which []UsageRow) ([]UsageRow, error) {
	gets := make([]clientv3.Op, len(which))
	for i, r := range which {
		key, err := r.key()
		if err != nil {
			return nil, fault.New(fault.Invalid, "malformed usage key").With(err)
		}
		gets[i] = clientv3.OpGet(key)
	}
	if len(gets) == 0 {
		return nil, nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	resp, err := s.readAll(ctx, gets...)
	if err != nil {
		return nil, translate(ctx, fmt.Errorf("read usage: %w", err))
	}
	rows := make([]UsageRow, len(which))
	for i, r := range which {
		row := UsageRow{UsageKey: r.UsageKey, Day: r.Day, Correction: r.Correction}
		if kvs := resp.Responses[i].GetResponseRange().GetKvs(); len(kvs) > 0 {
			if err := row.read(kvs[0]); err != nil {
				return nil, err
			}
		}
		rows[i] = row
	}
	return rows, nil
}

// UsageMove takes a row off the books and puts another, which has its counters in it, in one step.
type UsageMove struct {
	From UsageRow // as it was read
	To   UsageRow // with the new counters, and the Version of what it replaces
}

// MoveUsage makes moves in one transaction under the leader's fence, at most 40, no two with one To. A guard that fails
// is a fault of kind Stale: with CodeNotLeader for the fence, without for a row that has changed since it was read, and
// for a counter whose correction is not among the moves. Then nothing has happened, or an earlier attempt whose answer
// was lost has: reading again tells, and no move happens twice.
func (s *Store) MoveUsage(ctx context.Context, f Fence, moves []UsageMove) error {
	switch {
	case f == Fence{}:
		return errNotLeader()
	case len(moves) > maxMoves:
		return fault.New(fault.Internal, "more than %d moves in one transaction", maxMoves)
	case len(moves) == 0:
		return nil
	}
	fence := f.guard()
	cmps, err := uncorrected(moves)
	if err != nil {
		return err
	}
	cmps = append(cmps, fence.cmp)
	ops := make([]clientv3.Op, 0, 2*len(moves))
	for _, m := range moves {
		from, err := m.From.key()
		if err != nil {
			return fault.New(fault.Invalid, "malformed usage key").With(err)
		}
		put, err := m.To.put()
		if err != nil {
			return err
		}
		cmps = append(cmps,
			clientv3.Compare(clientv3.ModRevision(from), "=", m.From.Version),
			clientv3.Compare(clientv3.ModRevision(string(put.KeyBytes())), "=", m.To.Version))
		ops = append(ops, put, clientv3.OpDelete(from))
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	var verdict error
	err = s.retry(ctx, func(ctx context.Context) error {
		verdict = nil
		resp, err := s.client.Txn(ctx).If(cmps...).Then(ops...).Else(fence.read).Commit()
		if err != nil || resp.Succeeded {
			return err
		}
		if _, verdict = fence.explain(resp.Responses[0].GetResponseRange().GetKvs()); verdict == nil {
			verdict = fault.New(fault.Stale, "the books have changed meanwhile")
		}
		return nil
	})
	if err != nil {
		return translate(ctx, fmt.Errorf("move usage: %w", err))
	}
	return verdict
}

// uncorrected guards the counters that move without a correction: one that was made since they were read would be left
// behind, and may take away more than is there then.
func uncorrected(moves []UsageMove) ([]clientv3.Cmp, error) {
	type place struct {
		UsageKey
		day bool
	}
	corrected := map[place]bool{}
	for _, m := range moves {
		if m.From.Correction {
			corrected[place{m.From.UsageKey, m.From.Day}] = true
		}
	}
	var cmps []clientv3.Cmp
	for _, m := range moves {
		if corrected[place{m.From.UsageKey, m.From.Day}] {
			continue
		}
		fix := UsageRow{UsageKey: m.From.UsageKey, Day: m.From.Day, Correction: true}
		key, err := fix.key()
		if err != nil {
			return nil, fault.New(fault.Invalid, "malformed usage key").With(err)
		}
		cmps = append(cmps, clientv3.Compare(clientv3.CreateRevision(key), "=", 0))
	}
	return cmps, nil
}

// DropUsage forgets the whole days before an hour, and the corrections of that time, under the leader's fence. What is
// kept by hour stays.
func (s *Store) DropUsage(ctx context.Context, f Fence, beforeHour int64) error {
	if f == (Fence{}) {
		return errNotLeader()
	}
	beforeHour = min(max(beforeHour, 0), maxHour)
	ops := make([]clientv3.Op, 0, 3)
	for _, part := range []struct {
		prefix string
		before int64
	}{{dayPrefix, beforeHour / hoursOfDay}, {fixDayPrefix, beforeHour / hoursOfDay}, {journalPrefix, beforeHour}} {
		ops = append(ops, clientv3.OpDelete(part.prefix, clientv3.WithRange(numbered(part.prefix, part.before))))
	}
	fence := f.guard()
	ctx, cancel := bounded(ctx)
	defer cancel()
	var verdict error
	err := s.retry(ctx, func(ctx context.Context) error {
		verdict = nil
		resp, err := s.client.Txn(ctx).If(fence.cmp).Then(ops...).Else(fence.read).Commit()
		if err == nil && !resp.Succeeded {
			verdict = errNotLeader()
		}
		return err
	})
	if err != nil {
		return translate(ctx, fmt.Errorf("drop usage: %w", err))
	}
	return verdict
}
