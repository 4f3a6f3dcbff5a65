package ctl

import (
	"fmt"

	"github.com/spf13/pflag"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func groups() kind {
	return kind{
		name:    "group",
		title:   "Group",
		short:   "Sets of channels that keys may use",
		example: `  fairway group create premium --price-ratio 1.2`,
		header:  []string{"name", "strategy", "price ratio", "description"},
		fresh:   func(md *resourcev1.Metadata) resource { return &resourcev1.Group{Metadata: md} },
		row: typedRow(func(r *resourcev1.Group) []string {
			strategy := "default"
			if r.GetStrategy() != 0 {
				strategy = enumName(r.GetStrategy().Descriptor(), r.GetStrategy().Number())
			}
			return []string{r.GetMetadata().GetName(), strategy, fmt.Sprintf("%g", float64(r.GetPriceRatioPpm())/1e6), dash(r.GetDescription())}
		}),
		fields: groupFields,
	}
}

func groupFields(fs *pflag.FlagSet) fieldReader {
	var description, strategy, priceRatio string
	var labels map[string]string
	var strict bool
	fs.StringVar(&description, "description", "", "what it is for")
	fs.StringVar(&strategy, "strategy", "", "how to choose among accounts: weighted_random")
	fs.StringVar(&priceRatio, "price-ratio", "", "what a price unit costs its keys, such as 1.25")
	fs.BoolVar(&strict, "strict", false, "refuse what another dialect cannot carry whole, instead of naming what was lost")
	fs.StringToStringVar(&labels, "label", nil, "name=value")
	return typedFields(func(r *resourcev1.Group, c *changes) {
		c.on("description", "description", always(func() { r.Description = description }))
		c.on("strategy", "strategy", func() (err error) { r.Strategy, err = enumFlag[resourcev1.Strategy](strategy); return err })
		c.on("price-ratio", "price_ratio_ppm", func() (err error) { r.PriceRatioPpm, err = ratio(priceRatio); return err })
		c.on("strict", "strict", always(func() { r.Strict = strict }))
		c.on("label", "metadata.labels", always(func() { r.Metadata.Labels = labels }))
	})
}
