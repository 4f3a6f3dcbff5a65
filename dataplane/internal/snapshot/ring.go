package snapshot

import (
	"cmp"
	"slices"
	"sort"

	"github.com/cespare/xxhash/v2"
)

// near is how many spots of a ring a request looks at.
const near = 16

// Ring is a list in the order of hashes of ids, closed to a circle: all proxies have the same, and one member more or less
// changes only its neighbourhood. It is immutable.
type Ring struct {
	spots []Spot // and the first ones again, so that no neighbourhood is cut
	n     int
	even  bool
}

// Spot is one member.
type Spot struct {
	Hash   uint64
	Index  uint32 // in the list that the ring is made of
	Weight uint32
}

func newRing(spots []Spot) *Ring {
	slices.SortFunc(spots, func(a, b Spot) int {
		return cmp.Or(cmp.Compare(a.Hash, b.Hash), cmp.Compare(a.Index, b.Index))
	})
	r := &Ring{n: len(spots), even: true}
	for _, s := range spots {
		r.even = r.even && s.Weight == spots[0].Weight
	}
	r.spots = spots
	if r.n > near {
		r.spots = slices.Concat(spots, spots[:near-1])
	}
	return r
}

// Near is the neighbourhood of a hash: the next 16 members, or all if there are no more.
func (r *Ring) Near(hash uint64) []Spot {
	if r.n <= near {
		return r.spots[:r.n]
	}
	i := sort.Search(r.n, func(i int) bool { return r.spots[i].Hash >= hash })
	if i == r.n {
		i = 0
	}
	return r.spots[i : i+near]
}

// Even says whether all members weigh the same.
func (r *Ring) Even() bool { return r.even }

// spotHash places an id. It must not change from proxy to proxy, nor from build to build.
func spotHash(id string) uint64 { return xxhash.Sum64String(id) }
