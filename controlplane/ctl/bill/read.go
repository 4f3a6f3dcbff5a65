package bill

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairway/pkg/money"
)

// Bounds of a file.
const (
	maxBytes   = 256 << 20
	maxLines   = 2_000_000
	maxPlaces  = 100_000 // days times models
	maxColumns = 1000
	maxModel   = 256
)

// Place is what numbers are compared for.
type Place struct {
	Day   string // UTC, as 2026-11-21
	Model string
}

// Numbers are what is known of a place. A field that is not there is not known.
type Numbers map[Field]int64

// Side is what one side says.
type Side map[Place]Numbers

// Add adds a number to a place.
func (s Side) Add(p Place, f Field, n int64) error {
	all := s[p]
	if all == nil {
		all = Numbers{}
		s[p] = all
	}
	sum, err := money.Add(all[f], n)
	if err != nil {
		return fmt.Errorf("%s of %s on %s: the sum does not fit in 64 bits", f, p.Model, p.Day)
	}
	all[f] = sum
	return nil
}

// Options of Read. The zero value reads the files that are known.
type Options struct {
	Columns Columns           // nil = those that are known
	Where   map[string]string // only lines with these values in these columns
	Rename  map[string]string // models of the file, and what they are called on the books
	From    string            // the first day; empty = all
	To      string            // the day after the last; empty = all
}

// Read adds a provider's file up by day and model, and returns which fields it has.
func Read(r io.Reader, o Options) (Side, []Field, error) {
	limited := &io.LimitedReader{R: r, N: maxBytes + 1}
	in := csv.NewReader(limited)
	in.ReuseRecord = true
	header, err := in.Read()
	if errors.Is(err, io.EOF) {
		return nil, nil, errors.New("the file is empty")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the header: %w", err)
	}
	if len(header) > maxColumns {
		return nil, nil, fmt.Errorf("more than %d columns", maxColumns)
	}
	l, err := layoutOf(header, o.Columns, o.Where)
	if err != nil {
		return nil, nil, err
	}
	side := Side{}
	for n := 2; ; n++ {
		record, err := in.Read()
		switch {
		case limited.N <= 0:
			return nil, nil, fmt.Errorf("the file is larger than %d MiB", maxBytes>>20)
		case errors.Is(err, io.EOF):
			return side, l.has(), nil
		case err != nil:
			return nil, nil, fmt.Errorf("read: %w", err)
		case n > maxLines:
			return nil, nil, fmt.Errorf("more than %d lines", maxLines)
		}
		if err := l.line(side, record, o); err != nil {
			at, _ := in.FieldPos(0)
			return nil, nil, fmt.Errorf("line %d: %w", at, err)
		}
	}
}

// has are the fields that the file has.
func (l layout) has() []Field {
	return slices.DeleteFunc(Fields(), func(f Field) bool { return len(l.fields[f]) == 0 })
}

// line adds one line up.
func (l layout) line(side Side, record []string, o Options) error {
	for at, value := range l.where {
		if record[at] != value {
			return nil
		}
	}
	day, err := parseDay(record[l.day])
	if err != nil {
		return err
	}
	if o.From != "" && day < o.From || o.To != "" && day >= o.To {
		return nil
	}
	model := unquoted(strings.ToValidUTF8(strings.TrimSpace(record[l.model]), "\uFFFD"))
	if len(model) > maxModel {
		return fmt.Errorf("a model of more than %d bytes", maxModel)
	}
	if name, ok := o.Rename[model]; ok {
		model = name
	}
	p := Place{Day: day, Model: model}
	if _, there := side[p]; !there && len(side) == maxPlaces {
		return fmt.Errorf("more than %d days and models", maxPlaces)
	}
	for f, columns := range l.fields {
		for _, at := range columns {
			var n int64
			if f == Cost {
				n, err = parseUSD(record[at])
			} else {
				n, err = parseCount(record[at])
			}
			if err != nil {
				return err
			}
			if err := side.Add(p, f, n); err != nil {
				return err
			}
		}
	}
	return nil
}

// unquoted takes off the apostrophe that keeps spreadsheets from reading a cell as a formula.
func unquoted(s string) string { return strings.TrimPrefix(s, "'") }

// parseDay reads a date, a time, or seconds since 1970.
func parseDay(s string) (string, error) {
	s = unquoted(strings.TrimSpace(s))
	for _, layout := range []string{time.DateOnly, time.RFC3339, time.DateTime, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", "2006/01/02", "20060102"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC().Format(time.DateOnly), nil
		}
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 && n < 1e11 {
		return time.Unix(n, 0).UTC().Format(time.DateOnly), nil
	}
	return "", fmt.Errorf("%s is no day", quote(s))
}

// parseCount reads a whole number that is not below zero; empty is none. Exports of spreadsheets write 12 as 12.0.
func parseCount(s string) (int64, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return 0, nil
	}
	whole := s
	if a, b, ok := strings.Cut(s, "."); ok && a != "" && strings.Trim(b, "0") == "" {
		whole = a
	}
	n, err := strconv.ParseUint(whole, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%s is no count", quote(s))
	}
	return int64(n), nil
}

// maxDecimal is as long as an amount can be; with an exponent of two digits, arithmetic stays small.
const maxDecimal = 40

// parseUSD reads an amount in dollars, rounded to nano-USD; empty is none. Credits are below zero.
func parseUSD(s string) (int64, error) {
	s = strings.TrimPrefix(strings.TrimSpace(s), "$")
	if s == "" {
		return 0, nil
	}
	bad := fmt.Errorf("%s is no amount in USD", quote(s))
	mantissa, exponent, scientific := strings.Cut(strings.ToLower(s), "e")
	if len(mantissa) > maxDecimal || strings.Trim(mantissa, "+-.0123456789") != "" || !strings.ContainsAny(mantissa, "0123456789") ||
		scientific && (exponent == "" || len(exponent) > 3 || strings.Trim(exponent, "+-0123456789") != "") {
		return 0, bad
	}
	amount, ok := new(big.Rat).SetString(strings.ToLower(s))
	if !ok {
		return 0, bad
	}
	amount.Mul(amount, big.NewRat(1_000_000_000, 1))
	// Half away from zero: floor((2a + b) / 2b) of the absolute value.
	num, den := new(big.Int).Abs(amount.Num()), amount.Denom()
	num.Add(num.Lsh(num, 1), den)
	num.Quo(num, new(big.Int).Lsh(den, 1))
	if amount.Sign() < 0 {
		num.Neg(num)
	}
	if !num.IsInt64() {
		return 0, bad
	}
	return num.Int64(), nil
}

// quote shows a cell in an error.
func quote(s string) string {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	return strconv.QuoteToASCII(s)
}
