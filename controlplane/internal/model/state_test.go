package model

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func newKey(id, name string) Resource {
	return &resourcev1.Key{Metadata: &resourcev1.Metadata{Id: id, Name: name}}
}

func newAccount(id, name, channel string) Resource {
	return &resourcev1.Account{Metadata: &resourcev1.Metadata{Id: id, Name: name}, Channel: channel}
}

// naive is what a State must be equal to.
type naive map[Kind]map[string]Resource

func (n naive) clone() naive {
	out := naive{}
	for k, m := range n {
		out[k] = maps.Clone(m)
	}
	return out
}

func (n naive) apply(changes []Change) {
	for _, c := range changes {
		if n[c.Kind] == nil {
			n[c.Kind] = map[string]Resource{}
		}
		if c.New == nil {
			delete(n[c.Kind], c.ID)
			continue
		}
		n[c.Kind][c.ID] = c.New
	}
}

// check compares everything that a State can be asked.
func (n naive) check(t interface {
	Helper()
	Fatalf(string, ...any)
}, s *State, kinds ...Kind) {
	t.Helper()
	for _, k := range kinds {
		ids := slices.Sorted(maps.Keys(n[k]))
		var got, gotNames, names []string
		for r := range s.All(k) {
			got = append(got, r.GetMetadata().GetId())
		}
		for r := range s.AfterName(k, "") {
			gotNames = append(gotNames, r.GetMetadata().GetName())
		}
		for id, want := range n[k] {
			name := want.GetMetadata().GetName()
			names = append(names, name)
			for how, find := range map[string]func() (Resource, bool){
				"id": func() (Resource, bool) { return s.Get(k, id) }, "name": func() (Resource, bool) { return s.ByName(k, name) },
				"either name": func() (Resource, bool) { return s.Find(k, name) }, "either id": func() (Resource, bool) { return s.Find(k, id) },
			} {
				if r, ok := find(); !ok || r != want {
					t.Fatalf("%s %q by %s: %v, %t", k, id, how, r, ok)
				}
			}
		}
		slices.Sort(names)
		if diff := cmp.Diff(ids, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("ids of %s (-want +got):\n%s", k, diff)
		}
		if diff := cmp.Diff(names, gotNames, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("names of %s (-want +got):\n%s", k, diff)
		}
		if s.Len(k) != len(ids) {
			t.Fatalf("%s: Len %d, want %d", k, s.Len(k), len(ids))
		}
	}
}

func (n naive) accounts(channel string) []string {
	var ids []string
	for id, r := range n[KindAccount] {
		if a, ok := r.(*resourcev1.Account); ok && a.GetChannel() == channel {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func TestStateEqualsNaiveMaps(t *testing.T) {
	channels := []string{"c", "c1", "c/1", "d"}
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			state *State
			want  naive
		}
		versions := []version{{Empty("l"), naive{}}}
		ids := rapid.IntRange(1, 3*maxLeaf).Draw(t, "ids")
		for i := range rapid.IntRange(1, 12).Draw(t, "steps") {
			// From any earlier version: later ones must not show in it.
			base := versions[rapid.IntRange(0, len(versions)-1).Draw(t, "base")]
			changes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Change {
				n := rapid.IntRange(0, ids).Draw(t, "n")
				// In two orders, so that leaves split and empty in different ways; names sort unlike ids.
				id, name := fmt.Sprintf("%06d", n), fmt.Sprintf("n%06d", (n*7919)%100_003)
				c := Change{Kind: KindKey, ID: id, New: newKey(id, name)}
				if rapid.Bool().Draw(t, "account") {
					c.Kind, c.New = KindAccount, newAccount(id, name, rapid.SampledFrom(channels).Draw(t, "channel"))
				}
				if rapid.IntRange(0, 2).Draw(t, "delete") == 0 {
					c.New = nil
				}
				return c
			}), 0, 400).Draw(t, "changes")
			if rapid.Bool().Draw(t, "bulk") {
				for n := range ids {
					id := fmt.Sprintf("%06d", n)
					changes = append(changes, Change{Kind: KindKey, ID: id, New: newKey(id, fmt.Sprintf("n%06d", (n*7919)%100_003))})
				}
			}
			next := version{base.state.Apply(int64(i+1), changes), base.want.clone()}
			next.want.apply(changes)
			if next.state.Revision() != int64(i+1) || next.state.Lineage() != "l" {
				t.Fatalf("revision %d, lineage %q", next.state.Revision(), next.state.Lineage())
			}
			versions = append(versions, next)
		}
		for _, v := range versions {
			v.want.check(t, v.state, KindKey, KindAccount)
			for _, c := range channels {
				var got []string
				for a := range v.state.AccountsOf(c) {
					got = append(got, a.GetMetadata().GetId())
				}
				if diff := cmp.Diff(v.want.accounts(c), got, cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("accounts of %s (-want +got):\n%s", c, diff)
				}
			}
		}
	})
}

func TestIterationResumes(t *testing.T) {
	var changes []Change
	for i := range 2000 {
		id := fmt.Sprintf("%06d", i)
		changes = append(changes, Change{Kind: KindKey, ID: id, New: newKey(id, "n"+id)})
	}
	s := Empty("l").Apply(1, changes)
	n := 0
	for after := ""; ; {
		page := 0
		for r := range s.After(KindKey, after) {
			if got := r.GetMetadata().GetId(); got != fmt.Sprintf("%06d", n) {
				t.Fatalf("after %q came %q, want number %d", after, got, n)
			}
			n++
			after = r.GetMetadata().GetId()
			if page++; page == 77 {
				break
			}
		}
		if page == 0 {
			break
		}
	}
	if n != len(changes) {
		t.Errorf("%d resources came, want %d", n, len(changes))
	}
	if got := slices.Collect(s.AfterName(KindKey, "n001998")); len(got) != 1 {
		t.Errorf("%d names after the last but one", len(got))
	}
}

func TestUnknownKindsAreNothing(t *testing.T) {
	s := Empty("l").Apply(1, []Change{{Kind: "none", ID: "x", New: newKey("x", "x")}})
	if _, ok := s.Get("none", "x"); ok || s.Len("none") != 0 || Zero("none") != nil || Kind("none").Valid() {
		t.Error("an unknown kind is known")
	}
	for range s.All("none") {
		t.Error("an unknown kind has resources")
	}
	for range s.AfterName("none", "") {
		t.Error("an unknown kind has names")
	}
}

func TestKindsAndZerosAgree(t *testing.T) {
	if len(Kinds()) != kindCount {
		t.Errorf("%d kinds, want %d", len(Kinds()), kindCount)
	}
	seen := map[int]bool{}
	for _, k := range Kinds() {
		z := Zero(k)
		if KindOf(z) != k || z.GetMetadata() == nil {
			t.Errorf("Zero(%s) is %T", k, z)
		}
		if seen[k.index()] {
			t.Errorf("kind %s shares its index", k)
		}
		seen[k.index()] = true
	}
}

func TestVersion(t *testing.T) {
	for etag, want := range map[string]int64{"": 0, "7": 7, "9223372036854775807": 1<<63 - 1, "9223372036854775808": 0, "-1": 0, "x": 0} {
		r := newKey("a", "a")
		r.GetMetadata().Etag = etag
		if got := Version(r); got != want {
			t.Errorf("Version of etag %q is %d, want %d", etag, got, want)
		}
	}
	r := newKey("a", "a")
	SetVersion(r, 42)
	if Version(r) != 42 {
		t.Errorf("Version after SetVersion: %d", Version(r))
	}
}

func TestSettingsFallBackToDefaults(t *testing.T) {
	if got := Empty("l").Settings().GetRetry().GetMaxAttempts(); got != DefaultMaxAttempts {
		t.Errorf("max attempts %d without settings", got)
	}
	r := &resourcev1.Settings{Metadata: &resourcev1.Metadata{Id: "s", Name: SettingsName}, Retry: &resourcev1.RetryPolicy{MaxAttempts: 9}}
	if got := Empty("l").Apply(1, []Change{{Kind: KindSettings, ID: "s", New: r}}).Settings(); got != r {
		t.Errorf("settings are %v", got)
	}
}

func bulk(n int) []Change {
	changes := make([]Change, n)
	for i := range changes {
		id := fmt.Sprintf("01J%023d", i)
		changes[i] = Change{Kind: KindKey, ID: id, New: newKey(id, fmt.Sprintf("key-%d", i))}
	}
	return changes
}

func BenchmarkApplyOne(b *testing.B) {
	for _, n := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			changes := bulk(n)
			s := Empty("l").Apply(1, changes)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = (i + 7919) % n
				s = s.Apply(s.Revision()+1, changes[i:i+1])
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	changes := bulk(100_000)
	b.ReportAllocs()
	for b.Loop() {
		Empty("l").Apply(1, changes)
	}
}

func BenchmarkGet(b *testing.B) {
	changes := bulk(100_000)
	s := Empty("l").Apply(1, changes)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 7919) % len(changes)
		s.Get(KindKey, changes[i].ID)
	}
}
