package dialect

// Opening says where a body has what its conversation begins with, and goes on with unchanged: by that the conversation
// is known again. All of it is as the client spelt it. Nothing is checked: what is odd is no conversation's beginning.
type Opening struct {
	// CacheKey is the value of "prompt_cache_key", with its quotes: the client's own name for what belongs together.
	CacheKey Span
	// System is the system's words, where the dialect has a member for them.
	System Span
	// Lead is what comes before the user's first turn in the list of turns.
	Lead Span
	// First is the user's first turn; the first of all where the user has none.
	First Span
}

// openingMember reads the value of a top-level member that routing does not depend on, and notes what it says of the opening.
func (p *Peek) openingMember(s *Scanner, key []byte) bool {
	start := s.At
	switch string(key) {
	case "prompt_cache_key":
		ok := s.Value()
		p.Opening.CacheKey = Span{start, s.At}
		return ok
	case "system", "instructions", "system_instruction", "systemInstruction":
		ok := s.Value()
		p.Opening.System = Span{start, s.At}
		return ok
	case "messages", "input", "contents":
		return p.turns(s)
	}
	if met, ok := p.askingMember(s, key); met {
		return ok
	}
	return s.Value()
}

// turns reads a list of turns, up to the user's first one by one. Some dialects take a bare string for it.
func (p *Peek) turns(s *Scanner) bool {
	start := s.At
	if !s.Take('[') {
		ok := s.Value()
		p.Opening.First = Span{start, s.At}
		return ok
	}
	s.Space()
	if s.Take(']') {
		return true
	}
	var first, last Span
	for {
		s.Space()
		at := s.At
		users, ok := s.turn()
		if !ok {
			return false
		}
		if !first.Present() {
			first = Span{at, s.At}
		}
		if users {
			p.Opening.First = Span{at, s.At}
			if last.Present() {
				p.Opening.Lead = Span{first.Start, last.End}
			}
		}
		last = Span{at, s.At}
		s.Space()
		switch {
		case s.Take(']'):
			if !users {
				p.Opening.First = first
			}
			return true
		case !s.Take(','):
			return s.fail()
		case users:
			return s.values(1)
		}
	}
}

// turn reads one element of a list of turns, and says whether it is the user's: Gemini's clients may leave that out.
func (s *Scanner) turn() (users, ok bool) {
	if !s.Take('{') {
		return true, s.Value()
	}
	role, parts := false, false
	why := s.Members(func(key []byte) bool {
		at := s.At
		switch string(key) {
		case "role":
			role = true
			if !s.Value() {
				return false
			}
			users = string(s.B[at:s.At]) == `"user"`
			return true
		case "parts":
			parts = true
		}
		return s.Value()
	})
	if why != "" {
		s.why = why
		return false, false
	}
	return users || parts && !role, true
}
