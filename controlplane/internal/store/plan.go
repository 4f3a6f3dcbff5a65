package store

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"fairway/controlplane/internal/model"
	"fairway/pkg/fault"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// maxOps keeps a transaction below the 128 operations that a cluster allows by default.
const maxOps = 120

// plan is a Write made into one transaction. Ids of what it refers to are looked up by name first; the guards make sure
// that they were right.
type plan struct {
	write   Write
	audit   []auditEntry
	targets map[model.Ref]string // ids of what is referred to
	born    map[model.Ref]string // what this write itself creates
	seen    map[string]int64     // per reference range: the revision at which its referrers were looked at

	proof  string // the first audit key
	guards []guard
	cmps   []clientv3.Cmp
	ops    []clientv3.Op
	reads  []clientv3.Op
	gone   map[string]bool // reference keys that this write removes
	keys   map[string]bool // keys that it writes
}

type auditEntry struct {
	key   string
	value string
}

func (s *Store) plan(ctx context.Context, w Write) (*plan, error) {
	p := &plan{
		write:   w,
		targets: map[model.Ref]string{},
		born:    map[model.Ref]string{},
		seen:    map[string]int64{},
	}
	if len(w.Puts)+len(w.Deletes) == 0 {
		return nil, fault.New(fault.Invalid, "nothing to write")
	}
	if err := p.checkWrite(); err != nil {
		return nil, err
	}
	if err := s.planAudit(p); err != nil {
		return nil, err
	}
	if err := s.resolve(ctx, p); err != nil {
		return nil, err
	}
	if err := p.build(); err != nil {
		return nil, err
	}
	return p, nil
}

// checkWrite refuses what no guard could make safe.
func (p *plan) checkWrite() error {
	for _, put := range p.write.Puts {
		k, m := model.KindOf(put.Resource), put.Resource.GetMetadata()
		switch {
		case !k.Valid() || !validSegment(m.GetId()) || m.GetName() == "":
			return fault.New(fault.Internal, "a %s without id or name cannot be stored", k)
		case !named(k) && m.GetName() != m.GetId():
			return fault.New(fault.Internal, "a %s is named by its id", k)
		case put.Old == nil:
			p.born[model.Ref{Kind: k, Name: m.GetName()}] = m.GetId()
		case model.KindOf(put.Old) != k || put.Old.GetMetadata().GetId() != m.GetId():
			return fault.New(fault.Internal, "an update cannot change kind or id")
		case put.Old.GetMetadata().GetName() != m.GetName():
			return fault.New(fault.Invalid, "metadata.name: is fixed at creation").WithParam("metadata.name")
		case model.Version(put.Old) == 0:
			return fault.New(fault.Internal, "an update needs the version that it replaces")
		}
	}
	for _, d := range p.write.Deletes {
		k, m := model.KindOf(d.Resource), d.Resource.GetMetadata()
		switch {
		case !k.Valid() || !validSegment(m.GetId()) || m.GetName() == "":
			return fault.New(fault.Internal, "a %s without id or name cannot be deleted", k)
		case model.Version(d.Resource) == 0:
			return fault.New(fault.Internal, "a deletion needs the version that it deletes")
		case model.Protected(k, m.GetName()):
			return fault.New(fault.Stale, "%s %q cannot be deleted", k, m.GetName()).WithCode(model.CodeProtected)
		}
	}
	return nil
}

// planAudit gives each change its record. The ids are chosen once: a repeated attempt writes the same keys.
func (s *Store) planAudit(p *plan) error {
	add := func(r model.Resource, action adminv1.AuditRecord_Action, fields []string) error {
		id, err := s.newID(s.now())
		if err != nil {
			return err
		}
		value, err := encodeAudit(id, p.write.Actor, r, s.knownAs(r), action, fields)
		if err != nil {
			return err
		}
		p.audit = append(p.audit, auditEntry{auditKey(id), string(value)})
		return nil
	}
	for _, put := range p.write.Puts {
		action := adminv1.AuditRecord_ACTION_CREATE
		if put.Old != nil {
			action = adminv1.AuditRecord_ACTION_UPDATE
		}
		if err := add(put.Resource, action, put.ChangedFields); err != nil {
			return err
		}
	}
	for _, d := range p.write.Deletes {
		if err := add(d.Resource, adminv1.AuditRecord_ACTION_DELETE, nil); err != nil {
			return err
		}
	}
	p.proof = p.audit[0].key
	return nil
}

// refs yields every reference that the write touches, old and new.
func (p *plan) refs(yield func(model.Ref) bool) {
	for _, put := range p.write.Puts {
		for _, r := range []model.Resource{put.Old, put.Resource} {
			if r == nil {
				continue
			}
			for _, ref := range model.References(r) {
				if !yield(ref) {
					return
				}
			}
		}
	}
	for _, d := range p.write.Deletes {
		for _, ref := range model.References(d.Resource) {
			if !yield(ref) {
				return
			}
		}
	}
}

// resolve finds the ids behind names: in our copy if it has them, else in etcd.
func (s *Store) resolve(ctx context.Context, p *plan) error {
	state := s.State()
	var missing []model.Ref
	var gets []clientv3.Op
	for ref := range p.refs {
		if _, done := p.targets[ref]; done || p.born[ref] != "" {
			continue
		}
		p.targets[ref] = ""
		if state != nil {
			if r, ok := state.ByName(ref.Kind, ref.Name); ok {
				p.targets[ref] = r.GetMetadata().GetId()
				continue
			}
		}
		missing = append(missing, ref)
		gets = append(gets, clientv3.OpGet(nameKey(ref.Kind, ref.Name)))
	}
	if len(missing) == 0 {
		return nil
	}
	if len(gets) > maxOps {
		return tooMany()
	}
	resp, err := s.readAll(ctx, gets...)
	if err != nil {
		return fmt.Errorf("look up references: %w", err)
	}
	for i, ref := range missing {
		kvs := resp.Responses[i].GetResponseRange().GetKvs()
		switch {
		case len(kvs) > 0:
			p.targets[ref] = string(kvs[0].GetValue())
		case !p.kept(ref):
			return noTarget(ref)
		}
	}
	return nil
}

// kept says whether nothing that this write stores refers there anew. A key from before tenants were resources names one
// that may not be there; so it stays until somebody changes it, and there is nothing to index.
func (p *plan) kept(ref model.Ref) bool {
	for _, put := range p.write.Puts {
		if refSet(put.Resource)[ref] && !refSet(put.Old)[ref] {
			return false
		}
	}
	return ref.Kind == model.KindTenant
}

func noTarget(ref model.Ref) error {
	return fault.New(fault.Invalid, "there is no %s %q", ref.Kind, ref.Name).WithParam(string(ref.Kind))
}

func tooMany() error { return fault.New(fault.TooLarge, "too many changes in one write") }

// build makes the transaction from what is known of the targets.
func (p *plan) build() error {
	p.guards, p.cmps, p.ops, p.reads = nil, nil, nil, nil
	p.gone, p.keys = map[string]bool{}, map[string]bool{}
	if p.write.Fence != (Fence{}) {
		p.guards = append(p.guards, p.write.Fence.guard())
	}
	for _, put := range p.write.Puts {
		if err := p.put(put); err != nil {
			return err
		}
	}
	for _, d := range p.write.Deletes {
		if err := p.delete(d); err != nil {
			return err
		}
	}
	for ref, id := range p.targets {
		p.guards = append(p.guards, p.targetGuard(ref, id))
	}
	// Last, when all references that go with this write are known.
	for _, d := range p.write.Deletes {
		p.guards = append(p.guards, p.unusedGuard(d.Resource))
	}
	for _, a := range p.audit {
		p.ops = append(p.ops, clientv3.OpPut(a.key, a.value))
	}
	p.reads = append(p.reads, clientv3.OpGet(p.proof, clientv3.WithKeysOnly()))
	for _, g := range p.guards {
		p.cmps = append(p.cmps, g.cmp)
		p.reads = append(p.reads, g.read)
	}
	if len(p.ops) > maxOps || len(p.reads) > maxOps {
		return tooMany()
	}
	return nil
}

// set adds an operation on a key; a write that touches a key twice contradicts itself.
func (p *plan) set(key string, op clientv3.Op) error {
	if p.keys[key] {
		return fault.New(fault.Invalid, "the write changes one resource or name twice")
	}
	p.keys[key] = true
	p.ops = append(p.ops, op)
	return nil
}

func (p *plan) put(put Put) error {
	r := put.Resource
	k, m := model.KindOf(r), r.GetMetadata()
	value, err := encode(r)
	if err != nil {
		return err
	}
	key := resourceKey(k, m.GetId())
	if err := p.set(key, clientv3.OpPut(key, string(value))); err != nil {
		return err
	}
	switch {
	case k == model.KindVerdict:
		p.guards = append(p.guards, verdictGuards(m.GetId(), put.Old)...)
	case put.Old == nil:
		name := nameKey(k, m.GetName())
		if err := p.set(name, clientv3.OpPut(name, m.GetId())); err != nil {
			return err
		}
		p.guards = append(p.guards, absentGuard(key, k, m.GetName()), absentGuard(name, k, m.GetName()))
	default:
		p.guards = append(p.guards, versionGuard(put.Old))
	}
	return p.reref(k, m.GetId(), put.Old, r)
}

func (p *plan) delete(d Delete) error {
	k, m := model.KindOf(d.Resource), d.Resource.GetMetadata()
	keys := []string{resourceKey(k, m.GetId())}
	if named(k) {
		keys = append(keys, nameKey(k, m.GetName()))
	}
	if k == model.KindAccount {
		// What was decided about it goes with it; the guard of a verdict sees to it that none comes later.
		keys = append(keys, resourceKey(model.KindVerdict, m.GetId()))
	}
	for _, key := range keys {
		if err := p.set(key, clientv3.OpDelete(key)); err != nil {
			return err
		}
	}
	p.guards = append(p.guards, versionGuard(d.Resource))
	return p.reref(k, m.GetId(), d.Resource, nil)
}

// reref moves the reference index from what old refers to, to what new does. Both may be nil.
func (p *plan) reref(k model.Kind, id string, before, after model.Resource) error {
	was, is := refSet(before), refSet(after)
	for ref := range is {
		// A key that named its tenant before that was a resource has no entry yet.
		if !was[ref] || (k == model.KindKey && ref.Kind == model.KindTenant) {
			if p.target(ref) == "" {
				continue
			}
			key := refKey(ref.Kind, p.target(ref), k, id)
			if err := p.set(key, clientv3.OpPut(key, "")); err != nil {
				return err
			}
		}
	}
	for ref := range was {
		if !is[ref] && p.target(ref) != "" {
			key := refKey(ref.Kind, p.target(ref), k, id)
			p.gone[key] = true
			if err := p.set(key, clientv3.OpDelete(key)); err != nil {
				return err
			}
		}
	}
	return nil
}

func refSet(r model.Resource) map[model.Ref]bool {
	if r == nil {
		return nil
	}
	set := map[model.Ref]bool{}
	for _, ref := range model.References(r) {
		set[ref] = true
	}
	return set
}

func (p *plan) target(ref model.Ref) string {
	if id := p.born[ref]; id != "" {
		return id
	}
	return p.targets[ref]
}

// verdict says why the transaction did not happen, or that it happened at an earlier attempt: then the revision is not
// 0. No revision and no error ask for a new plan.
func (p *plan) verdict(responses []*pb.ResponseOp) (int64, error) {
	if proof := responses[0].GetResponseRange().GetKvs(); len(proof) > 0 {
		return proof[0].GetCreateRevision(), nil
	}
	retarget := false
	for i, g := range p.guards {
		again, err := g.explain(responses[i+1].GetResponseRange().GetKvs())
		if err != nil {
			return 0, err
		}
		retarget = retarget || again
	}
	if !retarget {
		return 0, fault.New(fault.Internal, "the write failed for no visible reason")
	}
	return 0, nil
}
