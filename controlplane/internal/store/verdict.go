package store

import (
	"context"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/proto"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// PutVerdict stores what the leader decided about an account's health, in place of the version before (0 = there was
// none), under the leader's fence and while the account is there, with its audit record in the same transaction. It
// returns the new version. A guard that fails is a fault of kind Stale, with CodeNotLeader for the fence and a StaleError
// for the version, or NotFound for the account. A lost answer is resolved as in Commit.
func (s *Store) PutVerdict(ctx context.Context, f Fence, v *resourcev1.Verdict, before int64, a Actor) (int64, error) {
	if f == (Fence{}) {
		return 0, errNotLeader()
	}
	put := Put{Resource: v, ChangedFields: []string{"health"}}
	if before != 0 {
		old := proto.CloneOf(v)
		if old.GetMetadata() == nil {
			old.Metadata = &resourcev1.Metadata{}
		}
		model.SetVersion(old, before)
		put.Old = old
	}
	return s.Commit(ctx, Write{Actor: a, Puts: []Put{put}, Fence: f})
}

// named says whether a kind has an index of names. Verdicts have their account's id for a name, and so need none.
func named(k model.Kind) bool { return k != model.KindVerdict }

// knownAs is the name under which people look for what happened to a resource: of a verdict that of its account.
func (s *Store) knownAs(r model.Resource) string {
	if state := s.State(); state != nil && !named(model.KindOf(r)) {
		if account, ok := state.Get(model.KindAccount, r.GetMetadata().GetId()); ok {
			return account.GetMetadata().GetName()
		}
	}
	return r.GetMetadata().GetName()
}

// verdictGuards hold while the account is there and its verdict is as it was read; nil = there was none. A verdict that
// is there although there was none has changed like any other: whoever wrote it was faster, and the caller reads again.
func verdictGuards(id string, old model.Resource) []guard {
	account, key, version := resourceKey(model.KindAccount, id), resourceKey(model.KindVerdict, id), int64(0)
	if old != nil {
		version = model.Version(old)
	}
	return []guard{
		{
			cmp:  clientv3.Compare(clientv3.CreateRevision(account), ">", 0),
			read: clientv3.OpGet(account, clientv3.WithKeysOnly()),
			explain: func(kvs []*kv) (bool, error) {
				if len(kvs) == 0 {
					return false, fault.New(fault.NotFound, "there is no account %q", id)
				}
				return false, nil
			},
		},
		{
			cmp:  clientv3.Compare(clientv3.ModRevision(key), "=", version),
			read: clientv3.OpGet(key, clientv3.WithKeysOnly()),
			explain: func(kvs []*kv) (bool, error) {
				now := int64(0)
				if len(kvs) > 0 {
					now = kvs[0].GetModRevision()
				}
				if now == version {
					return false, nil
				}
				return false, fault.New(fault.Stale, "the verdict on account %q was changed meanwhile", id).
					With(&StaleError{Current: strconv.FormatInt(now, 10)})
			},
		},
	}
}
