package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"fairway/dataplane"
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
variable, the variable over the file. Names and values are checked for all three commands, and what they mean together as
fairway up would take them.`,
		Example: "  fairway config check --config fairway.yaml",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if path == "" {
				path = os.Getenv(flags.EnvName(flags.Config))
			}
			problems := configProblems(path)
			for _, p := range problems {
				fmt.Fprintln(os.Stderr, p)
			}
			switch len(problems) {
			case 0:
				fmt.Println("the configuration is good")
				return nil
			case 1:
				return errors.New("1 problem")
			}
			return fmt.Errorf("%d problems", len(problems))
		},
	}
	check.Flags().StringVar(&path, flags.Config, "", "YAML file (env FAIRWAY_CONFIG)")
	c.AddCommand(check)
	return c
}

// elsewhere are the variables that are no flags of a command that serves.
var elsewhere = []string{ //nolint:gochecknoglobals // a constant list
	"FAIRWAY_KEK", "FAIRWAY_ETCD_PASSWORD", "FAIRWAY_SERVER", "FAIRWAY_TOKEN", "FAIRWAY_TOKEN_FILE", "FAIRWAY_KEY",
}

// configProblems is everything that is wrong with the file at path (empty = none) and with the environment.
func configProblems(path string) []error {
	serving := &cobra.Command{Use: "fairway"}
	up, checkUp := checkedUp()
	serving.AddCommand(up, controlPlaneCommand(), dataplane.Command("dataplane"))
	if problems := flags.Check(serving, path, os.Environ(), elsewhere...); len(problems) > 0 {
		return problems
	}
	if path != "" {
		if err := up.Flags().Set(flags.Config, path); err != nil {
			return []error{err}
		}
	}
	if err := up.PersistentPreRunE(up, nil); err != nil {
		return []error{err}
	}
	return split(checkUp())
}

// split takes a joined error apart.
func split(err error) []error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, split(e)...)
	}
	return all
}
