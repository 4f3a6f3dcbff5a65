package dataplane

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/dataplane/internal/accesslog"
	"fairway/dataplane/internal/otlp"
	"fairway/pkg/serve"
	"fairway/pkg/version"
)

// What surrounds the listener of clients: its certificates, who has hung up, and who is told what became of requests.

// certificates loads those of the listener; nil if there are none.
func (c Config) certificates(r prometheus.Registerer) (*serve.Certificates, error) {
	pairs, err := serve.Pairs(c.TLSCertFiles, c.TLSKeyFiles)
	if err != nil || len(pairs) == 0 {
		return nil, err
	}
	return serve.LoadCertificates(pairs, serve.CertificateOptions{Log: c.Log.With("room", "ingress"), Registry: r})
}

func (p *proxy) tls() *tls.Config {
	if p.certs == nil {
		return nil
	}
	return p.certs.TLS()
}

// followCertificates sees files that are replaced, until ctx ends.
func (p *proxy) followCertificates(ctx context.Context) error {
	if p.certs == nil {
		<-ctx.Done()
		return nil
	}
	return p.certs.Run(ctx)
}

func (a AccessLog) options() accesslog.Options {
	return accesslog.Options{
		File: a.File, Sample: a.Sample, Buffer: a.Buffer, MaxSize: a.MaxSize, Keep: a.Keep, Bodies: a.Bodies, MaxBody: a.MaxBody,
	}
}

func (o OTLP) options() otlp.Options {
	return otlp.Options{
		Endpoint: o.Endpoint, HeadersFile: o.HeadersFile, CAFile: o.CAFile, Insecure: o.Insecure, Sample: o.Sample, Buffer: o.Buffer,
		NoTraces: len(o.Signals) > 0 && !slices.Contains(o.Signals, traces), NoMetrics: len(o.Signals) > 0 && !slices.Contains(o.Signals, metrics),
	}
}

// The signals of OTLP.Signals.
const (
	traces  = "traces"
	metrics = "metrics"
)

// check says what is wrong with the options.
func (o OTLP) check() error {
	for _, s := range o.Signals {
		if s != traces && s != metrics {
			return fmt.Errorf("there is no signal %q, want %s or %s", s, traces, metrics)
		}
	}
	return o.options().Check()
}

// exporter is what this proxy's exporter of OTLP is made with.
func (c Config) exporter(hostname, bootID string, r prometheus.Registerer) otlp.Options {
	o := c.OTLP.options()
	o.Version, o.Host, o.Instance = version.String(), hostname, bootID
	o.Log, o.Registry = c.Log.With("room", "otlp"), r
	return o
}

// logAccess writes the access log until ctx ends. Who wants in it what is said is told what that means. SIGHUP opens its file again, for whoever rotates it from outside.
func (p *proxy) logAccess(ctx context.Context) error {
	if p.c.AccessLog.Bodies {
		p.c.Log.Warn("the access log keeps prompts and answers", "file", p.c.AccessLog.File)
	}
	if p.c.AccessLog.File != "" {
		again := make(chan os.Signal, 1)
		signal.Notify(again, syscall.SIGHUP)
		defer signal.Stop(again)
		go func() {
			for {
				select {
				case <-again:
					p.access.Reopen()
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	return p.access.Run(ctx)
}

// lookOut notices hang-ups until ctx ends.
func (p *proxy) lookOut(ctx context.Context) error {
	if p.lookout == nil {
		<-ctx.Done()
		return nil
	}
	return p.lookout.Run(ctx)
}
