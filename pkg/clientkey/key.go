// Package clientkey makes, recognises and hashes the keys that clients present: "sk-fw-", 43 base62 characters of
// randomness (256 bits), and 6 base62 characters of a CRC-32 checksum over what comes before, so that scanners and
// clients know one when they see it.
//
// It refuses to hold keys: it makes them once, and everything after that works on their MAC.
package clientkey

import (
	"crypto/rand"
	"encoding/binary"
	"hash/crc32"
	"unsafe"

	"fairway/pkg/secret"
)

const (
	// Prefix starts every key.
	Prefix = "sk-fw-"
	// Len is the length of every key in bytes.
	Len = len(Prefix) + randomLen + checkLen

	randomLen = 43 // 62^43 > 2^256
	checkLen  = 6  // 62^6 > 2^32

	alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// New makes a key from the system's random source.
func New() secret.String {
	buf := make([]byte, 0, Len)
	buf = append(buf, Prefix...)
	var random [64]byte
	for len(buf) < len(Prefix)+randomLen {
		_, _ = rand.Read(random[:]) // never fails: it ends the process instead
		for _, b := range random {
			// 248 = 4*62: what is above would make the first letters likelier.
			if b < 248 && len(buf) < len(Prefix)+randomLen {
				buf = append(buf, alphabet[b%62])
			}
		}
	}
	sum := checksum(buf)
	return secret.New(string(append(buf, sum[:]...)))
}

// Valid says whether s has a key's form and a right checksum. It says nothing about whether the key is known.
func Valid(s string) bool {
	if len(s) != Len {
		return false
	}
	// A view, not a copy; nothing below keeps or changes it.
	key := (*[Len]byte)(unsafe.Pointer(unsafe.StringData(s)))
	// Eight letters at a time, and without branches that depend on them: they are random, and so would be the processor's
	// guesses. The first word overlaps the others by all but a letter.
	foreign := notBase62(binary.LittleEndian.Uint64(key[len(Prefix):]))
	for i := len(Prefix) + 1; i < Len; i += 8 {
		foreign |= notBase62(binary.LittleEndian.Uint64(key[i:]))
	}
	if foreign != 0 || s[:len(Prefix)] != Prefix {
		return false
	}
	sum := uint64(0)
	for _, c := range key[Len-checkLen:] {
		sum = sum*62 + digit(c)
	}
	return sum == uint64(crc(key[:Len-checkLen]))
}

// notBase62 is 0 when all eight letters of w are of the alphabet.
//
// Below 0x80 a sum of a letter and 0x80-c has its top bit set when the letter is c or above, and carries nothing over.
func notBase62(w uint64) uint64 {
	const each, top = 0x0101010101010101, 0x8080808080808080
	low := w &^ top
	lower := low | 0x20*each
	letter := (lower + (0x80-'a')*each) &^ (lower + (0x80-'z'-1)*each)
	figure := (low + (0x80-'0')*each) &^ (low + (0x80-'9'-1)*each)
	return (w | ^(letter | figure)) & top
}

// digit is the value of a letter of the alphabet: figures come first, then the upper case, then the lower.
func digit(c byte) uint64 {
	upper, lower := uint64(c>>6&1), uint64(c>>5&1) // of a letter; figures have no bit 6
	return uint64(c) - '0' - upper*('A'-'0'-10) - (upper&lower)*('a'-'A'-26)
}

// checksum is the CRC-32 (IEEE) of b in base62, most significant digit first, padded with zeros.
func checksum(b []byte) [checkLen]byte {
	n := crc(b)
	var out [checkLen]byte
	for i := checkLen - 1; i >= 0; i-- {
		out[i] = alphabet[n%62]
		n /= 62
	}
	return out
}

// crc is the CRC-32 (IEEE) of b, eight bytes at a time ("slicing-by-8": M. Kounavis and F. Berry, "A systematic approach
// to building high performance software-based CRC generators", 2005). The library's function makes its argument escape,
// and each request would pay for that.
func crc(b []byte) uint32 {
	n := ^uint32(0)
	for ; len(b) >= 8; b = b[8:] {
		w := binary.LittleEndian.Uint64(b) ^ uint64(n)
		n = slices[7][byte(w)] ^ slices[6][byte(w>>8)] ^ slices[5][byte(w>>16)] ^ slices[4][byte(w>>24)] ^
			slices[3][byte(w>>32)] ^ slices[2][byte(w>>40)] ^ slices[1][byte(w>>48)] ^ slices[0][byte(w>>56)]
	}
	for _, c := range b {
		n = slices[0][byte(n)^c] ^ n>>8
	}
	return ^n
}

// slices[i][c] is what the byte c comes to when i more bytes follow.
//
//nolint:gochecknoglobals // a constant table that Go cannot spell as one
var slices = func() (t [8][256]uint32) {
	t[0] = *crc32.IEEETable
	for i := 1; i < len(t); i++ {
		for c, n := range t[i-1] {
			t[i][c] = t[0][byte(n)] ^ n>>8
		}
	}
	return t
}()
