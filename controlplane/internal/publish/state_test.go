package publish

import (
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"fairway/pkg/digest"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// States behave as maps do, and earlier ones never change.
func TestStateIsAnImmutableMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			state *state
			want  map[ref]string
		}
		history := []version{{emptyState(lineage), map[ref]string{}}}
		for revision := range rapid.IntRange(1, 20).Draw(t, "edits") {
			from := history[len(history)-1]
			want := maps.Clone(from.want)
			e := from.state.edit(int64(revision + 1))
			for range rapid.IntRange(0, 10).Draw(t, "changes") {
				r := ref{syncv1.Kind(rapid.IntRange(1, 2).Draw(t, "kind")), fmt.Sprint(rapid.IntRange(0, 30).Draw(t, "id"))}
				_, had := want[r]
				if rapid.Bool().Draw(t, "remove") {
					if got := e.remove(r) != nil; got != had {
						t.Fatalf("remove(%v) = %v, want %v", r, got, had)
					}
					delete(want, r)
					continue
				}
				body := rapid.StringN(0, 5, 10).Draw(t, "body")
				old := e.put(newResource(&syncv1.Change{Kind: r.kind, Id: r.id, Version: 1, Body: []byte(body)}, nil))
				if (old != nil) != had {
					t.Fatalf("put(%v) replaced %v, want %v", r, old != nil, had)
				}
				want[r] = body
			}
			history = append(history, version{e.done(), want})
		}
		for _, v := range history {
			got := map[ref]string{}
			var sums digest.Sums
			var size int64
			for r := range v.state.in(allBuckets) {
				got[r.ref] = string(r.body)
				sums.Add(int32(r.kind), r.id, r.version, r.body)
				size += int64(len(r.wire))
				if v.state.resource(r.ref) != r {
					t.Fatalf("%v is there but cannot be found", r.ref)
				}
			}
			if !maps.Equal(got, v.want) {
				t.Fatalf("state at %d holds %v, want %v", v.state.revision, got, v.want)
			}
			if *v.state.sums != sums || v.state.size != size || v.state.count != len(got) {
				t.Fatalf("state at %d is counted wrongly", v.state.revision)
			}
		}
	})
}

func TestRingForgetsTheOldest(t *testing.T) {
	sums := func(n uint64) *digest.Sums { return &digest.Sums{n} }
	at := func(revision int64) *state {
		return &state{lineage: lineage, revision: revision, since: revision, sums: sums(uint64(revision))}
	}
	push := func(r *ring, base, revision int64, size int) {
		before := r.current()
		r.push(at(revision), &entry{
			since: before.since, base: base, before: before.sums, revision: revision,
			after: sums(uint64(revision)), size: size,
		})
	}
	r := newRing(100, 3)
	if _, ok := r.locate(1, sums(1)); ok {
		t.Error("located something in an empty ring")
	}
	r.reset(at(10))
	r.progress(12)
	push(r, 12, 13, 10)
	push(r, 13, 15, 10)
	tests := []struct {
		name     string
		revision int64
		sums     *digest.Sums
		number   uint64
		ok       bool
	}{
		{"the origin", 10, sums(10), 0, true},
		{"progress after the origin", 11, sums(10), 0, true},
		{"the last revision of that content", 12, sums(10), 0, true},
		{"a revision with a new content", 13, sums(10), 0, false},
		{"between", 13, sums(13), 1, true},
		{"a revision that was gathered into a later one", 14, sums(13), 0, false},
		{"the newest", 15, sums(15), 2, true},
		{"ahead with the newest content", 20, sums(15), 2, true},
		{"ahead with another", 20, sums(16), 0, false},
		{"before all", 9, sums(10), 0, false},
		{"same revision, other content", 10, sums(11), 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			number, ok := r.locate(tt.revision, tt.sums)
			if ok != tt.ok || ok && number != tt.number {
				t.Errorf("locate = %d, %v, want %d, %v", number, ok, tt.number, tt.ok)
			}
		})
	}
	push(r, 15, 16, 10)
	push(r, 16, 17, 10)
	if n, _ := r.load(); n != 3 {
		t.Errorf("%d entries, want 3 at most", n)
	}
	if v := r.view(0); v.entry != nil {
		t.Error("the oldest entry is still there")
	}
	push(r, 17, 18, 85)
	if n, size := r.load(); n != 2 || size != 95 {
		t.Errorf("%d entries of %d bytes, want 2 of 95", n, size)
	}
	push(r, 18, 19, 101)
	if n, size := r.load(); n != 0 || size != 0 {
		t.Errorf("%d entries of %d bytes, want none: one is bigger than the ring", n, size)
	}
	if v := r.view(6); v.entry != nil || v.state.next != 6 {
		t.Errorf("next = %d, want 6", v.state.next)
	}
}

func TestOutstanding(t *testing.T) {
	ack := func(revision int64, root uint64) *syncv1.Ack { return &syncv1.Ack{Revision: revision, Digest: root} }
	msg := func(revision int64, root uint64) sent { return sent{revision: revision, root: root} }
	type step struct {
		send *sent
		void bool
		ack  *syncv1.Ack
		want verdict
		left int
	}
	s := func(m sent) step { return step{send: &m, left: -1} }
	tests := []struct {
		name  string
		steps []step
	}{
		{"in order", []step{
			s(msg(1, 10)), s(msg(2, 20)),
			{ack: ack(1, 10), want: ackApplied, left: 1}, {ack: ack(2, 20), want: ackApplied, left: 0},
		}},
		{"the last for all", []step{s(msg(1, 10)), s(msg(2, 20)), {ack: ack(2, 20), want: ackApplied, left: 0}}},
		{"of nothing", []step{s(msg(1, 10)), {ack: ack(7, 10), want: ackIgnored, left: 1}}},
		{"twice", []step{
			s(msg(1, 10)), {ack: ack(1, 10), want: ackApplied, left: 0}, {ack: ack(1, 10), want: ackIgnored, left: 0},
		}},
		{"wrong", []step{s(msg(1, 10)), {ack: ack(1, 11), want: ackDiffers, left: 0}}},
		{"wrong before a resend of the same revision", []step{
			s(msg(1, 10)), s(msg(2, 20)), {ack: ack(1, 11), want: ackDiffers, left: 1}, {void: true, left: 1},
			s(msg(2, 20)), {ack: ack(2, 21), want: ackIgnored, left: 1}, {ack: ack(2, 20), want: ackApplied, left: 0},
		}},
		{"wrong after a resend", []step{
			s(msg(2, 20)), {void: true, left: 1}, s(msg(2, 20)),
			{ack: ack(2, 21), want: ackIgnored, left: 1}, {ack: ack(2, 21), want: ackDiffers, left: 0},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var o outstanding
			for i, st := range tt.steps {
				switch {
				case st.send != nil:
					o.add(*st.send)
				case st.void:
					o.void()
				default:
					if _, got := o.ack(st.ack); got != st.want {
						t.Errorf("step %d: verdict = %v, want %v", i, got, st.want)
					}
				}
				if st.left >= 0 && len(o.queue) != st.left {
					t.Errorf("step %d: %d outstanding, want %d", i, len(o.queue), st.left)
				}
			}
		})
	}
	var o outstanding
	for i := range int64(maxOutstanding + 10) {
		o.add(msg(i, 0))
	}
	if len(o.queue) != maxOutstanding {
		t.Errorf("%d outstanding, want %d at most", len(o.queue), maxOutstanding)
	}
}
