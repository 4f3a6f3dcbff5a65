package flags

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Main runs a command as a process and returns its exit code. The first SIGINT or SIGTERM ends the command's context, so
// that it can drain; a second one ends the process at once. An error is one line on standard error.
func Main(c *cobra.Command) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// From the first signal on, the default handler gets the next.
	context.AfterFunc(ctx, stop)
	c.SilenceUsage, c.SilenceErrors = true, true
	if err := c.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", c.Name(), err)
		return 1
	}
	return 0
}
