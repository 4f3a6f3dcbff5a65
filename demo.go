package main

import (
	"os"

	"github.com/spf13/cobra"

	"fairway/deploy/demo"
	"fairway/pkg/telemetry"
)

// demoCommand shows everything on one machine, with a fake provider.
func demoCommand() *cobra.Command {
	var o demo.Options
	var logs telemetry.LogFlags
	c := &cobra.Command{
		Use:   "demo",
		Short: "All of Fairway with a fake provider: real requests, and what happened to each",
		Long: `Start embedded etcd, control plane, proxy and a fake provider with three accounts (one of them out of quota) in a temporary
directory, send real requests through it with an official SDK, and show what happened. It stays up until ctrl-c.`,
		Example: "  fairway demo\n  fairway demo --once",
		Args:    cobra.NoArgs,
	}
	c.Flags().BoolVar(&o.Once, "once", false, "end after the story; fail if any step did")
	logs.Flags(c.Flags())
	_ = c.Flags().Set("log-level", "error")
	c.Flags().Lookup("log-level").DefValue = "error"
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		log, err := logs.Logger(os.Stderr)
		if err != nil {
			return err
		}
		o.Log, o.Out = log, os.Stdout
		return demo.Run(cmd.Context(), o)
	}
	return c
}
