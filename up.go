package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"fairway/controlplane"
	"fairway/dataplane"
	"fairway/pkg/flags"
	"fairway/pkg/serve"
)

// upCommand runs embedded etcd, a control plane and one proxy in one process.
func upCommand() *cobra.Command {
	c, _ := checkedUp()
	return c
}

// checkedUp returns the command, and what checks its settings once they are resolved.
func checkedUp() (*cobra.Command, func() error) {
	var control controlplane.Config
	var data dataplane.Config
	c := &cobra.Command{
		Use:   "up",
		Short: "Embedded etcd, control plane and one proxy in one process",
		Long: `Run embedded etcd, a control plane and one proxy in one process: all that a single machine needs.

The first start creates the data directory with everything in it, among them operator.token, which the admin commands find by
themselves. Everything listens on loopback unless told otherwise.`,
		Example: "  fairway up\n  fairway up --data-dir /var/lib/fairway --listen 0.0.0.0:8080",
	}
	fs := c.Flags()
	fs.StringVar(&control.DataDir, "data-dir", defaultDataDir(), "where everything is kept")
	fs.StringVar(&control.OpsListen, "control-ops-listen", "127.0.0.1:9092", "control plane's metrics and health")
	fs.StringVar(&data.OpsListen, "proxy-ops-listen", "127.0.0.1:9091", "proxy's metrics and health")
	control.Flags(fs)
	data.Flags(fs)
	flags.Serving(c, func(ctx context.Context, log *slog.Logger) error {
		control.Log, data.Log = log.With("plane", "control"), log.With("plane", "data")
		control, data := together(control, data)
		return up(ctx, control, data, os.Stdout)
	})
	return c, func() error {
		control, data := together(control, data)
		// Where the proxy finds the control plane is known once that listens.
		data.ControlPlane = []string{control.SyncListen}
		return errors.Join(control.Check(), data.Check())
	}
}

// together fills in what the two planes of one process have in common.
func together(control controlplane.Config, data dataplane.Config) (controlplane.Config, dataplane.Config) {
	control.Embedded = true
	data.OpsTokenFile, data.Pprof = control.OpsTokenFile, control.Pprof
	data.StateDir = filepath.Join(control.DataDir, "proxy")
	data.JoinTokenFile = filepath.Join(control.DataDir, "join.token")
	return control, data
}

// up runs both planes until ctx ends. The proxy stops first, so that its last usage finds a control plane; it joins by
// the token in the data directory, like any proxy of this host.
func up(ctx context.Context, control controlplane.Config, data dataplane.Config, out io.Writer) error {
	syncAddress := make(chan controlplane.Addresses, 1)
	control.Listening = func(a controlplane.Addresses) { syncAddress <- a }
	return serve.InOrder(ctx,
		serve.Part{Name: "control plane", Run: func(ctx context.Context) error { return controlplane.Run(ctx, control) }},
		serve.Part{Name: "proxy", Run: func(ctx context.Context) error {
			var at controlplane.Addresses
			select {
			case at = <-syncAddress:
			case <-ctx.Done():
				return nil
			}
			data.ControlPlane = []string{at.Sync}
			data.Listening = func(d dataplane.Addresses) { greet(out, control.DataDir, at, d) }
			return dataplane.Run(ctx, data)
		}})
}

// greet says where everything is.
func greet(out io.Writer, dataDir string, c controlplane.Addresses, d dataplane.Addresses) {
	fmt.Fprintf(out, `Fairway is up.

  proxy    http://%s/v1     point your OpenAI SDK here
  admin    http://%s        operator token in %s
  metrics  http://%s/metrics (proxy), http://%s/metrics (control plane)

  Next:
    fairway channel create openai --provider openai --base-url https://api.openai.com --models gpt-4o-mini --secret-env OPENAI_API_KEY --wait
    fairway key create me --wait

`, d.Proxy, c.Admin, filepath.Join(dataDir, "operator.token"), d.Ops, c.Ops)
}

// controlPlaneCommand runs a control-plane replica on an etcd cluster, or on embedded etcd.
func controlPlaneCommand() *cobra.Command {
	var control controlplane.Config
	c := &cobra.Command{
		Use:   "controlplane",
		Short: "One control-plane replica",
		Long: `Run one control-plane replica. With --etcd-endpoints it keeps its state in that cluster and several replicas can run
side by side; without, it embeds etcd in its data directory. All replicas of a cluster need the same key-encryption key
(--kek-file or FAIRWAY_KEK).`,
		Example: "  fairway controlplane --etcd-endpoints https://etcd-1:2379,https://etcd-2:2379 --etcd-ca-file ca.pem --kek-file kek",
	}
	fs := c.Flags()
	fs.StringVar(&control.DataDir, "data-dir", defaultDataDir(), "where tokens, the key-encryption key and embedded etcd are kept")
	fs.StringVar(&control.OpsListen, "ops-listen", "127.0.0.1:9092", "metrics and health")
	control.Flags(fs)
	control.EtcdFlags(fs)
	flags.Serving(c, func(ctx context.Context, log *slog.Logger) error {
		control.Log = log
		control.Embedded = len(control.Etcd.Endpoints) == 0
		return controlplane.Run(ctx, control)
	})
	return c
}
