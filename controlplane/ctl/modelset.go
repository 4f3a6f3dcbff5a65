package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// priceFlags are the prices of one case, as they were given.
type priceFlags struct {
	values  map[string]*string // flag -> text
	variant string
	above   int64
	from    string
}

// tokenPrices are the flags of prices per million tokens, with what they are for.
func tokenPrices() [][2]string {
	return [][2]string{
		{"input", "input tokens"},
		{"output", "output tokens"},
		{"cache-read", "input tokens read from the provider's cache (default: as input)"},
		{"cache-write", "input tokens written into it (default: as input)"},
		{"cache-write-long", "input tokens written into it for long, an hour at Anthropic (default: as cache-write)"},
		{"reasoning", "tokens of reasoning (default: as output)"},
		{"audio-input", "input tokens of sound (default: as input)"},
		{"audio-output", "output tokens of sound (default: as output)"},
	}
}

func (f *priceFlags) bind(fs *pflag.FlagSet) {
	f.values = map[string]*string{}
	for _, p := range tokenPrices() {
		f.values[p[0]] = fs.String(p[0], "", "USD per million "+p[1])
	}
	f.values["image"] = fs.String("image", "", "USD per image that is made")
	f.values["request"] = fs.String("request", "", "USD per request, beside its tokens")
	fs.StringVar(&f.variant, "variant", "", "set what another way of service costs: batch, flex or priority")
	fs.Int64Var(&f.above, "above", 0, "set what requests with more input tokens than this cost")
	fs.StringVar(&f.from, "from", "", "set what is paid from a time on (2027-01-31 or RFC 3339); until then nothing changes")
}

// setModelCommand creates a model or changes its prices.
func setModelCommand(s *session, k kind) *cobra.Command {
	var f priceFlags
	c := &cobra.Command{
		Use:   "set NAME",
		Short: "Set what a model costs",
		Long: `Set what a model costs, in USD per million tokens; what is not given stays as it is. A model that has no price yet needs
--input and --output, or --image or --request. none takes a price away, so that it follows the others again.

Prices that are set here win over the built-in table, and imports leave them alone.`,
		Example: `  fairway model set gpt-4o --input 2.50 --output 10 --cache-read 1.25
  fairway model set gemini-2.5-pro --above 200000 --input 2.50 --output 15
  fairway model set gpt-5 --variant flex --input 0.625 --output 5
  fairway model set gpt-5 --from 2027-01-01 --input 1 --output 8`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeNames(s, k),
	}
	f.bind(c.Flags())
	_ = c.RegisterFlagCompletionFunc("variant", cobra.FixedCompletions([]string{"batch", "flex", "priority"}, cobra.ShellCompDirectiveNoFileComp))
	s.bindWait(c)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		return s.call(cmd, func(ctx context.Context, c *clients) error {
			svc := c.service(k)
			stored, err := svc.get(ctx, args[0])
			if err != nil && !isNotFound(err) {
				return err
			}
			current, exists := stored.(*resourcev1.Model)
			if !exists {
				current = &resourcev1.Model{Metadata: &resourcev1.Metadata{Name: args[0]}}
			}
			next, err := f.set(current, cmd.Flags())
			if err != nil {
				return err
			}
			if !exists {
				made, err := svc.create(ctx, next)
				if err != nil {
					return err
				}
				return s.created(ctx, c, k, made)
			}
			paths := []string{"prices", "schedule"}
			if next.GetMetadata().GetLabels()[pricesLabel] != current.GetMetadata().GetLabels()[pricesLabel] {
				paths = append(paths, "metadata.labels")
			}
			got, revision, err := svc.update(ctx, next, paths)
			if err != nil {
				return err
			}
			return s.updated(ctx, c, k, got, revision, differences(current, next))
		})
	}
	return c
}

// set returns the model with the prices that were given. It has no longer been imported then.
func (f *priceFlags) set(current *resourcev1.Model, fs *pflag.FlagSet) (*resourcev1.Model, error) {
	next := proto.CloneOf(current)
	if labels := next.GetMetadata().GetLabels(); labels[pricesLabel] != "" {
		labels = maps.Clone(labels)
		delete(labels, pricesLabel)
		next.Metadata.Labels = labels
	}
	given := 0
	for name := range f.values {
		if fs.Changed(name) {
			given++
		}
	}
	if given == 0 {
		return nil, errors.New("nothing to set: give at least one price, see fairway model set --help")
	}
	p, unknown, err := f.period(next)
	if err != nil {
		return nil, err
	}
	both := fs.Changed("input") && fs.Changed("output")
	if f.variant == "" && f.above == 0 {
		if unknown && !both && !fs.Changed("image") && !fs.Changed("request") {
			return nil, errors.New("the model has no price yet: give --input and --output, or --image or --request")
		}
		r := &resourcev1.Rates{
			Input: p.GetInput(), CachedInput: p.CachedInput, CacheWrite: p.CacheWrite, CacheWriteLong: p.CacheWriteLong,
			Output: p.GetOutput(), Reasoning: p.Reasoning, AudioInput: p.AudioInput, AudioOutput: p.AudioOutput,
		}
		if err := f.rates(r, fs); err != nil {
			return nil, err
		}
		p.Input, p.CachedInput, p.CacheWrite, p.CacheWriteLong = r.GetInput(), r.CachedInput, r.CacheWrite, r.CacheWriteLong
		p.Output, p.Reasoning, p.AudioInput, p.AudioOutput = r.GetOutput(), r.Reasoning, r.AudioInput, r.AudioOutput
		return next, errors.Join(f.optional(fs, "image", &p.Image), f.optional(fs, "request", &p.Request))
	}
	if unknown {
		return nil, errors.New("the model has no price yet: give it one without --variant and --above first")
	}
	if fs.Changed("image") || fs.Changed("request") {
		return nil, errors.New("--image and --request cost the same however a request is served: give them without --variant and --above")
	}
	r, fresh, err := f.rated(p)
	if err != nil {
		return nil, err
	}
	if fresh && !both {
		return nil, errors.New("there is no such price yet: give --input and --output")
	}
	return next, f.rates(r, fs)
}

// period finds the prices that --from means: those of now, or those from a time on, which begin as those before. unknown =
// there were none.
func (f *priceFlags) period(m *resourcev1.Model) (p *resourcev1.Prices, unknown bool, err error) {
	if f.from == "" {
		if unknown = m.Prices == nil; unknown {
			m.Prices = &resourcev1.Prices{}
		}
		return m.Prices, unknown, nil
	}
	at, err := time.Parse(time.DateOnly, f.from)
	if err != nil {
		if at, err = time.Parse(time.RFC3339, f.from); err != nil {
			return nil, false, fmt.Errorf("--from: %q is not a date (2027-01-31) or a time (RFC 3339)", f.from)
		}
	}
	before := m.GetPrices()
	i := 0
	for ; i < len(m.GetSchedule()); i++ {
		c := m.GetSchedule()[i]
		if when := c.GetEffectiveTime().AsTime(); when.Equal(at) {
			return c.GetPrices(), false, nil
		} else if when.After(at) {
			break
		}
		before = c.GetPrices()
	}
	p, unknown = &resourcev1.Prices{}, before == nil
	if !unknown {
		p = proto.CloneOf(before)
	}
	m.Schedule = slices.Insert(m.Schedule, i, &resourcev1.PriceChange{EffectiveTime: timestamppb.New(at), Prices: p})
	return p, unknown, nil
}

// rated finds the rates that --variant and --above mean; fresh = there were none.
func (f *priceFlags) rated(p *resourcev1.Prices) (r *resourcev1.Rates, fresh bool, err error) {
	if f.above < 0 {
		return nil, false, errors.New("--above must be more than nothing")
	}
	tiers := &p.Tiers
	if f.variant != "" {
		v, err := enumFlag[resourcev1.ServiceVariant](f.variant)
		if err != nil || v == 0 {
			return nil, false, fmt.Errorf("--variant: %q is not one of batch, flex, priority", f.variant)
		}
		i := slices.IndexFunc(p.GetVariants(), func(have *resourcev1.PriceVariant) bool { return have.GetVariant() == v })
		if i < 0 {
			if f.above > 0 {
				return nil, false, fmt.Errorf("%s has no price yet: give it one without --above first", f.variant)
			}
			i, fresh = len(p.Variants), true
			p.Variants = append(p.Variants, &resourcev1.PriceVariant{Variant: v, Rates: &resourcev1.Rates{}})
		}
		if f.above == 0 {
			return p.Variants[i].GetRates(), fresh, nil
		}
		tiers = &p.Variants[i].Tiers
	}
	i, found := slices.BinarySearchFunc(*tiers, f.above, func(t *resourcev1.PriceTier, above int64) int {
		return cmp.Compare(t.GetAboveInputTokens(), above)
	})
	if !found {
		*tiers = slices.Insert(*tiers, i, &resourcev1.PriceTier{AboveInputTokens: f.above, Rates: &resourcev1.Rates{}})
	}
	return (*tiers)[i].GetRates(), !found, nil
}

// rates writes the given prices per token.
func (f *priceFlags) rates(r *resourcev1.Rates, fs *pflag.FlagSet) error {
	for name, to := range map[string]*int64{"input": &r.Input, "output": &r.Output} {
		if !fs.Changed(name) {
			continue
		}
		var err error
		if *to, err = usdPerMillion(*f.values[name]); err != nil {
			return fmt.Errorf("--%s: %w", name, err)
		}
	}
	return errors.Join(
		f.optional(fs, "cache-read", &r.CachedInput), f.optional(fs, "cache-write", &r.CacheWrite),
		f.optional(fs, "cache-write-long", &r.CacheWriteLong), f.optional(fs, "reasoning", &r.Reasoning),
		f.optional(fs, "audio-input", &r.AudioInput), f.optional(fs, "audio-output", &r.AudioOutput),
	)
}

func (f *priceFlags) optional(fs *pflag.FlagSet, name string, to **int64) error {
	if !fs.Changed(name) {
		return nil
	}
	if *f.values[name] == "none" {
		*to = nil
		return nil
	}
	n, err := usdPerMillion(*f.values[name])
	if err != nil {
		return fmt.Errorf("--%s: %w", name, err)
	}
	*to = &n
	return nil
}
