package dialect

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// maxDepth is how deep a body may nest. No request of the API comes near; a parser that recurses would suffer first.
const maxDepth = 512

// encoded is from which length on a string without a space in its beginning counts as encoded data, not as text.
const encoded = 2048

// Scanner walks JSON from At on without building anything. It checks the grammar, all but what is inside strings, and keeps its own
// stack, so that no input can exhaust the goroutine's.
type Scanner struct {
	B    []byte
	At   int
	SSE  bool   // B is of a stream: JSON may go on in the event's next data line
	Text int    // bytes of text in string values so far
	why  string // a method returned false
}

const (
	errSyntax = "the request body is not valid JSON"
	errDepth  = "the request body is nested too deeply"
)

func (s *Scanner) fail() bool {
	if s.why == "" {
		s.why = errSyntax
	}
	return false
}

// Space walks white space.
func (s *Scanner) Space() {
	for s.At < len(s.B) {
		switch s.B[s.At] {
		case ' ', '\n', '\t', '\r':
			s.At++
		default:
			if !s.nextLine() {
				return
			}
		}
	}
}

// nextLine walks over the name of a data line, where one begins.
func (s *Scanner) nextLine() bool {
	const name = "data:"
	if !s.SSE || s.At == 0 || s.B[s.At-1] != '\n' && s.B[s.At-1] != '\r' || !bytes.HasPrefix(s.B[s.At:], []byte(name)) {
		return false
	}
	s.At += len(name)
	return true
}

// Take walks c, if it is next.
func (s *Scanner) Take(c byte) bool {
	if s.At < len(s.B) && s.B[s.At] == c {
		s.At++
		return true
	}
	return false
}

// Members walks an object whose brace was taken, to behind its closing brace. each reads the value of one member; key is
// raw, without quotes. It returns why it stopped early, or "".
func (s *Scanner) Members(each func(key []byte) bool) string {
	s.Space()
	if s.Take('}') {
		return ""
	}
	for {
		s.Space()
		start := s.At
		if !s.str() {
			return s.reason()
		}
		key := s.B[start+1 : s.At-1]
		s.Space()
		if !s.Take(':') {
			return s.reason()
		}
		s.Space()
		if !each(key) {
			return s.reason()
		}
		s.Space()
		if s.Take('}') {
			return ""
		}
		if !s.Take(',') {
			return s.reason()
		}
	}
}

func (s *Scanner) reason() string {
	s.fail()
	return s.why
}

// Value walks any value; false: it is none.
func (s *Scanner) Value() bool { return s.values(0) }

// values walks a value at depth 0, and at depth 1 the rest of an array, to behind its closing bracket.
func (s *Scanner) values(depth int) bool {
	var objects [maxDepth / 64]uint64 // bit n: level n is an object
	for {
		// A value starts here.
		s.Space()
		if s.At >= len(s.B) {
			return s.fail()
		}
		switch c := s.B[s.At]; c {
		case '{', '[':
			s.At++
			if depth == maxDepth {
				s.why = errDepth
				return false
			}
			word, bit := depth/64, uint64(1)<<(depth%64)
			depth++
			s.Space()
			if c == '[' {
				objects[word] &^= bit
				if s.Take(']') {
					depth--
					break
				}
				continue
			}
			objects[word] |= bit
			if s.Take('}') {
				depth--
				break
			}
			if !s.key() {
				return false
			}
			continue
		case '"':
			start := s.At
			if !s.str() {
				return false
			}
			s.Text += textLen(s.B[start+1 : s.At-1])
		case 't':
			if !s.word("true") {
				return false
			}
		case 'f':
			if !s.word("false") {
				return false
			}
		case 'n':
			if !s.word("null") {
				return false
			}
		default:
			if !s.number() {
				return false
			}
		}
		// A value ended here: close what it was the last of, or go on to the next.
		for {
			if depth == 0 {
				return true
			}
			s.Space()
			object := objects[(depth-1)/64]&(1<<((depth-1)%64)) != 0
			if s.Take(',') {
				if object {
					s.Space()
					if !s.key() {
						return false
					}
				}
				break
			}
			if object && s.Take('}') || !object && s.Take(']') {
				depth--
				continue
			}
			return s.fail()
		}
	}
}

// key walks a member's name and its colon.
func (s *Scanner) key() bool {
	if !s.str() {
		return false
	}
	s.Space()
	if !s.Take(':') {
		return s.fail()
	}
	return true
}

// near is how many words of 8 bytes a search in a string goes by itself before it calls the library's vector code, which is
// faster over long ways, and slower over those between a program's quotes.
const near = 4

// str walks a string.
func (s *Scanner) str() bool {
	if !s.Take('"') {
		return s.fail()
	}
	b, at := s.B, s.At
	for {
		for n := 0; n < near && len(b)-at >= 8; {
			m := stops(binary.LittleEndian.Uint64(b[at:]))
			if m == 0 {
				at += 8
				n++
				continue
			}
			at += bits.TrailingZeros64(m) / 8
			if b[at] == '"' {
				s.At = at + 1
				return true
			}
			at += 2 // a backslash, and what it escapes
			n = 0
		}
		i := -1
		if at < len(b) {
			i = bytes.IndexByte(b[at:], '"')
		}
		if i < 0 {
			s.At = len(b)
			return s.fail()
		}
		end := at + i
		escapes := 0
		for end-1-escapes >= at && b[end-1-escapes] == '\\' {
			escapes++
		}
		at = end + 1
		if escapes%2 == 0 {
			s.At = at
			return true
		}
	}
}

// stops has the top bit of the first byte in w set that is a quote or a backslash, and of none before it (S. Anderson, "Bit
// Twiddling Hacks": zero in word).
func stops(w uint64) uint64 {
	const each, top = 0x0101010101010101, 0x8080808080808080
	quote, slash := w^'"'*each, w^'\\'*each
	return ((quote-each)&^quote | (slash-each)&^slash) & top
}

func (s *Scanner) word(w string) bool {
	if len(s.B)-s.At < len(w) || string(s.B[s.At:s.At+len(w)]) != w {
		return s.fail()
	}
	s.At += len(w)
	return true
}

// number walks -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?.
func (s *Scanner) number() bool {
	s.Take('-')
	switch {
	case s.Take('0'):
	case !s.digits():
		return s.fail()
	}
	if s.Take('.') && !s.digits() {
		return s.fail()
	}
	if s.Take('e') || s.Take('E') {
		if !s.Take('+') {
			s.Take('-')
		}
		if !s.digits() {
			return s.fail()
		}
	}
	return true
}

func (s *Scanner) digits() bool {
	start := s.At
	for s.At < len(s.B) && s.B[s.At] >= '0' && s.B[s.At] <= '9' {
		s.At++
	}
	return s.At > start
}

// textLen is how many bytes of a string value are text. Images and audio come as data URLs or bare base64: long, and
// without a space.
func textLen(v []byte) int {
	if bytes.HasPrefix(v, []byte("data:")) {
		return 0
	}
	if len(v) >= encoded && bytes.IndexByte(v[:encoded], ' ') < 0 {
		for _, c := range v[:encoded] {
			if c == '\\' || c >= 0x80 {
				return len(v)
			}
		}
		return 0
	}
	return len(v)
}
