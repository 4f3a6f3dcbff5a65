// Package ingress is the proxy's listener: connections, their limits and deadlines, the framing of requests and responses,
// request ids, and a drain that loses nobody. What a request means is its handler's business.
//
// It is an HTTP/1.1 server of its own (RFC 9112), because the relay lives by what others hide: a request is a view of the
// bytes that came, a response leaves in as few writes as it can, a connection that waits holds no buffer, and a client that
// hangs up is noticed without a read. It answers panics with 500, refuses every message whose framing two parsers could
// read differently, closes connections so that the client can still read why, and bounds each write by itself, so that a
// stream may be long but never stuck.
//
// It refuses to route, to authenticate, to trust anything that a client says about itself (its x-request-id included),
// and to start a goroutine outside Run.
package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fairway/dataplane/internal/sock"
)

// Options of a Server. The zero value works.
type Options struct {
	MaxConns      int           // connections at once; 0 = 65536
	MaxConnsPerIP int           // connections at once from one address; 0 = no limit
	MaxHeader     int           // bytes of a request's line and headers; 0 = 16 KiB, at most 64 KiB
	HeaderTimeout time.Duration // for a request's line and headers once they have begun, and for a TLS handshake; 0 = 30 s
	BodyTimeout   time.Duration // for a request's body; 0 = 5 min
	WriteTimeout  time.Duration // for each write to make progress; 0 = 60 s
	IdleTimeout   time.Duration // between requests of a connection; 0 = 2 min
	WatchAfter    time.Duration // without a Lookout: a request that waits so long is watched for a hang-up; 0 = 20 ms
	Grace         time.Duration // how long Run lets requests finish after its context ended; 0 = 30 s
	Linger        time.Duration // how long a client may still send after it was refused; 0 = 500 ms

	TLS      *tls.Config           // nil = plain
	Lookout  *sock.Lookout         // notices hang-ups; nil = a read for each request that waits does
	Log      *slog.Logger          // nil = none
	Registry prometheus.Registerer // nil = no metrics
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	if o.MaxConns <= 0 {
		o.MaxConns = 65536
	}
	if o.MaxHeader <= 0 {
		o.MaxHeader = 16 << 10
	}
	o.MaxHeader = min(o.MaxHeader, maxHead)
	set(&o.HeaderTimeout, 30*time.Second)
	set(&o.BodyTimeout, 5*time.Minute)
	set(&o.WriteTimeout, time.Minute)
	set(&o.IdleTimeout, 2*time.Minute)
	set(&o.WatchAfter, 20*time.Millisecond)
	set(&o.Grace, 30*time.Second)
	set(&o.Linger, 500*time.Millisecond)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Handler answers one request. Both arguments and all that they return are valid until it returns, and for its goroutine
// alone.
type Handler func(r *Request, w *Response)

// Server serves HTTP/1.1 and 1.0. Create it with New.
type Server struct {
	handler Handler
	options Options
	log     *slog.Logger
	meters  *meters
	buffers buffers

	draining atomic.Bool
	serving  sync.WaitGroup

	mu    sync.Mutex
	conns map[*conn]struct{}
	byIP  map[string]int
}

// New returns a server for handler.
func New(handler Handler, o Options) *Server {
	o = o.withDefaults()
	return &Server{
		handler: handler,
		options: o,
		log:     o.Log,
		meters:  newMeters(o.Registry),
		conns:   make(map[*conn]struct{}),
		byIP:    make(map[string]int),
	}
}

// Run serves on ln, which it closes, until ctx ends. Then it accepts no more, lets requests and streams under way finish
// for as long as Options.Grace, cuts what is left, and returns nil when every connection is closed. It returns an error
// when the listener fails before.
func (s *Server) Run(ctx context.Context, ln net.Listener) error {
	accepting := make(chan error, 1)
	go func() { accepting <- s.accept(ln) }()
	select {
	case err := <-accepting:
		_ = ln.Close()
		s.cut()
		s.serving.Wait()
		if ctx.Err() != nil {
			err = nil // it was the end that was asked for
		}
		if err == nil {
			return nil
		}
		return fmt.Errorf("serve clients on %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	_ = ln.Close()
	if err := <-accepting; !errors.Is(err, net.ErrClosed) {
		s.log.Warn("listener closed", "error", err)
	}
	s.log.Info("draining", "open_connections", len(s.open()), "grace", s.options.Grace)
	for _, c := range s.open() {
		c.drain()
	}
	ended := make(chan struct{})
	go func() { s.serving.Wait(); close(ended) }()
	if !within(ended, s.options.Grace) {
		s.log.Warn("drain deadline passed, cutting connections", "cut", s.cut())
		// Their requests end at once; only a handler that hangs can hold this up.
		if !within(ended, s.options.Grace) {
			s.log.Error("requests did not end when they were cut", "left", len(s.open()))
		}
	}
	return nil
}

func within(ended <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}
