package model

import (
	"iter"
	"slices"
	"strings"
)

// maxLeaf bounds a leaf of a table. A change copies one leaf and the slice of leaves; at a million entries that is
// 16 KiB each.
const maxLeaf = 512

// entry is one key of a table.
type entry struct {
	key string
	r   Resource
}

// leaf is a sorted run of entries, never empty. gen tells which edit owns it: only that one may write to it.
type leaf struct {
	gen     uint64
	entries []entry
}

// table is an ordered map with structural sharing: copies are made by copying the struct, and an edit leaves all
// earlier copies as they were.
type table struct {
	leaves []*leaf
	n      int
}

// find returns the leaf that holds key or would, and the place in it. ok is false when the key is absent.
func (t *table) find(key string) (l, i int, ok bool) {
	// The last leaf whose first key is not greater than key.
	l, exact := slices.BinarySearchFunc(t.leaves, key, func(lf *leaf, k string) int {
		return strings.Compare(lf.entries[0].key, k)
	})
	if exact {
		return l, 0, true
	}
	if l > 0 {
		l--
	}
	if l >= len(t.leaves) {
		return 0, 0, false
	}
	i, ok = slices.BinarySearchFunc(t.leaves[l].entries, key, func(e entry, k string) int {
		return strings.Compare(e.key, k)
	})
	return l, i, ok
}

func (t *table) get(key string) (Resource, bool) {
	l, i, ok := t.find(key)
	if !ok {
		return nil, false
	}
	return t.leaves[l].entries[i].r, true
}

// from yields the entries whose keys are not less than key, in order.
func (t *table) from(key string) iter.Seq2[string, Resource] {
	return func(yield func(string, Resource) bool) {
		l, i, _ := t.find(key)
		for ; l < len(t.leaves); l++ {
			for ; i < len(t.leaves[l].entries); i++ {
				e := t.leaves[l].entries[i]
				if !yield(e.key, e.r) {
					return
				}
			}
			i = 0
		}
	}
}

// edit is a table under change. It copies what it shares with earlier tables once, so that a bulk load costs no more
// than building anew.
type edit struct {
	t   *table
	gen uint64
	own bool // whether t.leaves is ours already
}

func (e *edit) leavesForWrite() {
	if !e.own {
		e.t.leaves = slices.Clone(e.t.leaves)
		e.own = true
	}
}

// leafForWrite returns leaf l as one that only this edit sees.
func (e *edit) leafForWrite(l int) *leaf {
	e.leavesForWrite()
	lf := e.t.leaves[l]
	if lf.gen != e.gen {
		lf = &leaf{gen: e.gen, entries: append(make([]entry, 0, len(lf.entries)+1), lf.entries...)}
		e.t.leaves[l] = lf
	}
	return lf
}

func (e *edit) put(key string, r Resource) {
	l, i, ok := e.t.find(key)
	if ok {
		e.leafForWrite(l).entries[i].r = r
		return
	}
	e.t.n++
	if len(e.t.leaves) == 0 {
		e.leavesForWrite()
		e.t.leaves = append(e.t.leaves, &leaf{gen: e.gen, entries: []entry{{key, r}}})
		return
	}
	lf := e.leafForWrite(l)
	lf.entries = slices.Insert(lf.entries, i, entry{key, r})
	if len(lf.entries) <= maxLeaf {
		return
	}
	// Keys mostly arrive in order: then the left part stays full and the right one is new.
	cut := len(lf.entries) / 2
	if i == len(lf.entries)-1 {
		cut = len(lf.entries) - 1
	}
	right := &leaf{gen: e.gen, entries: slices.Clone(lf.entries[cut:])}
	clear(lf.entries[cut:])
	lf.entries = lf.entries[:cut]
	e.t.leaves = slices.Insert(e.t.leaves, l+1, right)
}

func (e *edit) remove(key string) {
	l, i, ok := e.t.find(key)
	if !ok {
		return
	}
	e.t.n--
	lf := e.leafForWrite(l)
	lf.entries = slices.Delete(lf.entries, i, i+1)
	if len(lf.entries) == 0 {
		e.t.leaves = slices.Delete(e.t.leaves, l, l+1)
	}
}
