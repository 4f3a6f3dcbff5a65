package ctl

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func operators() kind {
	return kind{
		name:  "operator",
		title: "Operator",
		short: "People and programs that administer Fairway",
		example: `  fairway operator create ci --role operator -o json
  fairway operator create acme-admin --role operator --tenant acme -o json`,
		header: []string{"name", "role", "tenant", "created", "state"},
		fresh:  func(md *resourcev1.Metadata) resource { return &resourcev1.Operator{Metadata: md} },
		row: typedRow(func(r *resourcev1.Operator) []string {
			return []string{r.GetMetadata().GetName(), enumName(r.GetRole().Descriptor(), r.GetRole().Number()),
				dash(r.GetTenant()), when(r.GetMetadata().GetCreateTime()), state(r.GetDisabled())}
		}),
		fields: operatorFields,
		offers: func(s *session, c *cobra.Command) {
			_ = c.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(
				enumNames(resourcev1.Role(0).Descriptor()), cobra.ShellCompDirectiveNoFileComp))
			_ = c.RegisterFlagCompletionFunc("tenant", completeName(s, tenants()))
		},
	}
}

func operatorFields(fs *pflag.FlagSet) fieldReader {
	var role, tenant string
	var disabled bool
	var labels map[string]string
	fs.StringVar(&role, "role", "", "viewer, operator or owner")
	fs.StringVar(&tenant, "tenant", "", "only the keys and usage of this tenant, and of the tenants that are parts of it; none = everything (default: everything)")
	fs.BoolVar(&disabled, "disabled", false, "refuse its token")
	fs.StringToStringVar(&labels, "label", nil, "name=value")
	return typedFields(func(r *resourcev1.Operator, c *changes) {
		c.on("role", "role", func() (err error) { r.Role, err = enumFlag[resourcev1.Role](role); return err })
		c.on("tenant", "tenant", func() (err error) { r.Tenant, err = reference(tenant); return err })
		c.on("disabled", "disabled", always(func() { r.Disabled = disabled }))
		c.on("label", "metadata.labels", always(func() { r.Metadata.Labels = labels }))
	})
}
