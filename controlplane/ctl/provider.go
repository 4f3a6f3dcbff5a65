package ctl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	resourcev1 "fairway/pkg/gen/fairway/resource/v1"
	"fairway/pkg/provider"
)

// providerFlag reads the name of a provider, or of a preset of what is compatible with OpenAI.
func providerFlag(name string) (resourcev1.Provider, string, error) {
	p, preset, ok := provider.ByName(strings.ReplaceAll(name, "_", "-"))
	if !ok {
		return 0, "", fmt.Errorf("%q is not one of %s", name, strings.Join(providerNames(), ", "))
	}
	return resourcev1.Provider(p), preset, nil
}

func providerNames() []string {
	var names []string
	for _, f := range provider.All() {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	return names
}

// providerName is what a channel's provider and preset are called together.
func providerName(r *resourcev1.Channel) string {
	if f, ok := provider.Lookup(int32(r.GetProvider()), r.GetPreset()); ok {
		return f.Name
	}
	return enumName(r.GetProvider().Descriptor(), r.GetProvider().Number())
}

// completeChannel offers the values of flags that take one of a few.
func completeChannel(_ *session, c *cobra.Command) {
	_ = c.RegisterFlagCompletionFunc("provider", cobra.FixedCompletions(providerNames(), cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("stream-format", cobra.FixedCompletions([]string{asAsked, "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
}

// completeAccount is the same for accounts.
func completeAccount(_ *session, c *cobra.Command) {
	_ = c.RegisterFlagCompletionFunc("exchange", cobra.FixedCompletions(append(exchangeNames(), "none"), cobra.ShellCompDirectiveNoFileComp))
}
