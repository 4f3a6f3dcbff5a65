package money

import (
	"math"
	"strconv"
	"strings"
)

const nanoPerUSD = 1_000_000_000

// String is the exact amount in dollars without trailing zeros: "$0.001234567", "$12.5", "-$3", "$0".
func (n NanoUSD) String() string {
	u := uint64(n)
	buf := make([]byte, 0, 24)
	if n < 0 {
		u = -u
		buf = append(buf, '-')
	}
	buf = append(buf, '$')
	buf = strconv.AppendUint(buf, u/nanoPerUSD, 10)
	frac := u % nanoPerUSD
	if frac == 0 {
		return string(buf)
	}
	digits := strconv.FormatUint(nanoPerUSD+frac, 10)[1:]
	buf = append(buf, '.')
	buf = append(buf, strings.TrimRight(digits, "0")...)
	return string(buf)
}

// Parse reads an amount in dollars as String writes it; the dollar sign may be missing. It refuses exponents, spaces,
// separators and more than nine decimals with ErrInvalid, and what does not fit with ErrOverflow.
func Parse(s string) (NanoUSD, error) {
	rest, negative := strings.CutPrefix(s, "-")
	rest = strings.TrimPrefix(rest, "$")
	whole, frac, point := strings.Cut(rest, ".")
	if !digits(whole) || (point && !digits(frac)) || len(frac) > 9 {
		return 0, ErrInvalid
	}
	whole = strings.TrimLeft(whole, "0")
	if len(whole) > 10 {
		return 0, ErrOverflow
	}
	u, err := strconv.ParseUint("0"+whole+frac+strings.Repeat("0", 9-len(frac)), 10, 64)
	if err != nil {
		return 0, ErrOverflow
	}
	switch {
	case negative && u <= math.MaxInt64+1:
		return NanoUSD(-u), nil
	case !negative && u <= math.MaxInt64:
		return NanoUSD(u), nil
	}
	return 0, ErrOverflow
}

func digits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}
