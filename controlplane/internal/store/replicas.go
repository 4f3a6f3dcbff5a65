package store

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// Register lists this replica among the living until ctx ends, then takes it off and returns nil. Whatever interrupts
// it, it registers again.
func (s *Store) Register(ctx context.Context, r *adminv1.Replica) error {
	if !validSegment(r.GetId()) {
		return fmt.Errorf("register replica: malformed id %q", r.GetId())
	}
	value, err := proto.Marshal(r)
	if err != nil {
		return fmt.Errorf("register replica: %w", err)
	}
	wait := newBackoff()
	for ctx.Err() == nil {
		if err := s.registerOnce(ctx, replicaPrefix+r.GetId(), string(value), wait); err != nil && ctx.Err() == nil {
			s.log.Warn("this replica is not registered", "error", err)
		}
		_ = wait.sleep(ctx) // The loop looks at ctx itself.
	}
	return nil
}

func (s *Store) registerOnce(ctx context.Context, key, value string, wait *backoff) error {
	l, err := s.grant(ctx)
	if err != nil {
		return err
	}
	defer l.revoke(ctx)
	attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	if _, err := s.client.Put(attempt, key, value, clientv3.WithLease(l.id)); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	wait.reset()
	return l.keep(ctx)
}

// Replicas returns the living replicas by id; those that lead any role are marked.
func (s *Store) Replicas(ctx context.Context) ([]*adminv1.Replica, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	resp, err := s.readAll(ctx,
		clientv3.OpGet(replicaPrefix, clientv3.WithPrefix()),
		clientv3.OpGet(leaderPrefix, clientv3.WithPrefix()),
	)
	if err != nil {
		return nil, translate(ctx, fmt.Errorf("list replicas: %w", err))
	}
	leaders := map[string]bool{}
	for _, kv := range resp.Responses[1].GetResponseRange().GetKvs() {
		leaders[string(kv.GetValue())] = true
	}
	var replicas []*adminv1.Replica
	for _, kv := range resp.Responses[0].GetResponseRange().GetKvs() {
		r := &adminv1.Replica{}
		if err := proto.Unmarshal(kv.GetValue(), r); err != nil {
			return nil, fault.New(fault.Internal, "a replica's registration cannot be read").With(err)
		}
		r.Leader = leaders[r.GetId()]
		replicas = append(replicas, r)
	}
	return replicas, nil
}

// gone reports whether a lease does not exist any more.
func gone(err error) bool { return errors.Is(err, rpctypes.ErrLeaseNotFound) }
