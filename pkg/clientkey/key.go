// Package clientkey makes, recognises and hashes the keys that clients present: "sk-fw-", 43 base62 characters of
// randomness (256 bits), and 6 base62 characters of a CRC-32 checksum over what comes before, so that scanners and
// clients know one when they see it.
//
// It refuses to hold keys: it makes them once, and everything after that works on their MAC.
package clientkey

import (
	"crypto/rand"
	"hash/crc32"

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
	for _, c := range []byte(s[len(Prefix):]) {
		if !base62(c) {
			return false
		}
	}
	sum := checksum([]byte(s[:Len-checkLen]))
	return s[Len-checkLen:] == string(sum[:])
}

func base62(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// checksum is the CRC-32 (IEEE) of b in base62, most significant digit first, padded with zeros.
func checksum(b []byte) [checkLen]byte {
	var out [checkLen]byte
	n := crc32.ChecksumIEEE(b)
	for i := checkLen - 1; i >= 0; i-- {
		out[i] = alphabet[n%62]
		n /= 62
	}
	return out
}
