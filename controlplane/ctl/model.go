package ctl

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/proto"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func models() kind {
	return kind{
		name:    "model",
		title:   "Model",
		short:   "What models cost",
		example: `  fairway model create gpt-4o --input-price 2.50 --cached-input-price 1.25 --output-price 10`,
		header:  modelHeader(),
		fresh:   func(md *resourcev1.Metadata) resource { return &resourcev1.Model{Metadata: md} },
		row:     typedRow(func(r *resourcev1.Model) []string { return modelRow(r, setBy(r)) }),
		fields:  modelFields,
		list:    listModelsCommand,
		extra: func(s *session, k kind) []*cobra.Command {
			return []*cobra.Command{setModelCommand(s, k), importModelsCommand(s, k)}
		},
	}
}

func modelHeader() []string {
	return []string{"name", "input $/M", "cached $/M", "output $/M", "further", "price from"}
}

// modelRow shows what most requests cost now; further says what else there is.
func modelRow(r *resourcev1.Model, from string) []string {
	p := r.GetPrices()
	name := r.GetMetadata().GetName()
	in, cached, out := "-", "-", "-"
	if p != nil {
		in, cached, out = usdNumber(p.GetInput()), usdNumber(p.GetInput()), usdNumber(p.GetOutput())
		if p.CachedInput != nil {
			cached = usdNumber(p.GetCachedInput())
		}
	}
	return []string{name, in, cached, out, further(r), from}
}

// further names what there is beside the three.
func further(r *resourcev1.Model) string {
	p := r.GetPrices()
	var all []string
	if p != nil && (p.CacheWrite != nil || p.CacheWriteLong != nil) {
		all = append(all, "cache writes")
	}
	if p != nil && p.Reasoning != nil {
		all = append(all, "reasoning")
	}
	if p != nil && (p.AudioInput != nil || p.AudioOutput != nil) {
		all = append(all, "audio")
	}
	if p != nil && p.Image != nil {
		all = append(all, "images")
	}
	if p != nil && p.Request != nil {
		all = append(all, "requests")
	}
	if len(p.GetTiers()) > 0 {
		all = append(all, "long input")
	}
	for _, v := range p.GetVariants() {
		all = append(all, enumName(v.GetVariant().Descriptor(), v.GetVariant().Number()))
	}
	if len(r.GetSchedule()) > 0 {
		all = append(all, "scheduled")
	}
	return dash(strings.Join(all, ", "))
}

// setBy says where a stored model's prices are from.
func setBy(r *resourcev1.Model) string {
	from, ok := r.GetMetadata().GetLabels()[pricesLabel]
	switch {
	case len(amounts(r)) == 0:
		return "-" // and from the built-in table neither
	case !ok:
		return "own"
	}
	return from[:min(len(from), len("litellm sha256:")+8)]
}

func modelFields(fs *pflag.FlagSet) fieldReader {
	var input, cached, output string
	var labels map[string]string
	fs.StringVar(&input, "input-price", "", "USD per million input tokens")
	fs.StringVar(&cached, "cached-input-price", "", "USD per million input tokens read from cache (default: as input)")
	fs.StringVar(&output, "output-price", "", "USD per million output tokens")
	fs.StringToStringVar(&labels, "label", nil, "name=value")
	return typedFields(func(r *resourcev1.Model, c *changes) {
		price := func(s string, to *int64) func() error {
			return func() (err error) {
				if r.Prices == nil {
					r.Prices = &resourcev1.Prices{}
				}
				*to, err = usdPerMillion(s)
				return err
			}
		}
		var in, out, hit int64
		c.on("input-price", "prices.input", price(input, &in))
		c.on("cached-input-price", "prices.cached_input", price(cached, &hit))
		c.on("output-price", "prices.output", price(output, &out))
		if r.Prices != nil {
			r.Prices.Input, r.Prices.Output = in, out
			if c.fs.Changed("cached-input-price") {
				r.Prices.CachedInput = proto.Int64(hit)
			}
		}
		c.on("label", "metadata.labels", always(func() { r.Metadata.Labels = labels }))
	})
}
