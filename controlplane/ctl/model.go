package ctl

import (
	"fmt"

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
		header:  []string{"name", "input $/M", "cached $/M", "output $/M"},
		fresh:   func(md *resourcev1.Metadata) resource { return &resourcev1.Model{Metadata: md} },
		row: typedRow(func(r *resourcev1.Model) []string {
			p := r.GetPrices()
			if p == nil {
				return []string{r.GetMetadata().GetName(), "-", "-", "-"}
			}
			cached := p.GetInput()
			if p.CachedInput != nil {
				cached = p.GetCachedInput()
			}
			usd := func(n int64) string { return fmt.Sprintf("%g", float64(n)/1e9) }
			return []string{r.GetMetadata().GetName(), usd(p.GetInput()), usd(cached), usd(p.GetOutput())}
		}),
		fields: modelFields,
		extra:  func(s *session, k kind) []*cobra.Command { return []*cobra.Command{importModelsCommand(s, k)} },
	}
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
