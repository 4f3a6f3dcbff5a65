package store

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// maxJoinRaces bounds how often one use of a join token is tried against others at the same moment.
const maxJoinRaces = 16

// kindJoinToken names join tokens in audit records; they are no resource.
const kindJoinToken = "join_token"

// CreateJoinToken stores a token (its hash, never its secret) under its id.
func (s *Store) CreateJoinToken(ctx context.Context, t *adminv1.JoinToken, a Actor) error {
	if !validSegment(t.GetId()) {
		return fault.New(fault.Internal, "malformed join token id")
	}
	value, err := proto.Marshal(t)
	if err != nil {
		return fmt.Errorf("encode join token: %w", err)
	}
	audit, err := s.joinAudit(t, a, adminv1.AuditRecord_ACTION_CREATE)
	if err != nil {
		return err
	}
	key := joinPrefix + t.GetId()
	ctx, cancel := bounded(ctx)
	defer cancel()
	return s.once(ctx, audit,
		clientv3.Compare(clientv3.CreateRevision(key), "=", 0),
		clientv3.OpPut(key, string(value)),
		fault.New(fault.Exists, "join token %q exists already", t.GetId()))
}

// DeleteJoinToken removes a token; fault NotFound when there is none.
func (s *Store) DeleteJoinToken(ctx context.Context, id string, a Actor) error {
	missing := fault.New(fault.NotFound, "there is no join token %q", id)
	if !validSegment(id) {
		return missing
	}
	audit, err := s.joinAudit(&adminv1.JoinToken{Id: id}, a, adminv1.AuditRecord_ACTION_DELETE)
	if err != nil {
		return err
	}
	key := joinPrefix + id
	ctx, cancel := bounded(ctx)
	defer cancel()
	return s.once(ctx, audit,
		clientv3.Compare(clientv3.CreateRevision(key), ">", 0),
		clientv3.OpDelete(key),
		missing)
}

func (s *Store) joinAudit(t *adminv1.JoinToken, a Actor, action adminv1.AuditRecord_Action) (auditEntry, error) {
	id, err := s.newID(s.now())
	if err != nil {
		return auditEntry{}, err
	}
	value, err := marshalAudit(id, &adminv1.AuditRecord{
		Operator: a.Operator, Procedure: a.Procedure, RequestId: a.RequestID,
		Kind: kindJoinToken, ResourceId: t.GetId(), ResourceName: t.GetId(), Action: action,
	})
	return auditEntry{auditKey(id), string(value)}, err
}

// once makes a change with its audit record exactly once; the record's key tells a repeated attempt that the first one
// had happened. otherwise is the error when the condition does not hold.
func (s *Store) once(ctx context.Context, audit auditEntry, cond clientv3.Cmp, op clientv3.Op, otherwise error) error {
	happened := false
	err := s.retry(ctx, func(ctx context.Context) error {
		resp, err := s.client.Txn(ctx).
			If(cond).
			Then(op, clientv3.OpPut(audit.key, audit.value)).
			Else(clientv3.OpGet(audit.key, clientv3.WithKeysOnly())).
			Commit()
		if err != nil {
			return err
		}
		happened = resp.Succeeded || len(resp.Responses[0].GetResponseRange().GetKvs()) > 0
		return nil
	})
	switch {
	case err != nil:
		return translate(ctx, fmt.Errorf("change join token: %w", err))
	case !happened:
		return otherwise
	}
	return nil
}

// JoinTokens returns all tokens by id, expired ones included.
func (s *Store) JoinTokens(ctx context.Context) ([]*adminv1.JoinToken, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	got, err := s.client.Get(ctx, joinPrefix, clientv3.WithPrefix())
	if err != nil {
		return nil, translate(ctx, fmt.Errorf("list join tokens: %w", err))
	}
	tokens := make([]*adminv1.JoinToken, 0, len(got.Kvs))
	for _, kv := range got.Kvs {
		t := &adminv1.JoinToken{}
		if err := proto.Unmarshal(kv.Value, t); err != nil {
			s.log.Error("skipped a join token that does not decode", "key", string(kv.Key))
			continue
		}
		tokens = append(tokens, t)
	}
	return tokens, nil
}

// UseJoinToken counts one use of a token, if check agrees with what is stored; check judges secret, expiry and uses left,
// and may be called again when others use the token at the same moment. Its error is returned as it is. A use whose
// answer was lost stays counted: a token is rather used up too early than too late.
func (s *Store) UseJoinToken(ctx context.Context, id string, check func(*adminv1.JoinToken) error) error {
	missing := fault.New(fault.NotFound, "there is no join token %q", id)
	if !validSegment(id) {
		return missing
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	key := joinPrefix + id
	for range maxJoinRaces {
		got, err := s.client.Get(ctx, key)
		if err != nil {
			return translate(ctx, fmt.Errorf("read join token: %w", err))
		}
		if len(got.Kvs) == 0 {
			return missing
		}
		t := &adminv1.JoinToken{}
		if err := proto.Unmarshal(got.Kvs[0].Value, t); err != nil {
			return fault.New(fault.Internal, "the join token cannot be read").With(err)
		}
		if err := check(t); err != nil {
			return err
		}
		t.Uses++
		value, err := proto.Marshal(t)
		if err != nil {
			return fmt.Errorf("encode join token: %w", err)
		}
		resp, err := s.client.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", got.Kvs[0].ModRevision)).
			Then(clientv3.OpPut(key, string(value))).
			Commit()
		if err != nil {
			return translate(ctx, fmt.Errorf("use join token: %w", err))
		}
		if resp.Succeeded {
			return nil
		}
	}
	return fault.New(fault.Unavailable, "too many proxies use the join token at this moment")
}
