package dialect

import (
	"unsafe"

	"github.com/tidwall/gjson"
)

// ValidBytes says whether b is one JSON value, strings included, that nests no deeper than a body may. The library that
// knows strings recurses with the nesting, and what asks here is as long as a stranger likes: an answer of an upstream, or
// the arguments of a call, which are JSON inside a string and which no check of the body around them has seen.
func ValidBytes(b []byte) bool {
	s := Scanner{B: b}
	if !s.Value() {
		return false
	}
	s.Space()
	return s.At == len(b) && gjson.ValidBytes(b)
}

// Valid is ValidBytes of a string.
func Valid(s string) bool { return ValidBytes(unsafe.Slice(unsafe.StringData(s), len(s))) }
