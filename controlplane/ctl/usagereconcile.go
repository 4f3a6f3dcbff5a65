package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairway/controlplane/ctl/bill"
	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/money"
)

// errDiffers makes the command end with 1 after it has said what differs.
var errDiffers = errors.New("the books and the provider's numbers differ by more than the tolerance")

// reconciliation is what `usage reconcile` is asked for.
type reconciliation struct {
	channels, accounts, keys, columns []string
	where, rename                     map[string]string
	file, from, to, tolerance         string
	all                               bool
	out                               *sheet
}

// reconcileCommand compares the books with what a provider says.
func reconcileCommand(s *session) *cobra.Command {
	r := &reconciliation{}
	c := &cobra.Command{
		Use:   "reconcile",
		Short: "Compare the books with a provider's numbers, from its CSV file",
		Long: `Compare the books with a provider's numbers, from the CSV file that it lets people download, by UTC day and model.
Usage and cost exports of OpenAI and Anthropic are known; of others, --columns says what is what: day, model, requests,
input (cached tokens included), cached, output and cost (USD), as in "input=uncached+cache_read". Only what the file has is
compared. The exit code is 1 when a number of a day and model, or in total, differs by more than --tolerance.`,
		Example: `  fairway usage reconcile --channel openai --csv usage.csv
  fairway usage reconcile --account anthropic-1 --csv - --tolerance 0.5% -o json <usage.csv
  fairway usage reconcile --channel other --csv bill.csv --columns day=date,model=sku,output=out,cost=usd --rename sku-1=gpt-5`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return r.run(cmd, s) },
	}
	fs := c.Flags()
	fs.StringSliceVar(&r.channels, "channel", nil, "the channels that the file is about")
	fs.StringSliceVar(&r.accounts, "account", nil, "the accounts that it is about")
	fs.StringSliceVar(&r.keys, "key", nil, "only usage of these keys")
	fs.StringVar(&r.file, "csv", "", "the provider's file; - = standard input (required)")
	fs.StringSliceVar(&r.columns, "columns", nil, "which column is what, NAME=COLUMN or NAME=COLUMN+COLUMN (default those that are known)")
	fs.StringToStringVar(&r.where, "where", nil, "only lines that have this value in this column, COLUMN=VALUE")
	fs.StringToStringVar(&r.rename, "rename", nil, "what a model of the file is called on the books, THEIRS=OURS")
	fs.StringVar(&r.from, "from", "", "the first UTC day, such as 2027-01-01 (default the file's first)")
	fs.StringVar(&r.to, "to", "", "the day after the last (default after the file's last)")
	fs.StringVar(&r.tolerance, "tolerance", "1%", "how much the books may differ, as a share of the provider's number")
	fs.BoolVar(&r.all, "all", false, "show what agrees too")
	r.out = bindSheet(s, c)
	_ = c.MarkFlagRequired("csv")
	c.MarkFlagsOneRequired("channel", "account")
	return c
}

func (r *reconciliation) run(cmd *cobra.Command, s *session) error {
	tolerance, err := bill.ParseTolerance(r.tolerance)
	if err != nil {
		return fmt.Errorf("--tolerance: %w", err)
	}
	theirs, fields, err := r.read(s)
	if err != nil {
		return err
	}
	from, to, err := r.days(theirs)
	if err != nil {
		return err
	}
	req := &adminv1.QueryUsageRequest{
		StartTime: timestamppb.New(from), EndTime: timestamppb.New(to), Channels: r.channels, Accounts: r.accounts, Keys: r.keys,
		GroupBy: []adminv1.UsageDimension{adminv1.UsageDimension_USAGE_DIMENSION_DAY, adminv1.UsageDimension_USAGE_DIMENSION_MODEL},
	}
	return s.call(cmd, func(ctx context.Context, c *clients) error {
		got, err := allUsage(ctx, c, req)
		if err != nil {
			return err
		}
		ours, err := booksSide(got)
		if err != nil {
			return err
		}
		report, err := bill.Compare(ours, theirs, fields, tolerance)
		if err != nil {
			return err
		}
		if r.out.csv {
			err = reportCSV(s.o.Out, report, r.all)
		} else {
			err = s.emit(reportPlain(report, from, to, r.tolerance, r.all), func(w io.Writer) { reportText(w, report, r.all) })
		}
		if err == nil && !report.Agrees {
			err = errDiffers
		}
		return err
	})
}

// read reads the provider's file.
func (r *reconciliation) read(s *session) (bill.Side, []bill.Field, error) {
	for flag, day := range map[string]string{"--from": r.from, "--to": r.to} {
		if _, err := time.Parse(time.DateOnly, cmp.Or(day, "2000-01-01")); err != nil {
			return nil, nil, fmt.Errorf("%s: %q is not a day, such as 2027-01-31", flag, day)
		}
	}
	columns, err := bill.ParseColumns(r.columns)
	if err != nil {
		return nil, nil, fmt.Errorf("--columns: %w", err)
	}
	in := s.o.In
	if r.file != "-" {
		f, err := os.Open(r.file)
		if err != nil {
			return nil, nil, err
		}
		defer f.Close()
		in = f
	}
	side, fields, err := bill.Read(in, bill.Options{Columns: columns, Where: r.where, Rename: r.rename, From: r.from, To: r.to})
	if err != nil {
		return nil, nil, fmt.Errorf("--csv %s: %w", r.file, err)
	}
	return side, fields, nil
}

// days is the range to compare: what was asked for, and otherwise what the file has.
func (r *reconciliation) days(theirs bill.Side) (from, to time.Time, err error) {
	first, last := "", ""
	for p := range theirs {
		if first == "" || p.Day < first {
			first = p.Day
		}
		last = max(last, p.Day)
	}
	if first == "" && (r.from == "" || r.to == "") {
		return from, to, errors.New("the file has no line of these days; to compare the books with nothing, give --from and --to")
	}
	if from, err = time.Parse(time.DateOnly, cmp.Or(r.from, first)); err != nil {
		return from, to, fmt.Errorf("the file's first day: %w", err)
	}
	if r.to != "" {
		to, err = time.Parse(time.DateOnly, r.to)
	} else if to, err = time.Parse(time.DateOnly, last); err == nil {
		to = to.AddDate(0, 0, 1)
	}
	return from, to, err
}

// booksSide is an answer of the books by day and model. A day and model without any number is none.
func booksSide(got *adminv1.QueryUsageResponse) (bill.Side, error) {
	side := bill.Side{}
	for _, row := range got.GetRows() {
		p, c := bill.Place{Day: dimension(row, "day"), Model: row.GetModel()}, row.GetCounters()
		for f, n := range map[bill.Field]int64{
			bill.Requests: c.GetRequests(), bill.Input: c.GetInputTokens(), bill.Cached: c.GetCachedTokens(),
			bill.Output: c.GetOutputTokens(), bill.Cost: c.GetCostNanoUsd(),
		} {
			if err := side.Add(p, f, n); err != nil {
				return nil, err
			}
		}
	}
	return side, nil
}

func verdictWord(r bill.Row) string {
	switch {
	case r.OnlyBooks:
		return "only on the books"
	case r.OnlyProvider:
		return "only at the provider"
	}
	return ""
}

func figure(f bill.Field, n int64) string {
	if f == bill.Cost {
		return money.NanoUSD(n).String()
	}
	return fmt.Sprint(n)
}

// offText is a difference with its sign, and as a share of the provider's number.
func offText(d bill.Difference) (off, share string) {
	delta := d.Delta()
	off = fmt.Sprintf("%+d", delta)
	if d.Field == bill.Cost && delta.IsInt64() {
		if off = money.NanoUSD(delta.Int64()).String(); delta.Sign() > 0 {
			off = "+" + off
		}
	}
	if d.Provider == 0 {
		if delta.Sign() == 0 {
			return off, "0%"
		}
		return off, "-"
	}
	percent := new(big.Rat).SetFrac(delta, new(big.Int).Abs(big.NewInt(d.Provider)))
	text := percent.Mul(percent, big.NewRat(100, 1)).FloatString(2)
	if delta.Sign() > 0 {
		text = "+" + text
	}
	return off, text + "%"
}

func reportText(w io.Writer, report bill.Report, all bool) {
	var rows [][]string
	line := func(day, model, note string, d bill.Difference) {
		off, share := offText(d)
		verdict := "agrees"
		if !d.Agrees {
			verdict = "differs"
		}
		rows = append(rows, []string{
			day, visible(model), string(d.Field), figure(d.Field, d.Books), figure(d.Field, d.Provider), off, share, verdict, note,
		})
	}
	places, bad := 0, 0
	for _, r := range report.Rows {
		places++
		if !r.Agrees() {
			bad++
		}
		for _, d := range r.Differences {
			if all || !d.Agrees {
				line(r.Day, r.Model, verdictWord(r), d)
			}
		}
	}
	for _, d := range report.Totals {
		line("total", "", "", d)
	}
	grid(w, []string{"day", "model", "what", "books", "provider", "difference", "share", "verdict", "note"}, rows)
	if report.Agrees {
		fmt.Fprintf(w, "agrees: %d days and models\n", places)
		return
	}
	fmt.Fprintf(w, "differs: %d of %d days and models\n", bad, places)
}

// reportPlain has counts as integers and cost in nano-USD.
func reportPlain(report bill.Report, from, to time.Time, tolerance string, all bool) any {
	differences := func(list []bill.Difference, all bool) map[string]any {
		out := map[string]any{}
		for _, d := range list {
			if all || !d.Agrees {
				out[fieldName(d.Field)] = map[string]any{"books": d.Books, "provider": d.Provider, "difference": d.Delta(), "agrees": d.Agrees}
			}
		}
		return out
	}
	rows := []any{}
	for _, r := range report.Rows {
		if !all && r.Agrees() {
			continue
		}
		row := map[string]any{"day": r.Day, "model": r.Model, "agrees": r.Agrees(), "numbers": differences(r.Differences, all)}
		if note := verdictWord(r); note != "" {
			row["note"] = note
		}
		rows = append(rows, row)
	}
	return map[string]any{
		"agrees": report.Agrees, "tolerance": tolerance, "from": from.Format(time.DateOnly), "to": to.Format(time.DateOnly),
		"compared": len(report.Rows), "rows": rows, "totals": differences(report.Totals, true),
	}
}

// fieldName is what the counters call a field.
func fieldName(f bill.Field) string {
	switch f {
	case bill.Input, bill.Cached, bill.Output:
		return string(f) + "_tokens"
	case bill.Cost:
		return "cost_nano_usd"
	default:
		return string(f)
	}
}

func reportCSV(w io.Writer, report bill.Report, all bool) error {
	out := newSheetWriter(w)
	out.header([]string{"day", "model", "what", "books", "provider", "difference", "agrees", "note"})
	line := func(day, model, note string, d bill.Difference) {
		out.plain(day)
		out.text(model)
		out.plain(fieldName(d.Field))
		out.number(d.Books)
		out.number(d.Provider)
		out.plain(d.Delta().String())
		out.plain(fmt.Sprint(d.Agrees))
		out.plain(note)
		out.end()
	}
	for _, r := range report.Rows {
		for _, d := range r.Differences {
			if all || !d.Agrees {
				line(r.Day, r.Model, verdictWord(r), d)
			}
		}
	}
	for _, d := range report.Totals {
		line("total", "", "", d)
	}
	return out.flush()
}
