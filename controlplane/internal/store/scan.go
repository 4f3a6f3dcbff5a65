package store

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
)

// scanPage is how many keys one paged read returns where streaming is not served.
const scanPage = 5000

// errTruncated is a stream that ended without its last message.
var errTruncated = errors.New("the read ended before all keys were there")

// scan calls fn for every key of [from, end) at a revision, in order. It streams; where the server cannot (a gRPC proxy,
// an etcd before 3.7), it pages. What fn saw counts only if scan returns nil: a truncated stream is an error.
func (s *Store) scan(ctx context.Context, from, end string, revision int64, fn func(*kv) error) error {
	err := s.scanStream(ctx, from, end, revision, fn)
	if errors.Is(err, errNoStream) {
		return s.scanPages(ctx, from, end, revision, fn)
	}
	return err
}

var errNoStream = errors.New("the server does not stream ranges")

func (s *Store) scanStream(ctx context.Context, from, end string, revision int64, fn func(*kv) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := s.client.GetStream(ctx, from, clientv3.WithRange(end), clientv3.WithRev(revision))
	if err != nil {
		return fmt.Errorf("open range stream: %w", err)
	}
	// The client's goroutine ends when the channel was drained after the cancellation.
	defer func() {
		cancel()
		for range stream {
		}
	}()
	var n int64
	complete := false
	for msg := range stream {
		if err := msg.Err(); err != nil {
			if n == 0 && codeOf(err) == codes.Unimplemented {
				return errNoStream
			}
			return fmt.Errorf("range stream: %w", err)
		}
		for _, kv := range msg.GetKvs() {
			n++
			if err := fn(kv); err != nil {
				return err
			}
		}
		// Only the last message has a header and the count of all keys.
		if msg.GetHeader() != nil {
			if complete = msg.GetCount() == n && !msg.GetMore(); !complete {
				return fmt.Errorf("%w: %d of %d", errTruncated, n, msg.GetCount())
			}
		}
	}
	if !complete {
		return errTruncated
	}
	return nil
}

func (s *Store) scanPages(ctx context.Context, from, end string, revision int64, fn func(*kv) error) error {
	for {
		resp, err := s.client.Get(ctx, from,
			clientv3.WithRange(end), clientv3.WithRev(revision), clientv3.WithLimit(scanPage))
		if err != nil {
			return fmt.Errorf("range: %w", err)
		}
		for _, kv := range resp.Kvs {
			if err := fn(kv); err != nil {
				return err
			}
		}
		if !resp.More {
			return nil
		}
		if len(resp.Kvs) == 0 {
			return errTruncated
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// future reports whether an error says that a revision is none yet: that of another data set.
func future(err error) bool { return errors.Is(err, rpctypes.ErrFutureRev) }

// compacted reports whether an error says that a revision is gone.
func compacted(err error) bool { return errors.Is(err, rpctypes.ErrCompacted) }
