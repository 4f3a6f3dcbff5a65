package ctl

import (
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/money"
)

const (
	barWidth  = 40 // characters
	maxBars   = 62 // lines of times; more are drawn together
	maxSparks = 80 // characters of a sparkline; likewise
	maxLabel  = 40
)

// bar is one value of a chart.
type bar struct {
	label string
	value int64
}

// drawUsage draws rows: a bar for each, or where time is one dimension among others, a line for each series.
func drawUsage(w io.Writer, got *adminv1.QueryUsageResponse, by []string, order adminv1.UsageOrder) {
	value, show, title := measure(order)
	timed := slices.Contains(by, "hour") || slices.Contains(by, "day")
	series := timed && slices.ContainsFunc(by, func(d string) bool { return !isTime(d) })
	switch {
	case len(by) == 0:
		fmt.Fprintf(w, "%s: %s\n", title, show(value(got.GetTotal())))
		return
	case series:
		drawSeries(w, got, by, value, show)
	default:
		bars := make([]bar, 0, len(got.GetRows()))
		for _, r := range got.GetRows() {
			bars = append(bars, bar{label(r, by), value(r.GetCounters())})
		}
		if timed && order == adminv1.UsageOrder_USAGE_ORDER_UNSPECIFIED {
			bars = together(bars, maxBars)
		}
		drawBars(w, bars, show)
	}
	if n := got.GetRestRows(); n > 0 {
		fmt.Fprintf(w, "%d others: %s\n", n, show(value(got.GetRest())))
	}
	fmt.Fprintf(w, "%s, total: %s\n", title, show(value(got.GetTotal())))
}

func isTime(dimension string) bool { return dimension == "hour" || dimension == "day" }

// measure is what is drawn: how to take it from counters, how to write it, and what it is called.
func measure(o adminv1.UsageOrder) (value func(*adminv1.UsageCounters) int64, show func(int64) string, title string) {
	whole := func(n int64) string { return strconv.FormatInt(n, 10) }
	switch o {
	case adminv1.UsageOrder_USAGE_ORDER_TOKENS:
		return func(c *adminv1.UsageCounters) int64 { return c.GetInputTokens() + c.GetOutputTokens() }, whole, "tokens"
	case adminv1.UsageOrder_USAGE_ORDER_REQUESTS:
		return (*adminv1.UsageCounters).GetRequests, whole, "requests"
	case adminv1.UsageOrder_USAGE_ORDER_ERRORS:
		return (*adminv1.UsageCounters).GetErrors, whole, "errors"
	default:
		return (*adminv1.UsageCounters).GetCostNanoUsd, func(n int64) string { return money.NanoUSD(n).String() }, "cost"
	}
}

// label names a row by its dimensions.
func label(r *adminv1.UsageRow, by []string) string {
	parts := make([]string, 0, len(by))
	for _, d := range by {
		parts = append(parts, dash(visible(dimension(r, d))))
	}
	text := strings.Join(parts, " ")
	if utf8.RuneCountInString(text) > maxLabel {
		text = string([]rune(text)[:maxLabel-1]) + "…"
	}
	return text
}

// together adds neighbours up until there are at most so many; each is called as its first one.
func together(bars []bar, most int) []bar {
	step := (len(bars) + most - 1) / most
	if step <= 1 {
		return bars
	}
	var out []bar
	for i, b := range bars {
		if i%step == 0 {
			out = append(out, bar{label: b.label})
		}
		out[len(out)-1].value += b.value
	}
	return out
}

func drawBars(w io.Writer, bars []bar, show func(int64) string) {
	top, wide := int64(0), 0
	for _, b := range bars {
		top, wide = max(top, b.value), max(wide, utf8.RuneCountInString(b.label))
	}
	for _, b := range bars {
		pad := strings.Repeat(" ", wide-utf8.RuneCountInString(b.label))
		line := b.label + pad + "  " + blocks(b.value, top)
		fmt.Fprintln(w, strings.TrimRight(line, " ")+"  "+show(b.value))
	}
}

// blocks is a bar, to an eighth of a character. What is there is never drawn as nothing.
func blocks(value, top int64) string {
	if value <= 0 || top <= 0 {
		return ""
	}
	eighths := max(scaled(value, top, barWidth*8), 1)
	out := strings.Repeat("█", eighths/8)
	if part := eighths % 8; part > 0 {
		out += string([]rune("▏▎▍▌▋▊▉")[part-1])
	}
	return out
}

// scaled is value/top of size, without overflow.
func scaled(value, top int64, size int) int {
	hi, lo := bits.Mul64(uint64(value), uint64(size))
	q, _ := bits.Div64(hi, lo, uint64(top)) // value <= top, so hi < top
	return int(q)
}

// drawSeries draws a line for each series, all by one scale.
func drawSeries(w io.Writer, got *adminv1.QueryUsageResponse, by []string, value func(*adminv1.UsageCounters) int64, show func(int64) string) {
	names := slices.DeleteFunc(slices.Clone(by), isTime)
	times := slices.DeleteFunc(slices.Clone(by), func(d string) bool { return !isTime(d) })
	var order []string
	series := map[string]map[string]int64{}
	moments := map[string]bool{}
	for _, r := range got.GetRows() {
		name, at := label(r, names), label(r, times)
		if series[name] == nil {
			series[name] = map[string]int64{}
			order = append(order, name)
		}
		series[name][at] += value(r.GetCounters())
		moments[at] = true
	}
	axis := make([]string, 0, len(moments))
	for at := range moments {
		axis = append(axis, at)
	}
	slices.Sort(axis)
	lines := make(map[string][]bar, len(order))
	top, wide := int64(0), 0
	for _, name := range order {
		line := make([]bar, len(axis))
		for i, at := range axis {
			line[i] = bar{at, series[name][at]}
		}
		lines[name] = together(line, maxSparks)
		for _, b := range lines[name] {
			top = max(top, b.value)
		}
		wide = max(wide, utf8.RuneCountInString(name))
	}
	for _, name := range order {
		var spark strings.Builder
		sum := int64(0)
		for _, b := range lines[name] {
			spark.WriteRune(height(b.value, top))
			sum += b.value
		}
		fmt.Fprintf(w, "%s%s  %s  %s\n", name, strings.Repeat(" ", wide-utf8.RuneCountInString(name)), spark.String(), show(sum))
	}
	if len(axis) > 0 {
		fmt.Fprintf(w, "from %s to %s\n", axis[0], axis[len(axis)-1])
	}
}

// height is one character of a sparkline; nothing is a dot.
func height(value, top int64) rune {
	if value <= 0 || top <= 0 {
		return '·'
	}
	return []rune("▁▂▃▄▅▆▇█")[min(scaled(value, top, 8), 7)]
}
