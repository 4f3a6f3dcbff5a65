// Package digest sums up a set of resources, so that two processes learn in 64 numbers whether and where their states
// differ. A resource's bucket is a hash of its kind and id modulo 64; a bucket's digest is the sum, modulo 2^64, of a
// hash over each resource's kind, id, version and body. A sum has no order and can be kept up to date one change at a
// time.
//
// It finds accidents, not forgeries: the hash (XXH64) is not keyed, and peers authenticate by other means.
package digest

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// Buckets is how many there are.
const Buckets = 64

// Sums holds one digest per bucket. The zero value is the empty set. It is a value: assignment copies it.
type Sums [Buckets]uint64

// Bucket is the bucket of a resource: XXH64 over the kind (4 bytes, little-endian) and the id, modulo 64.
func Bucket(kind int32, id string) int {
	var d xxhash.Digest
	d.Reset()
	var k [4]byte
	binary.LittleEndian.PutUint32(k[:], uint32(kind))
	_, _ = d.Write(k[:])
	_, _ = d.WriteString(id)
	return int(d.Sum64() % Buckets)
}

// Hash is XXH64 over kind (4 bytes), length of id (4), id, version (8), body; numbers are little-endian.
func Hash(kind int32, id string, version int64, body []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	var n [8]byte
	binary.LittleEndian.PutUint32(n[:4], uint32(kind))
	binary.LittleEndian.PutUint32(n[4:], uint32(len(id)))
	_, _ = d.Write(n[:])
	_, _ = d.WriteString(id)
	binary.LittleEndian.PutUint64(n[:], uint64(version))
	_, _ = d.Write(n[:])
	_, _ = d.Write(body)
	return d.Sum64()
}

// Add counts a resource in.
func (s *Sums) Add(kind int32, id string, version int64, body []byte) {
	s[Bucket(kind, id)] += Hash(kind, id, version, body)
}

// Remove counts a resource out; it must be given as it was added.
func (s *Sums) Remove(kind int32, id string, version int64, body []byte) {
	s[Bucket(kind, id)] -= Hash(kind, id, version, body)
}

// Root is the sum of all buckets, modulo 2^64.
func (s *Sums) Root() uint64 {
	var root uint64
	for _, v := range s {
		root += v
	}
	return root
}

// Differ returns the buckets in which s and o differ, bit n for bucket n.
func (s *Sums) Differ(o *Sums) uint64 {
	var mask uint64
	for i := range s {
		if s[i] != o[i] {
			mask |= 1 << i
		}
	}
	return mask
}
