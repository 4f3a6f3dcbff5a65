package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func clientConfig(cfg Config, log *slog.Logger) (clientv3.Config, error) {
	if len(cfg.Endpoints) == 0 {
		return clientv3.Config{}, errors.New("no etcd endpoints")
	}
	ec := clientv3.Config{
		Endpoints:   cfg.Endpoints,
		TLS:         cfg.TLS,
		Username:    cfg.Username,
		Password:    cfg.Password.Reveal(),
		DialTimeout: cfg.DialTimeout,
		// A host that is gone without a word must not hold a watch for the kernel's fifteen minutes.
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
		Logger:               zapToSlog(log, nil),
	}
	if ec.DialTimeout <= 0 {
		ec.DialTimeout = defaultDialTimeout
	}
	if ec.TLS == nil {
		var err error
		if ec.TLS, err = tlsFromFiles(cfg); err != nil {
			return clientv3.Config{}, err
		}
	}
	return ec, nil
}

// connect makes the client and reads or creates the lineage, again and again until it succeeds or cannot.
func (s *Store) connect(ctx context.Context, ec clientv3.Config) error {
	wait := newBackoff()
	for {
		err := s.connectOnce(ctx, ec)
		if err == nil || ctx.Err() != nil || hopeless(err) {
			return err
		}
		s.log.Warn("the data store does not answer yet", "error", err)
		if wait.sleep(ctx) != nil {
			return err
		}
	}
}

// hopeless reports whether an error stays however long one waits.
func hopeless(err error) bool {
	return rejected(err) || errors.Is(err, errSchema) || errors.Is(err, errTooOld)
}

func (s *Store) connectOnce(ctx context.Context, ec clientv3.Config) error {
	// With a user name this already signs in, within DialTimeout.
	client, err := clientv3.New(ec)
	if err != nil {
		return fmt.Errorf("make etcd client: %w", err)
	}
	s.client = client
	ctx, cancel := context.WithTimeout(ctx, ec.DialTimeout)
	defer cancel()
	lineage, err := s.birth(ctx)
	if err == nil {
		err = s.checkServer(ctx)
	}
	if err != nil {
		// Its own error is only that of the context that it just canceled.
		_ = client.Close()
		return err
	}
	s.lineage.Store(&lineage)
	return nil
}

var errTooOld = errors.New("etcd is too old")

// checkServer refuses a server that is too old to be followed: before 3.6 a member could report its progress ahead of
// the events that belong to it. A server that does not tell its version passes.
func (s *Store) checkServer(ctx context.Context) error {
	for _, endpoint := range s.client.Endpoints() {
		status, err := s.client.Status(ctx, endpoint)
		if err != nil {
			continue // Away, or not for us to ask.
		}
		if tooOld(status.Version) {
			return fmt.Errorf("%w: %s, 3.6 or newer is needed", errTooOld, status.Version)
		}
	}
	return nil
}

func tooOld(version string) bool {
	var major, minor int
	if n, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil || n != 2 {
		return false
	}
	return major < 3 || (major == 3 && minor < 6)
}

func tlsFromFiles(cfg Config) (*tls.Config, error) {
	if cfg.CAFile == "" && cfg.CertFile == "" && cfg.KeyFile == "" {
		return nil, nil
	}
	if (cfg.CertFile == "") != (cfg.KeyFile == "") {
		return nil, errors.New("a client certificate needs both its file and its key's")
	}
	out := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read CA file: %w", err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read CA file: no certificate in %s", cfg.CAFile)
		}
	}
	if cfg.CertFile != "" {
		load := func() (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("load client certificate: %w", err)
			}
			return &cert, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return out, nil
}
