package openai

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// maxDepth is how deep a body may nest. No request of the API comes near; a parser that recurses would suffer first.
const maxDepth = 512

// encoded is from which length on a string without a space in its beginning counts as encoded data, not as text.
const encoded = 2048

// scanner walks JSON without building anything. It checks the grammar, all but what is inside strings, and keeps its own
// stack, so that no input can exhaust the goroutine's.
type scanner struct {
	b    []byte
	at   int
	sse  bool   // b is of a stream: JSON may go on in the event's next data line
	text int    // bytes of text in string values so far
	err  string // why a method returned false
}

const (
	errSyntax = "the request body is not valid JSON"
	errDepth  = "the request body is nested too deeply"
)

func (s *scanner) fail() bool {
	if s.err == "" {
		s.err = errSyntax
	}
	return false
}

func (s *scanner) space() {
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case ' ', '\n', '\t', '\r':
			s.at++
		default:
			if !s.nextLine() {
				return
			}
		}
	}
}

// nextLine walks over the name of a data line, where one begins.
func (s *scanner) nextLine() bool {
	const name = "data:"
	if !s.sse || s.at == 0 || s.b[s.at-1] != '\n' && s.b[s.at-1] != '\r' || !bytes.HasPrefix(s.b[s.at:], []byte(name)) {
		return false
	}
	s.at += len(name)
	return true
}

func (s *scanner) take(c byte) bool {
	if s.at < len(s.b) && s.b[s.at] == c {
		s.at++
		return true
	}
	return false
}

// members walks an object whose brace was taken, to behind its closing brace. each reads the value of one member; key is
// raw, without quotes. It returns why it stopped early, or "".
func (s *scanner) members(each func(key []byte) bool) string {
	s.space()
	if s.take('}') {
		return ""
	}
	for {
		s.space()
		start := s.at
		if !s.str() {
			return s.reason()
		}
		key := s.b[start+1 : s.at-1]
		s.space()
		if !s.take(':') {
			return s.reason()
		}
		s.space()
		if !each(key) {
			return s.reason()
		}
		s.space()
		if s.take('}') {
			return ""
		}
		if !s.take(',') {
			return s.reason()
		}
	}
}

func (s *scanner) reason() string {
	s.fail()
	return s.err
}

// value walks any value.
func (s *scanner) value() bool {
	var objects [maxDepth / 64]uint64 // bit n: level n is an object
	depth := 0
	for {
		// A value starts here.
		s.space()
		if s.at >= len(s.b) {
			return s.fail()
		}
		switch c := s.b[s.at]; c {
		case '{', '[':
			s.at++
			if depth == maxDepth {
				s.err = errDepth
				return false
			}
			word, bit := depth/64, uint64(1)<<(depth%64)
			depth++
			s.space()
			if c == '[' {
				objects[word] &^= bit
				if s.take(']') {
					depth--
					break
				}
				continue
			}
			objects[word] |= bit
			if s.take('}') {
				depth--
				break
			}
			if !s.key() {
				return false
			}
			continue
		case '"':
			start := s.at
			if !s.str() {
				return false
			}
			s.text += textLen(s.b[start+1 : s.at-1])
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
			s.space()
			object := objects[(depth-1)/64]&(1<<((depth-1)%64)) != 0
			if s.take(',') {
				if object {
					s.space()
					if !s.key() {
						return false
					}
				}
				break
			}
			if object && s.take('}') || !object && s.take(']') {
				depth--
				continue
			}
			return s.fail()
		}
	}
}

// key walks a member's name and its colon.
func (s *scanner) key() bool {
	if !s.str() {
		return false
	}
	s.space()
	if !s.take(':') {
		return s.fail()
	}
	return true
}

// near is how many words of 8 bytes a search in a string goes by itself before it calls the library's vector code, which is
// faster over long ways, and slower over those between a program's quotes.
const near = 4

// str walks a string.
func (s *scanner) str() bool {
	if !s.take('"') {
		return s.fail()
	}
	b, at := s.b, s.at
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
				s.at = at + 1
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
			s.at = len(b)
			return s.fail()
		}
		end := at + i
		escapes := 0
		for end-1-escapes >= at && b[end-1-escapes] == '\\' {
			escapes++
		}
		at = end + 1
		if escapes%2 == 0 {
			s.at = at
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

func (s *scanner) word(w string) bool {
	if len(s.b)-s.at < len(w) || string(s.b[s.at:s.at+len(w)]) != w {
		return s.fail()
	}
	s.at += len(w)
	return true
}

// number walks -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?.
func (s *scanner) number() bool {
	s.take('-')
	switch {
	case s.take('0'):
	case !s.digits():
		return s.fail()
	}
	if s.take('.') && !s.digits() {
		return s.fail()
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		if !s.digits() {
			return s.fail()
		}
	}
	return true
}

func (s *scanner) digits() bool {
	start := s.at
	for s.at < len(s.b) && s.b[s.at] >= '0' && s.b[s.at] <= '9' {
		s.at++
	}
	return s.at > start
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
