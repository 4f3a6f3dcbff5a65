package ctl

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"fairway/pkg/money"
)

// sheetWriter writes CSV that a spreadsheet reads as what it is. Names of models are what clients say: a cell that a
// spreadsheet would run as a formula gets an apostrophe, which is how spreadsheets spell "text".
type sheetWriter struct {
	w    *csv.Writer
	line []string
	err  error
}

func newSheetWriter(w io.Writer) *sheetWriter { return &sheetWriter{w: csv.NewWriter(w)} }

func (s *sheetWriter) header(names []string) { s.line = append(s.line, names...); s.end() }

// text adds a cell that others have written.
func (s *sheetWriter) text(v string) { s.line = append(s.line, harmless(v)) }

func (s *sheetWriter) number(n int64) { s.line = append(s.line, strconv.FormatInt(n, 10)) }

// plain adds a cell that is ours.
func (s *sheetWriter) plain(v string) { s.line = append(s.line, v) }

func (s *sheetWriter) end() {
	if s.err == nil {
		s.err = s.w.Write(s.line)
	}
	s.line = s.line[:0]
}

func (s *sheetWriter) flush() error {
	s.w.Flush()
	if s.err == nil {
		s.err = s.w.Error()
	}
	if s.err != nil {
		return fmt.Errorf("write csv: %w", s.err)
	}
	return nil
}

// harmless is a text that no spreadsheet takes for a formula.
func harmless(v string) string {
	v = visible(v)
	if start := strings.TrimLeftFunc(v, unicode.IsSpace); start != "" && strings.ContainsRune("=+-@|%'＝＋－＠", []rune(start)[0]) {
		return "'" + v
	}
	return v
}

// visible replaces what is not printed: on a terminal it could move the cursor, in a file it could end a cell.
func visible(v string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, v)
}

// usdDecimal is an amount in dollars without the sign of the currency.
func usdDecimal(nano int64) string { return strings.Replace(money.NanoUSD(nano).String(), "$", "", 1) }
