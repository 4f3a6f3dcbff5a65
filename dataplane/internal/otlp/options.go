package otlp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options of an Exporter.
type Options struct {
	// Endpoint is the collector's base URL, such as https://collector:4318: /v1/traces and /v1/metrics are appended.
	// Empty = nothing is exported.
	Endpoint string
	// HeadersFile has a line "Name: value" for each header that the collector wants, such as its credential; empty = none.
	HeadersFile string
	// CAFile has the PEM certificates that the collector's may come from; empty = those of the system.
	CAFile string
	// Insecure lets http:// reach beyond this host.
	Insecure bool
	// Sample is the share of traces that begin here and are sent, 0 to 1. Failed requests always are; and a request that
	// continues its client's trace is sent if the client says so.
	Sample float64
	// NoTraces and NoMetrics leave one of the two out.
	NoTraces, NoMetrics bool
	// Buffer is how many requests may wait to be looked at, rounded up to a power of two; 0 = 4096. One takes about 4 KiB.
	Buffer int
	// Every is the time between two exports of metrics; 0 = 60s.
	Every time.Duration
	// Service names this process: its version, and what tells it from others of its kind.
	Version, Instance, Host string
	// Log; nil = none.
	Log *slog.Logger
	// Registry for the metrics about the export; nil = none.
	Registry prometheus.Registerer
}

const (
	defaultBuffer = 4096
	maxBuffer     = 1 << 20
	defaultEvery  = time.Minute
)

// Check says what is wrong with the options. It touches nothing.
func (o Options) Check() error {
	var problems []error
	if !(o.Sample >= 0 && o.Sample <= 1) {
		problems = append(problems, fmt.Errorf("the share of traces that are sent is %v, want 0 to 1", o.Sample))
	}
	if o.Buffer < 0 || o.Buffer > maxBuffer {
		problems = append(problems, fmt.Errorf("the buffer has %d requests, want up to %d", o.Buffer, maxBuffer))
	}
	if o.Every < 0 {
		problems = append(problems, fmt.Errorf("%v between two exports of metrics, want more", o.Every))
	}
	if o.Endpoint != "" {
		_, err := o.endpoint()
		problems = append(problems, err)
	}
	return errors.Join(problems...)
}

// endpoint reads Endpoint. An error names no part of it but its host: people put credentials into URLs.
func (o Options) endpoint() (*url.URL, error) {
	u, err := url.Parse(o.Endpoint)
	switch {
	case err != nil:
		return nil, errors.New("the endpoint is no URL")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, errors.New("the endpoint has more than scheme, host and path: credentials belong in the file of headers")
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return nil, errors.New("the endpoint must be a URL such as https://collector:4318")
	case u.Scheme == "http" && !o.Insecure && !here(u.Hostname()):
		return nil, fmt.Errorf("the endpoint at %s is not encrypted and beyond this host: use https, or say that it may be insecure", u.Host)
	}
	return u, nil
}

// here says whether a host is this one.
func here(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// headers reads HeadersFile. An error tells no value.
func (o Options) headers() (map[string]string, error) {
	all := map[string]string{}
	if o.HeadersFile == "" {
		return all, nil
	}
	text, err := os.ReadFile(o.HeadersFile)
	if err != nil {
		return nil, fmt.Errorf("headers: %w", err)
	}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if value = strings.TrimSpace(value); !ok || !token(name) || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return nil, fmt.Errorf("headers: line %d of %s is none, want Name: value", number, o.HeadersFile)
		}
		all[name] = value
	}
	return all, nil
}

// token says whether a name is good for a header (RFC 9110, 5.6.2).
func token(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// tls is how the collector is spoken to.
func (o Options) tls() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile == "" {
		return c, nil
	}
	pem, err := os.ReadFile(o.CAFile)
	if err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificates: %s has none", o.CAFile)
	}
	return c, nil
}
