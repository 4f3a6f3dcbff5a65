// Package ingress is the proxy's listener: connections, their limits and deadlines, the framing of requests, request ids,
// and a drain that loses nobody. What a request means is its handler's business.
//
// Around fasthttp it adds what fasthttp leaves out: it notices that a client hung up while its request waits, answers
// panics with 500, refuses every message whose framing two parsers could read differently, closes connections so that
// the client can still read why, and bounds each write by itself, so that a stream may be long but never stuck.
//
// It refuses to route, to authenticate, to trust anything that a client says about itself (its x-request-id included),
// and to start a goroutine outside Run.
package ingress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"fairway/pkg/fault"
)

// Options of a Server. The zero value works.
type Options struct {
	MaxConns      int           // connections at once; 0 = 65536
	MaxConnsPerIP int           // connections at once from one address; 0 = no limit
	MaxHeader     int           // bytes of a request's line and headers; 0 = 8 KiB. Each busy connection holds so much.
	HeaderTimeout time.Duration // for a request's line and headers, and for its first 8 KiB; 0 = 30 s
	BodyTimeout   time.Duration // for a request's body; 0 = 5 min
	WriteTimeout  time.Duration // for each write to make progress; 0 = 60 s
	IdleTimeout   time.Duration // between requests of a connection; 0 = 2 min
	WatchAfter    time.Duration // a request that waits so long is watched for its client's hang-up; 0 = 20 ms
	Grace         time.Duration // how long Run lets requests finish after its context ended; 0 = 30 s
	Linger        time.Duration // how long a client may still send after it was refused; 0 = 500 ms

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
		o.MaxHeader = 8 << 10
	}
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

// writeBuffer is what one write to a client can hold: a relayed piece of up to 4 KiB with its chunk framing.
const writeBuffer = 4<<10 + 64

// Server serves HTTP/1.1 and 1.0. Create it with New.
type Server struct {
	handler fasthttp.RequestHandler
	options Options
	log     *slog.Logger
	meters  *meters

	draining atomic.Bool

	mu    sync.Mutex
	conns map[*conn]struct{}
	byIP  map[string]int
}

// New returns a server for handler. The handler finds the request's id in the response's X-Request-Id header and the
// connection, which is a Watcher, in RequestCtx.Conn.
func New(handler fasthttp.RequestHandler, o Options) *Server {
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
	server := s.server()
	served := make(chan error, 1)
	go func() { served <- server.Serve(&listener{Listener: ln, server: s}) }()

	select {
	case err := <-served:
		_ = ln.Close()
		s.cut()
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("serve clients on %s: %w", ln.Addr(), errors.Join(err, net.ErrClosed))
	case <-ctx.Done():
	}
	s.log.Info("draining", "open_connections", max(0, server.GetOpenConnectionsCount()-1), "grace", s.options.Grace)
	s.draining.Store(true)
	s.closeUnused()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.Grace)
	defer cancel()
	if err := server.ShutdownWithContext(grace); errors.Is(err, context.DeadlineExceeded) {
		s.log.Warn("drain deadline passed, cutting connections", "cut", s.cut())
		s.awaitHandlers(server)
	}
	if err := <-served; err != nil {
		s.log.Warn("listener closed", "error", err)
	}
	return nil
}

// awaitHandlers waits until the requests of connections that were cut have ended. They do so at once; only a handler that
// hangs can hold this up, for as long as Options.Grace.
func (s *Server) awaitHandlers(server *fasthttp.Server) {
	const look = 5 * time.Millisecond // fasthttp has no event for it
	for waited := time.Duration(0); server.GetCurrentConcurrency() > 0; waited += look {
		if waited > s.options.Grace {
			s.log.Error("requests did not end when they were cut", "left", server.GetCurrentConcurrency())
			return
		}
		time.Sleep(look)
	}
}

func (s *Server) server() *fasthttp.Server {
	return &fasthttp.Server{
		Handler:                      s.serve,
		ErrorHandler:                 s.refuseBroken,
		HeaderReceived:               s.bodyDeadline,
		ReadBufferSize:               s.options.MaxHeader,
		WriteBufferSize:              writeBuffer,
		ReadTimeout:                  s.options.HeaderTimeout,
		IdleTimeout:                  s.options.IdleTimeout,
		Concurrency:                  s.options.MaxConns + 1, // the listener's own limit comes first
		StreamRequestBody:            true,
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		NoDefaultDate:                true,
		NoDefaultContentType:         true,
		SecureErrorLogMessage:        true,
		CloseOnShutdown:              true,
		Logger:                       quiet{s.log},
	}
}

// serve is one request.
func (s *Server) serve(ctx *fasthttp.RequestCtx) {
	defer func() {
		if p := recover(); p != nil {
			s.meters.panics.Inc()
			s.log.Error("handler panicked", "request_id", string(ctx.Response.Header.Peek(RequestIDHeader)),
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			forgetHeaders(ctx)
			Refuse(ctx, fault.New(fault.Internal, "internal error"))
			s.lastOfConnection(ctx)
		}
	}()
	ctx.Response.Header.SetBytesV(RequestIDHeader, appendRequestID(make([]byte, 0, requestIDLen)))
	head, broken := readHead(&ctx.Request.Header)
	if broken != nil {
		s.meters.malformed.Inc()
		Refuse(ctx, broken)
		s.lastOfConnection(ctx)
		return
	}
	if c, ok := ctx.Conn().(*conn); ok && c.bareLF() {
		s.meters.malformed.Inc()
		Refuse(ctx, errFraming("a line of the request does not end with CRLF"))
		s.lastOfConnection(ctx)
		return
	}
	s.handler(ctx)
	if head.close || s.draining.Load() {
		ctx.Response.SetConnectionClose()
	}
	if ctx.Request.IsBodyStream() && ctx.Request.Header.ContentLength() != 0 {
		// The handler did not want the body, or not all of it; what is left must not be read as a request.
		s.lastOfConnection(ctx)
	}
}

// forgetHeaders drops what a handler has set, but for the request's id. (Response.Reset would also bring fasthttp's own
// default headers back.)
func forgetHeaders(ctx *fasthttp.RequestCtx) {
	for _, name := range ctx.Response.Header.PeekKeys() {
		if string(name) != RequestIDHeader {
			ctx.Response.Header.DelBytes(name)
		}
	}
}

// lastOfConnection closes the connection after the response, in a way that lets the client read it although it may still
// be sending.
func (s *Server) lastOfConnection(ctx *fasthttp.RequestCtx) {
	ctx.Response.SetConnectionClose()
	if c, ok := ctx.Conn().(*conn); ok {
		c.linger.Store(true)
	}
}

// refuseBroken answers what fasthttp could not read as a request.
func (s *Server) refuseBroken(ctx *fasthttp.RequestCtx, err error) {
	s.meters.malformed.Inc()
	ctx.Response.Header.SetBytesV(RequestIDHeader, appendRequestID(nil))
	var timeout net.Error
	var small *fasthttp.ErrSmallBuffer
	switch {
	case errors.As(err, &small):
		Refuse(ctx, fault.New(fault.Invalid, "the request's line and headers are too large").
			WithStatus(fasthttp.StatusRequestHeaderFieldsTooLarge))
	case errors.As(err, &timeout) && timeout.Timeout():
		Refuse(ctx, fault.New(fault.Deadline, "the request took too long to arrive").
			WithStatus(fasthttp.StatusRequestTimeout))
	default:
		Refuse(ctx, errFraming("the request is malformed"))
	}
	s.lastOfConnection(ctx)
}

func (s *Server) bodyDeadline(*fasthttp.RequestHeader) fasthttp.RequestConfig {
	return fasthttp.RequestConfig{ReadTimeout: s.options.BodyTimeout}
}

// quiet takes fasthttp's log lines, which are about single connections.
type quiet struct{ log *slog.Logger }

func (q quiet) Printf(format string, args ...any) {
	q.log.Debug("connection ended", "detail", fmt.Sprintf(format, args...))
}
