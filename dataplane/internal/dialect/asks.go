package dialect

import "strconv"

// Asks is how much a body asks for. Nothing is checked: what is odd was not said. For estimates.
type Asks struct {
	// MaxTokens is how long each answer may be, in tokens; 0 = it does not say.
	MaxTokens int64
	// Answers is how many it wants, be they texts or images; 0 = it does not say.
	Answers int64
}

// askingMember reads the value of a top-level member, if that says how much is asked for.
func (p *Peek) askingMember(s *Scanner, key []byte) (met, ok bool) {
	switch string(key) {
	case "max_tokens", "max_completion_tokens", "max_output_tokens":
		return true, s.amount(&p.Asks.MaxTokens)
	case "n":
		return true, s.amount(&p.Asks.Answers)
	case "generationConfig", "generation_config":
		if !s.Take('{') {
			return true, s.Value()
		}
		why := s.Members(func(key []byte) bool {
			switch string(key) {
			case "maxOutputTokens", "max_output_tokens":
				return s.amount(&p.Asks.MaxTokens)
			case "candidateCount", "candidate_count":
				return s.amount(&p.Asks.Answers)
			}
			return s.Value()
		})
		if why != "" {
			s.why = why
		}
		return true, why == ""
	}
	return false, true
}

// amount reads a value, and keeps it where it is a whole number and greater than what was said before.
func (s *Scanner) amount(to *int64) bool {
	start := s.At
	if !s.Value() {
		return false
	}
	if n, ok := wholeNumber(s.B[start:s.At]); ok {
		*to = max(*to, n)
	}
	return true
}

// wholeNumber reads decimal digits.
func wholeNumber(b []byte) (int64, bool) {
	const most = len("9223372036854775807")
	if len(b) == 0 || len(b) > most {
		return 0, false
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil
}
