package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"fairway/pkg/fault"
)

// Fence proves a leadership. A transaction that carries it happens only while that very leadership lasts.
type Fence struct {
	key      string
	revision int64
}

// Revision is when the leadership began. Whatever those before it wrote under their fences is of an earlier revision.
func (f Fence) Revision() int64 { return f.revision }

func (f Fence) guard() guard {
	return guard{
		cmp:  clientv3.Compare(clientv3.CreateRevision(f.key), "=", f.revision),
		read: clientv3.OpGet(f.key, clientv3.WithKeysOnly()),
		explain: func(kvs []*kv) (bool, error) {
			if len(kvs) == 0 || kvs[0].GetCreateRevision() != f.revision {
				return false, errNotLeader()
			}
			return false, nil
		},
	}
}

func errNotLeader() error {
	return fault.New(fault.Stale, "the leadership was lost").WithCode(CodeNotLeader)
}

var errLost = errors.New("the leadership was lost")

// Lead campaigns for a role and calls run while it leads, again and again until ctx ends; then it returns nil. value is
// what Leader shows to others. run's context ends when ctx does and when the leadership is lost, which is before
// anybody else can have it; what run still writes afterwards, its fence refuses. When run returns, the leadership is
// given up at once.
func (s *Store) Lead(ctx context.Context, role, value string, run func(ctx context.Context, f Fence) error) error {
	if !validSegment(role) {
		return fmt.Errorf("lead: malformed role %q", role)
	}
	wait := newBackoff()
	for ctx.Err() == nil {
		led, err := s.leadOnce(ctx, leaderPrefix+role, value, run)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("leadership ended", "role", role, "error", err)
		}
		if led {
			wait.reset()
		}
		_ = wait.sleep(ctx) // The loop looks at ctx itself.
	}
	return nil
}

// leadOnce takes a lease, waits for the role and leads until that ends. led tells whether it led.
func (s *Store) leadOnce(
	ctx context.Context, key, value string, run func(context.Context, Fence) error,
) (led bool, err error) {
	l, err := s.grant(ctx)
	if err != nil {
		return false, err
	}
	defer l.revoke(ctx)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alive := make(chan struct{})
	go func() {
		defer close(alive)
		cancel(l.keep(ctx))
	}()
	defer func() { cancel(nil); <-alive }()

	revision, err := s.campaign(ctx, key, value, l.id)
	if err != nil {
		return false, fmt.Errorf("campaign: %w", err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if s.awaitDeletion(ctx, key, revision) == nil {
			cancel(errLost)
		}
	}()
	defer func() { cancel(nil); <-gone }()
	s.log.Info("leading", "key", key)
	err = run(ctx, Fence{key: key, revision: revision})
	if cause := context.Cause(ctx); errors.Is(cause, errLost) {
		return true, errors.Join(cause, err)
	}
	return true, err
}

// campaign returns the revision at which the key became ours.
func (s *Store) campaign(ctx context.Context, key, value string, id clientv3.LeaseID) (int64, error) {
	for {
		resp, err := s.client.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
			Then(clientv3.OpPut(key, value, clientv3.WithLease(id))).
			Else(clientv3.OpGet(key)).
			Commit()
		if err != nil {
			return 0, err
		}
		if resp.Succeeded {
			return resp.Header.Revision, nil
		}
		holder := resp.Responses[0].GetResponseRange().GetKvs()[0]
		if err := s.awaitDeletion(ctx, key, holder.GetCreateRevision()); err != nil {
			return 0, err
		}
	}
}

// awaitDeletion returns nil when the key that was created at a revision is gone. It looks before it watches and each
// time that the watch breaks, so that no interruption hides the deletion.
func (s *Store) awaitDeletion(ctx context.Context, key string, created int64) error {
	wait := newBackoff()
	for {
		got, err := s.client.Get(ctx, key, clientv3.WithKeysOnly())
		if err == nil {
			if len(got.Kvs) == 0 || got.Kvs[0].CreateRevision != created {
				return nil
			}
			if s.watchDeletion(ctx, key, got.Header.Revision+1) {
				return nil
			}
		}
		if err := wait.sleep(ctx); err != nil {
			return err
		}
	}
}

// watchDeletion reports whether it saw a deletion; false means that the watch broke.
func (s *Store) watchDeletion(ctx context.Context, key string, from int64) bool {
	// Bounded, so that a watch that lost its data set is opened anew.
	ctx, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), s.probeEvery)
	defer cancel()
	for resp := range s.client.Watch(ctx, key, clientv3.WithRev(from), clientv3.WithFilterPut()) {
		if resp.Err() != nil {
			return false
		}
		if len(resp.Events) > 0 {
			return true
		}
	}
	return false
}

// Leader returns the value of who leads a role; ok is false when nobody does or etcd does not answer.
func (s *Store) Leader(ctx context.Context, role string) (value string, ok bool) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	got, err := s.client.Get(ctx, leaderPrefix+role)
	if err != nil || len(got.Kvs) == 0 {
		return "", false
	}
	return string(got.Kvs[0].Value), true
}

// lease is a lease and the moment until which it certainly lives.
type lease struct {
	store   *Store
	id      clientv3.LeaseID
	ttl     time.Duration
	expires time.Time // counted from before the request, by the monotonic clock
}

func (s *Store) grant(ctx context.Context) (*lease, error) {
	attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	asked := time.Now()
	resp, err := s.client.Grant(attempt, int64(s.leaseTTL/time.Second))
	if err != nil {
		return nil, fmt.Errorf("grant lease: %w", err)
	}
	ttl := time.Duration(resp.TTL) * time.Second
	return &lease{store: s, id: resp.ID, ttl: ttl, expires: asked.Add(ttl)}, nil
}

// keep renews the lease three times per TTL. It returns errLost at the latest when three quarters of the TTL have passed
// since the last request that was answered was sent: the rest is the margin for clocks that run at different speeds.
func (l *lease) keep(ctx context.Context) error {
	tick := time.NewTicker(l.ttl / 3)
	defer tick.Stop()
	deadline := time.NewTimer(time.Until(l.expires) - l.ttl/4)
	defer deadline.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return errLost
		case <-tick.C:
		}
		asked := time.Now()
		attempt, cancel := context.WithDeadline(ctx, l.expires.Add(-l.ttl/4))
		resp, err := l.store.client.KeepAliveOnce(attempt, l.id)
		cancel()
		switch {
		case err == nil:
			l.expires = asked.Add(time.Duration(resp.TTL) * time.Second)
			deadline.Reset(time.Until(l.expires) - l.ttl/4)
		case gone(err):
			return errLost
		}
	}
}

// revoke gives the lease back, so that others need not wait for its end.
func (l *lease) revoke(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readBackTimeout)
	defer cancel()
	// When it fails the lease ends by itself.
	_, _ = l.store.client.Revoke(ctx, l.id)
}
