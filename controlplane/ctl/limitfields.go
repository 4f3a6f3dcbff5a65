package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/money"
)

// limited is a resource with limits: a key, a group or a tenant.
type limited interface {
	resource
	GetLimits() *resourcev1.Limits
}

// The most that limits take, as the contract says.
const (
	maxRPM           = 1_000_000_000_000
	maxTPM           = 1_000_000_000_000_000
	maxAtOnce        = 1_000_000_000
	maxRequestTokens = 1_000_000_000_000
	maxAmount        = 1_000_000_000_000_000_000 // nano-USD

	minRolling = 5 // minutes
	maxRolling = 366 * minutesPerDay

	minutesPerHour = 60
	minutesPerDay  = 24 * minutesPerHour
)

// budgetsPath is the path of what an update cannot change one by one.
const budgetsPath = "limits.budgets"

// limitFields binds the flags of limits. All numbers: 0 = no limit.
func limitFields(fs *pflag.FlagSet) func(to **resourcev1.Limits, c *changes) {
	var rpm, tpm, atOnce, tokens int64
	var cost, window, zone, fallback string
	var budgets []string
	fs.Int64Var(&rpm, "rpm", 0, "requests per minute, over the whole fleet like all limits (0 = no limit)")
	fs.Int64Var(&tpm, "tpm", 0, "tokens per minute, input and output (0 = no limit)")
	fs.Int64Var(&atOnce, "concurrency", 0, "requests at once (0 = no limit)")
	fs.StringArrayVar(&budgets, "budget", nil,
		"what may be spent, USD/WINDOW: 10/day, 50/week, 100/month, 500/total, or in the last minutes, hours or days: 2/90m, 5/24h, 60/30d; once for each window; 0/WINDOW removes it")
	fs.StringVar(&window, "budget-window", "", "window of the --budget that names none: day, week, month, total, or such as 24h")
	fs.Int64Var(&tokens, "max-request-tokens", 0, "tokens that one request may be estimated at, input and output (0 = no limit)")
	fs.StringVar(&cost, "max-request-cost", "", "USD that one request may be estimated to cost (0 = no limit)")
	fs.StringVar(&zone, "time-zone", "", "where days, weeks and months begin, such as Europe/Berlin (default: UTC)")
	fs.StringVar(&fallback, "limit-fallback", "",
		"while nobody lends out limits, and what was lent is used up: closed (refuse), safe (a quarter of each limit), open (let all through) (default: closed)")
	return func(to **resourcev1.Limits, c *changes) {
		l := &resourcev1.Limits{}
		number := func(flag, path string, n, most int64, at *int64) {
			c.on(flag, path, func() error {
				if n < 0 || n > most {
					return fmt.Errorf("%d is not between 0 and %d", n, most)
				}
				*to, *at = l, n
				return nil
			})
		}
		number("rpm", "limits.rpm", rpm, maxRPM, &l.Rpm)
		number("tpm", "limits.tpm", tpm, maxTPM, &l.Tpm)
		number("concurrency", "limits.concurrency", atOnce, maxAtOnce, &l.Concurrency)
		number("max-request-tokens", "limits.max_request_tokens", tokens, maxRequestTokens, &l.MaxRequestTokens)
		c.on("max-request-cost", "limits.max_request_nano_usd", func() (err error) {
			*to = l
			l.MaxRequestNanoUsd, err = exactUSD(cost)
			return err
		})
		c.on("budget", budgetsPath, func() (err error) { *to = l; l.Budgets, err = readBudgets(budgets, window); return err })
		if c.err == nil && fs.Changed("budget-window") && !fs.Changed("budget") {
			c.err = errors.New("--budget-window goes with --budget")
		}
		c.on("time-zone", "limits.time_zone", func() error { *to, l.TimeZone = l, zone; return timeZone(zone) })
		c.on("limit-fallback", "limits.fallback", func() (err error) {
			*to = l
			l.Fallback, err = enumFlag[resourcev1.LimitFallback](fallback)
			return err
		})
	}
}

// completeLimits offers the values of these flags.
func completeLimits(c *cobra.Command) {
	windows := []string{"day", "week", "month", "total"}
	_ = c.RegisterFlagCompletionFunc("limit-fallback", cobra.FixedCompletions(
		enumNames(resourcev1.LimitFallback(0).Descriptor()), cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("budget-window", cobra.FixedCompletions(windows, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("budget", func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		usd, _, _ := strings.Cut(typed, "/")
		if _, err := exactUSD(usd); err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var all []string
		for _, w := range windows {
			all = append(all, usd+"/"+w)
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	})
	for _, flag := range []string{"rpm", "tpm", "concurrency", "max-request-tokens", "max-request-cost", "time-zone"} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions)
	}
}

// exactUSD reads an amount, to the nano-USD.
func exactUSD(s string) (int64, error) {
	n, err := money.Parse(s)
	if err != nil || n < 0 || n > maxAmount {
		return 0, fmt.Errorf("%q is not an amount in USD with at most nine decimals, such as 2.50", s)
	}
	return int64(n), nil
}

func timeZone(name string) error {
	// Go's own names for UTC and for where this process runs are nobody else's.
	if _, err := time.LoadLocation(name); err != nil || name == "" || name == "Local" {
		return fmt.Errorf("%q is not a time zone, such as Europe/Berlin or UTC", name)
	}
	return nil
}

// readBudgets reads "10/day" and, where a window is given beside them, "10". An amount of 0 stands for no budget.
func readBudgets(texts []string, window string) ([]*resourcev1.Budget, error) {
	var all []*resourcev1.Budget
	used := false
	for _, text := range texts {
		usd, word, named := strings.Cut(text, "/")
		if !named {
			word, used = window, true
		}
		if word == "" {
			return nil, fmt.Errorf("%q says nothing of its window: want %s/day, %s/month, %s/24h", text, usd, usd, usd)
		}
		b := &resourcev1.Budget{}
		var err error
		if b.AmountNanoUsd, err = exactUSD(usd); err != nil {
			return nil, err
		}
		if b.Window, b.RollingMinutes, err = budgetWindow(word); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, sameWindow(b)) {
			return nil, fmt.Errorf("%q: there is one for that window already", text)
		}
		all = append(all, b)
	}
	if window != "" && !used {
		return nil, errors.New("each names its window, so --budget-window is for none")
	}
	return all, nil
}

// budgetWindow reads "day", "week", "month", "total", and "90m", "24h", "30d" for rolling ones.
func budgetWindow(word string) (w resourcev1.BudgetWindow, minutes uint32, err error) {
	w, err = enumFlag[resourcev1.BudgetWindow](word)
	if err == nil && w != resourcev1.BudgetWindow_BUDGET_WINDOW_ROLLING {
		return w, 0, nil
	}
	unit := map[string]uint64{"m": 1, "h": minutesPerHour, "d": minutesPerDay}[word[max(len(word)-1, 0):]]
	n, err := strconv.ParseUint(word[:max(len(word)-1, 0)], 10, 32)
	if unit == 0 || err != nil {
		return 0, 0, fmt.Errorf("%q is not a window: day, week, month, total, or such as 90m, 24h or 30d", word)
	}
	if n *= unit; n < minRolling || n > maxRolling {
		return 0, 0, fmt.Errorf("a window of %s is not between 5m and 366d", word)
	}
	return resourcev1.BudgetWindow_BUDGET_WINDOW_ROLLING, uint32(n), nil
}

// sameWindow: there is one budget for each, and one of the rolling ones.
func sameWindow(b *resourcev1.Budget) func(*resourcev1.Budget) bool {
	return func(other *resourcev1.Budget) bool { return other.GetWindow() == b.GetWindow() }
}

// freshBudgets refuses budgets of nothing in what is created: whoever gives them may mean that nothing can be spent.
func freshBudgets(r resource) error {
	l, ok := r.(limited)
	if !ok {
		return nil
	}
	for _, b := range l.GetLimits().GetBudgets() {
		if b.GetAmountNanoUsd() == 0 {
			return fmt.Errorf("--budget: 0/%s removes a budget, and there is none yet; to refuse all requests, use --disabled", windowName(b))
		}
	}
	return nil
}

// updateWithBudgets puts each budget that was given in the place of what is stored for its window, and leaves the others.
func updateWithBudgets(ctx context.Context, v service, r limited, paths []string) (resource, int64, error) {
	given, etag := r.GetLimits().GetBudgets(), r.GetMetadata().GetEtag()
	for try := 1; ; try++ {
		stored, err := v.get(ctx, r.GetMetadata().GetName())
		if err != nil {
			return nil, 0, err
		}
		now := stored.GetMetadata().GetEtag()
		if etag != "" && etag != now {
			return nil, 0, fmt.Errorf("%s %s was changed: its etag is %s", v.kind, r.GetMetadata().GetName(), now)
		}
		// The etag makes sure that what the budgets were put into is what is changed.
		r.GetMetadata().Etag = now
		if r.GetLimits().Budgets, err = mergeBudgets(given, stored.(limited).GetLimits().GetBudgets()); err != nil {
			return nil, 0, fmt.Errorf("--budget: %w", err)
		}
		got, revision, err := v.update(ctx, r, paths)
		if try == 3 || etag != "" || !isStale(err) {
			return got, revision, err
		}
	}
}

func mergeBudgets(given, stored []*resourcev1.Budget) ([]*resourcev1.Budget, error) {
	next := slices.Clone(stored)
	for _, b := range given {
		i := slices.IndexFunc(next, sameWindow(b))
		switch {
		case i >= 0 && b.GetAmountNanoUsd() > 0:
			next[i] = b
		case i >= 0 && b.GetRollingMinutes() != next[i].GetRollingMinutes():
			return nil, fmt.Errorf("0/%s: the budget there is for %s", windowName(b), windowName(next[i]))
		case i >= 0:
			next = slices.Delete(next, i, i+1)
		case b.GetAmountNanoUsd() > 0:
			next = append(next, b)
		}
	}
	slices.SortFunc(next, func(a, b *resourcev1.Budget) int { return cmp.Compare(a.GetWindow(), b.GetWindow()) })
	return next, nil
}

// windowName is a budget's window as --budget takes it.
func windowName(b *resourcev1.Budget) string {
	if b.GetWindow() == resourcev1.BudgetWindow_BUDGET_WINDOW_ROLLING {
		return rollingName(b.GetRollingMinutes())
	}
	return enumName(b.GetWindow().Descriptor(), b.GetWindow().Number())
}

// rollingName is the shortest form; 24h, which is not a day of the calendar, is not called one.
func rollingName(minutes uint32) string {
	switch {
	case minutes%minutesPerDay == 0 && minutes > minutesPerDay:
		return fmt.Sprintf("%dd", minutes/minutesPerDay)
	case minutes%minutesPerHour == 0:
		return fmt.Sprintf("%dh", minutes/minutesPerHour)
	}
	return fmt.Sprintf("%dm", minutes)
}

// limitWords are limits in one line: "60 rpm, 4 at once, $10/day".
func limitWords(l *resourcev1.Limits) string {
	var words []string
	add := func(n int64, text string) {
		if n != 0 {
			words = append(words, text)
		}
	}
	add(l.GetRpm(), fmt.Sprintf("%d rpm", l.GetRpm()))
	add(l.GetTpm(), fmt.Sprintf("%d tpm", l.GetTpm()))
	add(l.GetConcurrency(), fmt.Sprintf("%d at once", l.GetConcurrency()))
	for _, b := range l.GetBudgets() {
		words = append(words, usd(b.GetAmountNanoUsd())+"/"+windowName(b))
	}
	add(l.GetMaxRequestTokens(), fmt.Sprintf("%d tokens/request", l.GetMaxRequestTokens()))
	add(l.GetMaxRequestNanoUsd(), usd(l.GetMaxRequestNanoUsd())+"/request")
	if z := l.GetTimeZone(); z != "" && z != "UTC" {
		words = append(words, z)
	}
	if f := l.GetFallback(); f > resourcev1.LimitFallback_LIMIT_FALLBACK_CLOSED {
		words = append(words, "fallback "+enumName(f.Descriptor(), f.Number()))
	}
	return dash(strings.Join(words, ", "))
}
