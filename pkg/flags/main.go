package flags

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Main runs a command as a process and returns its exit code. The first SIGINT or SIGTERM ends the command's context, so
// that it can drain; a second one ends the process at once. An error is one line on standard error, and the code 1 unless
// it has an ExitCode of its own.
func Main(c *cobra.Command) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// From the first signal on, the default handler gets the next.
	context.AfterFunc(ctx, stop)
	c.SilenceUsage, c.SilenceErrors = true, true
	if err := c.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", c.Name(), err)
		return exitCode(err)
	}
	return 0
}

func exitCode(err error) int {
	var own interface{ ExitCode() int }
	if errors.As(err, &own) && own.ExitCode() > 0 {
		return own.ExitCode()
	}
	return 1
}
