package fakellm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Server is a provider on a listener.
type Server struct {
	url  string
	addr net.Addr
	http *http.Server
	// conns maps a net.Conn to its *connection.
	conns sync.Map
	done  sync.WaitGroup
	// end ends what the HTTP server does not know any more: WebSocket sessions.
	end context.CancelFunc
}

// connection is what is remembered about one client connection.
type connection struct {
	stale atomic.Uint32
}

type connectionKey struct{}

// Start listens on addr ("127.0.0.1:0" for any free port) and serves there, over HTTP/1.1 without TLS.
func (p *Provider) Start(addr string) (*Server, error) {
	ln, err := listen(addr)
	if err != nil {
		return nil, err
	}
	return p.Serve(ln), nil
}

// StartTLS is Start with TLS; config must hold a certificate. Only HTTP/1.1 is offered.
func (p *Provider) StartTLS(addr string, config *tls.Config) (*Server, error) {
	ln, err := listen(addr)
	if err != nil {
		return nil, err
	}
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	s := p.serve(tls.NewListener(ln, config))
	s.url = "https://" + ln.Addr().String()
	return s, nil
}

// Serve serves on a listener, which Close closes. The listener's address becomes one of the provider's hosts.
func (p *Provider) Serve(ln net.Listener) *Server {
	s := p.serve(ln)
	s.url = "http://" + ln.Addr().String()
	return s
}

// URL is the base URL without a trailing slash and without "/v1".
func (s *Server) URL() string { return s.url }

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.addr }

// Close ends the server, its connections and every request on them, and waits for the accept loop to end.
func (s *Server) Close() error {
	s.end()
	err := s.http.Close()
	s.done.Wait()
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close fake provider: %w", err)
	}
	return nil
}

func listen(addr string) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for fake provider: %w", err)
	}
	return ln, nil
}

func (p *Provider) serve(ln net.Listener) *Server {
	p.addHosts(ln.Addr().String())
	if tcp, ok := ln.Addr().(*net.TCPAddr); ok && tcp.IP.IsLoopback() {
		p.addHosts(fmt.Sprintf("localhost:%d", tcp.Port))
	}
	handler := p.Handler()
	base, end := context.WithCancel(context.Background())
	s := &Server{addr: ln.Addr(), end: end}
	s.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if connectionOf(r).is(CloseReused) {
				abort(w, FIN)
				return
			}
			handler.ServeHTTP(w, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: time.Minute,
		// A client that dies is what tests are about, not news.
		ErrorLog: log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			c := &connection{}
			s.conns.Store(conn, c)
			return context.WithValue(ctx, connectionKey{}, c)
		},
		ConnState: func(conn net.Conn, state http.ConnState) {
			switch state {
			case http.StateIdle:
				if c, ok := s.conns.Load(conn); ok && c.(*connection).is(CloseIdle) {
					_ = conn.Close()
				}
			case http.StateClosed, http.StateHijacked:
				s.conns.Delete(conn)
			case http.StateNew, http.StateActive:
			}
		},
	}
	s.done.Go(func() {
		// The only way out is Close.
		_ = s.http.Serve(ln)
	})
	return s
}

func (c *connection) is(s Stale) bool { return Stale(c.stale.Load()) == s }

// connectionOf returns what is known about the connection of a request; nothing on a foreign server.
func connectionOf(r *http.Request) *connection {
	if c, ok := r.Context().Value(connectionKey{}).(*connection); ok {
		return c
	}
	return &connection{}
}

// abort ends the connection of a request at once, as death says.
func abort(w http.ResponseWriter, death Death) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		// Not HTTP/1: the server's own way to cut a response.
		panic(http.ErrAbortHandler)
	}
	cut(conn, death)
}

// cut ends a connection at once, as death says.
func cut(conn net.Conn, death Death) {
	if death == RST {
		inner := conn
		if t, ok := conn.(*tls.Conn); ok {
			inner = t.NetConn()
		}
		if tcp, ok := inner.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
			_ = tcp.Close()
			return
		}
	}
	_ = conn.Close()
}
