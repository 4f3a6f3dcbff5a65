package top

import (
	"strings"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/text"
)

// gap is between two columns.
const gap = 2

// column is one of a table.
type column struct {
	title string
	right bool // numbers
	// drop orders what goes when the terminal is narrow, the highest first; 0 = stays.
	drop int
	// fill says that its texts may be cut.
	fill bool
}

// tabulate lays rows out under their titles. width 0 = as wide as it gets.
func tabulate(cols []column, rows [][]string, width int) []string {
	widths := make([]int, len(cols))
	for i, c := range cols {
		widths[i] = cells(c.title)
		used := false
		for _, r := range rows {
			widths[i] = max(widths[i], cells(r[i]))
			used = used || r[i] != "" && r[i] != "-"
		}
		if !used && c.drop > 0 && len(rows) > 0 {
			widths[i] = 0 // says nothing
		}
	}
	fit(cols, widths, width)
	title := make([]string, len(cols))
	for i, c := range cols {
		title[i] = strings.ToUpper(c.title)
	}
	out := make([]string, 0, len(rows)+1)
	for _, r := range append([][]string{title}, rows...) {
		var b strings.Builder
		for i, c := range cols {
			if widths[i] == 0 {
				continue
			}
			if b.Len() > 0 {
				b.WriteString(strings.Repeat(" ", gap))
			}
			cell := cut(r[i], widths[i])
			pad := strings.Repeat(" ", widths[i]-cells(cell))
			if c.right {
				b.WriteString(pad + cell)
			} else {
				b.WriteString(cell + pad)
			}
		}
		out = append(out, cut(strings.TrimRight(b.String(), " "), width))
	}
	return out
}

// Texts are narrowed to readable before columns go, and to least when none are left to go.
const readable, least = 20, 8

// fit narrows columns and drops others until all fit; a column of width 0 is not shown.
func fit(cols []column, widths []int, width int) {
	for width > 0 {
		total, drop, fill := -gap, -1, -1
		for i, c := range cols {
			if widths[i] == 0 {
				continue
			}
			total += widths[i] + gap
			if c.drop > 0 && (drop < 0 || c.drop > cols[drop].drop) {
				drop = i
			}
			if c.fill && (fill < 0 || widths[i] > widths[fill]) {
				fill = i
			}
		}
		over := total - width
		switch {
		case over <= 0:
			return
		case fill >= 0 && widths[fill] > readable:
			widths[fill] = max(readable, widths[fill]-over)
		case drop >= 0:
			widths[drop] = 0
		case fill >= 0 && widths[fill] > least:
			widths[fill] = max(least, widths[fill]-over)
		default:
			return // tabulate cuts the lines
		}
	}
}

// cells is how many of a terminal's cells a text takes.
func cells(s string) int { return text.StringWidth(s) }

// cut shortens a text to so many cells; 0 = not at all.
func cut(s string, width int) string {
	if width == 0 || cells(s) <= width {
		return s
	}
	var b strings.Builder
	n := 0
	for _, r := range s {
		w := text.RuneWidth(r)
		if n+w > width-1 {
			break
		}
		b.WriteRune(r)
		n += w
	}
	return b.String() + "…"
}

// clean makes a text safe to print: control characters, escape sequences' included, are replaced.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// wrap fills lines with items, so that none is wider than it must be.
func wrap(items []string, width int) []string {
	var lines []string
	line := ""
	for _, item := range items {
		switch {
		case line == "":
			line = item
		case width == 0 || cells(line)+gap+cells(item) <= width:
			line += strings.Repeat(" ", gap) + item
		default:
			lines = append(lines, cut(line, width))
			line = item
		}
	}
	return append(lines, cut(line, width))
}
