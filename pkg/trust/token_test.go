package trust

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestJoinToken(t *testing.T) {
	ca := &x509.Certificate{Raw: []byte("certificate")}
	tok := NewJoinToken("01ABC", ca)
	if len(tok.Secret.Reveal()) != 43 || tok.Secret.Equal(NewJoinToken("01ABC", ca).Secret) {
		t.Errorf("secret of %d characters, or the same twice", len(tok.Secret.Reveal()))
	}
	text := tok.Encode()
	if parts := strings.Split(text, "."); len(parts) != 3 || parts[0] != "fwjoin-01ABC" || parts[1] != tok.Secret.Reveal() {
		t.Errorf("encoded as %s", text)
	}
	got, err := ParseJoinToken("\n " + text + " \n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tok, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	if out := fmt.Sprintf("%v %+v %#v", tok, tok, tok); strings.Contains(out, tok.Secret.Reveal()) {
		t.Errorf("a token prints its secret: %s", out)
	}
}

func TestParseJoinTokenRefuses(t *testing.T) {
	good := NewJoinToken("id", &x509.Certificate{Raw: []byte("c")}).Encode()
	parts := strings.Split(strings.TrimPrefix(good, tokenPrefix), ".")
	join := func(id, secret, sum string) string { return tokenPrefix + id + "." + secret + "." + sum }
	tests := []struct{ name, text string }{
		{"empty", ""},
		{"prefix", tokenPrefix},
		{"another prefix", "fwkey-" + strings.TrimPrefix(good, tokenPrefix)},
		{"no id", join("", parts[1], parts[2])},
		{"a path as id", join("../x", parts[1], parts[2])},
		{"long id", join(strings.Repeat("a", 65), parts[1], parts[2])},
		{"short secret", join("id", parts[1][:42], parts[2])},
		{"long secret", join("id", parts[1]+"A", parts[2])},
		{"no secret", join("id", "", parts[2])},
		{"padding", join("id", parts[1]+"=", parts[2])},
		{"line end inside", join("id", parts[1][:10]+"\n"+parts[1][10:], parts[2])},
		// 43 letters hold 258 bits: the last two must be 0, or one secret had four spellings.
		{"another spelling", join("id", parts[1][:42]+"B", parts[2])},
		{"short fingerprint", join("id", parts[1], parts[2][:42])},
		{"no fingerprint", tokenPrefix + "id." + parts[1]},
		{"a fourth part", good + ".x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseJoinToken(tt.text)
			if !errors.Is(err, ErrJoinToken) {
				t.Fatalf("%q: %v, want ErrJoinToken", tt.text, err)
			}
			if strings.Contains(err.Error(), parts[1][:10]) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
}

// A token has one spelling: what parses is written as it was.
func FuzzParseJoinToken(f *testing.F) {
	f.Add(NewJoinToken("01J8ZQ4X5Y6Z7A8B9C0D1E2F3G", &x509.Certificate{Raw: []byte("c")}).Encode())
	f.Add("fwjoin-a.b.c")
	f.Add("fwjoin-a." + strings.Repeat("A", 43) + "." + strings.Repeat("A", 43))
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := ParseJoinToken(text)
		if err != nil {
			return
		}
		if got, want := tok.Encode(), strings.TrimSpace(text); got != want {
			t.Fatalf("%q is written as %q", want, got)
		}
	})
}
