package h1

import (
	"bytes"
	"strings"
	"testing"
)

func TestTokenChar(t *testing.T) {
	for c := range 256 {
		want := c > ' ' && c < 0x7f && !strings.ContainsRune("\"(),/:;<=>?@[\\]{}", rune(c))
		if TokenChar(byte(c)) != want {
			t.Errorf("%q: %v", rune(c), !want)
		}
	}
}

// Every byte at every place of texts around the eight bytes that are looked at together.
func TestText(t *testing.T) {
	for n := 1; n < 20; n++ {
		for at := range n {
			for c := range 256 {
				b := bytes.Repeat([]byte{'a'}, n)
				b[at] = byte(c)
				want := c >= ' ' && c != 0x7f || c == '\t'
				if Text(b) != want {
					t.Fatalf("byte %#x at %d of %d: %v", c, at, n, !want)
				}
			}
		}
	}
}

func TestHasToken(t *testing.T) {
	for list, want := range map[string]bool{
		"": false, "close": true, "Close": true, " close ": true, "a,close": true, "a , CLOSE , b": true, "closed": false,
		"clos": false, "a close": false, ",,close": true, "a,b": false,
	} {
		if got := HasToken([]byte(list), "close"); got != want {
			t.Errorf("%q: %v", list, got)
		}
	}
}

func TestLength(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "12": 12, "007": 7, "999999999999999999": 999999999999999999,
		"": -1, "+1": -1, "-1": -1, "0x1": -1, "1,1": -1, "9999999999999999999": -1, "\u0661": -1,
	} {
		n, err := Length([]byte(in))
		if (err != nil) != (want < 0) || err == nil && n != want {
			t.Errorf("%q: %d, %v", in, n, err)
		}
	}
}
