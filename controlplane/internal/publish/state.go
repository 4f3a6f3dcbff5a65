package publish

import (
	"cmp"
	"iter"
	"math/bits"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"

	"fairway/pkg/digest"
)

// shards is how many parts a bucket is cut into. With a million resources a part holds about sixty: that is what a
// single change copies.
const shards = 256

// allBuckets is the mask of a full state.
const allBuckets = ^uint64(0)

// state is what every proxy should hold at one revision. It is immutable; states share what they have in common.
type state struct {
	lineage  string
	revision int64
	// since is the oldest revision known to have this very content.
	since int64
	// next is the number of the ring's first entry after this state.
	next    uint64
	sums    *digest.Sums // shared with later states of the same content, and with ring entries
	size    int64        // bytes on the wire
	count   int
	buckets [digest.Buckets]*bucket
}

// bucket and shard know which edit made them: that one may write to them, all others copy.
type bucket struct {
	owner  *edit
	shards [shards]*shard
}

type shard struct {
	owner *edit
	items []*resource // sorted by ref
}

func emptyState(lineage string) *state { return &state{lineage: lineage, sums: new(digest.Sums)} }

// at returns the same content at a later revision.
func (s *state) at(revision int64) *state {
	next := *s
	next.revision = revision
	return &next
}

// place is where a resource lives.
func place(r ref) (bucketIndex, shardIndex int) {
	// Any hash that spreads ids inside a bucket; the bucket's own is spent on the bucket.
	h := xxhash.Sum64String(r.id)
	return digest.Bucket(int32(r.kind), r.id), int(h>>24) % shards
}

func compareRef(a *resource, b ref) int {
	if c := cmp.Compare(a.kind, b.kind); c != 0 {
		return c
	}
	return strings.Compare(a.id, b.id)
}

// resource finds a published resource; nil when there is none.
func (s *state) resource(r ref) *resource {
	b, sh := place(r)
	if s.buckets[b] == nil || s.buckets[b].shards[sh] == nil {
		return nil
	}
	items := s.buckets[b].shards[sh].items
	if i, ok := slices.BinarySearchFunc(items, r, compareRef); ok {
		return items[i]
	}
	return nil
}

// in yields the resources of the buckets in the mask; for equal contents in the same order.
func (s *state) in(mask uint64) iter.Seq[*resource] {
	return func(yield func(*resource) bool) {
		for mask != 0 {
			n := bits.TrailingZeros64(mask)
			mask &= mask - 1
			if s.buckets[n] == nil {
				continue
			}
			for _, sh := range s.buckets[n].shards {
				if sh == nil {
					continue
				}
				for _, r := range sh.items {
					if !yield(r) {
						return
					}
				}
			}
		}
	}
}

// replace yields the frames that bring a proxy to s: its buckets in the mask become those of s. base is the proxy's
// revision, or 0 when all buckets are replaced.
func (s *state) replace(base int64, mask uint64) iter.Seq[frame] {
	h := header{lineage: s.lineage, base: base, revision: s.revision, replaced: mask, digest: s.sums.Root()}
	return chunks(h, func(yield func([]byte) bool) {
		for r := range s.in(mask) {
			if !yield(r.wire) {
				return
			}
		}
	})
}

// edit makes the state after some changes. It copies what it changes, once.
type edit struct {
	to *state
}

func (s *state) edit(revision int64) *edit {
	next := s.at(revision)
	next.since = revision
	sums := *s.sums
	next.sums = &sums
	return &edit{to: next}
}

// put adds or replaces a resource and returns the one that was there.
func (e *edit) put(r *resource) (old *resource) {
	sh := e.shard(r.ref)
	i, ok := slices.BinarySearchFunc(sh.items, r.ref, compareRef)
	if ok {
		old = sh.items[i]
		e.count(old, -1)
		sh.items[i] = r
	} else {
		sh.items = slices.Insert(sh.items, i, r)
	}
	e.count(r, 1)
	return old
}

// remove deletes a resource and returns it; nil when it was not there.
func (e *edit) remove(r ref) *resource {
	if e.to.resource(r) == nil {
		return nil
	}
	sh := e.shard(r)
	i, _ := slices.BinarySearchFunc(sh.items, r, compareRef)
	old := sh.items[i]
	sh.items = slices.Delete(sh.items, i, i+1)
	e.count(old, -1)
	return old
}

// shard returns the shard of r as one that only this edit sees.
func (e *edit) shard(r ref) *shard {
	bi, si := place(r)
	b := e.to.buckets[bi]
	switch {
	case b == nil:
		b = &bucket{owner: e}
		e.to.buckets[bi] = b
	case b.owner != e:
		b = &bucket{owner: e, shards: b.shards}
		e.to.buckets[bi] = b
	}
	sh := b.shards[si]
	switch {
	case sh == nil:
		sh = &shard{owner: e}
		b.shards[si] = sh
	case sh.owner != e:
		// Room for one more: most edits add one resource or replace it.
		sh = &shard{owner: e, items: append(make([]*resource, 0, len(sh.items)+1), sh.items...)}
		b.shards[si] = sh
	}
	return sh
}

func (e *edit) count(r *resource, sign int) {
	if sign > 0 {
		e.to.sums.Add(int32(r.kind), r.id, r.version, r.body)
	} else {
		e.to.sums.Remove(int32(r.kind), r.id, r.version, r.body)
	}
	e.to.size += int64(sign * len(r.wire))
	e.to.count += sign
}

// done ends the edit. It lets go of the state: buckets remember who made them, and must not keep old states alive.
func (e *edit) done() *state {
	s := e.to
	e.to = nil
	return s
}
