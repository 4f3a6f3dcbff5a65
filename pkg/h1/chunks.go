package h1

import "fmt"

// Bounds of what surrounds the data of a chunked body.
const (
	MaxChunkLine = 4 << 10  // one size line with its extensions
	MaxExtra     = 16 << 10 // extensions in all, beyond 16 bytes a chunk and twice the data
	MaxTrailers  = 8 << 10  // all trailers; they are read and dropped
)

type chunkState uint8

const (
	chunkSize    chunkState = iota // digits of the size
	chunkSpace                     // white space after them
	chunkExt                       // an extension
	chunkSizeLF                    // the LF after the size line
	chunkData                      // data
	chunkDataCR                    // the CR after data
	chunkDataLF                    // the LF after data
	trailerStart                   // the first byte of a trailer, or of the empty line
	trailerName                    // a trailer's name
	trailerValue                   // a trailer's value
	trailerLF                      // the LF after a trailer
	chunkLastLF                    // the LF of the empty line
	chunkEnd                       // nothing may follow
)

// Chunks takes the framing out of a chunked body (RFC 9112, 7.1), in place, whatever pieces it comes in. Trailers are
// checked and dropped. The zero value is ready for a body.
type Chunks struct {
	state  chunkState
	digits uint8
	line   int   // bytes of this size line
	extra  int64 // see MaxExtra
	tail   int   // bytes of trailers
	left   int64 // of this chunk's data
}

// Ended says whether the body has come to its end.
func (d *Chunks) Ended() bool { return d.state == chunkEnd }

// Decode moves the data of p to its front. It returns how much data there is and how much of p it used: less than all
// only when the body has ended and more follows. Errors are ErrMalformed or ErrTooLarge.
func (d *Chunks) Decode(p []byte) (n, used int, err error) {
	i := 0
	for i < len(p) && d.state != chunkEnd {
		if d.state == chunkData {
			k := int(min(int64(len(p)-i), d.left))
			if n != i {
				copy(p[n:], p[i:i+k])
			}
			n, i, d.left = n+k, i+k, d.left-int64(k)
			if d.left == 0 {
				d.state = chunkDataCR
			}
			continue
		}
		if err := d.step(p[i]); err != nil {
			return n, i, err
		}
		i++
	}
	return n, i, nil
}

// step takes one byte of framing.
func (d *Chunks) step(c byte) error {
	switch d.state {
	case chunkSize, chunkSpace, chunkExt, chunkSizeLF:
		return d.sizeLine(c)
	case chunkDataCR:
		return d.want(c, '\r', chunkDataLF)
	case chunkDataLF:
		return d.want(c, '\n', chunkSize)
	case chunkLastLF:
		return d.want(c, '\n', chunkEnd)
	default:
		return d.trailer(c)
	}
}

func (d *Chunks) want(c, wanted byte, next chunkState) error {
	if c != wanted {
		return malformed("chunk does not end where its size says")
	}
	d.state = next
	return nil
}

func (d *Chunks) sizeLine(c byte) error {
	if d.line++; d.line > MaxChunkLine {
		return fmt.Errorf("chunk extension: %w", ErrTooLarge)
	}
	switch {
	case d.state == chunkSizeLF:
		return d.sizeEnd(c)
	case d.state == chunkSize && hexValue(c) >= 0:
		if d.digits++; d.digits > 16 || d.left >= 1<<58 {
			return malformed("chunk size out of range")
		}
		d.left = d.left<<4 | int64(hexValue(c))
	case d.digits == 0:
		return malformed("chunk without a size")
	case c == '\r':
		d.state = chunkSizeLF
	case d.state == chunkExt:
		if !textChar(c) { // a bare LF too
			return malformed("control character in a chunk extension")
		}
	case c == ' ' || c == '\t':
		d.state = chunkSpace
	case c == ';':
		d.state = chunkExt
	default:
		return malformed("chunk size is not a number")
	}
	return nil
}

func (d *Chunks) sizeEnd(c byte) error {
	if c != '\n' {
		return malformed("bare carriage return in a chunk size")
	}
	d.extra = max(0, d.extra+int64(d.line)-16-2*min(d.left, MaxExtra))
	if d.extra > MaxExtra {
		return fmt.Errorf("chunk extensions: %w", ErrTooLarge)
	}
	d.state = chunkData
	if d.left == 0 {
		d.state = trailerStart
	}
	d.line, d.digits = 0, 0
	return nil
}

func (d *Chunks) trailer(c byte) error {
	if d.tail++; d.tail > MaxTrailers {
		return fmt.Errorf("trailers: %w", ErrTooLarge)
	}
	switch d.state {
	case trailerStart:
		if c == '\r' {
			d.state = chunkLastLF
			return nil
		}
		d.state = trailerName
		fallthrough
	case trailerName:
		if c == ':' && d.digits > 0 {
			d.state, d.digits = trailerValue, 0
			return nil
		}
		if !TokenChar(c) {
			return malformed("trailer's name is not a token")
		}
		d.digits = 1 // it has a name
	case trailerValue:
		if c == '\r' {
			d.state = trailerLF
		} else if !textChar(c) {
			return malformed("control character in a trailer")
		}
	case trailerLF:
		return d.want(c, '\n', trailerStart)
	}
	return nil
}

func hexValue(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
