package ctl

import (
	"github.com/spf13/pflag"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

// unknownPriceFields are about models whose price is not known.
func unknownPriceFields(fs *pflag.FlagSet) func(r *resourcev1.Settings, c *changes) {
	var policy, input, output string
	fs.StringVar(&policy, "unknown-price", "", "what becomes of requests for models without a price: free (marked unpriced), refuse, or default")
	fs.StringVar(&input, "default-input-price", "", "USD per million input tokens of models without a price, for --unknown-price default")
	fs.StringVar(&output, "default-output-price", "", "USD per million output tokens of models without a price, for --unknown-price default")
	return func(r *resourcev1.Settings, c *changes) {
		u := &resourcev1.UnknownPrice{}
		rates := &resourcev1.Rates{}
		price := func(text string, to *int64) func() error {
			return func() (err error) {
				r.UnknownPrice, u.DefaultRates = u, rates
				*to, err = usdPerMillion(text)
				return err
			}
		}
		c.on("unknown-price", "unknown_price.policy", func() (err error) {
			r.UnknownPrice = u
			u.Policy, err = enumFlag[resourcev1.UnknownPricePolicy](policy)
			return err
		})
		c.on("default-input-price", "unknown_price.default_rates.input", price(input, &rates.Input))
		c.on("default-output-price", "unknown_price.default_rates.output", price(output, &rates.Output))
	}
}
