package store

import (
	"strconv"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
)

type kv = mvccpb.KeyValue

// guard is one condition of a write: how to compare, what to read when the transaction fails, and what that means.
type guard struct {
	cmp  clientv3.Cmp
	read clientv3.Op
	// explain returns the fault if this guard is what failed, or nil if it held. It may instead note what it learned
	// and report retarget: then the same write can succeed with another plan.
	explain func(kvs []*kv) (retarget bool, err error)
}

func absentGuard(key string, k model.Kind, name string) guard {
	return guard{
		cmp:  clientv3.Compare(clientv3.CreateRevision(key), "=", 0),
		read: clientv3.OpGet(key, clientv3.WithKeysOnly()),
		explain: func(kvs []*kv) (bool, error) {
			if len(kvs) > 0 {
				return false, fault.New(fault.Exists, "%s %q exists already", k, name)
			}
			return false, nil
		},
	}
}

func versionGuard(old model.Resource) guard {
	k, m := model.KindOf(old), old.GetMetadata()
	key, version := resourceKey(k, m.GetId()), model.Version(old)
	return guard{
		cmp:  clientv3.Compare(clientv3.ModRevision(key), "=", version),
		read: clientv3.OpGet(key, clientv3.WithKeysOnly()),
		explain: func(kvs []*kv) (bool, error) {
			switch {
			case len(kvs) == 0:
				return false, fault.New(fault.NotFound, "there is no %s %q", k, m.GetName())
			case kvs[0].GetModRevision() != version:
				current := strconv.FormatInt(kvs[0].GetModRevision(), 10)
				return false, fault.New(fault.Stale, "%s %q was changed meanwhile; its etag is now %s", k, m.GetName(), current).
					With(&StaleError{Current: current})
			}
			return false, nil
		},
	}
}

// targetGuard holds while the name still means the id that the plan was made with, or still nothing ("").
func (p *plan) targetGuard(ref model.Ref, id string) guard {
	key := nameKey(ref.Kind, ref.Name)
	cmp := clientv3.Compare(clientv3.Value(key), "=", id)
	if id == "" {
		cmp = clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	}
	return guard{
		cmp:  cmp,
		read: clientv3.OpGet(key),
		explain: func(kvs []*kv) (bool, error) {
			current := ""
			switch {
			case len(kvs) > 0:
				current = string(kvs[0].GetValue())
			case !p.kept(ref):
				return false, noTarget(ref)
			}
			p.targets[ref] = current
			return current != id, nil
		},
	}
}

// unusedGuard holds while nobody refers to the resource, but for references that go with this very write: of those it
// knows that no others came since it looked.
func (p *plan) unusedGuard(r model.Resource) guard {
	k, m := model.KindOf(r), r.GetMetadata()
	prefix := refRange(k, m.GetId())
	cmp := clientv3.Compare(clientv3.CreateRevision(prefix), "=", 0)
	if seen := p.seen[prefix]; seen != 0 {
		cmp = clientv3.Compare(clientv3.CreateRevision(prefix), "<", seen+1)
	}
	return guard{
		cmp: cmp.WithPrefix(),
		// One more than can go with this write: then there is at least one that does not.
		read: clientv3.OpGet(prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithLimit(int64(len(p.gone)+1))),
		explain: func(kvs []*kv) (bool, error) {
			before := p.seen[prefix]
			for _, kv := range kvs {
				if !p.gone[string(kv.GetKey())] {
					from, fromID, _ := parseRefKey(string(kv.GetKey()))
					return false, fault.New(fault.Stale, "%s %q is in use by %s %s", k, m.GetName(), from, fromID).
						WithCode(model.CodeInUse)
				}
				p.seen[prefix] = max(p.seen[prefix], kv.GetCreateRevision())
			}
			return p.seen[prefix] != before, nil
		},
	}
}
