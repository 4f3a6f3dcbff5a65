package gemini

import "fairway/dataplane/internal/dialect"

// array walks an array. each walks one element; what is no array is walked whole, without it.
func array(s *dialect.Scanner, each func(i int) bool) bool {
	if !s.Take('[') {
		return s.Value()
	}
	s.Space()
	if s.Take(']') {
		return true
	}
	for i := 0; ; i++ {
		s.Space()
		if !each(i) {
			return false
		}
		s.Space()
		if s.Take(']') {
			return true
		}
		if !s.Take(',') {
			return false
		}
	}
}

// object walks an object. each walks one member's value; what is no object is walked whole, without it.
func object(s *dialect.Scanner, each func(key []byte) bool) bool {
	if !s.Take('{') {
		return s.Value()
	}
	return s.Members(each) == ""
}

// value walks any value and returns it.
func value(s *dialect.Scanner) ([]byte, bool) {
	start := s.At
	ok := s.Value()
	return s.B[start:s.At], ok
}
