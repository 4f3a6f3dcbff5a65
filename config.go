package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"fairway/pkg/flags"
)

// configCommand checks configuration without running anything.
func configCommand() *cobra.Command {
	var path string
	c := &cobra.Command{Use: "config", Short: "Configuration", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() }}
	check := &cobra.Command{
		Use:   "check",
		Short: "Check the configuration file and the FAIRWAY_ variables, all of them",
		Long: `Check the configuration file and the FAIRWAY_ variables. Every flag of up, controlplane and dataplane can be given as an
environment variable (--data-dir is FAIRWAY_DATA_DIR) or as a key of the file (data-dir: …). The flag wins over the
variable, the variable over the file.`,
		Example: "  fairway config check --config fairway.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				path = os.Getenv(flags.EnvName(flags.Config))
			}
			problems := flags.Check(cmd.Root(), path, os.Environ(), "FAIRWAY_TOKEN", "FAIRWAY_KEK", "FAIRWAY_ETCD_PASSWORD")
			for _, p := range problems {
				fmt.Fprintln(os.Stderr, p)
			}
			if len(problems) > 0 {
				return fmt.Errorf("%d problems", len(problems))
			}
			fmt.Println("the configuration is good")
			return nil
		},
	}
	check.Flags().StringVar(&path, flags.Config, "", "YAML file (env FAIRWAY_CONFIG)")
	c.AddCommand(check)
	return c
}
