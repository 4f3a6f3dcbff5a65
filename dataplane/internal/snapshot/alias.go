package snapshot

import "math/bits"

// slot is one column of an alias table: below cut it means its own index, above it the alias.
type slot struct{ cut, alias uint32 }

// aliasTable builds Vose's alias table (M. D. Vose, "A linear algorithm for generating random numbers with a given
// distribution", 1991) in integers, so that equal weights give equal tables everywhere. Weights must not be 0.
func aliasTable(weights []uint32) []slot {
	n := uint64(len(weights))
	slots := make([]slot, n)
	var total uint64
	equal := true
	for i, w := range weights {
		slots[i] = slot{cut: 1<<32 - 1, alias: uint32(i)}
		total += uint64(w)
		equal = equal && w == weights[0]
	}
	if equal {
		return slots
	}
	// scaled[i]/total is the expected number of draws of i in n; columns are filled up to 1 = total/total.
	scaled := make([]uint64, n)
	small, large := make([]uint32, 0, n), make([]uint32, 0, n)
	for i, w := range weights {
		scaled[i] = uint64(w) * n
		if scaled[i] < total {
			small = append(small, uint32(i))
		} else {
			large = append(large, uint32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		hi, lo := bits.Mul64(scaled[s], 1<<32)
		cut, _ := bits.Div64(hi, lo, total) // scaled[s] < total, so it fits
		slots[s] = slot{cut: uint32(cut), alias: l}
		scaled[l] -= total - scaled[s]
		if scaled[l] < total {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	return slots
}

// column turns the upper half of 64 random bits into an index below n.
func column(n int, r uint64) int { return int((r >> 32) * uint64(n) >> 32) }

// passes says whether the lower half of the same bits leads on to the alias.
func (s slot) passes(r uint64) bool { return uint32(r) >= s.cut }
