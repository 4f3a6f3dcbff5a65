package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// usageCommand reads the books, corrects them, and compares them with a provider's.
func usageCommand(s *session) *cobra.Command {
	c := &cobra.Command{Use: "usage", Short: "What was used, and what it cost", Args: cobra.NoArgs, RunE: showHelp}
	c.AddCommand(queryUsageCommand(s), correctUsageCommand(s), correctionsCommand(s), reconcileCommand(s))
	return c
}

// sheet is the --output of commands that can also answer with CSV.
type sheet struct {
	s   *session
	csv bool
}

func (f *sheet) String() string {
	if f.csv {
		return "csv"
	}
	return f.s.output.String()
}

// Type names the flag's value in help texts.
func (*sheet) Type() string { return "format" }

// Set implements pflag.Value.
func (f *sheet) Set(v string) error {
	if f.csv = v == "csv"; f.csv {
		return nil
	}
	if f.s.output.Set(v) != nil {
		return errors.New("want table, json, yaml or csv")
	}
	return nil
}

// bindSheet gives a command an --output of its own.
func bindSheet(s *session, c *cobra.Command) *sheet {
	f := &sheet{s: s}
	c.Flags().VarP(f, "output", "o", "table, json, yaml or csv")
	c.Flags().Lookup("output").DefValue = string(tableFormat)
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml", "csv"}, cobra.ShellCompDirectiveNoFileComp))
	return f
}

// spanFlags are a range of time.
type spanFlags struct{ since, until string }

func (f *spanFlags) bind(c *cobra.Command, ago string) {
	fs := c.Flags()
	fs.StringVar(&f.since, "from", "", "start: a duration before now, a date or an RFC 3339 time (default "+ago+" before the end)")
	fs.StringVar(&f.until, "to", "", "end (default now)")
	fs.StringVar(&f.since, "since", "", "the same as --from")
	fs.StringVar(&f.until, "until", "", "the same as --to")
	c.MarkFlagsMutuallyExclusive("from", "since")
	c.MarkFlagsMutuallyExclusive("to", "until")
}

func (f *spanFlags) times(now time.Time) (start, end *timestamppb.Timestamp, err error) {
	if start, err = moment(f.since, now); err != nil {
		return nil, nil, fmt.Errorf("--from: %w", err)
	}
	if end, err = moment(f.until, now); err != nil {
		return nil, nil, fmt.Errorf("--to: %w", err)
	}
	return start, end, nil
}

func queryUsageCommand(s *session) *cobra.Command {
	var by []string
	var order string
	var span spanFlags
	var chart bool
	var out *sheet
	req := &adminv1.QueryUsageRequest{}
	c := &cobra.Command{
		Use:   "query",
		Short: "Sum usage over a range of hours",
		Example: `  fairway usage query --by key,model --from 24h -o json
  fairway usage query --by day --from 720h --chart
  fairway usage query --by model --from 2027-01-01 --to 2027-02-01 --top 10 --order cost
  fairway usage query --by day,model --channel openai -o csv >january.csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if chart && out.String() != string(tableFormat) {
				return errors.New("--chart draws on the terminal; leave out --output")
			}
			req.GroupBy = nil
			for _, g := range by {
				d, err := enumFlag[adminv1.UsageDimension](g)
				if err != nil {
					return fmt.Errorf("--by: %w", err)
				}
				req.GroupBy = append(req.GroupBy, d)
			}
			var err error
			if order != "" {
				if req.OrderBy, err = enumFlag[adminv1.UsageOrder](order); err != nil {
					return fmt.Errorf("--order: %w", err)
				}
			}
			if req.StartTime, req.EndTime, err = span.times(time.Now()); err != nil {
				return err
			}
			req.Fill = req.GetFill() || chart
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				got, err := allUsage(ctx, c, req)
				switch {
				case err != nil:
					return err
				case out.csv:
					return usageCSV(s.o.Out, got, by)
				case chart:
					drawUsage(s.o.Out, got, by, req.GetOrderBy())
					return nil
				}
				return s.emit(usagePlain(got, by), func(w io.Writer) { usageText(w, got, by) })
			})
		},
	}
	fs := c.Flags()
	fs.StringSliceVar(&by, "by", nil, "what to group by: key, group, channel, account, model, hour, day")
	fs.StringSliceVar(&by, "group-by", nil, "the same as --by")
	c.MarkFlagsMutuallyExclusive("by", "group-by")
	span.bind(c, "24h")
	fs.StringSliceVar(&req.Keys, "key", nil, "only these keys")
	fs.StringSliceVar(&req.Groups, "group", nil, "only keys that were in these groups")
	fs.StringSliceVar(&req.Channels, "channel", nil, "only these channels")
	fs.StringSliceVar(&req.Accounts, "account", nil, "only these accounts")
	fs.StringSliceVar(&req.Models, "model", nil, "only these models")
	fs.StringVar(&order, "order", "", "the largest first: cost, tokens, requests, errors (default by what is grouped by; with --top cost)")
	fs.Int32Var(&req.Top, "top", 0, "only the first so many, by --order; what differs in time alone is one; 0 = all")
	fs.BoolVar(&req.Fill, "fill", false, "by hour or day: also those in which there was nothing")
	fs.BoolVar(&chart, "chart", false, "draw it: cost, or what --order says")
	out = bindSheet(s, c)
	for _, name := range []string{"by", "group-by"} {
		_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(
			enumNames(adminv1.UsageDimension(0).Descriptor()), cobra.ShellCompDirectiveNoFileComp))
	}
	_ = c.RegisterFlagCompletionFunc("order", cobra.FixedCompletions(
		enumNames(adminv1.UsageOrder(0).Descriptor()), cobra.ShellCompDirectiveNoFileComp))
	return c
}

// allUsage asks for all pages.
func allUsage(ctx context.Context, c *clients, req *adminv1.QueryUsageRequest) (*adminv1.QueryUsageResponse, error) {
	req.PageToken = ""
	all, err := c.usage.QueryUsage(ctx, req)
	if err != nil {
		return nil, err
	}
	for next := all.GetNextPageToken(); next != ""; {
		req.PageToken = next
		page, err := c.usage.QueryUsage(ctx, req)
		if err != nil {
			return nil, err
		}
		all.Rows = append(all.Rows, page.GetRows()...)
		next = page.GetNextPageToken()
	}
	all.NextPageToken = ""
	return all, nil
}

// moment reads a duration before now, a date, or an RFC 3339 time; empty is absent.
func moment(s string, now time.Time) (*timestamppb.Timestamp, error) {
	if s == "" {
		return nil, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return timestamppb.New(now.Add(-d)), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return timestamppb.New(t), nil
		}
	}
	return nil, fmt.Errorf("%q is not a duration (24h), a date (2027-01-31) or a time (RFC 3339)", s)
}
