package model

import (
	"iter"
	"strings"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// Change is one resource that became another.
type Change struct {
	Kind Kind
	ID   string
	Old  Resource // nil = created
	New  Resource // nil = deleted
}

// State is every resource at one revision of one lineage. It is immutable and safe for any number of readers; what it
// returns is shared and must not be written to.
type State struct {
	lineage  string
	revision int64
	gen      uint64 // grows with each Apply; see leaf
	byID     [kindCount]table
	byName   [kindCount]table
	accounts table // channel name, 0, account id
}

// Empty is the state of a data set before anything is in it.
func Empty(lineage string) *State { return &State{lineage: lineage} }

// Lineage is the id of the data set; revisions of two lineages do not compare.
func (s *State) Lineage() string { return s.lineage }

// Revision is the newest revision that the state is known to reflect.
func (s *State) Revision() int64 { return s.revision }

// Len counts the resources of a kind.
func (s *State) Len(k Kind) int {
	if i := k.index(); i >= 0 {
		return s.byID[i].n
	}
	return 0
}

// Get finds a resource by its id.
func (s *State) Get(k Kind, id string) (Resource, bool) {
	if i := k.index(); i >= 0 {
		return s.byID[i].get(id)
	}
	return nil, false
}

// ByName finds a resource by its name.
func (s *State) ByName(k Kind, name string) (Resource, bool) {
	if i := k.index(); i >= 0 {
		return s.byName[i].get(name)
	}
	return nil, false
}

// Find finds a resource by its name or else by its id.
func (s *State) Find(k Kind, nameOrID string) (Resource, bool) {
	if r, ok := s.ByName(k, nameOrID); ok {
		return r, true
	}
	return s.Get(k, nameOrID)
}

// All yields the resources of a kind ordered by id, which is the order of creation.
func (s *State) All(k Kind) iter.Seq[Resource] { return s.After(k, "") }

// After yields the resources of a kind whose ids are greater than id, ordered by id.
func (s *State) After(k Kind, id string) iter.Seq[Resource] {
	i := k.index()
	if i < 0 {
		return func(func(Resource) bool) {}
	}
	return greater(&s.byID[i], id)
}

// AfterName yields the resources of a kind whose names are greater than name, ordered by name.
func (s *State) AfterName(k Kind, name string) iter.Seq[Resource] {
	i := k.index()
	if i < 0 {
		return func(func(Resource) bool) {}
	}
	return greater(&s.byName[i], name)
}

func greater(t *table, after string) iter.Seq[Resource] {
	return func(yield func(Resource) bool) {
		for key, r := range t.from(after) {
			if key == after {
				continue
			}
			if !yield(r) {
				return
			}
		}
	}
}

// AccountsOf yields the accounts of a channel ordered by id.
func (s *State) AccountsOf(channelName string) iter.Seq[*resourcev1.Account] {
	return func(yield func(*resourcev1.Account) bool) {
		prefix := channelName + "\x00"
		for key, r := range s.accounts.from(prefix) {
			if !strings.HasPrefix(key, prefix) {
				return
			}
			if a, ok := r.(*resourcev1.Account); ok && !yield(a) {
				return
			}
		}
	}
}

// Settings returns the settings, or their defaults while there are none.
func (s *State) Settings() *resourcev1.Settings {
	if r, ok := s.ByName(KindSettings, SettingsName); ok {
		if settings, ok := r.(*resourcev1.Settings); ok {
			return settings
		}
	}
	settings := &resourcev1.Settings{Metadata: &resourcev1.Metadata{Name: SettingsName}}
	Defaults(settings)
	return settings
}

// Apply returns the state after the changes, at the revision; s stays as it is. Of a change only Kind, ID and New are
// read. A change of an unknown kind is ignored. The cost is that of the changes, not of the state.
func (s *State) Apply(revision int64, changes []Change) *State {
	next := *s
	next.revision = revision
	if len(changes) == 0 {
		return &next
	}
	next.gen = s.gen + 1
	w := writer{accounts: edit{t: &next.accounts, gen: next.gen}}
	for i := range kindCount {
		w.byID[i] = edit{t: &next.byID[i], gen: next.gen}
		w.byName[i] = edit{t: &next.byName[i], gen: next.gen}
	}
	for _, c := range changes {
		if k := c.Kind.index(); k >= 0 {
			w.apply(k, c)
		}
	}
	return &next
}

// writer is a State under change.
type writer struct {
	byID, byName [kindCount]edit
	accounts     edit
}

func (w *writer) apply(k int, c Change) {
	if old, ok := w.byID[k].t.get(c.ID); ok {
		name := old.GetMetadata().GetName()
		// Names are unique in storage. Should two resources carry one all the same, the last one written answers to it.
		if named, ok := w.byName[k].t.get(name); ok && named.GetMetadata().GetId() == c.ID {
			if c.New == nil || c.New.GetMetadata().GetName() != name {
				w.byName[k].remove(name)
			}
		}
		if a, ok := old.(*resourcev1.Account); ok {
			w.accounts.remove(a.GetChannel() + "\x00" + c.ID)
		}
	}
	if c.New == nil {
		w.byID[k].remove(c.ID)
		return
	}
	w.byID[k].put(c.ID, c.New)
	w.byName[k].put(c.New.GetMetadata().GetName(), c.New)
	if a, ok := c.New.(*resourcev1.Account); ok {
		w.accounts.put(a.GetChannel()+"\x00"+c.ID, a)
	}
}
