package flags

import (
	"context"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"fairway/pkg/serve"
	"fairway/pkg/telemetry"
)

// Serving makes c a command that serves until its context ends: its flags may come from the environment and from a file,
// it logs to standard error as its flags say, and the garbage collector knows how much memory there is. Bind the command's
// own flags before or after.
func Serving(c *cobra.Command, run func(ctx context.Context, log *slog.Logger) error) {
	var logs telemetry.LogFlags
	logs.Flags(c.Flags())
	AddConfig(c.Flags())
	c.Args = cobra.NoArgs
	c.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		if err := Resolve(c, os.LookupEnv); err != nil {
			return err
		}
		_, err := logs.Logger(io.Discard)
		return err
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		log, err := logs.Logger(os.Stderr)
		if err != nil {
			return err
		}
		serve.LimitMemory(log)
		serve.CollectLess()
		return run(c.Context(), log)
	}
}
