// Package clientkey makes, recognises and hashes the keys that clients present: "sk-fw-", 43 base62 characters of
// randomness (256 bits), and 6 base62 characters of a CRC-32 checksum over what comes before, so that scanners and
// clients know one when they see it.
//
// It refuses to hold keys: it makes them once, and everything after that works on their MAC.
package clientkey

import (
	"crypto/rand"
	"hash/crc32"
	"strings"

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
	if len(s) != Len || s[:len(Prefix)] != Prefix {
		return false
	}
	// Without branches that depend on the letters: those are random, and so would be the processor's guesses.
	foreign := byte(0)
	for i := len(Prefix); i < len(s); i++ {
		foreign |= notBase62[s[i]]
	}
	if foreign != 0 {
		return false
	}
	sum := checksum(s[:Len-checkLen])
	return s[Len-checkLen:] == string(sum[:])
}

// notBase62 is 1 for every byte that is no letter of the alphabet.
//
//nolint:gochecknoglobals // a constant table that Go cannot spell as one
var notBase62 = func() (table [256]byte) {
	for c := range table {
		if !strings.ContainsRune(alphabet, rune(c)) {
			table[c] = 1
		}
	}
	return table
}()

// checksum is the CRC-32 (IEEE) of s in base62, most significant digit first, padded with zeros. The loop is the plain
// table method: the library's function makes its argument escape, and each request would pay for that.
func checksum[T string | []byte](s T) [checkLen]byte {
	n := ^uint32(0)
	for i := range len(s) {
		n = crc32.IEEETable[byte(n)^s[i]] ^ n>>8
	}
	n = ^n
	var out [checkLen]byte
	for i := checkLen - 1; i >= 0; i-- {
		out[i] = alphabet[n%62]
		n /= 62
	}
	return out
}
