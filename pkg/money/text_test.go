package money

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestText(t *testing.T) {
	for n, want := range map[NanoUSD]string{
		0: "$0", 1: "$0.000000001", 1_234_567: "$0.001234567", 12_500_000_000: "$12.5", 3_000_000_000: "$3", -1: "-$0.000000001",
		-2_500_000_000: "-$2.5", math.MaxInt64: "$9223372036.854775807", math.MinInt64: "-$9223372036.854775808",
		1_000_000_001: "$1.000000001", 10_000_000_000: "$10",
	} {
		if got := n.String(); got != want {
			t.Errorf("String of %d = %q, want %q", int64(n), got, want)
		}
		if got, err := Parse(want); got != n || err != nil {
			t.Errorf("Parse(%q) = %d, %v; want %d", want, got, err, n)
		}
	}
}

func TestParse(t *testing.T) {
	tests := []struct {
		text string
		want NanoUSD
		err  error
	}{
		{"2.50", 2_500_000_000, nil},
		{"$007", 7_000_000_000, nil},
		{"-0", 0, nil},
		{strings.Repeat("0", 99) + "1", 1_000_000_000, nil},
		{"9223372036.854775808", 0, ErrOverflow},
		{"-9223372036.854775809", 0, ErrOverflow},
		{"99999999999", 0, ErrOverflow},
		{"18446744073709551616000000000", 0, ErrOverflow},
		{"", 0, ErrInvalid},
		{"$", 0, ErrInvalid},
		{"1.", 0, ErrInvalid},
		{".5", 0, ErrInvalid},
		{"1.0000000001", 0, ErrInvalid},
		{"1e3", 0, ErrInvalid},
		{"1,000", 0, ErrInvalid},
		{" 1", 0, ErrInvalid},
		{"--1", 0, ErrInvalid},
		{"$-1", 0, ErrInvalid},
		{"+1", 0, ErrInvalid},
		{"1.2.3", 0, ErrInvalid},
		{"٣", 0, ErrInvalid},
	}
	for _, tt := range tests {
		if got, err := Parse(tt.text); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("Parse(%q) = %d, %v; want %d, %v", tt.text, got, err, tt.want, tt.err)
		}
	}
}

// What parses is written and read back as the same amount.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"$0.001234567", "-$3", "12.5", "-9223372036.854775808", "1.", "1e9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Parse(s)
		if err != nil {
			return
		}
		if again, err := Parse(n.String()); again != n || err != nil {
			t.Fatalf("%q = %d, which is written %q and read as %d, %v", s, n, n, again, err)
		}
	})
}
