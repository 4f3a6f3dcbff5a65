package ingress

import (
	"errors"
	"net"
	"strconv"
	"time"

	"fairway/pkg/fault"
)

// listener counts connections and wraps them.
type listener struct {
	net.Listener
	server *Server
}

// Accept returns the next connection that is within the limits. Errors that pass, such as too many open files, are
// waited out; only the listener's end is returned.
func (l *listener) Accept() (net.Conn, error) {
	const longest = time.Second
	pause := 5 * time.Millisecond
	for {
		raw, err := l.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err != nil {
			l.server.log.Warn("cannot accept a connection", "error", err, "retry_in", pause)
			time.Sleep(pause)
			pause = min(2*pause, longest)
			continue
		}
		pause = 5 * time.Millisecond
		if c := l.server.admit(raw); c != nil {
			return c, nil
		}
	}
}

// admit wraps a connection, or refuses it and returns nil.
func (s *Server) admit(raw net.Conn) *conn {
	ip := ""
	if s.options.MaxConnsPerIP > 0 {
		if tcp, ok := raw.RemoteAddr().(*net.TCPAddr); ok {
			ip = tcp.IP.String()
		}
	}
	c := &conn{Conn: raw, server: s, ip: ip}
	s.mu.Lock()
	var full *fault.Error
	switch {
	case len(s.conns) >= s.options.MaxConns:
		full = fault.New(fault.Unavailable, "the proxy has too many connections").WithCode("too_many_connections")
	case ip != "" && s.byIP[ip] >= s.options.MaxConnsPerIP:
		full = fault.New(fault.Exhausted, "too many connections from this address").WithCode("too_many_connections")
	default:
		s.conns[c] = struct{}{}
		if ip != "" {
			s.byIP[ip]++
		}
	}
	s.mu.Unlock()
	if full != nil {
		s.meters.refused.Inc()
		refuseConn(raw, full)
		return nil
	}
	s.meters.connections.Inc()
	return c
}

// refuseConn answers before a request was read. A fresh socket takes the few bytes without waiting.
func refuseConn(raw net.Conn, e *fault.Error) {
	body := append(fault.AppendOpenAI(nil, e), '\n')
	status := e.HTTPStatus()
	out := append([]byte("HTTP/1.1 "), strconv.Itoa(status)...)
	out = append(out, " Refused\r\nContent-Type: application/json\r\nConnection: close\r\nRetry-After: 1\r\n"...)
	out = append(out, RequestIDHeader+": "...)
	out = appendRequestID(out)
	out = append(out, "\r\nContent-Length: "...)
	out = append(out, strconv.Itoa(len(body))...)
	out = append(out, "\r\n\r\n"...)
	out = append(out, body...)
	_ = raw.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = raw.Write(out)
	_ = raw.Close()
}

// forget is the end of a connection.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.conns[c]; !known {
		return
	}
	delete(s.conns, c)
	s.meters.connections.Dec()
	if c.ip == "" {
		return
	}
	if s.byIP[c.ip]--; s.byIP[c.ip] == 0 {
		delete(s.byIP, c.ip)
	}
}

// open returns the connections that are open now.
func (s *Server) open() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	return all
}

// closeUnused closes connections on which nothing was ever sent; fasthttp would give them five seconds.
func (s *Server) closeUnused() {
	for _, c := range s.open() {
		if !c.started.Load() {
			_ = c.Close()
		}
	}
}

// cut ends all connections and returns how many there were.
func (s *Server) cut() int {
	all := s.open()
	for _, c := range all {
		c.cut()
	}
	return len(all)
}
