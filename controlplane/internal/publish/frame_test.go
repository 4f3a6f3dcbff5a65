package publish

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

func changeGen() *rapid.Generator[*syncv1.Change] {
	return rapid.Custom(func(t *rapid.T) *syncv1.Change {
		c := &syncv1.Change{
			Kind:    syncv1.Kind(rapid.IntRange(0, 6).Draw(t, "kind")),
			Id:      rapid.StringN(0, 30, 60).Draw(t, "id"),
			Version: rapid.Int64Min(0).Draw(t, "version"),
			Deleted: rapid.Bool().Draw(t, "deleted"),
		}
		if n := rapid.SampledFrom([]int{0, 1, 100, 1000, maxChunk / 3, maxChunk - 50, maxChunk, 2 * maxChunk}).Draw(t, "size"); n > 0 {
			c.Body = bytes.Repeat([]byte{'b'}, n)
		}
		return c
	})
}

// What is written by hand reads back through the generated code as what went in.
func TestChunksReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		changes := rapid.SliceOfN(changeGen(), 0, 12).Draw(t, "changes")
		h := header{
			lineage: rapid.StringN(0, 26, 60).Draw(t, "lineage"), base: rapid.Int64Min(0).Draw(t, "base"),
			revision: rapid.Int64Min(0).Draw(t, "revision"), replaced: rapid.Uint64().Draw(t, "replaced"),
			digest: rapid.Uint64().Draw(t, "digest"),
		}
		wires := make([][]byte, 0, len(changes))
		for _, c := range changes {
			wires = append(wires, newResource(c, nil).wire)
		}
		var got []*syncv1.Change
		last := false
		for f := range chunks(h, slices.Values(wires)) {
			if last {
				t.Fatal("a chunk after the last one")
			}
			var m syncv1.SyncResponse
			if err := proto.Unmarshal(f, &m); err != nil {
				t.Fatal(err)
			}
			txn := m.GetTxn()
			var size int
			for _, c := range txn.GetChanges() {
				size += len(newResource(c, nil).wire)
			}
			if size > maxChunk && len(txn.GetChanges()) > 1 {
				t.Fatalf("a chunk of %d bytes with %d changes", size, len(txn.GetChanges()))
			}
			want := &syncv1.Txn{
				Lineage: h.lineage, BaseRevision: h.base, Revision: h.revision, ReplacedBuckets: h.replaced,
				Changes: txn.GetChanges(), Last: txn.GetLast(),
			}
			if last = txn.GetLast(); last {
				want.Digest = h.digest
			}
			if !proto.Equal(txn, want) {
				t.Fatal("the frame around the changes differs")
			}
			if canonical, err := proto.Marshal(&m); err != nil || len(canonical) != len(f) {
				t.Fatalf("%d bytes, the generated code makes %d (%v)", len(f), len(canonical), err)
			}
			got = append(got, txn.GetChanges()...)
		}
		if !last {
			t.Fatal("no last chunk")
		}
		if !slices.EqualFunc(changes, got, func(a, b *syncv1.Change) bool { return proto.Equal(a, b) }) {
			t.Fatal("the changes differ")
		}
	})
}

func TestSmallFramesReadBack(t *testing.T) {
	tests := []struct {
		name string
		got  frame
		want *syncv1.SyncResponse
	}{
		{"progress", progressFrame(42), &syncv1.SyncResponse{
			Message: &syncv1.SyncResponse_Progress{Progress: &syncv1.Progress{Revision: 42}},
		}},
		{"progress to 0", progressFrame(0), &syncv1.SyncResponse{
			Message: &syncv1.SyncResponse_Progress{Progress: &syncv1.Progress{}},
		}},
		{"drain", marshalDrain(1500 * time.Millisecond), &syncv1.SyncResponse{
			Message: &syncv1.SyncResponse_Drain{Drain: &syncv1.Drain{Grace: durationpb.New(1500 * time.Millisecond)}},
		}},
		{"drain at once", marshalDrain(0), &syncv1.SyncResponse{
			Message: &syncv1.SyncResponse_Drain{Drain: &syncv1.Drain{Grace: durationpb.New(0)}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got syncv1.SyncResponse
			if err := proto.Unmarshal(tt.got, &got); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(&got, tt.want) {
				t.Errorf("got %v, want %v", &got, tt.want)
			}
		})
	}
}

func TestCodec(t *testing.T) {
	c := newCodec()
	f := progressFrame(7)
	raw, err := c.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if got := raw[0].ReadOnlyData(); &got[0] != &f[0] {
		t.Error("a frame was copied")
	}
	m := &syncv1.Progress{Revision: 7}
	raw, err = c.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var back syncv1.Progress
	if err := c.Unmarshal(raw, &back); err != nil || !proto.Equal(m, &back) {
		t.Errorf("message came back as %v, %v", &back, err)
	}
	if c.Name() != "proto" {
		t.Errorf("name = %q, want proto: clients choose it by name", c.Name())
	}
}
