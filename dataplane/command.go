package dataplane

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"fairway/pkg/flags"
)

// Flags binds what every proxy has to fs; the commands add their own for what differs.
func (c *Config) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&c.Listen, "listen", "127.0.0.1:8080", "where clients connect, host:port or unix:/path")
	fs.StringSliceVar(&c.TLSCertFiles, "tls-cert-file", nil, "PEM certificate chains for clients, chosen by the name they ask for; replaced files count without a restart")
	fs.StringSliceVar(&c.TLSKeyFiles, "tls-key-file", nil, "PEM keys of the certificates, in the same order")
	fs.StringSliceVar(&c.UpstreamAllowCIDRs, "upstream-allow-cidr", nil, "ranges that upstreams may be in although they are private or special")
	fs.DurationVar(&c.DrainTimeout, "drain-timeout", 30*time.Second, "how long requests may finish after SIGTERM")
	fs.Int64Var(&c.MaxBody, "max-body", 32<<20, "largest request body, in bytes")
	fs.Int64Var(&c.MaxBodiesInFlight, "max-bodies-in-flight", 1<<30, "request bodies in memory at once, in bytes; beyond it requests get 503")
	fs.IntVar(&c.MaxConns, "max-connections", 65536, "client connections at once")
	fs.StringVar(&c.AccessLog.File, "access-log", "", "file for a JSON line per failed request, and for a share of the others; - = standard output")
	fs.Float64Var(&c.AccessLog.Sample, "access-log-sample", 0, "share of good requests that get a line, 0 to 1")
	fs.IntVar(&c.AccessLog.Buffer, "access-log-buffer", 4096, "lines that may wait to be written; more are dropped and counted")
	fs.Int64Var(&c.AccessLog.MaxSize, "access-log-max-size", 100<<20, "bytes after which the file is rotated; negative = never (SIGHUP opens it again)")
	fs.IntVar(&c.AccessLog.Keep, "access-log-keep", 5, "rotated files to keep")
	fs.BoolVar(&c.AccessLog.Bodies, "access-log-bodies", false, "lines have PROMPTS AND ANSWERS too: whoever reads the file reads what your users say; credentials are masked as far as they are known by their form")
	fs.IntVar(&c.AccessLog.MaxBody, "access-log-max-body", 16<<10, "bytes of each prompt and answer that a line has at most")
	fs.StringVar(&c.OTLP.Endpoint, "otlp-endpoint", "", "base URL of an OpenTelemetry collector for OTLP/HTTP, such as https://collector:4318; empty = nothing is sent")
	fs.StringVar(&c.OTLP.HeadersFile, "otlp-headers-file", "", "file with a line \"Name: value\" for each header that the collector wants")
	fs.StringVar(&c.OTLP.CAFile, "otlp-ca-file", "", "PEM certificates that the collector's may come from; empty = those of the system")
	fs.BoolVar(&c.OTLP.Insecure, "otlp-insecure", false, "let an http:// endpoint be beyond this host: headers and facts of requests go there in the clear")
	fs.StringSliceVar(&c.OTLP.Signals, "otlp-signals", []string{traces, metrics}, "what is sent: traces, metrics")
	fs.Float64Var(&c.OTLP.Sample, "otlp-sample", 1, "share of traces that begin here and are sent, 0 to 1; failed requests always are, and a client's traceparent decides for its own")
	fs.IntVar(&c.OTLP.Buffer, "otlp-buffer", 4096, "requests that may wait to become traces and metrics; more are dropped and counted")
	fs.IntVar(&c.MaxRequests, "max-requests", 32768, "requests under way at once, streams included; beyond it requests get 503")
	fs.IntVar(&c.MaxStreams, "max-streams", 0, "streams at once; beyond it streams get 503; 0 = as many as requests")
	fs.IntVar(&c.WarmConns, "warm-connections", 1, "connections to each upstream address that are open, TLS included, before a request needs one")
	fs.IntVar(&c.MaxUpstreamConns, "max-upstream-connections", 8192, "connections to one upstream address; beyond it requests wait for one")
}

// Command is the command that runs one proxy, under the given name: `fairway dataplane` and `fairway-dataplane`.
func Command(use string) *cobra.Command {
	var c Config
	cmd := &cobra.Command{
		Use:   use,
		Short: "One proxy of a fleet",
		Long: `Run one proxy. It joins the control plane with a token, keeps its certificate in its state directory, and serves from
memory alone: when the control plane is away it goes on with what it knows, also after a restart.`,
		Example: "  " + use + " --control-plane cp-1:8082,cp-2:8082 --join-token-file join.token --state-dir /var/lib/fairway-proxy",
	}
	fs := cmd.Flags()
	fs.StringSliceVar(&c.ControlPlane, "control-plane", nil, "sync addresses of the control plane, host:port")
	fs.StringVar(&c.JoinTokenFile, "join-token-file", "", "file with the join token; needed until the proxy has its certificate")
	fs.StringVar(&c.StateDir, "state-dir", "", "where identity, last-known-good state and unsent usage are kept")
	_ = cmd.MarkFlagRequired("control-plane")
	_ = cmd.MarkFlagRequired("state-dir")
	fs.StringVar(&c.OpsListen, "ops-listen", "127.0.0.1:9091", "health and metrics")
	fs.StringVar(&c.OpsTokenFile, "ops-token-file", "", "file with the bearer token that /metrics wants; needed beyond loopback")
	fs.BoolVar(&c.Pprof, "pprof", false, "serve Go profiles on the ops listener")
	c.Flags(fs)
	flags.Serving(cmd, func(ctx context.Context, log *slog.Logger) error {
		c.Log = log
		return Run(ctx, c)
	})
	return cmd
}
