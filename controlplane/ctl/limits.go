package ctl

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	adminv1 "fairway/pkg/gen/fairway/admin/v1"
)

// limitCells is the width of a limit's bar.
const limitCells = 20

// limitsCommand shows where limits stand.
func limitsCommand(s *session) *cobra.Command {
	c := &cobra.Command{
		Use:   "limits",
		Short: "Where limits and budgets stand",
		Long: `Show how much of each limit is used in the window that is open, how much of it is lent to proxies that have not used it yet,
what is left, and when the window ends. What is used of a budget is what is on the books, and what is not on them yet.

In the bars, █ is used and ▒ is lent. Limits of a new leader wait: it lends nothing for some seconds, and proxies spend what
they hold. While no replica leads, nobody knows.`,
		Args: cobra.NoArgs,
		RunE: showHelp,
	}
	for _, of := range []struct {
		kind           kind
		short, example string
	}{
		{keys(), "All limits that a key's requests are under: its own, its group's, its tenant's", "alice"},
		{groups(), "The limits of a group", "premium"},
		{tenants(), "The limits of a tenant", "acme"},
	} {
		c.AddCommand(&cobra.Command{
			Use:               of.kind.name + " NAME",
			Short:             of.short,
			Example:           fmt.Sprintf("  fairway limits %s %s", of.kind.name, of.example),
			Args:              cobra.ExactArgs(1),
			ValidArgsFunction: completeNames(s, of.kind),
			RunE: func(cmd *cobra.Command, args []string) error {
				return s.call(cmd, func(ctx context.Context, c *clients) error {
					got, err := c.limits.GetLimits(ctx, &adminv1.GetLimitsRequest{Scope: of.kind.name, Name: args[0]})
					if err != nil {
						return err
					}
					plain := make([]any, 0, len(got.GetLimits()))
					for _, l := range got.GetLimits() {
						plain = append(plain, toPlain(l, true))
					}
					return s.emit(plain, func(w io.Writer) { limitsText(w, got.GetLimits(), time.Now()) })
				})
			},
		})
	}
	return c
}

func limitsText(w io.Writer, all []*adminv1.LimitStatus, now time.Time) {
	if len(all) == 0 {
		fmt.Fprintln(w, "there are no limits")
		return
	}
	rows := make([][]string, 0, len(all))
	for _, l := range all {
		show := limitAmount(l)
		rows = append(rows, []string{
			l.GetScope(), l.GetName(), limitName(l), limitBar(l), show(l.GetUsed()), show(l.GetLent()), show(l.GetLeft()),
			resets(l, now), strconv.Itoa(int(l.GetProxies())), limitNotes(l),
		})
	}
	grid(w, []string{"scope", "name", "limit", "", "used", "lent", "left", "resets", "proxies", "note"}, rows)
}

// limitAmount writes what a limit counts.
func limitAmount(l *adminv1.LimitStatus) func(int64) string {
	if l.GetWhat() == "cost" {
		return usd
	}
	return func(n int64) string { return strconv.FormatInt(n, 10) }
}

// limitName says a limit as limitWords does.
func limitName(l *adminv1.LimitStatus) string {
	n := limitAmount(l)(l.GetLimit())
	window := l.GetWindow()
	if window == "rolling" {
		window = rollingName(l.GetRollingMinutes())
	}
	switch what := l.GetWhat(); {
	case what == "concurrency":
		return n + " at once"
	case what == "cost":
		return n + "/" + window
	case what == "requests" && window == "minute":
		return n + " rpm"
	case what == "tokens" && window == "minute":
		return n + " tpm"
	default:
		return n + " " + what + "/" + window
	}
}

// limitBar shows how much is used, and how much of the rest is lent. What is there is never drawn as nothing.
func limitBar(l *adminv1.LimitStatus) string {
	limit := l.GetLimit()
	if limit <= 0 {
		return strings.Repeat("█", limitCells)
	}
	cells := func(n int64) int {
		if n <= 0 {
			return 0
		}
		return max(scaled(min(n, limit), limit, limitCells), 1)
	}
	used := cells(l.GetUsed())
	lent := min(cells(l.GetLent()), limitCells-used)
	return strings.Repeat("█", used) + strings.Repeat("▒", lent) + strings.Repeat("·", limitCells-used-lent)
}

// resets is when the window ends: soon, or on some day.
func resets(l *adminv1.LimitStatus, now time.Time) string {
	t := l.GetResetTime()
	if t == nil {
		return "-"
	}
	if left := t.AsTime().Sub(now); left <= 24*time.Hour {
		return countdown(left)
	}
	return when(t)
}

func limitNotes(l *adminv1.LimitStatus) string {
	show := limitAmount(l)
	var notes []string
	if l.GetWaiting() {
		notes = append(notes, "waits: the leader is new")
	}
	if n := l.GetExcess(); n > 0 {
		notes = append(notes, show(n)+" over it")
	}
	if n := l.GetLate(); n > 0 {
		notes = append(notes, show(n)+" may still come from a proxy that is gone")
	}
	return dash(strings.Join(notes, "; "))
}
