package dialect

import "strconv"

// MaxTokens is beyond every real count; a larger one is an upstream's nonsense and not billed.
const MaxTokens = 1_000_000_000

// OpenAfter walks a colon and an opening brace.
func (s *Scanner) OpenAfter() bool {
	s.Space()
	if !s.Take(':') {
		return false
	}
	s.Space()
	return s.Take('{')
}

// Count reads a number of tokens into n. A value that is none leaves n alone.
func (s *Scanner) Count(n *int64, found *bool) bool {
	start := s.At
	if !s.Value() {
		return false
	}
	if v, ok := parseCount(s.B[start:s.At]); ok {
		*n, *found = v, true
	}
	return true
}

// parseCount reads a count as upstreams write them: nearly always plain digits.
func parseCount(raw []byte) (int64, bool) {
	var v int64
	for _, c := range raw {
		if c < '0' || c > '9' {
			f, err := strconv.ParseFloat(string(raw), 64)
			if err != nil || !(f >= 0 && f <= MaxTokens) {
				return 0, false
			}
			return int64(f), true
		}
		if v = v*10 + int64(c-'0'); v > MaxTokens {
			return 0, false
		}
	}
	return v, len(raw) > 0
}
