package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// CertificateOptions of a listener's certificates.
type CertificateOptions struct {
	// Protocols are what is spoken behind TLS, best first, as ALPN names them; none = "http/1.1".
	Protocols []string
	// Every is how often the files are looked at; 0 = 2s. A change counts when a second look finds the same.
	Every time.Duration
	// Log; nil = none.
	Log *slog.Logger
	// Registry for the metrics; nil = none.
	Registry prometheus.Registerer
}

const (
	lookEvery = 2 * time.Second
	// expiryNotice is how long before its end a certificate is worth a warning, noticeEvery how often.
	expiryNotice = 14 * 24 * time.Hour
	noticeEvery  = 24 * time.Hour
)

// Certificates are the certificates of a listener, which follow their files: whoever renews them replaces the files, and
// connections from then on see the new ones. Files that cannot be used change nothing.
type Certificates struct {
	pairs  []*pair
	config *tls.Config
	every  time.Duration
	log    *slog.Logger

	current  atomic.Pointer[[]*tls.Certificate] // by the order of pairs
	failures atomic.Uint64
}

// LoadCertificates loads all pairs. The first is for clients that name no host, or one that no certificate is for.
func LoadCertificates(pairs []Pair, o CertificateOptions) (*Certificates, error) {
	c := &Certificates{every: o.Every, log: o.Log}
	if c.every <= 0 {
		c.every = lookEvery
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if len(pairs) == 0 {
		return nil, errors.New("no certificate is named")
	}
	var problems []error
	for _, files := range pairs {
		p := &pair{Pair: files}
		problems = append(problems, p.load())
		c.pairs = append(c.pairs, p)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	c.publish()
	if len(o.Protocols) == 0 {
		o.Protocols = []string{"http/1.1"}
	}
	// Session tickets are crypto/tls's own: it makes a new key every day.
	c.config = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: o.Protocols, GetCertificate: c.choose}
	if o.Registry != nil {
		if err := o.Registry.Register(c.metrics()); err != nil {
			return nil, fmt.Errorf("register the metrics of certificates: %w", err)
		}
	}
	return c, nil
}

// CheckCertificates says what is wrong with the files, as LoadCertificates would.
func CheckCertificates(pairs []Pair) error {
	_, err := LoadCertificates(pairs, CertificateOptions{})
	return err
}

// TLS is the configuration for a listener: TLS 1.2 or better, and for each connection the certificates of the day. It is the
// same one each time, so that sessions resume on all listeners that share it; it must not be changed.
func (c *Certificates) TLS() *tls.Config { return c.config }

// choose finds the first certificate that the client can use and that is for the host it names.
func (c *Certificates) choose(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	all := *c.current.Load()
	if len(all) > 1 {
		for _, cert := range all {
			if hello.SupportsCertificate(cert) == nil {
				return cert, nil
			}
		}
	}
	return all[0], nil
}

// publish has new connections see what is loaded.
func (c *Certificates) publish() {
	all := make([]*tls.Certificate, len(c.pairs))
	for i, p := range c.pairs {
		all[i] = p.cert
	}
	c.current.Store(&all)
}

// Run looks at the files until ctx ends.
func (c *Certificates) Run(ctx context.Context) error {
	ticker := time.NewTicker(c.every)
	defer ticker.Stop()
	for {
		c.look(time.Now())
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// look loads what has changed.
func (c *Certificates) look(now time.Time) {
	changed := false
	for _, p := range c.pairs {
		swapped, news, err := p.look()
		if err != nil {
			c.failures.Add(1)
			if news {
				c.log.Error("certificate not reloaded; the one before stays", "cert_file", p.CertFile, "key_file", p.KeyFile,
					"not_after", p.cert.Leaf.NotAfter, "error", err)
			}
		}
		if swapped {
			changed = true
			c.log.Info("certificate reloaded", "cert_file", p.CertFile, "names", names(p.cert.Leaf), "not_after", p.cert.Leaf.NotAfter)
		}
		if left := p.cert.Leaf.NotAfter.Sub(now); left < expiryNotice && now.Sub(p.noticed) >= noticeEvery {
			p.noticed = now
			c.log.Warn("certificate ends soon, or has ended", "cert_file", p.CertFile, "names", names(p.cert.Leaf),
				"not_after", p.cert.Leaf.NotAfter, "left", left.Round(time.Minute).String())
		}
	}
	if changed {
		c.publish()
	}
}
