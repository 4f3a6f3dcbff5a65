package controlplane

import (
	"os"
	"time"

	"github.com/spf13/pflag"

	"fairway/pkg/secret"
)

// Flags binds what every control plane has to fs; the commands add their own for what differs.
func (c *Config) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&c.AdminListen, "admin-listen", "127.0.0.1:8081", "admin API, host:port or unix:/path")
	fs.StringVar(&c.AdminTLSCertFile, "admin-tls-cert-file", "", "PEM certificate chain of the admin API; needed beyond loopback")
	fs.StringVar(&c.AdminTLSKeyFile, "admin-tls-key-file", "", "PEM key of the admin API")
	fs.StringVar(&c.SyncListen, "sync-listen", "127.0.0.1:8082", "state sync, for proxies and replicas; mutual TLS always")
	fs.StringVar(&c.SyncAdvertise, "sync-advertise", "", "where others reach --sync-listen, host:port (default: the address it listens on)")
	fs.StringVar(&c.KEKFile, "kek-file", "", "key-encryption key, base64 of 32 bytes; created when absent (default <data-dir>/kek; env FAIRWAY_KEK holds the key itself)")
	fs.StringVar(&c.OpsTokenFile, "ops-token-file", "", "file with the bearer token that /metrics wants; needed beyond loopback")
	fs.StringSliceVar(&c.TokenAllowCIDRs, "token-allow-cidr", nil, "ranges that token endpoints may be in although they are private or special")
	fs.StringSliceVar(&c.NotifyAllowCIDRs, "notify-allow-cidr", nil, "ranges that webhooks and mail servers of notifiers may be in although they are private or special")
	fs.IntVar(&c.UsageHourlyDays, "usage-hourly-days", defaultHourlyDays, "how many days usage is kept by hour; then it is summed up by day; at least 40")
	fs.IntVar(&c.UsageDailyDays, "usage-daily-days", defaultDailyDays, "how many days usage is kept at all")
	fs.DurationVar(&c.UsageQueryTimeout, "usage-query-timeout", 20*time.Second, "how long one query of usage may take")
	fs.DurationVar(&c.SlowUsageQuery, "slow-usage-query", time.Second, "log queries of usage that take longer")
	fs.BoolVar(&c.Pprof, "pprof", false, "serve Go profiles on the ops listener")
	fs.BoolVar(&c.ResetOwnerToken, "reset-owner-token", false, "give the operator \"owner\" a new token, in <data-dir>/operator.token; for once, when it was lost")
	c.KEK = os.Getenv("FAIRWAY_KEK")
}

// EtcdFlags binds what names an etcd cluster to fs.
func (c *Config) EtcdFlags(fs *pflag.FlagSet) {
	fs.StringSliceVar(&c.Etcd.Endpoints, "etcd-endpoints", nil, "etcd cluster, such as https://etcd-1:2379 (default: embedded etcd)")
	fs.StringVar(&c.Etcd.CAFile, "etcd-ca-file", "", "PEM of who signs etcd's certificates")
	fs.StringVar(&c.Etcd.CertFile, "etcd-cert-file", "", "PEM certificate for etcd's client authentication")
	fs.StringVar(&c.Etcd.KeyFile, "etcd-key-file", "", "PEM key of it")
	fs.StringVar(&c.Etcd.Username, "etcd-username", "", "user for etcd's authentication; the password is in FAIRWAY_ETCD_PASSWORD")
	c.Etcd.Password = os.Getenv("FAIRWAY_ETCD_PASSWORD")
}

func password(s string) secret.String { return secret.New(s) }
