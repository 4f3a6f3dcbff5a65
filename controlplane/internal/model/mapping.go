package model

import (
	"slices"
)

// ResolveMapping returns the mapping with every chain followed to its end: of a->b and b->c it makes a->c and b->c. A name
// that is mapped to itself is an end. A circle, which Check refuses, ends where it would begin again.
func ResolveMapping(mapping map[string]string) map[string]string {
	if len(mapping) == 0 {
		return nil
	}
	resolved := make(map[string]string, len(mapping))
	for from := range mapping {
		resolved[from] = UpstreamModel(mapping, from)
	}
	return resolved
}

// UpstreamModel is what the upstream is asked for when a client asks for name.
func UpstreamModel(mapping map[string]string, name string) string {
	for range len(mapping) {
		to, ok := mapping[name]
		if !ok || to == name {
			break
		}
		name = to
	}
	return name
}

// mappingCycle returns the names on a circle, the first one again at the end, or nil. Of several circles it is the one
// with the smallest name, so that an error reads the same each time.
func mappingCycle(mapping map[string]string) []string {
	done := make(map[string]bool, len(mapping))
	for _, start := range sortedKeys(mapping) {
		var path []string
		at := start
		for {
			to, ok := mapping[at]
			if !ok || to == at || done[at] {
				break
			}
			if i := slices.Index(path, at); i >= 0 {
				return append(path[i:], at)
			}
			path = append(path, at)
			at = to
		}
		for _, name := range path {
			done[name] = true
		}
	}
	return nil
}
