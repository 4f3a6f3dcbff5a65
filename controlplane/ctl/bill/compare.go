package bill

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// Difference is what both sides say of one number.
type Difference struct {
	Field    Field
	Books    int64
	Provider int64
	Agrees   bool // within the tolerance
}

// Delta is how much more the books have. It is exact: both numbers come from sums that fit.
func (d Difference) Delta() *big.Int {
	return new(big.Int).Sub(big.NewInt(d.Books), big.NewInt(d.Provider))
}

// Row is what both sides say of one day and model.
type Row struct {
	Place
	Differences  []Difference
	OnlyBooks    bool // the provider says nothing of it
	OnlyProvider bool // the books say nothing of it
}

// Agrees says whether all of it is within the tolerance.
func (r Row) Agrees() bool {
	return !slices.ContainsFunc(r.Differences, func(d Difference) bool { return !d.Agrees })
}

// Report is a comparison.
type Report struct {
	Rows   []Row // by day, then model
	Totals []Difference
	Agrees bool // every row and every total
}

// PPM is a share in parts per million.
type PPM int64

// ParseTolerance reads "1%" or "0.01"; at most 100%.
func ParseTolerance(s string) (PPM, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	scale := big.NewRat(1_000_000, 1)
	if percent {
		scale = big.NewRat(10_000, 1)
	}
	bad := fmt.Errorf("%q: want a share such as 1%% or 0.01, at most 100%%", s)
	if number == "" || len(number) > 16 || strings.Trim(number, ".0123456789") != "" {
		return 0, bad
	}
	share, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, bad
	}
	share.Mul(share, scale)
	if !share.IsInt() || share.Cmp(big.NewRat(1_000_000, 1)) > 0 {
		return 0, bad
	}
	return PPM(share.Num().Int64()), nil
}

// Compare compares the fields that the provider's file has. A number agrees when the books differ from the provider's by
// at most the tolerance, as a share of the provider's.
func Compare(books, provider Side, fields []Field, tolerance PPM) (Report, error) {
	places := make([]Place, 0, len(books)+len(provider))
	for p := range books {
		places = append(places, p)
	}
	for p := range provider {
		if _, both := books[p]; !both {
			places = append(places, p)
		}
	}
	slices.SortFunc(places, func(a, b Place) int { return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Model, b.Model)) })
	report := Report{Agrees: true}
	ours, theirs := Side{}, Side{}
	for _, p := range places {
		row := Row{Place: p, OnlyBooks: provider[p] == nil, OnlyProvider: books[p] == nil}
		for _, f := range fields {
			d := difference(f, books[p][f], provider[p][f], tolerance)
			row.Differences = append(row.Differences, d)
			if err := ours.Add(Place{}, f, d.Books); err != nil {
				return Report{}, err
			}
			if err := theirs.Add(Place{}, f, d.Provider); err != nil {
				return Report{}, err
			}
		}
		report.Agrees = report.Agrees && row.Agrees()
		report.Rows = append(report.Rows, row)
	}
	for _, f := range fields {
		d := difference(f, ours[Place{}][f], theirs[Place{}][f], tolerance)
		report.Totals = append(report.Totals, d)
		report.Agrees = report.Agrees && d.Agrees
	}
	return report, nil
}

func difference(f Field, books, provider int64, tolerance PPM) Difference {
	d := Difference{Field: f, Books: books, Provider: provider}
	off := d.Delta()
	off.Abs(off).Mul(off, big.NewInt(1_000_000))
	most := new(big.Int).Mul(new(big.Int).Abs(big.NewInt(provider)), big.NewInt(int64(tolerance)))
	d.Agrees = off.Cmp(most) <= 0
	return d
}
