// Command fairway-dataplane is one proxy and nothing else: the binary for fleets. It links no etcd, no admin API and no
// test code.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"fairway/dataplane"
	"fairway/pkg/version"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal drains; a second one, which the default handler gets, ends at once.
	context.AfterFunc(ctx, stop)
	c := dataplane.Command("fairway-dataplane")
	c.Version = version.String()
	c.SilenceUsage, c.SilenceErrors = true, true
	if err := c.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "fairway-dataplane: %v\n", err)
		return 1
	}
	return 0
}
