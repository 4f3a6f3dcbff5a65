package dialect

import "bytes"

// OutputText is about how many bytes of generated text a piece of a stream of any dialect carries. The piece may start and
// end anywhere; what is cut is not counted. For estimates.
func OutputText(piece []byte) int {
	// From colon to colon: a search for the names themselves would stop at every quote.
	s := Scanner{B: piece}
	for {
		i := bytes.IndexByte(piece[s.At:], ':')
		if i < 0 {
			return s.Text
		}
		name := piece[:s.At+i]
		s.At += i + 1
		if !namesOutput(name) {
			continue
		}
		if at, text := s.At, s.Text; !s.output(true) {
			s.At, s.Text = at, text
		}
	}
}

// output walks the value of a member that holds generated text. Of an object what is no text does not count: its kind, and
// proofs of reasoning, which are long. deeper: what Converse says of reasoning is one object further in.
func (s *Scanner) output(deeper bool) bool {
	s.Space()
	if !s.Take('{') {
		return s.Value()
	}
	return s.Members(func(key []byte) bool {
		text := s.Text
		switch string(key) {
		case "type", "role", "signature", "redactedContent", "reasoning_details", "extra_content":
			ok := s.Value()
			s.Text = text
			return ok
		case "reasoningContent":
			if deeper {
				return s.output(false)
			}
		}
		return s.Value()
	}) == ""
}

// namesOutput says whether b ends in the name of a member that holds generated text.
func namesOutput(b []byte) bool {
	if len(b) < len(`"text"`) || b[len(b)-1] != '"' {
		return false
	}
	// The letter before the quote tells nearly all others apart.
	switch b[len(b)-2] {
	case 'a':
		return bytes.HasSuffix(b, []byte(`"delta"`)) // chat's, and the text itself in responses
	case 't':
		return bytes.HasSuffix(b, []byte(`"text"`)) // completions, anthropic, gemini
	case 'g':
		return bytes.HasSuffix(b, []byte(`"thinking"`))
	case 'n':
		return bytes.HasSuffix(b, []byte(`"partial_json"`))
	}
	return false
}
