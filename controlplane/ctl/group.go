package ctl

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func groups() kind {
	return kind{
		name:  "group",
		title: "Group",
		short: "Sets of channels that keys may use",
		example: `  fairway group create premium --price-ratio 1.2
  fairway group create chat --strategy lowest_cost --affinity on --hedge --hedge-after 2s --total-timeout 2m
  fairway group update default --rpm 6000 --concurrency 200`,
		header: []string{"name", "strategy", "affinity", "hedging", "price ratio", "limits", "description"},
		fresh:  func(md *resourcev1.Metadata) resource { return &resourcev1.Group{Metadata: md} },
		row: typedRow(func(r *resourcev1.Group) []string {
			return []string{r.GetMetadata().GetName(), orDefault(enumName(r.GetStrategy().Descriptor(), r.GetStrategy().Number())),
				orDefault(enumName(r.GetAffinity().Descriptor(), r.GetAffinity().Number())), hedging(r.GetHedging()),
				fmt.Sprintf("%g", float64(r.GetPriceRatioPpm())/1e6), limitWords(r.GetLimits()), dash(r.GetDescription())}
		}),
		fields: groupFields,
		offers: completeGroup,
	}
}

// asSettings is the value of a flag for what the settings say.
const asSettings = "default"

func orDefault(enum string) string {
	if enum == "unspecified" {
		return asSettings
	}
	return enum
}

func hedging(h *resourcev1.Hedging) string {
	if h == nil {
		return "off"
	}
	after := "p95"
	if h.GetAfter() != nil {
		after = h.GetAfter().AsDuration().String()
	}
	return "after " + after
}

func groupFields(fs *pflag.FlagSet) fieldReader {
	var description, strategy, affinity, priceRatio, hedge string
	var labels map[string]string
	var strict, noPanic bool
	var hedgeAfter, firstByte, idle, total time.Duration
	var hedgeMax float64
	fs.StringVar(&description, "description", "", "what it is for")
	fs.StringVar(&strategy, "strategy", "", "how to choose among accounts: "+strings.Join(strategyNames(), ", ")+", or default (as settings say)")
	fs.StringVar(&affinity, "affinity", "", "whether a conversation stays with its account: off, on, hard (fail rather than move), or default (as settings say)")
	fs.StringVar(&hedge, "hedge", "", "send a request that waits long to a second account: on or off")
	fs.Lookup("hedge").NoOptDefVal = "on"
	fs.DurationVar(&hedgeAfter, "hedge-after", 0, "when the second attempt starts (0 = after the 95th percentile of the time to the first byte)")
	fs.Float64Var(&hedgeMax, "hedge-max-percent", 0, "second attempts at most, in percent of the group's requests, up to 20 (0 = 2)")
	fs.DurationVar(&firstByte, "first-byte-timeout", 0, "from an attempt's request to its first byte (0 = the channel's alone)")
	fs.DurationVar(&idle, "idle-timeout", 0, "between two reads of a response (0 = the channel's alone)")
	fs.DurationVar(&total, "total-timeout", 0, "from a request's arrival to its answer's last byte, over all attempts (0 = none)")
	fs.BoolVar(&noPanic, "no-panic", false, "answer 503 rather than try an account that rests, when all do")
	fs.StringVar(&priceRatio, "price-ratio", "", "what a price unit costs its keys, such as 1.25")
	fs.BoolVar(&strict, "strict", false, "refuse what another dialect cannot carry whole, instead of naming what was lost")
	fs.StringToStringVar(&labels, "label", nil, "name=value")
	limits := limitFields(fs)
	return typedFields(func(r *resourcev1.Group, c *changes) {
		c.on("description", "description", always(func() { r.Description = description }))
		c.on("strategy", "strategy", func() (err error) {
			if strategy != asSettings {
				r.Strategy, err = enumFlag[resourcev1.Strategy](strategy)
			}
			return err
		})
		c.on("affinity", "affinity", func() (err error) {
			if affinity != asSettings {
				r.Affinity, err = enumFlag[resourcev1.Affinity](affinity)
			}
			return err
		})
		hedgeFields(r, c, hedge, hedgeAfter, hedgeMax)
		d := &resourcev1.Deadlines{}
		c.on("first-byte-timeout", "deadlines.first_byte", always(func() { r.Deadlines = d; d.FirstByte = optionalDuration(firstByte) }))
		c.on("idle-timeout", "deadlines.idle", always(func() { r.Deadlines = d; d.Idle = optionalDuration(idle) }))
		c.on("total-timeout", "deadlines.total", always(func() { r.Deadlines = d; d.Total = optionalDuration(total) }))
		c.on("no-panic", "no_panic", always(func() { r.NoPanic = noPanic }))
		c.on("price-ratio", "price_ratio_ppm", func() (err error) { r.PriceRatioPpm, err = ratio(priceRatio); return err })
		c.on("strict", "strict", always(func() { r.Strict = strict }))
		c.on("label", "metadata.labels", always(func() { r.Metadata.Labels = labels }))
		limits(&r.Limits, c)
	})
}

// hedgeFields: --hedge switches, and sets what is not said back to its default; the others alone change one thing.
func hedgeFields(r *resourcev1.Group, c *changes, hedge string, after time.Duration, percent float64) {
	h := &resourcev1.Hedging{}
	details := c.fs.Changed("hedge-after") || c.fs.Changed("hedge-max-percent")
	c.on("hedge", "hedging", func() error {
		switch hedge {
		case "on":
			r.Hedging = h
		case "off":
			if details {
				return errors.New("off takes neither --hedge-after nor --hedge-max-percent")
			}
		default:
			return fmt.Errorf("%q is not one of on, off (with =: --hedge=off)", hedge)
		}
		return nil
	})
	whole := c.fs.Changed("hedge")
	c.on("hedge-after", "hedging.after", always(func() { r.Hedging = h; h.After = optionalDuration(after) }))
	c.on("hedge-max-percent", "hedging.max_extra_ppm", func() error {
		// NaN compares with nothing.
		if !(percent >= 0 && percent <= 20) {
			return fmt.Errorf("%g is not between 0 and 20", percent)
		}
		r.Hedging, h.MaxExtraPpm = h, uint32(math.Round(percent*1e4))
		return nil
	})
	if whole && details {
		kept := c.paths[:0]
		for _, p := range c.paths {
			if !strings.HasPrefix(p, "hedging.") {
				kept = append(kept, p)
			}
		}
		c.paths = kept
	}
}

func strategyNames() []string { return enumNames(resourcev1.Strategy(0).Descriptor()) }

func affinityNames() []string { return enumNames(resourcev1.Affinity(0).Descriptor()) }

// completeGroup offers the values of a group's flags.
func completeGroup(_ *session, c *cobra.Command) {
	completeLimits(c)
	for flag, values := range map[string][]string{
		"strategy": append(strategyNames(), asSettings), "affinity": append(affinityNames(), asSettings), "hedge": {"on", "off"},
	} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}
