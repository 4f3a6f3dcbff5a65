package flags

import "strings"

// closest is the candidate with the fewest single-letter edits from name, the first of equals; empty when none is near
// enough to be what was meant. Case, "-" and "_" do not count.
func closest(name string, candidates []string) string {
	name = fold(name)
	best, bound := "", max(2, len(name)/3)+1
	for _, c := range candidates {
		if d := distance(name, fold(c)); d < bound {
			best, bound = c, d
		}
	}
	return best
}

func fold(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "-")) }

// distance is Levenshtein's, over bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
