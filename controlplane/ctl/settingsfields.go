package ctl

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/types/known/durationpb"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// settingsFields binds the flags of all settings, by what they are about.
func settingsFields(fs *pflag.FlagSet) fieldReader {
	parts := []func(r *resourcev1.Settings, c *changes){
		choiceFields(fs), retryFields(fs), thresholdFields(fs), recoveryFields(fs), unknownPriceFields(fs),
	}
	return typedFields(func(r *resourcev1.Settings, c *changes) {
		for _, read := range parts {
			read(r, c)
		}
	})
}

// choiceFields are about which account serves, and what is remembered of it.
func choiceFields(fs *pflag.FlagSet) func(r *resourcev1.Settings, c *changes) {
	var strategy, weights, affinity, sample string
	fs.StringVar(&strategy, "default-strategy", "", "for groups that name none: "+strings.Join(strategyNames(), ", "))
	fs.StringVar(&strategy, "strategy", "", "for groups that name none")
	_ = fs.MarkHidden("strategy") // the name that it had before
	fs.StringVar(&weights, "weights", "", "of the strategy balanced, all four and 1 together: cost=0.4,performance=0.3,load=0.2,reliability=0.1")
	fs.StringVar(&affinity, "affinity", "", "for groups that say nothing: off, on or hard")
	fs.StringVar(&sample, "decision-sample", "", "share of good requests that are logged with all that was decided, such as 0.01 (0 = none; failures always are)")
	return func(r *resourcev1.Settings, c *changes) {
		byName := func() (err error) { r.DefaultStrategy, err = enumFlag[resourcev1.Strategy](strategy); return err }
		c.on("default-strategy", "default_strategy", byName)
		c.on("strategy", "default_strategy", byName)
		c.on("weights", "weights", func() (err error) { r.Weights, err = balanceWeights(weights); return err })
		c.on("affinity", "affinity", func() (err error) { r.Affinity, err = enumFlag[resourcev1.Affinity](affinity); return err })
		c.on("decision-sample", "decision_sample_ppm", func() error {
			f, err := share(sample)
			r.DecisionSamplePpm = uint32(math.Round(f * 1e6))
			return err
		})
	}
}

func retryFields(fs *pflag.FlagSet) func(r *resourcev1.Settings, c *changes) {
	p := &resourcev1.RetryPolicy{}
	fs.Uint32Var(&p.MaxAttempts, "max-attempts", 0, "attempts per request, the first included (0 = 3)")
	fs.Uint32Var(&p.BudgetPercent, "retry-budget-percent", 0, "retries at once, as a share of a group's active requests (0 = 20)")
	fs.Uint32Var(&p.BudgetMin, "retry-budget-min", 0, "retries allowed whatever the share says (0 = 3)")
	return func(r *resourcev1.Settings, c *changes) {
		use := always(func() { r.Retry = p })
		c.on("max-attempts", "retry.max_attempts", use)
		c.on("retry-budget-percent", "retry.budget_percent", use)
		c.on("retry-budget-min", "retry.budget_min", use)
	}
}

// thresholdFields say when an account's breaker opens.
func thresholdFields(fs *pflag.FlagSet) func(r *resourcev1.Settings, c *changes) {
	t := &resourcev1.Thresholds{}
	var rate string
	var window time.Duration
	fs.Uint32Var(&t.ConsecutiveFailures, "consecutive-failures", 0, "failures in a row, after which an account rests (0 = 5)")
	fs.StringVar(&rate, "max-error-rate", "", "share of failures in the window, above which it rests (0 = 0.05)")
	fs.Uint32Var(&t.MinRequests, "min-requests", 0, "requests in the window, below which rates say nothing (0 = 20)")
	fs.DurationVar(&window, "window", 0, "over which rates are taken, 5s to 1h (0 = 60s)")
	fs.Float64Var(&t.MaxTtftRatio, "max-ttft-ratio", 0, "how many times slower than expected the first byte may come, over the whole window (0 = 5)")
	fs.Uint32Var(&t.MaxEjectedPercent, "max-ejected-percent", 0, "share of a tier's accounts that rates and slowness may take out at once (0 = 50)")
	fs.Uint32Var(&t.PanicPercent, "panic-percent", 0, "share of healthy accounts, below which health is ignored (0 = 50)")
	return func(r *resourcev1.Settings, c *changes) {
		use := always(func() { r.Thresholds = t })
		c.on("consecutive-failures", "thresholds.consecutive_failures", use)
		c.on("max-error-rate", "thresholds.max_error_rate", func() (err error) {
			r.Thresholds = t
			t.MaxErrorRate, err = share(rate)
			return err
		})
		c.on("min-requests", "thresholds.min_requests", use)
		c.on("window", "thresholds.window", always(func() { r.Thresholds = t; t.Window = optionalDuration(window) }))
		c.on("max-ttft-ratio", "thresholds.max_ttft_ratio", use)
		c.on("max-ejected-percent", "thresholds.max_ejected_percent", use)
		c.on("panic-percent", "thresholds.panic_percent", use)
	}
}

// recoveryFields say how an account comes back.
func recoveryFields(fs *pflag.FlagSet) func(r *resourcev1.Settings, c *changes) {
	v := &resourcev1.Recovery{}
	var open, maxOpen, slowStart, interval time.Duration
	var check string
	fs.DurationVar(&open, "open", 0, "an account's first rest; doubled each time (0 = 300s)")
	fs.DurationVar(&maxOpen, "max-open", 0, "the longest rest (0 = 1h)")
	fs.DurationVar(&slowStart, "slow-start", 0, "from recovery to the full share (0 = at once; 60s unless set)")
	fs.StringVar(&check, "check", "", "how an account without traffic is looked after: off, models (costs nothing) or answer (one token)")
	fs.DurationVar(&interval, "check-interval", 0, "without traffic, until an account is checked, and between checks (0 = 30s)")
	return func(r *resourcev1.Settings, c *changes) {
		c.on("open", "recovery.open", always(func() { r.Recovery = v; v.Open = optionalDuration(open) }))
		c.on("max-open", "recovery.max_open", always(func() { r.Recovery = v; v.MaxOpen = optionalDuration(maxOpen) }))
		// Nothing is a value here: at once.
		c.on("slow-start", "recovery.slow_start", always(func() { r.Recovery = v; v.SlowStart = durationpb.New(slowStart) }))
		c.on("check", "recovery.check", func() (err error) {
			r.Recovery = v
			v.Check, err = enumFlag[resourcev1.CheckMode](check)
			return err
		})
		c.on("check-interval", "recovery.check_interval", always(func() { r.Recovery = v; v.CheckInterval = optionalDuration(interval) }))
	}
}

// share reads "0.05" or "5%".
func share(s string) (float64, error) {
	text, percent := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(text, 64)
	if percent {
		f /= 100
	}
	if err != nil || !(f >= 0 && f <= 1) {
		return 0, fmt.Errorf("%q is not a share between 0 and 1, such as 0.05 or 5%%", s)
	}
	return f, nil
}

// balanceWeights reads "cost=0.4,performance=0.3,load=0.2,reliability=0.1". All four must be given: which of the others
// would make up for a change is not for us to guess.
func balanceWeights(s string) (*resourcev1.BalanceWeights, error) {
	w := &resourcev1.BalanceWeights{}
	missing := map[string]*float64{"cost": &w.Cost, "performance": &w.Performance, "load": &w.Load, "reliability": &w.Reliability}
	names := slices.Sorted(maps.Keys(missing))
	sum := 0.0
	for part := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		field, ok := missing[name]
		switch {
		case !ok && slices.Contains(names, name):
			return nil, fmt.Errorf("%s is given twice", name)
		case !ok:
			return nil, fmt.Errorf("%q is not one of %s, each with =SHARE", name, strings.Join(names, ", "))
		}
		f, err := share(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		*field = f
		sum += f
		delete(missing, name)
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s missing: give all four", strings.Join(slices.Sorted(maps.Keys(missing)), ", "))
	}
	if math.Abs(sum-1) >= 1e-6 {
		return nil, fmt.Errorf("the four are %g together, not 1", math.Round(sum*1e9)/1e9)
	}
	return w, nil
}

// completeSettings offers the values of the flags.
func completeSettings(c *cobra.Command) {
	for flag, values := range map[string][]string{
		"default-strategy": strategyNames(), "affinity": affinityNames(),
		"check": enumNames(resourcev1.CheckMode(0).Descriptor()),
	} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}
