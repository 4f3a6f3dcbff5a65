// Package meter watches a response go by and says afterwards what it used: Tap keeps the ends of a stream and counts,
// Filter takes out the events that the client did not ask for, and Estimate stands in where nobody said.
//
// It refuses to decode events (what must be parsed is parsed once, at the end, by the dialect), to hold more of a response
// than its windows and one unfinished event, and to know any dialect: those are functions that it is given.
package meter

import (
	"bytes"
	"strings"
)

const (
	// HeadSize is how much of a response a Tap remembers from its beginning, in bytes.
	HeadSize = 2 << 10
	// TailSize is how much it remembers from the end, in bytes.
	TailSize = 8 << 10

	// carrySize is what of the stream before is looked at again to find a mark that was cut: "data: " and a mark.
	carrySize = 32

	// inLine stands for an unfinished line that is too long to become the mark's.
	inLine = -1
)

// Tap watches one response. Reset makes it ready for another; it keeps its memory. Not safe for concurrent use.
type Tap struct {
	head  []byte
	tail  Window
	field string // the line that ends a stream: its field, with the colon
	mark  string // and its value
	text  func(piece []byte) int
	bytes int64
	texts int64
	done  bool
	carry [carrySize]byte // the last line, if it is unfinished
	have  int             // bytes in carry, or inLine
}

// Reset starts a response. line is the line that only the end of a stream has, such as "data: [DONE]" ("" = there is none),
// of at most 30 bytes; text says about how many bytes of a piece are generated text (nil = none).
func (t *Tap) Reset(line string, text func(piece []byte) int) {
	t.head = t.head[:0]
	t.tail.Reset()
	t.field, t.mark, t.text = "", "", text
	if i := strings.Index(line, ": "); i >= 0 {
		t.field, t.mark = line[:i+1], line[i+2:]
	}
	t.bytes, t.texts, t.done, t.have = 0, 0, false, 0
}

// Feed watches the next piece, exactly as the upstream sent it.
func (t *Tap) Feed(p []byte) {
	if len(p) == 0 {
		return
	}
	t.bytes += int64(len(p))
	if room := HeadSize - len(t.head); room > 0 {
		t.head = append(t.head, p[:min(room, len(p))]...)
	}
	t.tail.Write(p, TailSize)
	if t.text != nil {
		t.texts += int64(t.text(p))
	}
	if t.mark != "" {
		t.look(p)
	}
}

// look finds the line, wherever the pieces were cut. Pieces nearly always end with a line:
// then nothing is kept of them.
func (t *Tap) look(p []byte) {
	if t.done {
		return
	}
	if t.have > 0 {
		var seam [2 * carrySize]byte
		n := copy(seam[:], t.carry[:t.have])
		n += copy(seam[n:], p[:min(len(p), carrySize)])
		t.done = t.marked(seam[:n], true)
	}
	t.done = t.done || t.marked(p, t.have == 0)

	longest := len(t.field) + 1 + len(t.mark)
	end := p[max(0, len(p)-longest):]
	line := len(end)
	for line > 0 && end[line-1] != '\n' && end[line-1] != '\r' {
		line--
	}
	switch {
	case line > 0:
		t.have = copy(t.carry[:], end[line:])
	case len(end) < len(p) || t.have < 0 || t.have+len(p) > longest:
		t.have = inLine
	default:
		t.have += copy(t.carry[t.have:], p)
	}
}

// marked says whether b has the line, with or without the space behind the colon; first says that b starts the stream.
func (t *Tap) marked(b []byte, first bool) bool {
	for from := 0; ; {
		i := bytes.Index(b[from:], []byte(t.mark))
		if i < 0 {
			return false
		}
		at := from + i
		from = at + 1
		if at > 0 && b[at-1] == ' ' {
			at--
		}
		if at < len(t.field) || string(b[at-len(t.field):at]) != t.field {
			continue
		}
		at -= len(t.field)
		if at == 0 && first || at > 0 && (b[at-1] == '\n' || b[at-1] == '\r') {
			return true
		}
	}
}

// Done says whether the line that ends a stream has come.
func (t *Tap) Done() bool { return t.done }

// Bytes is how much has gone by.
func (t *Tap) Bytes() int64 { return t.bytes }

// TextBytes is about how much generated text has gone by.
func (t *Tap) TextBytes() int64 { return t.texts }

// Head is the beginning of the response. It is valid until Reset.
func (t *Tap) Head() []byte { return t.head }

// AppendTail appends the end of the response to dst.
func (t *Tap) AppendTail(dst []byte) []byte { return t.tail.Append(dst) }
