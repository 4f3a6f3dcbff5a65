package dataplane

import (
	"context"
	"crypto/tls"
	"os"
	"os/signal"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/dataplane/internal/accesslog"
	"fairway/pkg/serve"
)

// What surrounds the listener of clients: its certificates, who has hung up, and the access log.

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
	return accesslog.Options{File: a.File, Sample: a.Sample, Buffer: a.Buffer, MaxSize: a.MaxSize, Keep: a.Keep}
}

// logAccess writes the access log until ctx ends. SIGHUP opens its file again, for whoever rotates it from outside.
func (p *proxy) logAccess(ctx context.Context) error {
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
