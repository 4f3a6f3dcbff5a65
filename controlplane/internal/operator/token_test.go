package operator

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"fairway/pkg/secret"
)

func TestNewToken(t *testing.T) {
	seen := make(map[string]bool)
	digits := make(map[byte]int)
	for range 2000 {
		token := NewToken().Reveal()
		if !ValidToken(token) {
			t.Fatalf("NewToken made %d bytes that ValidToken refuses", len(token))
		}
		if seen[token] {
			t.Fatal("NewToken repeated itself")
		}
		seen[token] = true
		for i := len(Prefix); i < len(token); i++ {
			digits[token[i]]++
		}
	}
	// 86,000 draws of 62 digits: about 1387 each. A bias of the modulo would give eight of them a quarter more.
	for _, c := range []byte(alphabet) {
		if n := digits[c]; n < 1150 || n > 1630 {
			t.Errorf("digit %c came %d times, want about 1387", c, n)
		}
	}
}

func TestTokenIsNotPrinted(t *testing.T) {
	token := NewToken()
	if text := fmt.Sprintf("%v %+v %#v %s %q", token, token, token, token, token); strings.Contains(text, token.Reveal()) {
		t.Error("a formatted token shows itself")
	}
}

func TestHashToken(t *testing.T) {
	want := sha256.Sum256([]byte("fwop-x"))
	if got := HashToken(secret.New("fwop-x")); !bytes.Equal(got, want[:]) {
		t.Errorf("HashToken = %x, want the SHA-256 of the whole token %x", got, want)
	}
}

func TestBearer(t *testing.T) {
	token := Prefix + strings.Repeat("a", randomSize)
	tests := []struct {
		name   string
		values []string
		ok     bool
	}{
		{"as documented", []string{"Bearer " + token}, true},
		{"scheme in any case", []string{"bEARER " + token}, true},
		{"spaces around", []string{"Bearer   " + token + " "}, true},
		{"none", nil, false},
		{"two headers", []string{"Bearer " + token, "Bearer " + token}, false},
		{"another scheme", []string{"Basic " + token}, false},
		{"no scheme", []string{token}, false},
		{"scheme alone", []string{"Bearer"}, false},
		{"two tokens", []string{"Bearer " + token + "," + token}, false},
		{"too short", []string{"Bearer " + token[:len(token)-1]}, false},
		{"too long", []string{"Bearer " + token + "a"}, false},
		{"not base62", []string{"Bearer " + token[:len(token)-1] + "-"}, false},
		{"a client key", []string{"Bearer sk-fw-" + strings.Repeat("a", 49)}, false},
		{"empty", []string{""}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := bearer(tt.values)
			if ok != tt.ok {
				t.Fatalf("bearer(%q) ok = %v, want %v", tt.values, ok, tt.ok)
			}
			if ok && got != token {
				t.Errorf("bearer(%q) = %q, want %q", tt.values, got, token)
			}
		})
	}
}

// FuzzBearer holds the parser to its one property: what it accepts is a token as NewToken makes them, and nothing of
// the header is left over.
func FuzzBearer(f *testing.F) {
	f.Add("Bearer " + Prefix + strings.Repeat("a", randomSize))
	f.Add("Bearer fwop-")
	f.Add("bearer \x00")
	f.Fuzz(func(t *testing.T, header string) {
		token, ok := bearer([]string{header})
		if !ok {
			return
		}
		if len(token) != len(Prefix)+randomSize || !strings.HasPrefix(token, Prefix) || strings.ContainsAny(token[len(Prefix):], " ,;\r\n\x00") {
			t.Errorf("accepted %q as a token", token)
		}
		if rest := strings.Replace(header, token, "", 1); strings.TrimSpace(strings.ToLower(rest)) != "bearer" {
			t.Errorf("ignored %q beside the token", rest)
		}
	})
}
