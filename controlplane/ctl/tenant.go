package ctl

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func tenants() kind {
	return kind{
		name:  "tenant",
		title: "Tenant",
		short: "Who owns keys: people, teams, customers",
		example: `  fairway tenant create acme --budget 100/month --groups default,premium
  fairway tenant create acme-alice --parent acme --rpm 60 --budget 5/day --time-zone Europe/Berlin`,
		header: []string{"name", "parent", "groups", "limits", "description", "state"},
		fresh:  func(md *resourcev1.Metadata) resource { return &resourcev1.Tenant{Metadata: md} },
		row: typedRow(func(r *resourcev1.Tenant) []string {
			groups := "all"
			if len(r.GetGroups()) > 0 {
				groups = strings.Join(r.GetGroups(), ",")
			}
			return []string{r.GetMetadata().GetName(), dash(r.GetParent()), groups, limitWords(r.GetLimits()), dash(visible(r.GetDescription())), state(r.GetDisabled())}
		}),
		fields: tenantFields,
		offers: func(s *session, c *cobra.Command) {
			completeLimits(c)
			_ = c.RegisterFlagCompletionFunc("parent", completeName(s, tenants()))
			_ = c.RegisterFlagCompletionFunc("groups", completeList(s, groups()))
		},
	}
}

func tenantFields(fs *pflag.FlagSet) fieldReader {
	var description, parent string
	var disabled bool
	var groups []string
	var labels map[string]string
	fs.StringVar(&description, "description", "", "who it is")
	fs.StringVar(&parent, "parent", "", "tenant that it is a part of, such as a person's team; none = it is no part")
	fs.BoolVar(&disabled, "disabled", false, "refuse its keys, and those of the tenants that are parts of it")
	fs.StringSliceVar(&groups, "groups", nil, "groups that its keys may be in; '*' = all (default: all)")
	fs.StringToStringVar(&labels, "label", nil, "name=value")
	limits := limitFields(fs)
	return typedFields(func(r *resourcev1.Tenant, c *changes) {
		c.on("description", "description", always(func() { r.Description = description }))
		c.on("parent", "parent", func() (err error) { r.Parent, err = reference(parent); return err })
		c.on("disabled", "disabled", always(func() { r.Disabled = disabled }))
		c.on("groups", "groups", func() (err error) { r.Groups, err = chosen(groups); return err })
		c.on("label", "metadata.labels", always(func() { r.Metadata.Labels = labels }))
		limits(&r.Limits, c)
	})
}
