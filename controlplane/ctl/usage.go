package ctl

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/money"
)

// usageCommand reads the books.
func usageCommand(s *session) *cobra.Command {
	c := &cobra.Command{Use: "usage", Short: "What was used, and what it cost", Args: cobra.NoArgs, RunE: showHelp}
	c.AddCommand(queryUsageCommand(s))
	return c
}

func queryUsageCommand(s *session) *cobra.Command {
	var groupBy, keys, channels, accounts, models []string
	var since, until string
	c := &cobra.Command{
		Use:     "query",
		Short:   "Sum usage over a range of hours",
		Example: "  fairway usage query --group-by key,model --since 24h -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			req := &adminv1.QueryUsageRequest{Keys: keys, Channels: channels, Accounts: accounts, Models: models}
			for _, g := range groupBy {
				d, err := enumFlag[adminv1.UsageDimension](g)
				if err != nil {
					return fmt.Errorf("--group-by: %w", err)
				}
				req.GroupBy = append(req.GroupBy, d)
			}
			var err error
			if req.StartTime, err = moment(since, time.Now()); err != nil {
				return fmt.Errorf("--since: %w", err)
			}
			if req.EndTime, err = moment(until, time.Now()); err != nil {
				return fmt.Errorf("--until: %w", err)
			}
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				got, err := c.usage.QueryUsage(ctx, req)
				if err != nil {
					return err
				}
				return s.emit(usagePlain(got, groupBy), func(w io.Writer) { usageText(w, got, groupBy) })
			})
		},
	}
	fs := c.Flags()
	fs.StringSliceVar(&groupBy, "group-by", nil, "key, channel, account, model, hour")
	fs.StringVar(&since, "since", "", "start: a duration before now, a date or an RFC 3339 time (default 24h)")
	fs.StringVar(&until, "until", "", "end (default now)")
	fs.StringSliceVar(&keys, "key", nil, "only these keys")
	fs.StringSliceVar(&channels, "channel", nil, "only these channels")
	fs.StringSliceVar(&accounts, "account", nil, "only these accounts")
	fs.StringSliceVar(&models, "model", nil, "only these models")
	_ = c.RegisterFlagCompletionFunc("group-by", cobra.FixedCompletions(
		enumNames(adminv1.UsageDimension(0).Descriptor()), cobra.ShellCompDirectiveNoFileComp))
	return c
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

// usagePlain has one flat object per row, so that a script can read it without knowing the API.
func usagePlain(got *adminv1.QueryUsageResponse, groupBy []string) any {
	rows := make([]any, 0, len(got.GetRows()))
	for _, r := range got.GetRows() {
		m := countersPlain(r.GetCounters())
		for _, g := range groupBy {
			m[g] = dimension(r, g)
		}
		rows = append(rows, m)
	}
	return map[string]any{"rows": rows, "total": countersPlain(got.GetTotal())}
}

func countersPlain(c *adminv1.UsageCounters) map[string]any {
	if c == nil {
		c = &adminv1.UsageCounters{}
	}
	m := toPlain(c, true).(map[string]any)
	m["cost_usd"] = money.NanoUSD(c.GetCostNanoUsd()).String()
	return m
}

func usageText(w io.Writer, got *adminv1.QueryUsageResponse, groupBy []string) {
	header := append(append([]string{}, groupBy...), "requests", "errors", "input", "cached", "output", "cost")
	rows := make([][]string, 0, len(got.GetRows())+1)
	line := func(lead []string, c *adminv1.UsageCounters) {
		cost := money.NanoUSD(c.GetCostNanoUsd()).String()
		if c.GetUnpricedRequests() > 0 {
			cost += fmt.Sprintf(" (%d unpriced)", c.GetUnpricedRequests())
		}
		cells := append([]string{}, lead...)
		for _, n := range []int64{c.GetRequests(), c.GetErrors(), c.GetInputTokens(), c.GetCachedTokens(), c.GetOutputTokens()} {
			cells = append(cells, strconv.FormatInt(n, 10))
		}
		rows = append(rows, append(cells, cost))
	}
	for _, r := range got.GetRows() {
		lead := make([]string, 0, len(groupBy))
		for _, g := range groupBy {
			lead = append(lead, dimension(r, g))
		}
		if len(groupBy) > 0 {
			line(lead, r.GetCounters())
		}
	}
	total := make([]string, len(groupBy))
	if len(total) > 0 {
		total[0] = "total"
	}
	line(total, got.GetTotal())
	grid(w, header, rows)
}

func dimension(r *adminv1.UsageRow, name string) string {
	switch name {
	case "key":
		return r.GetKey()
	case "channel":
		return r.GetChannel()
	case "account":
		return r.GetAccount()
	case "model":
		return r.GetModel()
	}
	return r.GetHour().AsTime().UTC().Format(time.RFC3339)
}
