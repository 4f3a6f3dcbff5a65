package snapshot

import (
	"encoding/binary"
	"iter"
	"slices"

	"fairway/pkg/clientkey"
)

// keyTable finds keys by their MACs. It is persistent as a table is, and made for a million keys of which each request
// looks one up that no cache holds: a lookup reads one line of slots, and then the key, which it is about to use anyway.
// The zero keyTable is empty. Reading is safe for concurrent use.
type keyTable struct {
	shards []keyShard // a power of two of them, or none
	n      int
}

// keyShard is an open-addressed table with linear probing. At least a quarter of its slots are empty.
type keyShard struct {
	slots []keySlot // a power of two of them, or none
	n     int
}

// keySlot is a key with the start of its MAC; without a key it is empty.
type keySlot struct {
	tag uint64
	key *Key
}

const (
	// keysPerShard is the mean at which a table takes four times as many shards. A change copies one shard and the list of
	// them; at a million keys that is 64 KiB.
	keysPerShard = 2048
	minSlots     = 8
)

// keyTag is the start of a MAC.
func keyTag(mac *clientkey.MAC) uint64 { return binary.LittleEndian.Uint64(mac[:8]) }

// keySpread turns a tag into bits for a slot (from bit 8 on) and a shard (from bit 40 on). MACs are uniform as they are;
// this is Fibonacci hashing (D. Knuth, The Art of Computer Programming 6.4), so that nothing depends on it.
func keySpread(tag uint64) uint64 { return tag * 0x9e3779b97f4a7c15 }

// home is where the search for a tag begins, in a shard that has slots.
func (s *keyShard) home(spread uint64) int { return int(spread>>8) & (len(s.slots) - 1) }

// shardOf is the index of a shard, in a table that has shards.
func (t *keyTable) shardOf(spread uint64) int { return int(spread>>40) & (len(t.shards) - 1) }

func (t *keyTable) get(mac *clientkey.MAC) (*Key, bool) {
	if len(t.shards) == 0 {
		return nil, false
	}
	tag := keyTag(mac)
	spread := keySpread(tag)
	s := &t.shards[t.shardOf(spread)]
	if i, ok := s.find(tag, spread, mac); ok {
		return s.slots[i].key, true
	}
	return nil, false
}

// find returns the slot of a MAC, or the empty one where the search for it ended (-1: there are no slots).
func (s *keyShard) find(tag, spread uint64, mac *clientkey.MAC) (int, bool) {
	if len(s.slots) == 0 {
		return -1, false
	}
	for i := s.home(spread); ; i++ {
		i &= len(s.slots) - 1
		slot := &s.slots[i]
		if slot.key == nil {
			return i, false
		}
		if slot.tag == tag && sameMAC(&slot.key.mac, mac) {
			return i, true
		}
	}
}

// sameMAC compares all of both, whatever they are.
func sameMAC(a, b *clientkey.MAC) bool {
	le := binary.LittleEndian
	return le.Uint64(a[:])^le.Uint64(b[:])|le.Uint64(a[8:])^le.Uint64(b[8:])|
		le.Uint64(a[16:])^le.Uint64(b[16:])|le.Uint64(a[24:])^le.Uint64(b[24:]) == 0
}

func (t *keyTable) len() int { return t.n }

// all yields the keys in no order.
func (t *keyTable) all() iter.Seq[*Key] {
	return func(yield func(*Key) bool) {
		for i := range t.shards {
			for j := range t.shards[i].slots {
				if k := t.shards[i].slots[j].key; k != nil && !yield(k) {
					return
				}
			}
		}
	}
}

// edit begins a new table from this one. Not safe for concurrent use.
func (t *keyTable) edit() *keyEdit { return &keyEdit{t: *t} }

// keyEdit is a keyTable under construction.
type keyEdit struct {
	t     keyTable
	owned []bool // shard i is ours to change; nil: not even the list is
}

func (e *keyEdit) get(mac *clientkey.MAC) (*Key, bool) { return e.t.get(mac) }

// set puts a key in the place of the one with its MAC, or in a new one.
func (e *keyEdit) set(k *Key) {
	if len(e.t.shards) == 0 {
		e.t.shards, e.owned = make([]keyShard, 1), []bool{true}
	} else if e.t.n >= keysPerShard*len(e.t.shards) {
		e.grow()
	}
	tag := keyTag(&k.mac)
	spread := keySpread(tag)
	s := e.own(spread)
	i, found := s.find(tag, spread, &k.mac)
	if found {
		s.slots[i].key = k
		return
	}
	s.add(k)
	e.t.n++
}

func (e *keyEdit) delete(mac *clientkey.MAC) {
	if _, ok := e.t.get(mac); !ok {
		return
	}
	tag := keyTag(mac)
	spread := keySpread(tag)
	s := e.own(spread)
	i, _ := s.find(tag, spread, mac)
	s.remove(i)
	e.t.n--
}

// done gives the new table out. The edit must not be used after it.
func (e *keyEdit) done() keyTable { return e.t }

// own makes the shard that a MAC belongs to ours.
func (e *keyEdit) own(spread uint64) *keyShard {
	if e.owned == nil {
		e.t.shards = slices.Clone(e.t.shards)
		e.owned = make([]bool, len(e.t.shards))
	}
	i := e.t.shardOf(spread)
	s := &e.t.shards[i]
	if !e.owned[i] {
		s.slots = slices.Clone(s.slots)
		e.owned[i] = true
	}
	return s
}

// grow spreads everything over four times as many shards.
func (e *keyEdit) grow() {
	old := e.t
	e.t.shards = make([]keyShard, 4*len(old.shards))
	e.owned = make([]bool, len(e.t.shards))
	for i := range e.owned {
		e.owned[i] = true
	}
	for k := range old.all() {
		e.t.shards[e.t.shardOf(keySpread(keyTag(&k.mac)))].add(k)
	}
}

// add puts in a key that is not there.
func (s *keyShard) add(k *Key) {
	if 4*(s.n+1) > 3*len(s.slots) {
		old := s.slots
		s.slots = make([]keySlot, max(minSlots, 2*len(old)))
		for _, slot := range old {
			if slot.key != nil {
				s.place(slot)
			}
		}
	}
	s.place(keySlot{tag: keyTag(&k.mac), key: k})
	s.n++
}

// place puts a slot's content into the first empty slot from its home on.
func (s *keyShard) place(slot keySlot) {
	i := s.home(keySpread(slot.tag))
	for s.slots[i].key != nil {
		i = (i + 1) & (len(s.slots) - 1)
	}
	s.slots[i] = slot
}

// remove empties slot i, and moves up what was pushed past it (D. Knuth, 6.4, algorithm R).
func (s *keyShard) remove(i int) {
	mask := len(s.slots) - 1
	for j := (i + 1) & mask; s.slots[j].key != nil; j = (j + 1) & mask {
		// What is at j may go to i unless its home lies behind i.
		home := s.home(keySpread(s.slots[j].tag))
		if (j-home)&mask >= (j-i)&mask {
			s.slots[i] = s.slots[j]
			i = j
		}
	}
	s.slots[i] = keySlot{}
	s.n--
}
