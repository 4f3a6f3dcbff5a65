// Package controlplane is the door to the control plane: it takes a Config, wires the rooms under internal, runs them in
// order and stops them in reverse. It refuses to do their work: what is decided about resources, trust, sync or usage is
// decided in a room.
package controlplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/controlplane/internal/ledger"
	"fairway/controlplane/internal/store"
	"fairway/pkg/secret"
	"fairway/pkg/serve"
	"fairway/pkg/telemetry"
)

// Config of one control-plane replica.
type Config struct {
	// DataDir keeps tokens, the key-encryption key and embedded etcd; mode 0700. Required.
	DataDir string
	// Embedded runs etcd inside this process, in DataDir. Otherwise Etcd names a cluster.
	Embedded bool
	Etcd     EtcdConfig

	// AdminListen serves the admin API; beyond loopback it needs AdminTLS.
	AdminListen                       string
	AdminTLSCertFile, AdminTLSKeyFile string
	// SyncListen serves proxies and other replicas, with mutual TLS always.
	SyncListen string
	// SyncAdvertise is where others reach SyncListen, host:port; empty = the address it listens on.
	SyncAdvertise string
	// OpsListen serves health and metrics; beyond loopback metrics need OpsTokenFile.
	OpsListen    string
	OpsTokenFile string
	Pprof        bool

	// KEKFile holds the key-encryption key; created on first start. Empty = DataDir/kek. KEK, when not empty, is used
	// instead (base64 of 32 bytes).
	KEKFile string
	KEK     string

	// TokenAllowCIDRs are the ranges that token endpoints, where credentials are exchanged, may be in although they are not
	// public.
	TokenAllowCIDRs []string
	// NotifyAllowCIDRs are the ranges that notifiers' webhooks and mail servers may be in although they are not public.
	NotifyAllowCIDRs []string

	// UsageHourlyDays is how many days usage is kept by hour, at least 40; 0 = 90. UsageDailyDays is how many it is kept by
	// day, from the usage on; 0 = 1095.
	UsageHourlyDays, UsageDailyDays int
	// UsageQueryTimeout bounds a query of usage; 0 = 20s. SlowUsageQuery is from when on one is logged; 0 = 1s.
	UsageQueryTimeout, SlowUsageQuery time.Duration

	// ResetOwnerToken gives the first owner a new token at the start, in DataDir/operator.token.
	ResetOwnerToken bool

	// Registry takes the metrics and is shown at /metrics; nil = a new one, with those of the Go runtime and the process.
	Registry *prometheus.Registry
	// Log; nil = none.
	Log *slog.Logger
	// Listening is called once, when everything answers; nil = nobody is told.
	Listening func(Addresses)
}

// EtcdConfig names an etcd cluster.
type EtcdConfig struct {
	Endpoints                 []string
	CAFile, CertFile, KeyFile string
	Username, Password        string
}

// Addresses are what the listeners got, host:port or unix:/path.
type Addresses struct {
	Admin, Sync, Ops string
}

// Run runs one replica until ctx ends. Then it asks its proxies to move, finishes what is under way, and returns nil.
func Run(ctx context.Context, c Config) error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if err := c.Check(); err != nil {
		return err
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	registry := c.Registry
	if registry == nil {
		registry = telemetry.NewRegistry()
	}
	ls, err := c.listen(ctx, registry)
	if err != nil {
		return err
	}
	defer ls.close()
	var ready readiness
	parts := []serve.Part{{Name: "ops", Run: func(ctx context.Context) error { return c.serveOps(ctx, ls, registry, &ready) }}}
	if ls.certificates != nil {
		parts = append(parts, serve.Part{Name: "certificates", Run: ls.certificates.Run})
	}
	return serve.InOrder(ctx, append(parts,
		serve.Part{Name: "replica", Run: func(ctx context.Context) error { return c.replica(ctx, ls, registry, &ready) }})...)
}

// replica opens the data set and runs the rooms on it.
func (c Config) replica(ctx context.Context, ls *listeners, registry *prometheus.Registry, ready *readiness) error {
	var failed <-chan error
	etcd := store.Config{
		Endpoints: c.Etcd.Endpoints, CAFile: c.Etcd.CAFile, CertFile: c.Etcd.CertFile, KeyFile: c.Etcd.KeyFile,
		Username: c.Etcd.Username, Password: password(c.Etcd.Password),
	}
	if c.Embedded {
		e, err := store.StartEmbedded(ctx, store.EmbeddedConfig{Dir: filepath.Join(c.DataDir, "etcd"), Log: c.Log.With("room", "etcd")})
		if err != nil {
			return err
		}
		defer e.Close()
		etcd, failed = store.Config{Endpoints: e.Endpoints(), Alone: true}, e.Failed()
	}
	st, err := store.Open(ctx, etcd, c.Log.With("room", "store"))
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer func() {
		if err := st.Close(); err != nil {
			c.Log.Warn("etcd client not closed", "error", err)
		}
	}()
	r, err := c.wire(ctx, st, ls, registry)
	if err != nil {
		return err
	}
	r.etcdFailed = failed
	return r.run(ctx, ready)
}

// Check refuses configurations that cannot work or are not safe, all that is wrong at once. It touches nothing.
func (c Config) Check() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if c.DataDir == "" {
		bad("--data-dir is empty")
	}
	if c.KEK != "" {
		if _, err := secret.ParseKEK(c.KEK); err != nil {
			bad("FAIRWAY_KEK: %w", err)
		}
	}
	if _, err := prefixes("token-allow-cidr", c.TokenAllowCIDRs); err != nil {
		problems = append(problems, err)
	}
	if _, err := prefixes("notify-allow-cidr", c.NotifyAllowCIDRs); err != nil {
		problems = append(problems, err)
	}
	hourly, daily := cmp.Or(c.UsageHourlyDays, defaultHourlyDays), cmp.Or(c.UsageDailyDays, defaultDailyDays)
	switch {
	case hourly < int(ledger.MinHourly/(24*time.Hour)) || hourly > maxUsageDays:
		bad("--usage-hourly-days %d: want %d to %d, because usage of proxies that were cut off can be 31 days late",
			hourly, int(ledger.MinHourly/(24*time.Hour)), maxUsageDays)
	case daily < hourly || daily > maxUsageDays:
		bad("--usage-daily-days %d: want --usage-hourly-days (%d) to %d", daily, hourly, maxUsageDays)
	}
	if c.UsageQueryTimeout < 0 || c.SlowUsageQuery < 0 {
		bad("--usage-query-timeout and --slow-usage-query cannot be negative")
	}
	for name, addr := range map[string]string{"--admin-listen": c.AdminListen, "--sync-listen": c.SyncListen, "the ops listener": c.OpsListen} {
		if err := serve.CheckAddress(addr); err != nil {
			bad("%s: %w", name, err)
		}
	}
	if _, _, err := net.SplitHostPort(c.SyncAdvertise); c.SyncAdvertise != "" && err != nil {
		bad("--sync-advertise %q: want host:port", c.SyncAdvertise)
	}
	if !c.Embedded && len(c.Etcd.Endpoints) == 0 {
		bad("--etcd-endpoints is empty")
	}
	if (c.AdminTLSCertFile == "") != (c.AdminTLSKeyFile == "") {
		bad("--admin-tls-cert-file and --admin-tls-key-file go together")
	}
	if !serve.Loopback(c.AdminListen) && c.AdminTLSCertFile == "" {
		bad("--admin-listen %s can be reached from other hosts, and operators' tokens would travel in the clear: "+
			"give --admin-tls-cert-file and --admin-tls-key-file, or listen on loopback", c.AdminListen)
	}
	if !serve.Loopback(c.OpsListen) && c.OpsTokenFile == "" {
		bad("the ops listener %s can be reached from other hosts: give --ops-token-file, or listen on loopback", c.OpsListen)
	}
	return errors.Join(problems...)
}

// prefixes reads --token-allow-cidr.
func prefixes(option string, texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	var problems []error
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			problems = append(problems, fmt.Errorf("--%s %q: want a range such as 10.0.0.0/8", option, text))
			continue
		}
		out = append(out, p.Masked())
	}
	return out, errors.Join(problems...)
}

// How many days usage is kept by hour and by day, and the most that either can be.
const (
	defaultHourlyDays = 90
	defaultDailyDays  = 3 * 365
	maxUsageDays      = 36_500
)

// drainTime is how long proxies get to move elsewhere, and requests to finish.
const drainTime = 10 * time.Second
