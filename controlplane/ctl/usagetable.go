package ctl

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/money"
)

// usagePlain has one flat object per row, so that a script can read it without knowing the API.
func usagePlain(got *adminv1.QueryUsageResponse, by []string) any {
	rows := make([]any, 0, len(got.GetRows()))
	for _, r := range got.GetRows() {
		m := sumPlain(r.GetCounters(), r.GetCorrected())
		for _, g := range by {
			m[g] = dimension(r, g)
		}
		rows = append(rows, m)
	}
	out := map[string]any{"rows": rows, "total": sumPlain(got.GetTotal(), got.GetCorrected())}
	if got.GetRestRows() > 0 {
		rest := countersPlain(got.GetRest())
		rest["rows"] = got.GetRestRows()
		out["rest"] = rest
	}
	if got.GetByDay() {
		out["by_day"] = true
	}
	return out
}

// sumPlain are counters; what was corrected of them is there where something was.
func sumPlain(c *adminv1.UsageCounters, corrected *adminv1.UsageCorrected) map[string]any {
	m := countersPlain(c)
	if n := corrected.GetCorrections(); n > 0 {
		m["corrections"], m["corrected"] = n, countersPlain(corrected.GetCounters())
	}
	return m
}

func countersPlain(c *adminv1.UsageCounters) map[string]any {
	if c == nil {
		c = &adminv1.UsageCounters{}
	}
	m := toPlain(c, true).(map[string]any)
	m["cost_usd"] = money.NanoUSD(c.GetCostNanoUsd()).String()
	return m
}

// usageText is the table. The column of corrections is there when there are any.
func usageText(w io.Writer, got *adminv1.QueryUsageResponse, by []string) {
	header := append(append([]string{}, by...), "requests", "errors", "input", "cached", "output", "cost")
	fixed := got.GetCorrected().GetCorrections() > 0
	if fixed {
		header = append(header, "corrected")
	}
	rows := make([][]string, 0, len(got.GetRows())+2)
	line := func(lead []string, c *adminv1.UsageCounters, corrected *adminv1.UsageCorrected) {
		cost := money.NanoUSD(c.GetCostNanoUsd()).String()
		if c.GetUnpricedRequests() > 0 {
			cost += fmt.Sprintf(" (%d unpriced)", c.GetUnpricedRequests())
		}
		cells := append([]string{}, lead...)
		for _, n := range []int64{c.GetRequests(), c.GetErrors(), c.GetInputTokens(), c.GetCachedTokens(), c.GetOutputTokens()} {
			cells = append(cells, strconv.FormatInt(n, 10))
		}
		cells = append(cells, cost)
		if fixed {
			cells = append(cells, fixedText(corrected))
		}
		rows = append(rows, cells)
	}
	for _, r := range got.GetRows() {
		lead := make([]string, 0, len(by))
		for _, g := range by {
			lead = append(lead, dash(visible(dimension(r, g))))
		}
		if len(by) > 0 {
			line(lead, r.GetCounters(), r.GetCorrected())
		}
	}
	named := func(name string) []string {
		lead := make([]string, len(by))
		if len(lead) > 0 {
			lead[0] = name
		}
		return lead
	}
	if n := got.GetRestRows(); n > 0 {
		line(named(fmt.Sprintf("%d others", n)), got.GetRest(), nil)
	}
	line(named("total"), got.GetTotal(), got.GetCorrected())
	grid(w, header, rows)
	if got.GetByDay() {
		fmt.Fprintln(w, "A part of this is kept by day: it counts for the first hour of its day.")
	}
}

// fixedText says how much of a sum was corrected, by what it is about: cost, else tokens, else requests.
func fixedText(c *adminv1.UsageCorrected) string {
	if c.GetCorrections() == 0 {
		return "-"
	}
	sums := c.GetCounters()
	what := fmt.Sprintf("%+d requests", sums.GetRequests())
	if tokens := sums.GetInputTokens() + sums.GetOutputTokens(); tokens != 0 {
		what = fmt.Sprintf("%+d tokens", tokens)
	}
	if cost := money.NanoUSD(sums.GetCostNanoUsd()); cost > 0 {
		what = "+" + cost.String()
	} else if cost < 0 {
		what = cost.String()
	}
	return fmt.Sprintf("%s (%d)", what, c.GetCorrections())
}

func dimension(r *adminv1.UsageRow, name string) string {
	switch name {
	case "key":
		return r.GetKey()
	case "group":
		return r.GetGroup()
	case "channel":
		return r.GetChannel()
	case "account":
		return r.GetAccount()
	case "model":
		return r.GetModel()
	case "day":
		return r.GetDay().AsTime().UTC().Format(time.DateOnly)
	}
	return r.GetHour().AsTime().UTC().Format(time.RFC3339)
}

// usageCSV writes a line for each row; without dimensions, one for the total. All counters are there, as whole numbers.
func usageCSV(w io.Writer, got *adminv1.QueryUsageResponse, by []string) error {
	fields := (&adminv1.UsageCounters{}).ProtoReflect().Descriptor().Fields()
	header := append([]string{}, by...)
	for i := range fields.Len() {
		header = append(header, fields.Get(i).TextName())
	}
	header = append(header, "cost_usd", "corrections")
	out := newSheetWriter(w)
	out.header(header)
	line := func(lead []string, c *adminv1.UsageCounters, corrected *adminv1.UsageCorrected) {
		for _, text := range lead {
			out.text(text)
		}
		m := c.ProtoReflect()
		for i := range fields.Len() {
			out.number(intOf(m.Get(fields.Get(i)), fields.Get(i)))
		}
		out.plain(usdDecimal(c.GetCostNanoUsd()))
		out.number(corrected.GetCorrections())
		out.end()
	}
	if len(by) == 0 {
		line(nil, got.GetTotal(), got.GetCorrected())
		return out.flush()
	}
	for _, r := range got.GetRows() {
		lead := make([]string, 0, len(by))
		for _, g := range by {
			lead = append(lead, dimension(r, g))
		}
		line(lead, r.GetCounters(), r.GetCorrected())
	}
	return out.flush()
}

func intOf(v protoreflect.Value, fd protoreflect.FieldDescriptor) int64 {
	if fd.Kind() == protoreflect.Int64Kind && !fd.IsList() {
		return v.Int()
	}
	return 0
}
