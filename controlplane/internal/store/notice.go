package store

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"fairway/pkg/fault"
)

// maxNoticeDrops keeps a transaction of deletions below the operations that a cluster allows by default.
const maxNoticeDrops = 100

// Notice is what the leader remembers of one event and one notifier: that it is to be sent, or that it was.
type Notice struct {
	Notifier string // its id
	Event    string // of the same event always the same
	Body     []byte // whatever the leader wants to know of it
}

func (n Notice) key() (string, error) {
	if !validSegment(n.Notifier) || !validSegment(n.Event) {
		return "", fault.New(fault.Internal, "malformed notice")
	}
	return noticePrefix + n.Notifier + "/" + n.Event, nil
}

// PutNotice stores a notice in place of what there was, under the leader's fence. A fence that has fallen is a fault of
// kind Stale with CodeNotLeader.
func (s *Store) PutNotice(ctx context.Context, f Fence, n Notice) error {
	key, err := n.key()
	if err != nil {
		return err
	}
	return s.writeNotices(ctx, f, []clientv3.Op{clientv3.OpPut(key, string(n.Body))})
}

// DropNotices forgets notices, in transactions of 100, under the leader's fence. Those that are not there are none the
// worse.
func (s *Store) DropNotices(ctx context.Context, f Fence, all []Notice) error {
	ops := make([]clientv3.Op, 0, min(len(all), maxNoticeDrops))
	for i, n := range all {
		key, err := n.key()
		if err != nil {
			return err
		}
		ops = append(ops, clientv3.OpDelete(key))
		if len(ops) < maxNoticeDrops && i < len(all)-1 {
			continue
		}
		if err := s.writeNotices(ctx, f, ops); err != nil {
			return err
		}
		ops = ops[:0]
	}
	return nil
}

// writeNotices may write the same twice when an answer is lost: only the leader writes here, and one write at a time, so
// that changes nothing.
func (s *Store) writeNotices(ctx context.Context, f Fence, ops []clientv3.Op) error {
	if f == (Fence{}) {
		return errNotLeader()
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	fence := f.guard()
	var verdict error
	err := s.retry(ctx, func(ctx context.Context) error {
		verdict = nil
		resp, err := s.client.Txn(ctx).If(fence.cmp).Then(ops...).Else(fence.read).Commit()
		if err != nil || resp.Succeeded {
			return err
		}
		if _, verdict = fence.explain(resp.Responses[0].GetResponseRange().GetKvs()); verdict == nil {
			verdict = errNotLeader()
		}
		return nil
	})
	if err != nil {
		return translate(ctx, fmt.Errorf("write notices: %w", err))
	}
	return verdict
}

// Notices calls fn for every notice, ordered by notifier and event, all as of one revision. It stops at fn's first error
// and returns it.
func (s *Store) Notices(ctx context.Context, fn func(Notice) error) error {
	revision, err := s.revision(ctx)
	if err != nil {
		return translate(ctx, fmt.Errorf("read notices: %w", err))
	}
	var stopped error
	err = s.scan(ctx, noticePrefix, prefixEnd(noticePrefix), revision, func(kv *kv) error {
		notifier, event, ok := strings.Cut(strings.TrimPrefix(string(kv.GetKey()), noticePrefix), "/")
		if !ok {
			return fault.New(fault.Internal, "a notice cannot be read")
		}
		stopped = fn(Notice{Notifier: notifier, Event: event, Body: kv.GetValue()})
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	return translate(ctx, err)
}
