package meter

import (
	"bytes"

	"fairway/pkg/sse"
)

// maxHeld is how long an unfinished event may be to be held back. What is longer is none that anybody drops.
const maxHeld = 64 << 10

// Filter takes whole events out of a stream and leaves every other byte as it is. To decide, it holds back an event until
// it is complete, which no client could have used before. Reset makes it ready; it keeps its memory.
type Filter struct {
	scan    sse.Scanner
	drop    func(event []byte) bool
	buf     []byte
	rest    int  // where in buf the held bytes begin
	passing bool // the current event is too long and goes through in pieces
}

// Reset starts a stream. drop is asked for each complete event, raw, with its blank line.
func (f *Filter) Reset(drop func(event []byte) bool) {
	f.scan.Reset()
	f.drop = drop
	f.buf, f.rest, f.passing = f.buf[:0], 0, false
}

// Feed takes the next piece and returns what goes on to the client, perhaps nothing. It may change p; the result aliases
// p or the Filter and is valid until the next call.
func (f *Filter) Feed(p []byte) []byte {
	held := len(f.buf) - f.rest
	work := p
	if held > 0 {
		// The held bytes move to the front; what they are followed by was returned by the last call.
		copy(f.buf, f.buf[f.rest:])
		f.buf = append(f.buf[:held], p...)
		work = f.buf
	}
	f.rest = len(f.buf)

	start, at := 0, held
	for {
		n := f.scan.Feed(work[at:])
		if n < 0 {
			break
		}
		end := at + n
		if !f.passing && f.drop(work[start:end]) {
			start += block(work[start:end])
			work = append(work[:start], work[end:]...)
			at = start
			continue
		}
		f.passing = false
		start, at = end, end
	}
	rest := work[start:]
	switch {
	case len(rest) == 0:
		f.rest = len(f.buf)
		return work
	case f.passing || len(rest) > maxHeld:
		f.passing = true
		f.rest = len(f.buf)
		return work
	case held > 0:
		f.buf = work
		f.rest = start
	default:
		f.buf = append(f.buf[:0], rest...)
		f.rest = 0
	}
	return work[:start]
}

// Rest returns what is still held when the stream has ended: an event that was never finished.
func (f *Filter) Rest() []byte { return f.buf[f.rest:] }

// block is where the last block of an event begins. What the scanner calls an event may begin with empty lines, and with
// blocks of comments.
func block(event []byte) int {
	empty := len(event) - len(bytes.TrimLeft(event, "\r\n"))
	body := bytes.TrimRight(event, "\r\n")
	return max(empty, after(body, "\n\n"), after(body, "\n\r\n"), after(body, "\r\r"))
}

func after(b []byte, sep string) int {
	if i := bytes.LastIndex(b, []byte(sep)); i >= 0 {
		return i + len(sep)
	}
	return 0
}
