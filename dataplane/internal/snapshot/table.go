package snapshot

import (
	"hash/maphash"
	"iter"
	"maps"
)

// table is a persistent map: an edit copies only the shards that it touches, so one change among a million costs one
// small shard and the list of shards. The zero table is empty, but has no hash: make one with newTable. Reading is safe
// for concurrent use.
type table[K comparable, V any] struct {
	shards []map[K]V // a power of two of them, or none
	n      int
	hash   func(K) uint64
}

// perShard is the mean size at which a table takes four times as many shards.
const perShard = 192

func newTable[K comparable, V any](hash func(K) uint64) table[K, V] { return table[K, V]{hash: hash} }

// stringHash spreads string keys. The seed is new with each call: nobody outside can aim at one shard.
func stringHash[K ~string]() func(K) uint64 {
	seed := maphash.MakeSeed()
	return func(k K) uint64 { return maphash.String(seed, string(k)) }
}

func (t *table[K, V]) get(k K) (V, bool) {
	if len(t.shards) == 0 {
		var none V
		return none, false
	}
	v, ok := t.shards[t.hash(k)&uint64(len(t.shards)-1)][k]
	return v, ok
}

func (t *table[K, V]) len() int { return t.n }

// all yields the pairs in no order.
func (t *table[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, s := range t.shards {
			for k, v := range s {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// edit begins a new table from this one. Not safe for concurrent use.
func (t *table[K, V]) edit() *tableEdit[K, V] { return &tableEdit[K, V]{t: *t} }

// tableEdit is a table under construction.
type tableEdit[K comparable, V any] struct {
	t     table[K, V]
	owned []bool // shard i is ours to change; nil: not even the list is
}

func (e *tableEdit[K, V]) get(k K) (V, bool) { return e.t.get(k) }

func (e *tableEdit[K, V]) set(k K, v V) {
	if len(e.t.shards) == 0 {
		e.t.shards, e.owned = []map[K]V{make(map[K]V)}, []bool{true}
	} else if e.t.n >= perShard*len(e.t.shards) {
		e.grow()
	}
	s := e.own(k)
	before := len(s)
	s[k] = v
	e.t.n += len(s) - before
}

func (e *tableEdit[K, V]) delete(k K) {
	if _, ok := e.t.get(k); !ok {
		return
	}
	delete(e.own(k), k)
	e.t.n--
}

// done gives the new table out. The edit must not be used after it.
func (e *tableEdit[K, V]) done() table[K, V] { return e.t }

// own makes the shard of k ours.
func (e *tableEdit[K, V]) own(k K) map[K]V {
	if e.owned == nil {
		e.t.shards = append([]map[K]V(nil), e.t.shards...)
		e.owned = make([]bool, len(e.t.shards))
	}
	i := e.t.hash(k) & uint64(len(e.t.shards)-1)
	if !e.owned[i] {
		if e.t.shards[i] = maps.Clone(e.t.shards[i]); e.t.shards[i] == nil {
			e.t.shards[i] = make(map[K]V)
		}
		e.owned[i] = true
	}
	return e.t.shards[i]
}

// grow spreads everything over four times as many shards.
func (e *tableEdit[K, V]) grow() {
	old := e.t.shards
	n := 4 * len(old)
	e.t.shards, e.owned = make([]map[K]V, n), make([]bool, n)
	for i := range e.t.shards {
		e.t.shards[i], e.owned[i] = make(map[K]V, perShard/4), true
	}
	for _, s := range old {
		for k, v := range s {
			e.t.shards[e.t.hash(k)&uint64(n-1)][k] = v
		}
	}
}
