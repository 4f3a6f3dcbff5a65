// Package dataplane is the door to the data plane: it takes a Config, wires the rooms under internal into one proxy, runs
// them in order and stops them in reverse. It refuses to know requests, and it needs nobody: without a control plane the
// proxy serves what it last knew.
package dataplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/pkg/serve"
)

// Config of one proxy.
type Config struct {
	// ControlPlane are the sync addresses of the control plane's replicas, host:port. Required.
	ControlPlane []string
	// JoinTokenFile holds the token with which the proxy joins; needed until it has a certificate, and read again for each
	// attempt.
	JoinTokenFile string
	// StateDir keeps identity, last-known-good state and usage that is not reported yet; mode 0700, one process each.
	// Required.
	StateDir string

	// Listen serves clients.
	Listen string
	// TLSCertFiles and TLSKeyFiles are the certificates of Listen, in the same order, PEM; none = clients speak without TLS.
	TLSCertFiles, TLSKeyFiles []string
	// OpsListen serves health and metrics; beyond loopback metrics need OpsTokenFile.
	OpsListen    string
	OpsTokenFile string
	Pprof        bool

	// UpstreamAllowCIDRs are the addresses that upstreams may have although they are not public.
	UpstreamAllowCIDRs []string
	// DrainTimeout is how long requests may finish after the end was asked for; 0 = 30s.
	DrainTimeout time.Duration
	// MaxBody bounds one request's body in bytes; 0 = 32 MiB.
	MaxBody int64
	// MaxBodiesInFlight bounds all request bodies in memory at once, in bytes; 0 = 1 GiB.
	MaxBodiesInFlight int64
	// MaxConns bounds client connections at once; 0 = 65536.
	MaxConns int
	// MaxRequests bounds requests that go upstream at once, streams included; 0 = 32768.
	MaxRequests int
	// MaxStreams bounds streams at once; 0 = as many as requests.
	MaxStreams int
	// WarmConns is how many connections to each upstream address are kept open and ready, ahead of requests; 0 = none.
	WarmConns int
	// MaxUpstreamConns bounds connections to one upstream address; 0 = 1024.
	MaxUpstreamConns int

	// AccessLog takes a line for each failed request and for a share of the others; "-" = standard output, "" = none.
	AccessLog AccessLog
	// OTLP is where traces and metrics of requests are sent; without an endpoint nowhere.
	OTLP OTLP

	// Registry takes the metrics and is shown at /metrics; nil = a new one, with those of the Go runtime and the process.
	Registry *prometheus.Registry
	// Log; nil = none.
	Log *slog.Logger
	// Listening is called once, when clients can connect; nil = nobody is told.
	Listening func(Addresses)
}

// AccessLog says what becomes of the access log.
type AccessLog struct {
	File    string  // "-" = standard output, "" = no access log
	Sample  float64 // share of good requests that get a line, 0 to 1
	Buffer  int     // lines that may wait to be written; 0 = 4096
	MaxSize int64   // bytes after which the file is rotated; 0 = 100 MiB, negative = never
	Keep    int     // rotated files to keep; 0 = 5
	Bodies  bool    // lines have prompts and answers
	MaxBody int     // bytes of each of those; 0 = 16 KiB
}

// OTLP says what is sent to a collector of OpenTelemetry.
type OTLP struct {
	Endpoint    string   // base URL, such as https://collector:4318; "" = nothing is sent
	HeadersFile string   // lines "Name: value" that go with it; "" = none
	CAFile      string   // PEM certificates that the collector's may come from; "" = those of the system
	Insecure    bool     // http:// may reach beyond this host
	Signals     []string // "traces", "metrics"; none = both
	Sample      float64  // share of traces that begin here and are sent, 0 to 1; failed requests always are
	Buffer      int      // requests that may wait; 0 = 4096
}

// Addresses are what the listeners got, host:port or unix:/path.
type Addresses struct {
	Proxy, Ops string
}

// Run runs one proxy until ctx ends. Then it stops accepting, finishes what is under way for up to DrainTimeout, sends its
// usage, and returns nil.
func Run(ctx context.Context, c Config) error {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 30 * time.Second
	}
	if err := c.Check(); err != nil {
		return err
	}
	allow, err := prefixes(c.UpstreamAllowCIDRs)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.StateDir, 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	p, err := c.wire(ctx, allow)
	if err != nil {
		return err
	}
	defer p.close()
	return p.run(ctx)
}

// Check refuses configurations that cannot work or are not safe, all that is wrong at once. It touches nothing.
func (c Config) Check() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if len(c.ControlPlane) == 0 {
		bad("--control-plane is empty")
	}
	if c.StateDir == "" {
		bad("--state-dir is empty")
	}
	for name, addr := range map[string]string{"--listen": c.Listen, "the ops listener": c.OpsListen} {
		if err := serve.CheckAddress(addr); err != nil {
			bad("%s: %w", name, err)
		}
	}
	if !serve.Loopback(c.OpsListen) && c.OpsTokenFile == "" {
		bad("the ops listener %s can be reached from other hosts: give --ops-token-file, or listen on loopback", c.OpsListen)
	}
	if pairs, err := serve.Pairs(c.TLSCertFiles, c.TLSKeyFiles); err != nil {
		bad("--tls-cert-file, --tls-key-file: %w", err)
	} else if err := serve.CheckCertificates(pairs); len(pairs) > 0 && err != nil {
		problems = append(problems, err)
	}
	if err := c.AccessLog.options().Check(); err != nil {
		bad("--access-log…: %w", err)
	}
	if err := c.OTLP.check(); err != nil {
		bad("--otlp…: %w", err)
	}
	_, err := prefixes(c.UpstreamAllowCIDRs)
	return errors.Join(append(problems, err)...)
}

// prefixes reads --upstream-allow-cidr.
func prefixes(texts []string) ([]netip.Prefix, error) {
	var allow []netip.Prefix
	var problems []error
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			problems = append(problems, fmt.Errorf("--upstream-allow-cidr %q: want a range such as 10.0.0.0/8", text))
			continue
		}
		allow = append(allow, p)
	}
	return allow, errors.Join(problems...)
}
