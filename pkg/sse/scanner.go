package sse

import "bytes"

// Scanner finds where events end in a stream that arrives in pieces, without holding or copying a byte and without an
// allocation. The zero value is at the start of a stream. It is not safe for concurrent use.
//
// An event is a block of lines with at least one data field, ended by a blank line; blocks of comments or of other
// fields alone, and blank lines between events, count as the beginning of the next event. A line ends with LF, CRLF or
// CR. A CR at the end of a piece ends its line at once, unless the stream's lines end with CRLF: then the LF is waited
// for, so that CRLF streams are cut at the same places however they arrive.
type Scanner struct {
	line   lineState
	cr     bool // the last byte was a CR that ended its line
	wait   bool // the last byte was a CR whose line is not yet ended: an LF is expected
	crlf   bool // the last line that ended before that ended with CRLF
	data   bool // the block has a data field
	inside bool // the block has any line
	bom    uint8
}

// lineState is how far the current line is known: 0 to 4 bytes of "data" seen, then one of the named states.
type lineState uint8

const (
	lineStart lineState = 0
	lineD4    lineState = 4 // "data", and what follows decides
	lineData  lineState = 5 // a data field
	lineOther lineState = 6 // anything else
)

const (
	field   = "data"
	bomText = "\xef\xbb\xbf"
)

// Reset puts the scanner at the start of a stream.
func (s *Scanner) Reset() { *s = Scanner{} }

// AtBoundary says that no block is unfinished: a stream that stops elsewhere was cut.
func (s *Scanner) AtBoundary() bool {
	// A line that waits for its LF at its start is the blank line that ends the block.
	return s.line == lineStart && (s.wait || !s.inside)
}

// Feed takes the next piece of the stream. It returns the index in p just after the blank line of the first event that
// ends in p, or -1 when none does. In the first case it has taken p only up to that index: feed it the rest of p to find
// the next event. An event may thus begin in an earlier piece than the one it ends in.
func (s *Scanner) Feed(p []byte) int {
	i := 0
	if s.bom < uint8(len(bomText)) {
		i = s.skipBOM(p)
	}
	nextLF := -1 // index of the first LF at or after i; len(p) = none; below i = not looked for
	for i < len(p) {
		if s.cr || s.wait {
			c := p[i]
			if s.wait {
				// The line ends here, with or without its LF.
				s.wait = false
				s.crlf = c == '\n'
				if c == '\n' {
					i++
				}
				if s.endLine() {
					return i
				}
				continue
			}
			s.cr = false
			if c == '\n' {
				s.crlf = true
				i++
				continue
			}
			s.crlf = false
		}
		if s.line < lineData {
			i = s.startLine(p, i)
			if i == len(p) {
				break
			}
		}
		// To the end of the line. JSON holds neither CR nor LF, so this is one look at each byte for each of them.
		if nextLF < i {
			if n := bytes.IndexByte(p[i:], '\n'); n >= 0 {
				nextLF = i + n
			} else {
				nextLF = len(p)
			}
		}
		end := nextLF
		if n := bytes.IndexByte(p[i:nextLF], '\r'); n >= 0 {
			end = i + n
		}
		if end == len(p) {
			break
		}
		i = end + 1
		if p[end] == '\r' {
			switch {
			case i < len(p) && p[i] == '\n':
				s.crlf = true
				i++
			case i < len(p):
				s.crlf = false
			case s.crlf:
				s.wait = true
				return -1
			default:
				s.cr = true
			}
		} else {
			s.crlf = false
		}
		if s.endLine() {
			return i
		}
	}
	return -1
}

// startLine takes bytes of a line until it is known what the line is, and returns the index of the first byte not taken.
func (s *Scanner) startLine(p []byte, i int) int {
	if s.line == lineStart && len(p)-i > len(field) && string(p[i:i+len(field)+1]) == field+":" {
		s.line = lineData
		return i + len(field) + 1
	}
	for ; i < len(p); i++ {
		c := p[i]
		if c == '\n' || c == '\r' {
			return i
		}
		switch {
		case s.line == lineD4 && c == ':':
			s.line = lineData
		case s.line < lineD4 && c == field[s.line]:
			s.line++
			continue
		default:
			s.line = lineOther
		}
		return i + 1
	}
	return i
}

// endLine ends the current line and says whether an event ended with it.
func (s *Scanner) endLine() bool {
	line := s.line
	s.line = lineStart
	switch line {
	case lineStart:
		event := s.data
		s.data, s.inside = false, false
		return event
	case lineD4, lineData: // "data" without a colon is a data field with no value
		s.data = true
	}
	s.inside = true
	return false
}

// skipBOM takes a byte order mark at the start of the stream, and returns the index of the first byte not taken. The
// beginning of one that is none is the beginning of some other line.
func (s *Scanner) skipBOM(p []byte) int {
	for i, c := range p {
		if c != bomText[s.bom] {
			if s.bom > 0 {
				s.line = lineOther
			}
			s.bom = uint8(len(bomText))
			return i
		}
		s.bom++
		if s.bom == uint8(len(bomText)) {
			return i + 1
		}
	}
	return len(p)
}
