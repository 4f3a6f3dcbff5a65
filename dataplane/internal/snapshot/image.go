package snapshot

import (
	"cmp"
	"iter"
	"slices"

	"fairway/pkg/digest"
	syncv1 "fairway/pkg/gen/fairway/sync/v1"
)

// ref names a resource.
type ref struct {
	kind syncv1.Kind
	id   string
}

func compareRefs(a, b ref) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.id, b.id))
}

// record is one resource as received, with what it compiled to. It is immutable once its image is out.
type record struct {
	version int64
	body    []byte
	good    form   // of body or, while that is quarantined, of the last version that compiled; nil = none
	last    *good  // what good was compiled from; nil unless quarantined
	reason  string // why it is quarantined; empty = it is not
}

// good is the last version of a quarantined resource that compiled.
type good struct {
	version int64
	body    []byte
}

// Image is the raw state of one revision: what a Keeper writes to disk. It is immutable.
type Image struct {
	lineage  string
	revision int64
	sums     digest.Sums
	buckets  [digest.Buckets]table[ref, *record]
	sick     map[ref]*record // the quarantined ones
}

func newImage() *Image {
	im := &Image{}
	hash := stringHash[string]()
	for i := range im.buckets {
		im.buckets[i] = newTable[ref, *record](func(r ref) uint64 { return hash(r.id) + uint64(r.kind) })
	}
	return im
}

// Lineage names the data set; empty when nothing is held.
func (im *Image) Lineage() string { return im.lineage }

// Revision is the data set's revision; 0 when nothing is held.
func (im *Image) Revision() int64 { return im.revision }

// Len is how many resources there are.
func (im *Image) Len() int {
	n := 0
	for i := range im.buckets {
		n += im.buckets[i].len()
	}
	return n
}

// records yields all of them in no order.
func (im *Image) records() iter.Seq2[ref, *record] {
	return func(yield func(ref, *record) bool) {
		for i := range im.buckets {
			for k, v := range im.buckets[i].all() {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// rejects lists the quarantined resources, bounded as an Ack is.
func (im *Image) rejects() []*syncv1.Reject {
	refs := make([]ref, 0, len(im.sick))
	for r := range im.sick {
		refs = append(refs, r)
	}
	slices.SortFunc(refs, compareRefs)
	refs = refs[:min(len(refs), maxRejects)]
	list := make([]*syncv1.Reject, len(refs))
	for i, r := range refs {
		rec := im.sick[r]
		list[i] = &syncv1.Reject{Kind: r.kind, Id: r.id, Version: rec.version, Reason: rec.reason}
	}
	return list
}
