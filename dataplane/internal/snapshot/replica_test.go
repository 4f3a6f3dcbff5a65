package snapshot

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"fairway/pkg/digest"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// TestReplicaEqualsFromScratch is the property that everything else rests on: whatever way a state came in (deltas,
// replaced buckets, full states, in chunks of any size, with resources that do not compile among them), the snapshot is
// the one that compiling the last good forms from scratch gives.
func TestReplicaEqualsFromScratch(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		src, well := newSource("L"), newSource("L")
		r := NewReplica()
		for range rapid.IntRange(1, 12).Draw(rt, "transactions") {
			base := src.revision
			before := *src.sums()
			var changes []*syncv1.Change
			seen := make(map[ref]bool)
			for range rapid.IntRange(0, 6).Draw(rt, "changes") {
				c := drawChange(t, rt, src.revision+1)
				if id := (ref{c.GetKind(), c.GetId()}); !seen[id] {
					seen[id] = true
					changes = append(changes, c)
				}
			}
			src.apply(changes...)
			well.revision = src.revision
			for _, c := range changes {
				id := ref{c.GetKind(), c.GetId()}
				if c.GetDeleted() {
					delete(well.items, id)
				} else if string(c.GetBody()) != string(poison) {
					well.items[id] = c
				}
			}
			var txn *syncv1.Txn
			switch by := rapid.IntRange(0, 2).Draw(rt, "by"); {
			case base == 0:
				txn = src.full() // nothing else leads on from nothing
			case by == 0:
				txn = src.delta(base, changes...)
			case by == 1:
				mask := src.sums().Differ(&before) | rapid.Uint64().Draw(rt, "mask")
				txn = src.buckets(base, mask)
			default:
				txn = src.full()
			}
			receive(t, r, cut(txn, rapid.IntRange(1, 4).Draw(rt, "chunk"))...)

			scratch := NewReplica()
			receive(t, scratch, well.full())
			if diff := cmp.Diff(dump(scratch.Snapshot()), dump(r.Snapshot())); diff != "" {
				rt.Fatalf("snapshot differs from one compiled from scratch (-want +got):\n%s", diff)
			}
			if got, want := r.Ack().GetDigest(), src.sums().Root(); got != want {
				rt.Fatalf("digest = %x, want %x", got, want)
			}
			sick := 0
			for _, c := range src.items {
				if string(c.GetBody()) == string(poison) {
					sick++
				}
			}
			if got := len(r.Ack().GetRejects()); got != sick {
				rt.Fatalf("%d rejects, want %d", got, sick)
			}
		}
	})
}

func drawChange(t testing.TB, rt *rapid.T, version int64) *syncv1.Change {
	kind := rapid.SampledFrom([]syncv1.Kind{channelKind, channelKind, accountKind, accountKind, groupKind, keyKind, tenantKind, modelKind, settingsKind, 99}).Draw(rt, "kind")
	n := rapid.IntRange(1, 4).Draw(rt, "id")
	id := fmt.Sprint(strings.ToLower(kind.String()), n)
	if kind == settingsKind {
		id = "settings"
	}
	switch rapid.IntRange(0, 9).Draw(rt, "what") {
	case 0, 1:
		return gone(kind, id)
	case 2:
		if kind != 99 { // what this build does not know it does not reject
			return &syncv1.Change{Kind: kind, Id: id, Version: version, Body: poison}
		}
	}
	ids := func(kind syncv1.Kind, label string) []string {
		return rapid.SliceOfNDistinct(rapid.Map(rapid.IntRange(1, 4), func(i int) string {
			return fmt.Sprint(strings.ToLower(kind.String()), i)
		}), 0, 3, rapid.ID[string]).Draw(rt, label)
	}
	var m proto.Message
	switch kind {
	case channelKind:
		m = &syncv1.ChannelState{Provider: 1,
			Name: "c", BaseUrl: rapid.SampledFrom([]string{"https://a.example", "http://b.example:81/x"}).Draw(rt, "url"),
			Models:   rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"m1", "m2", "m3"}), 0, 3, rapid.ID[string]).Draw(rt, "models"),
			GroupIds: ids(groupKind, "groups"), Priority: rapid.Int32Range(0, 1).Draw(rt, "priority"),
			Weight: rapid.Uint32Range(0, 3).Draw(rt, "weight"), Disabled: rapid.IntRange(0, 4).Draw(rt, "disabled") == 0,
		}
	case accountKind:
		m = &syncv1.AccountState{
			Name: "a", ChannelId: fmt.Sprint("kind_channel", rapid.IntRange(1, 4).Draw(rt, "channel")),
			Secret: rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "secret"), Weight: rapid.Uint32Range(0, 3).Draw(rt, "weight"),
			Disabled: rapid.IntRange(0, 4).Draw(rt, "disabled") == 0,
		}
	case groupKind:
		m = &syncv1.GroupState{Name: rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "name"), Limits: drawLimits(rt)}
	case tenantKind:
		m = &syncv1.TenantState{
			Name: "t", ParentId: rapid.SampledFrom([]string{"", "kind_tenant5"}).Draw(rt, "parent"), Disabled: rapid.Bool().Draw(rt, "disabled"),
			Limits: drawLimits(rt),
		}
	case keyKind:
		// MACs do not repeat among keys, but move in time.
		mac := macOf(n + 10*rapid.IntRange(0, 1).Draw(rt, "mac"))
		m = &syncv1.KeyState{Name: "k", GroupId: "g1", Mac: mac[:], Models: []string{"m*", "n"},
			AccountIds: ids(accountKind, "accounts"), TenantId: "kind_tenant1", Limits: drawLimits(rt)}
	case modelKind:
		m = &syncv1.ModelState{Name: fmt.Sprint("m", n), Priced: true, Input: version}
	case settingsKind:
		m = &syncv1.SettingsState{Pepper: []byte("p"), MaxAttempts: rapid.Uint32Range(0, 4).Draw(rt, "attempts")}
	default:
		return &syncv1.Change{Kind: kind, Id: id, Version: version, Body: []byte("from the future")}
	}
	return put(t, kind, id, version, m)
}

func drawLimits(rt *rapid.T) *syncv1.LimitsState {
	if rapid.Bool().Draw(rt, "unlimited") {
		return nil
	}
	return &syncv1.LimitsState{Rpm: rapid.Int64Range(0, 2).Draw(rt, "rpm"), Fallback: 1}
}

func TestHalfATransactionChangesNothing(t *testing.T) {
	src := small(t)
	r := NewReplica()
	receive(t, r, src.full())
	before, image := r.Snapshot(), r.Image()
	base := src.revision
	changes := []*syncv1.Change{gone(channelKind, "c1"), put(t, groupKind, "g2", 2, &syncv1.GroupState{Name: "two"})}
	src.apply(changes...)
	chunks := cut(src.delta(base, changes...), 1)
	receive(t, r, chunks[0])
	if r.Snapshot() != before || r.Image() != image {
		t.Error("the first chunk of two changed the state")
	}
	r.Abort()
	if _, err := r.Receive(chunks[1]); err != nil && !errors.Is(err, ErrDigest) {
		t.Errorf("the second chunk alone: %v", err)
	}
	if r.Snapshot() != before || r.Image() != image {
		t.Error("the second chunk alone changed the state")
	}
	receive(t, r, chunks...)
	if _, ok := r.Snapshot().Channel("c1"); ok {
		t.Error("both chunks: the channel is still there")
	}
}

func TestReceiveRefuses(t *testing.T) {
	add := put(t, groupKind, "g9", 9, &syncv1.GroupState{Name: "nine"})
	tests := []struct {
		name string
		txn  func(s *source) []*syncv1.Txn
		want error
	}{
		{"another base", func(s *source) []*syncv1.Txn { return []*syncv1.Txn{s.delta(s.revision-2, add)} }, ErrProtocol},
		{"no lineage", func(s *source) []*syncv1.Txn { x := s.full(); x.Lineage = ""; return []*syncv1.Txn{x} }, ErrProtocol},
		{"no revision", func(s *source) []*syncv1.Txn { x := s.full(); x.Revision = 0; return []*syncv1.Txn{x} }, ErrProtocol},
		{"another lineage's delta", func(s *source) []*syncv1.Txn {
			x := s.delta(s.revision-1, add)
			x.Lineage = "L2"
			return []*syncv1.Txn{x}
		}, ErrProtocol},
		{"another lineage in part", func(s *source) []*syncv1.Txn { x := s.buckets(0, 1<<63-1); x.Lineage = "L2"; return []*syncv1.Txn{x} }, ErrProtocol},
		{"the past", func(s *source) []*syncv1.Txn { x := s.full(); x.Revision = 1; return []*syncv1.Txn{x} }, ErrStale},
		{"a digest that differs", func(s *source) []*syncv1.Txn { x := s.delta(s.revision-1, add); x.Digest++; return []*syncv1.Txn{x} }, ErrDigest},
		{"a change that got lost", func(s *source) []*syncv1.Txn { return []*syncv1.Txn{s.delta(s.revision - 1)} }, ErrDigest},
		{"two transactions mixed", func(s *source) []*syncv1.Txn {
			a := cut(s.full(), 2)
			b := cut(s.full(), 2)[1]
			b.Revision++
			return []*syncv1.Txn{a[0], b}
		}, ErrProtocol},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := small(t)
			src.revision = 5
			r := NewReplica()
			receive(t, r, src.full())
			before, image := dump(r.Snapshot()), r.Image()
			src.apply(add)
			var err error
			for _, c := range tt.txn(src) {
				if _, err = r.Receive(c); err != nil {
					break
				}
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
			if r.Image() != image || dump(r.Snapshot()) != before {
				t.Error("what was refused changed the state")
			}
			receive(t, r, src.full())
		})
	}
}

func TestAnotherLineageReplacesAll(t *testing.T) {
	src := small(t)
	src.revision = 50
	r := NewReplica()
	receive(t, r, src.full())
	other := newSource("L2")
	other.apply(put(t, groupKind, "g7", 1, &syncv1.GroupState{Name: "seven"}))
	receive(t, r, cut(other.full(), 1)...)
	s := r.Snapshot()
	if s.Lineage() != "L2" || s.Revision() != 1 {
		t.Errorf("snapshot is %s@%d, want L2@1", s.Lineage(), s.Revision())
	}
	if _, ok := s.Key(macOf(1)); ok {
		t.Error("a key of the other lineage is still known")
	}
	if _, ok := s.Group("g7"); !ok {
		t.Error("the new lineage's group is unknown")
	}
}

func TestProgress(t *testing.T) {
	r := NewReplica()
	if r.Progress(5) {
		t.Error("progress of nothing is news")
	}
	src := small(t)
	src.revision = 5
	receive(t, r, src.full())
	before := r.Snapshot()
	for _, tt := range []struct {
		revision int64
		news     bool
		want     int64
	}{{4, false, 5}, {5, false, 5}, {8, true, 8}} {
		if got := r.Progress(tt.revision); got != tt.news || r.Snapshot().Revision() != tt.want {
			t.Errorf("Progress(%d) = %v at %d, want %v at %d", tt.revision, got, r.Snapshot().Revision(), tt.news, tt.want)
		}
	}
	if before.Revision() != 5 {
		t.Error("progress changed a snapshot that was out")
	}
	var h syncv1.Hello
	if r.Hold(&h); h.GetRevision() != 8 || digest.Sums(h.GetBucketDigests()) != *src.sums() {
		t.Errorf("hello says revision %d, or other digests", h.GetRevision())
	}
	add := put(t, groupKind, "g9", 9, &syncv1.GroupState{Name: "nine"})
	src.revision = 8
	src.apply(add)
	receive(t, r, src.delta(8, add))
}

func TestPoisonIsQuarantinedAndHealed(t *testing.T) {
	src := small(t)
	r := NewReplica()
	receive(t, r, src.full())
	steps := []struct {
		name    string
		change  *syncv1.Change
		rejects []string
		name1   string // of channel c1
	}{
		{"poisoned", &syncv1.Change{Kind: channelKind, Id: "c1", Version: 2, Body: poison}, []string{"c1@2: the body is not a ChannelState"}, "one"},
		{"poisoned otherwise", put(t, channelKind, "c1", 3, &syncv1.ChannelState{Provider: 1, Name: "x", BaseUrl: "ftp://x"}),
			[]string{"c1@3: base_url: the scheme is neither http nor https"}, "one"},
		{"something else with it", &syncv1.Change{Kind: keyKind, Id: "k9", Version: 4, Body: poison},
			[]string{"c1@3: base_url: the scheme is neither http nor https", "k9@4: the body is not a KeyState"}, "one"},
		{"healed", put(t, channelKind, "c1", 5, &syncv1.ChannelState{Provider: 1, Name: "well", BaseUrl: "http://x", GroupIds: []string{"g1"}, Models: []string{"m1"}}),
			[]string{"k9@4: the body is not a KeyState"}, "well"},
		{"gone", gone(keyKind, "k9"), nil, "well"},
	}
	for _, step := range steps {
		base := src.revision
		src.apply(step.change)
		receive(t, r, src.delta(base, step.change))
		var rejects []string
		for _, x := range r.Ack().GetRejects() {
			rejects = append(rejects, fmt.Sprintf("%s@%d: %s", x.GetId(), x.GetVersion(), x.GetReason()))
		}
		if diff := cmp.Diff(step.rejects, rejects); diff != "" {
			t.Errorf("%s: rejects (-want +got):\n%s", step.name, diff)
		}
		if c, ok := r.Snapshot().Channel("c1"); !ok || c.Name != step.name1 {
			t.Errorf("%s: channel is %v, want %q", step.name, c, step.name1)
		}
	}
}

func TestPanicsAreQuarantined(t *testing.T) {
	tests := []struct {
		name string
		form func() (form, error)
	}{
		{"in compiling", func() (form, error) { panic("secret stuff") }},
		{"in linking", func() (form, error) { return (*Account)(nil), nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src := small(t)
			r := NewReplica()
			r.compile = func(kind syncv1.Kind, id string, version int64, body []byte) (f form, err error) {
				if id == "bad" {
					defer func() {
						if p := recover(); p != nil {
							f, err = nil, panicked(p)
						}
					}()
					return tt.form()
				}
				return compile(kind, id, version, body)
			}
			src.apply(&syncv1.Change{Kind: accountKind, Id: "bad", Version: 3})
			receive(t, r, src.full())
			rejects := r.Ack().GetRejects()
			if len(rejects) != 1 || rejects[0].GetId() != "bad" || strings.Contains(rejects[0].GetReason(), "stuff") {
				t.Fatalf("rejects = %v, want one for bad", rejects)
			}
			src.apply(gone(accountKind, "bad"))
			want := NewReplica()
			receive(t, want, src.full())
			receive(t, r, src.full())
			if diff := cmp.Diff(dump(want.Snapshot()), dump(r.Snapshot())); diff != "" {
				t.Errorf("the rest was not applied (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSnapshotsStayAsTheyWere(t *testing.T) {
	src := small(t)
	r := NewReplica()
	receive(t, r, src.full())
	old := r.Snapshot()
	want := dump(old)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 50 {
		base := src.revision
		id := fmt.Sprint("c", 1+rng.IntN(4))
		c := put(t, channelKind, id, int64(i+2), &syncv1.ChannelState{Provider: 1,
			Name: "x", BaseUrl: "http://x", Models: []string{"m1", fmt.Sprint("m", i)}, GroupIds: []string{"g1"},
		})
		src.apply(c)
		receive(t, r, src.delta(base, c))
	}
	if diff := cmp.Diff(want, dump(old)); diff != "" {
		t.Errorf("a snapshot that was out changed (-want +got):\n%s", diff)
	}
}
