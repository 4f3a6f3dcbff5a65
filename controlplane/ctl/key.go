package ctl

import (
	"strings"
	"time"

	"github.com/spf13/pflag"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func keys() kind {
	return kind{
		name:    "key",
		title:   "Key",
		short:   "What clients present",
		example: `  fairway key create alice --group default --expires 720h -o json`,
		header:  []string{"name", "group", "tenant", "models", "expires", "state"},
		fresh:   func(md *resourcev1.Metadata) resource { return &resourcev1.Key{Metadata: md} },
		row: typedRow(func(r *resourcev1.Key) []string {
			models := "all"
			if len(r.GetModels()) > 0 {
				models = strings.Join(r.GetModels(), ",")
			}
			return []string{r.GetMetadata().GetName(), r.GetGroup(), dash(r.GetTenant()), models, when(r.GetExpireTime()), state(r.GetDisabled())}
		}),
		fields: keyFields,
	}
}

func keyFields(fs *pflag.FlagSet) fieldReader {
	var (
		group, tenant, expires string
		models, ips            []string
		disabled, strict       bool
		debugHeaders           bool
		labels                 map[string]string
	)
	fs.StringVar(&group, "group", "", "whose channels it may use (default: default)")
	fs.StringVar(&tenant, "tenant", "", "who owns it")
	fs.StringVar(&expires, "expires", "", "date, RFC 3339 time, duration from now, or never")
	fs.StringSliceVar(&models, "models", nil, "models that it may ask for; a trailing * matches the rest (default: all)")
	fs.StringSliceVar(&ips, "allowed-ips", nil, "addresses or CIDRs that may use it (default: any)")
	fs.BoolVar(&disabled, "disabled", false, "refuse it")
	fs.BoolVar(&strict, "strict", false, "refuse what another dialect cannot carry whole, instead of naming what was lost")
	fs.BoolVar(&debugHeaders, "debug-headers", false, "answers say in x-fairway-* headers who served, and after which attempts")
	fs.StringToStringVar(&labels, "label", nil, "name=value")
	return typedFields(func(r *resourcev1.Key, c *changes) {
		c.on("group", "group", always(func() { r.Group = group }))
		c.on("tenant", "tenant", always(func() { r.Tenant = tenant }))
		c.on("expires", "expire_time", func() (err error) { r.ExpireTime, err = expiry(expires, time.Now()); return err })
		// An empty list means "all", which nobody means who gives an empty value: "$MODELS" was not set.
		c.on("models", "models", func() (err error) { r.Models, err = named(models, "'*' for all"); return err })
		c.on("allowed-ips", "allowed_ips", func() (err error) { r.AllowedIps, err = named(ips, "0.0.0.0/0,::/0 for any"); return err })
		c.on("disabled", "disabled", always(func() { r.Disabled = disabled }))
		c.on("strict", "strict", always(func() { r.Strict = strict }))
		c.on("debug-headers", "debug_headers", always(func() { r.DebugHeaders = debugHeaders }))
		c.on("label", "metadata.labels", always(func() { r.Metadata.Labels = labels }))
	})
}
