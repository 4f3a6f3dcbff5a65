// Package h1 is the grammar of HTTP/1.1 as both sides of the relay must hold it: what may stand in a field, where a body
// ends, what a chunk is. It is strict where lenient readers disagree with each other, because whatever two of them read
// differently can carry one request inside another.
//
// It refuses to know connections, and to repair anything.
package h1

import (
	"encoding/binary"
	"errors"
	"fmt"
)

var (
	// ErrMalformed says that the bytes are not HTTP/1.1, or could be read in two ways.
	ErrMalformed = errors.New("malformed message")
	// ErrTooLarge says that a head, an extension of a chunk or a trailer exceeds its bound.
	ErrTooLarge = errors.New("too large")
)

func malformed(why string) error { return fmt.Errorf("%s: %w", why, ErrMalformed) }

// tokens has an x for each byte that may stand in a token (RFC 9110, 5.6.2).
const tokens = "                                " +
	" x xxxxx  xx xx xxxxxxxxxx      " +
	" xxxxxxxxxxxxxxxxxxxxxxxxxx   xx" +
	"xxxxxxxxxxxxxxxxxxxxxxxxxxx x x " +
	"                                " +
	"                                " +
	"                                " +
	"                                "

// TokenChar says whether c may stand in a token, such as a field's name or a method.
func TokenChar(c byte) bool { return tokens[c] == 'x' }

// Token says whether b is a token.
func Token(b []byte) bool {
	for _, c := range b {
		if !TokenChar(c) {
			return false
		}
	}
	return len(b) > 0
}

// Text says whether b may be a field's value: no control characters but tabs.
func Text(b []byte) bool {
	if len(b) < 8 {
		return plain(b)
	}
	for i := 0; i < len(b); i += 8 {
		eight := b[min(i, len(b)-8):][:8]
		if odd(binary.LittleEndian.Uint64(eight)) && !plain(eight) {
			return false
		}
	}
	return true
}

// odd says whether one of eight bytes is a control character, a tab being one here.
func odd(v uint64) bool {
	const each = 0x0101010101010101
	del := v ^ 0x7f*each
	return ((v-0x20*each)&^v|(del-each)&^del)&(0x80*each) != 0
}

func plain(b []byte) bool {
	for _, c := range b {
		if !textChar(c) {
			return false
		}
	}
	return true
}

func textChar(c byte) bool { return c >= ' ' && c != 0x7f || c == '\t' }

// Trim takes white space off both ends of a field's value.
func Trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// Is compares ASCII in any case with lower, which must be in lower case.
func Is(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// Item takes the first element off a comma-separated list, without the white space around it.
func Item(list []byte) (first, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return Trim(list[:i]), list[i+1:]
		}
	}
	return Trim(list), nil
}

// HasToken says whether a comma-separated list holds token, which must be in lower case.
func HasToken(list []byte, token string) bool {
	for len(list) > 0 {
		var item []byte
		if item, list = Item(list); Is(item, token) {
			return true
		}
	}
	return false
}

// Length reads a Content-Length: digits and nothing else. It is at most 18 digits long, so that it fits an int64.
func Length(v []byte) (int64, error) {
	if len(v) == 0 || len(v) > 18 {
		return 0, malformed("content-length out of range")
	}
	var n int64
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0, malformed("content-length is not a number")
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}
