// Package upstream sends requests to providers: its own HTTP/1.1 client on raw connections. It pools connections per target,
// opens those that will be needed before they are, dials (directly, through HTTP CONNECT or through SOCKS5), speaks TLS, and
// hands bodies on as they arrive, without a goroutine or an allocation per request in the steady state. Contents that come
// in gzip or zstd, though nobody asked for it, are decoded on the way, within bounds.
//
// It refuses: addresses that are not on the public internet (unless allowed, checked on the IP that is dialled),
// responses whose end could be read in two ways (duplicate or conflicting lengths, bare line feeds, folded headers,
// other codings than chunked), contents that decode to far more than they are, heads beyond 64 KiB, protocol upgrades that
// nobody asked for, HTTP/2, and following redirects: a redirect is a response like any other. It never retries what may have
// been answered: only a kept connection that dies before the first byte of a response is replaced, once.
package upstream

import (
	"crypto/x509"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/dataplane/internal/sock"
)

// Options of a Pool. The zero value works.
type Options struct {
	MaxConnsPerHost int                   // open connections per target, dialling ones included; 0 = 1024
	MaxIdlePerHost  int                   // kept connections per target; 0 = MaxConnsPerHost
	IdleTimeout     time.Duration         // a kept connection is closed after this; 0 = 90 s
	AllowCIDRs      []netip.Prefix        // addresses that may be dialled although they are not public
	MaxWarm         int                   // connections that Warm keeps open, over all targets; 0 = 512
	RootCAs         *x509.CertPool        // who may sign providers' certificates; nil = the system's
	Lookout         *sock.Lookout         // notices upstreams that hang up, and saves reads, while it runs; nil = none
	Log             *slog.Logger          // nil = none
	Registry        prometheus.Registerer // nil = no metrics
}

// Target says where a request goes and how long each step may take. Two requests share connections when their targets
// agree on everything but the times.
type Target struct {
	TLS   bool
	Host  string   // for SNI and certificates; a port is ignored. The Host header is the caller's, in Request.Head.
	Addr  string   // "host:port" to dial, or to ask the proxy for
	Proxy *url.URL // nil = direct; http, https, socks5 or socks5h, with userinfo. The name in Addr goes to it unresolved.

	Dial         time.Duration // waiting for a free connection, and again for DNS + TCP + the proxy's answer; 0 = 10 s
	TLSHandshake time.Duration // 0 = 10 s
	FirstByte    time.Duration // writing the request without progress, and again waiting for the response's head; 0 = 5 min
	Idle         time.Duration // between arrivals of a body's parts; 0 = 2 min. It and FirstByte may run over by a quarter.
}

// Request is one request. Head and Body are only read, and not used any more once Do has failed or the Response is
// closed.
type Request struct {
	Target Target
	// Head is complete: request line, headers (with Content-Length or Transfer-Encoding as the body needs) and the
	// empty line.
	Head []byte
	// Body follows the head; nil = none, or BodyStream.
	Body []byte
	// BodyStream follows the head if it is not nil: exactly BodySize bytes of it. Such a request cannot be replayed.
	// Its Read must end in bounded time, because Do and Response.Close wait for it.
	BodyStream io.Reader
	BodySize   int64
}
