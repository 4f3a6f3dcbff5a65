package ingress

import (
	"errors"
	"net"
	"strconv"
	"time"

	"fairway/pkg/fault"
)

// accept serves connections until the listener is closed. Errors that pass, such as too many open files, are waited out.
func (s *Server) accept(ln net.Listener) error {
	const shortest, longest = 5 * time.Millisecond, time.Second
	pause := shortest
	for {
		raw, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			s.log.Warn("cannot accept a connection", "error", err, "retry_in", pause)
			time.Sleep(pause)
			pause = min(2*pause, longest)
			continue
		}
		pause = shortest
		if c := s.admit(raw); c != nil {
			s.serving.Go(c.serve)
		}
	}
}

// admit takes a connection in, or refuses it and returns nil.
func (s *Server) admit(raw net.Conn) *conn {
	ip := ""
	if s.options.MaxConnsPerIP > 0 {
		if tcp, ok := raw.RemoteAddr().(*net.TCPAddr); ok {
			ip = tcp.IP.String()
		}
	}
	c := newConn(s, raw, ip)
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
		s.refuseConn(raw, full)
		return nil
	}
	s.meters.connections.Inc()
	return c
}

// refuseConn answers before a request was read. A fresh socket takes the few bytes without waiting. A client that expects
// TLS sees the connection closed.
func (s *Server) refuseConn(raw net.Conn, e *fault.Error) {
	body := append(fault.AppendOpenAI(nil, e), '\n')
	out := appendStatusLine(nil, e.HTTPStatus())
	out = append(out, "Content-Type: application/json\r\nConnection: close\r\nRetry-After: 1\r\n"...)
	out = append(out, RequestIDHeader+": "...)
	out = appendRequestID(out)
	out = append(out, "\r\nContent-Length: "...)
	out = strconv.AppendInt(out, int64(len(body)), 10)
	out = append(out, "\r\n\r\n"...)
	out = append(out, body...)
	if s.options.TLS == nil {
		_ = raw.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = raw.Write(out)
	}
	_ = raw.Close()
}

// forget is the end of a connection.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.meters.connections.Dec()
	if c.limited == "" {
		return
	}
	if s.byIP[c.limited]--; s.byIP[c.limited] == 0 {
		delete(s.byIP, c.limited)
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

// cut ends all connections and returns how many there were.
func (s *Server) cut() int {
	all := s.open()
	for _, c := range all {
		c.cut()
	}
	return len(all)
}
