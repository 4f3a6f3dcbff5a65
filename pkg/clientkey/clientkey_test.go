package clientkey

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"math/big"
	"regexp"
	"strings"
	"sync"
	"testing"
)

var form = regexp.MustCompile(`^sk-fw-[0-9A-Za-z]{43}[0-9A-Za-z]{6}$`)

func TestNew(t *testing.T) {
	seen := map[string]bool{}
	letters := map[rune]int{}
	for range 2000 {
		k := New()
		s := k.Reveal()
		if !form.MatchString(s) || !Valid(s) || seen[s] {
			t.Fatalf("bad key, or one twice: %s", s)
		}
		if strings.Contains(fmt.Sprint(k), s) {
			t.Fatal("a new key prints itself")
		}
		seen[s] = true
		for _, r := range s[len(Prefix) : Len-checkLen] {
			letters[r]++
		}
	}
	// 86000 letters over 62: about 1387 each; a bias of modulo 256 would give some of them a quarter more.
	for _, r := range alphabet {
		if n := letters[r]; n < 1387*85/100 || n > 1387*115/100 {
			t.Errorf("letter %c came %d times, want about 1387", r, n)
		}
	}
}

// The format is published: a checksum made by other means fits.
func TestChecksumIsBase62OfCRC32(t *testing.T) {
	body := Prefix + strings.Repeat("0aZ", 14) + "9"
	// big.Int counts in base 62 with lower case first.
	text := new(big.Int).SetUint64(uint64(crc32.ChecksumIEEE([]byte(body)))).Text(62)
	text = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z':
			return r - 'A' + 'a'
		}
		return r
	}, text)
	if key := body + strings.Repeat("0", checkLen-len(text)) + text; !Valid(key) {
		t.Errorf("%s is not valid", key)
	}
}

func TestValid(t *testing.T) {
	good := New().Reveal()
	swap := func(i int) string {
		b := []byte(good)
		for b[i] == good[i] {
			b[i] = alphabet[(strings.IndexByte(alphabet, b[i])+1)%62]
		}
		return string(b)
	}
	tests := []struct{ name, key string }{
		{"empty", ""},
		{"prefix only", Prefix},
		{"another prefix", "sk-fx-" + good[len(Prefix):]},
		{"upper-case prefix", "SK-FW-" + good[len(Prefix):]},
		{"too short", good[:Len-1]},
		{"too long", good + "0"},
		{"space around", " " + good[:Len-1]},
		{"letter changed", swap(len(Prefix))},
		{"last letter changed", swap(Len - 1)},
		{"sign inside", good[:20] + "-" + good[21:]},
		{"NUL inside", good[:20] + "\x00" + good[21:]},
		{"not ASCII", good[:20] + "é" + good[22:]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if Valid(tt.key) {
				t.Errorf("%q is valid", tt.key)
			}
		})
	}
}

// TestEveryByte: in each place of the random part, with a checksum that fits, the alphabet is valid and nothing else is.
func TestEveryByte(t *testing.T) {
	for at := len(Prefix); at < Len-checkLen; at++ {
		for c := range 256 {
			key := []byte(Prefix + strings.Repeat("0", randomLen))
			key[at] = byte(c)
			sum := checksum(key)
			key = append(key, sum[:]...)
			if got, want := Valid(string(key)), strings.IndexByte(alphabet, byte(c)) >= 0; got != want {
				t.Fatalf("byte %#x at %d: valid = %v, want %v", c, at, got, want)
			}
		}
	}
}

// The library's CRC, at lengths around the eight bytes that are taken at once.
func TestCRC(t *testing.T) {
	text := []byte(New().Reveal())
	for n := range len(text) + 1 {
		if got, want := crc(text[:n]), crc32.ChecksumIEEE(text[:n]); got != want {
			t.Errorf("of %d bytes: %08x, want %08x", n, got, want)
		}
	}
}

// A letter of the checksum that is none of the alphabet must not count as one that is.
func TestEveryByteOfTheChecksum(t *testing.T) {
	good := New().Reveal()
	for at := Len - checkLen; at < Len; at++ {
		for c := range 256 {
			key := []byte(good)
			key[at] = byte(c)
			if got, want := Valid(string(key)), byte(c) == good[at]; got != want {
				t.Fatalf("byte %#x at %d: valid = %v, want %v", c, at, got, want)
			}
		}
	}
}

// What is valid has the form, and no single letter of it can be changed.
func FuzzValid(f *testing.F) {
	f.Add(New().Reveal(), uint8(10), byte('x'))
	f.Add("sk-fw-", uint8(0), byte(0))
	f.Add(strings.Repeat("0", Len), uint8(3), byte('f'))
	f.Fuzz(func(t *testing.T, key string, at uint8, c byte) {
		// Most inputs are no keys; make one of them.
		random := bytes.Map(func(r rune) rune { return rune(alphabet[uint32(r)%62]) }, []byte(key))
		random = append(random, bytes.Repeat([]byte{'0'}, randomLen)...)[:randomLen]
		made := append([]byte(Prefix), random...)
		sum := checksum(made)
		made = append(made, sum[:]...)
		if !Valid(string(made)) {
			t.Fatalf("%q is not valid", made)
		}
		i := int(at) % Len
		if made[i] != c {
			made[i] = c
			if Valid(string(made)) {
				t.Fatalf("%q is valid, with letter %d changed", made, i)
			}
		}
		if Valid(key) && !form.MatchString(key) {
			t.Fatalf("%q is valid", key)
		}
	})
}

// The oracle is crypto/hmac.
func FuzzHasher(f *testing.F) {
	f.Add([]byte("pepper"), []byte(New().Reveal()))
	f.Add([]byte(nil), []byte(nil))
	f.Add(bytes.Repeat([]byte{7}, 64), bytes.Repeat([]byte{8}, 2*Len))
	f.Add(bytes.Repeat([]byte{7}, 65), bytes.Repeat([]byte{8}, 2*Len+1))
	f.Fuzz(func(t *testing.T, pepper, key []byte) {
		m := hmac.New(sha256.New, pepper)
		m.Write(key)
		if got, want := NewHasher(pepper).Sum(key), MAC(m.Sum(nil)); got != want {
			t.Fatalf("Sum = %x, want %x", got, want)
		}
	})
}

func TestHasherCopiesPepper(t *testing.T) {
	pepper := bytes.Repeat([]byte{1}, 100)
	h := NewHasher(pepper)
	short, long := []byte("key"), bytes.Repeat([]byte{'k'}, 5*Len)
	wantShort, wantLong := h.Sum(short), h.Sum(long)
	clear(pepper)
	if h.Sum(short) != wantShort || h.Sum(long) != wantLong {
		t.Error("the hasher changed with the caller's slice")
	}
}

// A short key after a long one: nothing of the long one is left over.
func TestHasherForgets(t *testing.T) {
	h := NewHasher([]byte("pepper"))
	want := h.Sum([]byte("short"))
	h.Sum(bytes.Repeat([]byte{'x'}, 3*Len))
	if h.Sum([]byte("short")) != want {
		t.Error("the MAC depends on the key before")
	}
}

func TestHasherConcurrently(t *testing.T) {
	h := NewHasher([]byte("pepper"))
	var wg sync.WaitGroup
	for i := range 8 {
		key := fmt.Appendf(nil, "key %d", i)
		want := h.Sum(key)
		wg.Go(func() {
			for range 200 {
				if h.Sum(key) != want {
					t.Errorf("%s: another MAC than alone", key)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestSumDoesNotAllocate(t *testing.T) {
	h := NewHasher([]byte("0123456789abcdef0123456789abcdef"))
	key := []byte(New().Reveal())
	var sink MAC
	if n := testing.AllocsPerRun(100, func() { sink = h.Sum(key) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
	_ = sink
}

func BenchmarkSum(b *testing.B) {
	h := NewHasher([]byte("0123456789abcdef0123456789abcdef"))
	key := []byte(New().Reveal())
	b.ReportAllocs()
	for b.Loop() {
		_ = h.Sum(key)
	}
}

func BenchmarkValid(b *testing.B) {
	key := New().Reveal()
	b.ReportAllocs()
	for b.Loop() {
		if !Valid(key) {
			b.Fatal("not valid")
		}
	}
}
