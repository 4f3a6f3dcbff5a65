package publish

import (
	"bytes"
	"errors"
	"iter"
	"slices"
	"time"

	"fairway/controlplane/internal/build"
	"fairway/controlplane/internal/model"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// retryBuilds is how often resources that could not be built are tried again: a data key may have arrived since.
const retryBuilds = 5 * time.Second

// publish makes the pending state the current one. Only Run calls it.
func (p *Publisher) publish(pend *pending) {
	next, previous := pend.state, p.ring.current()
	defer func() { p.metrics.revision.Set(float64(next.Revision())) }()
	if previous == nil || previous.lineage != next.Lineage() || next.Revision() < previous.revision {
		p.load(next)
		return
	}
	a := assembly{p: p, next: next, edit: previous.edit(next.Revision())}
	for _, c := range pend.order {
		a.add(c)
	}
	a.addAffected(pend.order)
	if now := time.Now(); len(p.failed) > 0 && now.Sub(p.retried) >= retryBuilds && next.Revision() > previous.revision {
		p.retried = now
		for _, c := range failures(p.failed) {
			a.add(c)
		}
	}
	a.addMissed()
	if len(a.changed) == 0 {
		p.ring.progress(next.Revision())
		return
	}
	to := a.edit.done()
	e := &entry{
		since:    previous.since,
		base:     previous.revision,
		before:   previous.sums,
		revision: to.revision,
		root:     to.sums.Root(),
		after:    to.sums,
		progress: progressFrame(previous.revision),
		observed: pend.since,
	}
	h := header{lineage: to.lineage, base: e.base, revision: e.revision, digest: e.root}
	for f := range chunks(h, a.wires(to)) {
		e.frames = append(e.frames, f)
		e.size += len(f)
	}
	p.metrics.published.Inc()
	p.ring.push(to, e)
}

// load builds everything anew. No entry leads to the result, so every proxy gets what differs.
func (p *Publisher) load(next *model.State) {
	p.log.Info("building the whole state", "lineage", next.Lineage(), "revision", next.Revision())
	clear(p.missing)
	clear(p.failed)
	p.retried = time.Now()
	a := assembly{p: p, next: next, edit: emptyState(next.Lineage()).edit(next.Revision()), whole: true}
	a.add(change{kind: model.KindSettings})
	for _, k := range model.Kinds() {
		if k == model.KindSettings || build.Within(k) != k {
			continue
		}
		for r := range next.All(k) {
			a.add(change{kind: k, id: r.GetMetadata().GetId()})
		}
	}
	s := a.edit.done()
	p.log.Info("state built", "revision", s.revision, "resources", s.count, "bytes", s.size, "failed", len(p.failed))
	p.ring.reset(s)
}

// assembly is a transaction in the making.
type assembly struct {
	p       *Publisher
	next    *model.State
	edit    *edit
	whole   bool  // the whole state: changes are not collected
	changed []ref // each once
	seen    map[ref]struct{}
	named   []build.Ref // what was added or changed
}

// wires yields each changed resource as it is in s.
func (a *assembly) wires(s *state) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for _, r := range a.changed {
			now := s.resource(r)
			if now == nil {
				now = newResource(&syncv1.Change{Kind: r.kind, Id: r.id, Deleted: true}, nil)
			}
			if !yield(now.wire) {
				return
			}
		}
	}
}

func (a *assembly) touch(r ref) {
	if a.whole {
		return
	}
	if _, ok := a.seen[r]; ok {
		return
	}
	if a.seen == nil {
		a.seen = make(map[ref]struct{})
	}
	a.seen[r] = struct{}{}
	a.changed = append(a.changed, r)
}

// add builds a resource as it is in the next state and takes it in if it differs from what is published.
func (a *assembly) add(c change) {
	c.kind = build.Within(c.kind)
	kind, ok := build.KindOf(c.kind)
	if !ok {
		return
	}
	r := ref{kind: kind, id: c.id}
	if c.kind == model.KindSettings {
		r.id = build.SettingsID
	}
	stored, _ := a.next.Get(c.kind, c.id)
	built, _, err := a.p.build.Change(a.next, model.Change{Kind: c.kind, ID: c.id, New: stored})
	unresolved, partly := errors.AsType[*build.UnresolvedError](err)
	expected := partly && unresolved.Expected
	if err != nil && !expected {
		a.p.metrics.failures.WithLabelValues(string(c.kind)).Inc()
	}
	if err != nil && !partly {
		// Its last good form, if there is one, stays published.
		a.p.log.Error("resource cannot be built", "kind", c.kind, "id", c.id, "name", nameOf(stored), "error", err)
		a.p.failed[c] = struct{}{}
		return
	}
	delete(a.p.failed, c)
	if built.GetDeleted() {
		if old := a.edit.remove(r); old != nil {
			a.p.lack(old.missing, -1)
			a.touch(r)
		}
		return
	}
	var missing []build.Ref
	if partly {
		missing = unresolved.Refs
	}
	if partly && !expected {
		a.p.log.Error("resource built without references that do not resolve",
			"kind", c.kind, "id", c.id, "name", nameOf(stored), "error", err)
	}
	a.put(newResource(built, missing))
	if stored != nil && !a.whole {
		a.named = append(a.named, build.Ref{Kind: c.kind, Name: nameOf(stored)})
	}
}

func (a *assembly) put(r *resource) {
	old := a.edit.to.resource(r.ref)
	if old != nil {
		if old.version == r.version && bytes.Equal(old.body, r.body) {
			return
		}
		a.p.lack(old.missing, -1)
	}
	a.p.lack(r.missing, 1)
	a.edit.put(r)
	a.touch(r.ref)
}

// addAffected takes in what depends on resources that changed.
func (a *assembly) addAffected(changed []change) {
	for _, kind := range affected(changed) {
		for r := range a.next.All(kind) {
			a.add(change{kind: kind, id: r.GetMetadata().GetId()})
		}
	}
}

func affected(changed []change) []model.Kind {
	var kinds []model.Kind
	for _, c := range changed {
		for _, k := range build.Affected(c.kind) {
			if !slices.Contains(kinds, k) {
				kinds = append(kinds, k)
			}
		}
	}
	return kinds
}

// addMissed builds again what was built without a reference that resolves now.
func (a *assembly) addMissed() {
	resolved := slices.DeleteFunc(slices.Clone(a.named), func(r build.Ref) bool { return a.p.missing[r] == 0 })
	if len(resolved) == 0 {
		return
	}
	var again []change
	for r := range a.edit.to.in(allBuckets) {
		if slices.ContainsFunc(r.missing, func(m build.Ref) bool { return slices.Contains(resolved, m) }) {
			again = append(again, change{kind: build.StoredKind(r.kind), id: r.id})
		}
	}
	for _, c := range again {
		a.add(c)
	}
}

// lack counts references that published resources lack.
func (p *Publisher) lack(refs []build.Ref, by int) {
	for _, r := range refs {
		if p.missing[r] += by; p.missing[r] == 0 {
			delete(p.missing, r)
		}
	}
}

func failures(set map[change]struct{}) []change {
	list := make([]change, 0, len(set))
	for c := range set {
		list = append(list, c)
	}
	return list
}

func nameOf(r model.Resource) string {
	if r == nil {
		return ""
	}
	return r.GetMetadata().GetName()
}

// name returns the name of a published resource for people; its id when it is gone.
func (p *Publisher) name(kind syncv1.Kind, id string) string {
	if s := p.stored.Load(); s != nil {
		if r, ok := s.Get(build.StoredKind(kind), id); ok {
			return nameOf(r)
		}
	}
	return id
}
