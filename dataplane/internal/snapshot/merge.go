package snapshot

import (
	"cmp"
	"slices"
	"sort"
)

// up is one change to a list that is sorted by id.
type up[T any] struct {
	id   string
	item T
	gone bool
}

// merge returns old with ups in it, both by id; of several ups for one id the last counts. It copies what is between
// the changes as a whole, so one change to a long list costs one copy of it and a few comparisons.
func merge[T any](old []T, id func(T) string, ups []up[T]) []T {
	slices.SortStableFunc(ups, func(a, b up[T]) int { return cmp.Compare(a.id, b.id) })
	next := make([]T, 0, len(old)+len(ups))
	for i, u := range ups {
		if i+1 < len(ups) && ups[i+1].id == u.id {
			continue
		}
		before := sort.Search(len(old), func(j int) bool { return id(old[j]) >= u.id })
		next = append(next, old[:before]...)
		old = old[before:]
		if len(old) > 0 && id(old[0]) == u.id {
			old = old[1:]
		}
		if !u.gone {
			next = append(next, u.item)
		}
	}
	return append(next, old...)
}
