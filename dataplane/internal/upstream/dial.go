package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"os"
	"time"

	"fairway/dataplane/internal/sock"
)

// sessionsPerHost bounds the TLS sessions kept for resumption: one name, few addresses.
const sessionsPerHost = 32

func (p *Pool) newHost(k key, t *Target) *host {
	h := &host{key: k, limit: p.o.MaxConnsPerHost, keep: p.o.MaxIdlePerHost, maxAge: p.o.IdleTimeout, warmer: &p.warmer, used: time.Now()}
	if t.TLS {
		h.config = &tls.Config{
			ServerName:         k.name,
			RootCAs:            p.o.RootCAs,
			MinVersion:         tls.VersionTLS12,
			NextProtos:         []string{"http/1.1"},
			ClientSessionCache: tls.NewLRUClientSessionCache(sessionsPerHost),
			// Requests are read whole: small records, sent one by one, would only cost.
			DynamicRecordSizingDisabled: true,
		}
	}
	if t.Proxy != nil {
		copied := *t.Proxy
		h.proxy = &copied
	}
	return h
}

// dial opens a connection to the target: TCP, the proxy's handshake if there is one, TLS if it is asked for.
func (p *Pool) dial(h *host, call *Call, t *Target) (*conn, *Error) {
	if p.closed.Load() {
		return nil, &Error{Phase: PhaseDial, Cause: ErrClosed}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if !call.watch(cancel) {
		return nil, &Error{Phase: PhaseDial, Aborted: true, Cause: ErrAborted}
	}
	defer call.watch(nil)

	tcp, err := p.connect(ctx, h, or(t.Dial, defaultDial))
	if err != nil {
		return nil, p.dialError(PhaseDial, call, err)
	}
	c := &conn{sock: sock.New(tcp), host: h, born: time.Now()}
	c.rw = c.sock
	c.sock.Watch(p.o.Lookout, c)
	if h.config != nil {
		limited, stop := context.WithTimeout(ctx, or(t.TLSHandshake, defaultTLS))
		defer stop()
		if err := c.secure(h.config).HandshakeContext(limited); err != nil {
			c.close()
			return nil, p.dialError(PhaseTLS, call, err)
		}
	}
	return c, nil
}

func (p *Pool) dialError(phase Phase, call *Call, err error) *Error {
	if call.Aborted() {
		return &Error{Phase: phase, Aborted: true, Cause: ErrAborted}
	}
	return &Error{Phase: phase, Timeout: isTimeout(err), Cause: err}
}

// connect opens what TLS or HTTP then runs on.
func (p *Pool) connect(ctx context.Context, h *host, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// An address that is written out is judged even where a proxy would dial it; a name that goes to a proxy is not,
	// because only the proxy knows what it means there.
	if literal, err := netip.ParseAddr(hostname(h.key.addr)); err == nil {
		if err := p.guard.check(literal); err != nil {
			return nil, err
		}
	}
	dialer := net.Dialer{Control: p.guard.control}
	if h.proxy == nil {
		return dialer.DialContext(ctx, "tcp", h.key.addr)
	}
	addr, shake, err := proxyHandshake(h.proxy)
	if err != nil {
		return nil, err
	}
	c, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	// The handshake's reads and writes end with ctx.
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	err = shake(c, h.key.addr, h.proxy.User)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return c, nil
}

// proxyHandshake says where a proxy listens and how to ask it for a connection.
func proxyHandshake(u *url.URL) (addr string, shake func(c net.Conn, addr string, user *url.Userinfo) error, err error) {
	port := u.Port()
	switch u.Scheme {
	case "http":
		shake = httpConnect
		if port == "" {
			port = "80"
		}
	case "socks5", "socks5h":
		shake = socks5
		if port == "" {
			port = "1080"
		}
	default:
		return "", nil, fmt.Errorf("proxy scheme %q is not supported", u.Scheme)
	}
	return net.JoinHostPort(u.Hostname(), port), shake, nil
}

// errCut is the end of a TLS connection without its goodbye: whoever cuts a wire must not be able to end a body.
var errCut = fmt.Errorf("connection cut: %w", io.ErrUnexpectedEOF)

// errNothing is what a probing read finds where nothing has come. crypto/tls forgets errors that are Temporary.
var errNothing error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "nothing has come" }
func (nothing) Timeout() bool   { return false }
func (nothing) Temporary() bool { return true }

// candid keeps crypto/tls from taking a cut between two records for an end.
type candid struct {
	*sock.Conn
	probing bool    // reads do not wait
	one     [1]byte // where a probing read would put what there is
}

func (c *candid) Read(p []byte) (int, error) {
	if c.probing && !c.Pending() {
		return 0, errNothing
	}
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		err = errCut
	}
	return n, err
}

// isTimeout says whether a deadline caused err.
func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
