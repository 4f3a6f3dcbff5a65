package ctl

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/types/known/durationpb"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
)

func keys() kind {
	return kind{
		name:  "key",
		title: "Key",
		short: "What clients present",
		example: `  fairway key create alice --group default --expires-in 30d -o json
  fairway key create ci --tenant acme --rpm 60 --tpm 200000 --concurrency 4 --budget 10/day --budget 100/month
  fairway key create trial --budget 5/total --expires-after-first-use 7d --allow-models 'gpt-4o-mini,claude-*' --deny-models 'claude-opus-*'`,
		header: []string{"name", "group", "tenant", "models", "expires", "limits", "state"},
		fresh:  func(md *resourcev1.Metadata) resource { return &resourcev1.Key{Metadata: md} },
		row: typedRow(func(r *resourcev1.Key) []string {
			return []string{r.GetMetadata().GetName(), r.GetGroup(), dash(r.GetTenant()), keyModels(r), keyEnd(r),
				limitWords(r.GetLimits()), state(r.GetDisabled())}
		}),
		fields: keyFields,
		offers: completeKey,
	}
}

func keyModels(r *resourcev1.Key) string {
	models := "all"
	if len(r.GetModels()) > 0 {
		models = strings.Join(r.GetModels(), ",")
	}
	if len(r.GetDeniedModels()) > 0 {
		models += " but " + strings.Join(r.GetDeniedModels(), ",")
	}
	return models
}

// keyEnd is when a key ends, as far as that is known before it is used.
func keyEnd(r *resourcev1.Key) string {
	if d := r.GetExpireAfterFirstUse(); d != nil && r.GetExpireTime() == nil {
		return lengthText(d.AsDuration()) + " after first use"
	}
	return when(r.GetExpireTime())
}

// formerKeyFlags are names that flags of keys had before, and still have.
func formerKeyFlags() map[string]string {
	return map[string]string{"models": "allow-models", "allowed-ips": "allow-ips", "label": "tag"}
}

func keyFields(fs *pflag.FlagSet) fieldReader {
	var (
		group, tenant                  string
		expires, expiresIn, afterUse   string
		allowed, denied                []string
		ips, clients, accounts         []string
		disabled, strict, debugHeaders bool
		tags                           map[string]string
	)
	fs.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(first(formerKeyFlags()[name], name))
	})
	fs.StringVar(&group, "group", "", "whose channels it may use (default: default)")
	fs.StringVar(&tenant, "tenant", "", "who owns it; none = nobody")
	fs.StringVar(&expires, "expires", "", "date, RFC 3339 time, duration from now such as 12h or 30d, or never")
	fs.StringVar(&expiresIn, "expires-in", "", "how long it lives from now on, such as 12h or 30d")
	fs.StringVar(&afterUse, "expires-after-first-use", "", "how long it lives from its first use on, unless --expires says when; never = that does not matter")
	fs.StringSliceVar(&allowed, "allow-models", nil, "models that it may ask for; a trailing * matches the rest (default: all)")
	fs.StringSliceVar(&denied, "deny-models", nil, "models that it may not ask for, whatever is allowed; a trailing * matches the rest; none = no such models")
	fs.StringSliceVar(&ips, "allow-ips", nil, "addresses or CIDRs that may use it (default: any)")
	fs.StringSliceVar(&clients, "clients", nil, "how the User-Agent of clients that may use it begins, such as claude-cli/; '*' = any. It keeps out mistakes, nobody else (default: any)")
	fs.StringSliceVar(&accounts, "accounts", nil, "accounts that may serve it; '*' = all of its group (default: all)")
	fs.BoolVar(&disabled, "disabled", false, "refuse it")
	fs.BoolVar(&strict, "strict", false, "refuse what another dialect cannot carry whole, instead of naming what was lost")
	fs.BoolVar(&debugHeaders, "debug-headers", false, "answers say in x-fairway-* headers who served, and after which attempts")
	fs.StringToStringVar(&tags, "tag", nil, "name=value")
	limits := limitFields(fs)
	return typedFields(func(r *resourcev1.Key, c *changes) {
		c.on("group", "group", always(func() { r.Group = group }))
		c.on("tenant", "tenant", func() (err error) { r.Tenant, err = reference(tenant); return err })
		c.on("expires", "expire_time", func() (err error) { r.ExpireTime, err = expiry(expires, time.Now()); return err })
		c.on("expires-in", "expire_time", func() error {
			if fs.Changed("expires") {
				return errors.New("give it or --expires, not both")
			}
			d, err := lifetime(expiresIn)
			if err != nil {
				return err
			}
			r.ExpireTime, err = expiry(d.String(), time.Now())
			return err
		})
		c.on("expires-after-first-use", "expire_after_first_use", func() error {
			if afterUse == "never" {
				return nil
			}
			d, err := lifetime(afterUse)
			r.ExpireAfterFirstUse = durationpb.New(d)
			return err
		})
		// An empty list means "all", which nobody means who gives an empty value: "$MODELS" was not set.
		c.on("allow-models", "models", func() (err error) { r.Models, err = named(allowed, "'*' for all"); return err })
		c.on("deny-models", "denied_models", func() (err error) {
			if len(denied) == 1 && denied[0] == nothing {
				return nil
			}
			r.DeniedModels, err = named(denied, nothing+" for no such models")
			return err
		})
		c.on("allow-ips", "allowed_ips", func() (err error) { r.AllowedIps, err = named(ips, "0.0.0.0/0,::/0 for any"); return err })
		c.on("clients", "clients", func() (err error) { r.Clients, err = chosen(clients); return err })
		c.on("accounts", "accounts", func() (err error) { r.Accounts, err = chosen(accounts); return err })
		c.on("disabled", "disabled", always(func() { r.Disabled = disabled }))
		c.on("strict", "strict", always(func() { r.Strict = strict }))
		c.on("debug-headers", "debug_headers", always(func() { r.DebugHeaders = debugHeaders }))
		c.on("tag", "metadata.labels", always(func() { r.Metadata.Labels = tags }))
		limits(&r.Limits, c)
	})
}

// lifetime reads how long a key lives.
func lifetime(s string) (time.Duration, error) {
	d, err := length(s)
	if err != nil || d < time.Minute || d > 3652*day {
		return 0, fmt.Errorf("%q is not a duration between 1m and ten years, such as 12h or 30d", s)
	}
	return d, nil
}

// completeKey offers the values of a key's flags.
func completeKey(s *session, c *cobra.Command) {
	completeLimits(c)
	_ = c.RegisterFlagCompletionFunc("group", completeName(s, groups()))
	_ = c.RegisterFlagCompletionFunc("tenant", completeName(s, tenants()))
	_ = c.RegisterFlagCompletionFunc("accounts", completeList(s, accounts()))
	for _, flag := range []string{"expires", "expires-in", "expires-after-first-use", "allow-models", "deny-models", "allow-ips", "clients", "tag"} {
		_ = c.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions)
	}
}
