package store

import (
	"bytes"
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// PutCredential stores what an account's exchange gave, in place of the version before (0 = there was none), under the
// leader's fence and while the account is there. It returns the new version. A guard that fails is a fault of kind Stale,
// with CodeNotLeader for the fence, or NotFound for the account. Nothing is audited: no operator asks for it, and it
// happens every hour for every such account. A lost answer is resolved as in Commit.
func (s *Store) PutCredential(ctx context.Context, f Fence, c *resourcev1.Credential, before int64) (int64, error) {
	id := c.GetMetadata().GetId()
	if !validSegment(id) || c.GetMetadata().GetName() != id {
		return 0, fault.New(fault.Internal, "a credential without its account's id cannot be stored")
	}
	value, err := encode(c)
	if err != nil {
		return 0, err
	}
	key, account := resourceKey(model.KindCredential, id), resourceKey(model.KindAccount, id)
	return s.commitCredential(ctx, f, credentialTxn{
		key: key, op: clientv3.OpPut(key, string(value)), value: value, before: before,
		cmps:  []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(account), ">", 0)},
		reads: []clientv3.Op{clientv3.OpGet(account, clientv3.WithKeysOnly())},
	})
}

// DeleteCredential removes a credential as it was read, under the leader's fence.
func (s *Store) DeleteCredential(ctx context.Context, f Fence, c *resourcev1.Credential) error {
	id := c.GetMetadata().GetId()
	if !validSegment(id) {
		return fault.New(fault.Internal, "a credential without an id cannot be deleted")
	}
	key := resourceKey(model.KindCredential, id)
	_, err := s.commitCredential(ctx, f, credentialTxn{key: key, op: clientv3.OpDelete(key), before: model.Version(c)})
	return err
}

// credentialTxn is one write of a credential.
type credentialTxn struct {
	key    string
	op     clientv3.Op
	value  []byte // nil = a deletion
	before int64
	cmps   []clientv3.Cmp
	reads  []clientv3.Op // one for each of cmps: a key that must be there
}

// done says whether an earlier attempt whose answer was lost has happened: only the leader writes here, one write of a
// credential at a time, so what is there now is that write's.
func (t credentialTxn) done(stored []*kv) bool {
	if t.value == nil {
		return len(stored) == 0
	}
	return len(stored) == 1 && bytes.Equal(stored[0].GetValue(), t.value)
}

// verdict says which guard failed.
func (t credentialTxn) verdict(fence guard, responses []*pb.ResponseOp) error {
	if _, err := fence.explain(responses[0].GetResponseRange().GetKvs()); err != nil {
		return err
	}
	for i := range t.reads {
		if len(responses[i+2].GetResponseRange().GetKvs()) == 0 {
			return fault.New(fault.NotFound, "the credential's account is gone")
		}
	}
	return fault.New(fault.Stale, "the credential was changed meanwhile")
}

func (s *Store) commitCredential(ctx context.Context, f Fence, t credentialTxn) (version int64, err error) {
	if f == (Fence{}) {
		return 0, errNotLeader()
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	fence := f.guard()
	cmps := append([]clientv3.Cmp{fence.cmp, clientv3.Compare(clientv3.ModRevision(t.key), "=", t.before)}, t.cmps...)
	reads := append([]clientv3.Op{fence.read, clientv3.OpGet(t.key)}, t.reads...)
	var verdict error
	attempts := 0
	err = s.retry(ctx, func(ctx context.Context) error {
		attempts++
		verdict = nil
		resp, err := s.client.Txn(ctx).If(cmps...).Then(t.op).Else(reads...).Commit()
		if err != nil {
			return err
		}
		version = resp.Header.Revision
		if resp.Succeeded {
			return nil
		}
		stored := resp.Responses[1].GetResponseRange().GetKvs()
		if attempts > 1 && t.done(stored) {
			if len(stored) == 1 {
				version = stored[0].GetModRevision()
			}
			return nil
		}
		verdict = t.verdict(fence, resp.Responses)
		return nil
	})
	if err != nil {
		return 0, translate(ctx, fmt.Errorf("commit credential: %w", err))
	}
	if verdict != nil {
		return 0, verdict
	}
	return version, nil
}
