package ctl

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/spf13/cobra"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
	"fairway/pkg/money"
)

// correctUsageCommand adds to the books or takes from them.
func correctUsageCommand(s *session) *cobra.Command {
	var hour, cost string
	req := &adminv1.CorrectUsageRequest{Delta: &adminv1.UsageDelta{}}
	c := &cobra.Command{
		Use:   "correct",
		Short: "Add to the usage of a key in an hour, or take from it",
		Long: `Add to the usage of a key in an hour, or take from it. What is below zero takes away; no counter gets below zero.
What proxies reported stays as it is: corrections lie beside it, are shown by "fairway usage corrections", and are in
the audit log. Without --channel, --account and --group, the one place on the books that fits is corrected.`,
		Example: `  fairway usage correct --key ada --model gpt-5 --hour 2027-01-31T10:00:00Z --cost -0.25 --reason "retries that the provider did not bill"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if req.Hour, err = moment(hour, time.Now()); err != nil {
				return fmt.Errorf("--hour: %w", err)
			}
			if req.Delta.CostNanoUsd, err = signedUSD(cost); err != nil {
				return fmt.Errorf("--cost: %w", err)
			}
			if req.GetId() == "" {
				req.Id = rand.Text()
			}
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				got, err := c.usage.CorrectUsage(ctx, req)
				if err != nil {
					return unsure(err, req.GetId())
				}
				answer := map[string]any{
					"correction": correctionPlain(got.GetCorrection()), "counters": countersPlain(got.GetCounters()),
				}
				return s.emit(answer, func(w io.Writer) {
					correctionsText(w, []*adminv1.UsageCorrection{got.GetCorrection()})
					sums := got.GetCounters()
					fmt.Fprintf(w, "on the books now: %d requests, %d errors, %d input, %d cached, %d output, %s\n", sums.GetRequests(),
						sums.GetErrors(), sums.GetInputTokens(), sums.GetCachedTokens(), sums.GetOutputTokens(), money.NanoUSD(sums.GetCostNanoUsd()))
				})
			})
		},
	}
	fs := c.Flags()
	fs.StringVar(&req.Key, "key", "", "the key (required)")
	fs.StringVar(&req.Model, "model", "", "the model, as clients ask for it (required)")
	fs.StringVar(&hour, "hour", "", "the hour: an RFC 3339 time in it, a date, or a duration before now (required)")
	fs.StringVar(&req.Channel, "channel", "", "the channel, where there are several")
	fs.StringVar(&req.Account, "account", "", "the account, where there are several")
	fs.StringVar(&req.Group, "group", "", "the group that the key was in, where there are several")
	d := req.GetDelta()
	fs.Int64Var(&d.Requests, "requests", 0, "requests to add")
	fs.Int64Var(&d.Errors, "errors", 0, "failed requests to add")
	fs.Int64Var(&d.InputTokens, "input-tokens", 0, "input tokens to add, cached ones included")
	fs.Int64Var(&d.CachedTokens, "cached-tokens", 0, "cached input tokens to add")
	fs.Int64Var(&d.OutputTokens, "output-tokens", 0, "output tokens to add")
	fs.StringVar(&cost, "cost", "", "cost to add, in USD, such as -0.25")
	fs.StringVar(&req.Reason, "reason", "", "why (required)")
	fs.StringVar(&req.Id, "id", "", "of this correction, so that it counts once when it is repeated (default a new one)")
	for _, name := range []string{"key", "model", "hour", "reason"} {
		_ = c.MarkFlagRequired(name)
	}
	return c
}

// unsure tells how to repeat a correction of which nobody knows whether it was made.
func unsure(err error, id string) error {
	switch connect.CodeOf(err) {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeCanceled, connect.CodeUnknown, connect.CodeInternal:
		return fmt.Errorf("%w; to repeat it so that it counts once, add --id %s", plain(err), id)
	default:
		return err
	}
}

// signedUSD reads an amount in dollars that may be below zero; empty is none.
func signedUSD(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := money.Parse(s)
	if err != nil {
		return 0, fmt.Errorf("%q is no amount in USD with at most nine decimals, such as -0.25", s)
	}
	return int64(n), nil
}

// correctionsCommand shows what was corrected, by whom and why.
func correctionsCommand(s *session) *cobra.Command {
	var span spanFlags
	var limit int
	var out *sheet
	c := &cobra.Command{
		Use:     "corrections",
		Short:   "What was corrected, by whom and why",
		Example: "  fairway usage corrections --from 720h",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return errors.New("--limit cannot be negative")
			}
			req := &adminv1.ListUsageCorrectionsRequest{}
			var err error
			if req.StartTime, req.EndTime, err = span.times(time.Now()); err != nil {
				return err
			}
			return s.call(cmd, func(ctx context.Context, c *clients) error {
				all, err := collectCorrections(ctx, c, req, limit)
				if err != nil {
					return err
				}
				if out.csv {
					return correctionsCSV(s.o.Out, all)
				}
				rows := make([]any, 0, len(all))
				for _, rec := range all {
					rows = append(rows, correctionPlain(rec))
				}
				return s.emit(rows, func(w io.Writer) { correctionsText(w, all) })
			})
		},
	}
	span.bind(c, "31 days")
	c.Flags().IntVar(&limit, "limit", 100, "show at most this many; 0 = all")
	out = bindSheet(s, c)
	return c
}

func collectCorrections(
	ctx context.Context, c *clients, req *adminv1.ListUsageCorrectionsRequest, limit int,
) ([]*adminv1.UsageCorrection, error) {
	var all []*adminv1.UsageCorrection
	for {
		req.PageSize = 1000
		if limit > 0 {
			req.PageSize = int32(min(1000, limit-len(all)))
		}
		got, err := c.usage.ListUsageCorrections(ctx, req)
		if err != nil {
			return nil, err
		}
		all = append(all, got.GetCorrections()...)
		if got.GetNextPageToken() == "" || limit > 0 && len(all) >= limit {
			return all, nil
		}
		req.PageToken = got.GetNextPageToken()
	}
}

// correctionPlain has every number of the delta, as counters have.
func correctionPlain(rec *adminv1.UsageCorrection) any {
	m, ok := toPlain(rec, false).(map[string]any)
	if !ok {
		return nil
	}
	delta := rec.GetDelta()
	if delta == nil {
		delta = &adminv1.UsageDelta{}
	}
	m["delta"] = toPlain(delta, true)
	return m
}

func correctionsText(w io.Writer, all []*adminv1.UsageCorrection) {
	rows := make([][]string, 0, len(all))
	for _, c := range all {
		d := c.GetDelta()
		rows = append(rows, []string{
			when(c.GetHour()), dash(c.GetKey()), dash(c.GetChannel()), dash(c.GetAccount()), visible(c.GetModel()),
			fmt.Sprintf("%+d", d.GetRequests()), fmt.Sprintf("%+d", d.GetInputTokens()), fmt.Sprintf("%+d", d.GetCachedTokens()),
			fmt.Sprintf("%+d", d.GetOutputTokens()), money.NanoUSD(d.GetCostNanoUsd()).String(),
			c.GetOperator(), when(c.GetTime()), visible(c.GetReason()), c.GetId(),
		})
	}
	grid(w, []string{"hour", "key", "channel", "account", "model", "requests", "input", "cached", "output", "cost", "by", "at", "reason", "id"}, rows)
}

func correctionsCSV(w io.Writer, all []*adminv1.UsageCorrection) error {
	out := newSheetWriter(w)
	out.header([]string{
		"hour", "key", "group", "channel", "account", "model", "requests", "errors", "input_tokens", "cached_tokens",
		"output_tokens", "cost_nano_usd", "operator", "time", "reason", "id",
	})
	for _, c := range all {
		out.plain(c.GetHour().AsTime().UTC().Format(time.RFC3339))
		for _, text := range []string{c.GetKey(), c.GetGroup(), c.GetChannel(), c.GetAccount(), c.GetModel()} {
			out.text(text)
		}
		d := c.GetDelta()
		for _, n := range []int64{
			d.GetRequests(), d.GetErrors(), d.GetInputTokens(), d.GetCachedTokens(), d.GetOutputTokens(), d.GetCostNanoUsd(),
		} {
			out.number(n)
		}
		out.text(c.GetOperator())
		out.plain(c.GetTime().AsTime().UTC().Format(time.RFC3339))
		out.text(c.GetReason())
		out.text(c.GetId())
		out.end()
	}
	return out.flush()
}
