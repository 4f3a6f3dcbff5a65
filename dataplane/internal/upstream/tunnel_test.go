package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

func upgrade(req *Request) *Request {
	req.Head = []byte("GET /v1/realtime HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	return req
}

// A tunnel carries bytes in both directions, those behind the head too, for longer than any limit, and counts as open.
func TestTunnel(t *testing.T) {
	cert, roots := identity(t, "api.test")
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "TLS"}[secure], func(t *testing.T) {
			p := newPool(t, Options{RootCAs: roots})
			ended := make(chan struct{}, 1)
			serve := func(_ int, c net.Conn) {
				br := bufio.NewReader(c)
				if readRequest(br) != nil {
					return
				}
				_, _ = io.WriteString(c, switching+"first")
				_, _ = io.Copy(c, br) // an echo
				ended <- struct{}{}
			}
			var req *Request
			if secure {
				req = secureGet(rawServer(t, overTLS(&tls.Config{Certificates: []tls.Certificate{cert}}, serve)), "api.test")
			} else {
				req = get(rawServer(t, serve))
			}
			req.Target.FirstByte, req.Target.Idle = time.Second, time.Millisecond
			tunnel, r, err := p.Upgrade(context.Background(), nil, upgrade(req))
			if err != nil || r != nil {
				t.Fatal(r, err)
			}
			if _, tlsConn := tunnel.Conn.(*tls.Conn); tlsConn != secure || (!secure && tunnel.Conn != net.Conn(tunnel.Sock)) {
				t.Errorf("Conn is a %T", tunnel.Conn)
			}
			if string(tunnel.Get("upgrade")) != "websocket" || string(tunnel.Get("sec-websocket-accept")) != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
				t.Errorf("head: %q", tunnel.Get("upgrade"))
			}
			n := 0
			for range tunnel.Fields {
				n++
			}
			if n != 3 {
				t.Errorf("%d fields, want 3", n)
			}
			first := append([]byte(nil), tunnel.Buffered...)
			first = append(first, make([]byte, 5-len(first))...)
			if _, err := io.ReadFull(tunnel.Conn, first[len(tunnel.Buffered):]); err != nil || string(first) != "first" {
				t.Errorf("behind the head: %q, %v", first, err)
			}
			if s := p.Stats()[0]; s.Open != 1 || s.Idle != 0 {
				t.Errorf("stats = %+v", s)
			}
			time.Sleep(1300 * time.Millisecond) // beyond all limits
			for _, word := range []string{"hello", "world"} {
				if _, err := io.WriteString(tunnel.Conn, word); err != nil {
					t.Fatal(err)
				}
				b := make([]byte, len(word))
				if _, err := io.ReadFull(tunnel.Conn, b); string(b) != word || err != nil {
					t.Errorf("%q, %v", b, err)
				}
			}
			tunnel.Close()
			tunnel.Close()
			<-ended
			if s := p.Stats()[0]; s.Open != 0 {
				t.Errorf("stats = %+v", s)
			}
		})
	}
}

// An upstream that does not agree gives a response like any other.
func TestUpgradeDeclined(t *testing.T) {
	p := newPool(t, Options{})
	addr := rawServer(t, always("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"))
	for i := range 2 {
		tunnel, r, err := p.Upgrade(context.Background(), nil, upgrade(get(addr)))
		if err != nil || tunnel != nil {
			t.Fatal(tunnel, err)
		}
		if body, err := io.ReadAll(r); r.Status != 401 || string(body) != "no" || err != nil || r.Reused != (i > 0) {
			t.Errorf("%d %q %v, reused %v", r.Status, body, err, r.Reused)
		}
		r.Close()
	}
	req := upgrade(get(addr))
	req.Body = []byte("x")
	if _, _, err := p.Upgrade(context.Background(), nil, req); err == nil {
		t.Error("a body was sent")
	}
}

func TestUpgradeMalformed(t *testing.T) {
	for name, answer := range map[string]string{
		"no upgrade field":       "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
		"no connection field":    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
		"another option":         "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrades\r\n\r\n",
		"empty upgrade field":    "HTTP/1.1 101 Switching Protocols\r\nUpgrade:\r\nConnection: upgrade\r\n\r\n",
		"with a length":          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\nContent-Length: 5\r\n\r\nhello",
		"with chunks":            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\nTransfer-Encoding: chunked\r\n\r\n",
		"control character":      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: web\x01socket\r\nConnection: upgrade\r\n\r\n",
		"not HTTP":               "\x00\x01\x02",
		"space before the colon": "HTTP/1.1 101 Switching Protocols\r\nUpgrade : x\r\nConnection: upgrade\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, Options{})
			addr := rawServer(t, func(_ int, c net.Conn) {
				if readRequest(bufio.NewReader(c)) == nil {
					_, _ = io.WriteString(c, answer)
					_, _ = io.Copy(io.Discard, c)
				}
			})
			_, _, err := p.Upgrade(context.Background(), nil, upgrade(get(addr)))
			wantError(t, err, PhaseHead, ErrMalformed)
			if s := p.stat(addr); s.Open != 0 {
				t.Errorf("connection kept: %+v", s)
			}
		})
	}
}

// Whoever gives the tunnel up ends it at once, whatever it waits for.
func TestTunnelAbort(t *testing.T) {
	p := newPool(t, Options{})
	addr := rawServer(t, func(_ int, c net.Conn) {
		_ = readRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, switching)
		_, _ = io.Copy(io.Discard, c)
	})
	for how, abort := range map[string]func(*Call, *Tunnel, func()){
		"call":    func(c *Call, _ *Tunnel, _ func()) { c.Abort() },
		"tunnel":  func(_ *Call, t *Tunnel, _ func()) { t.Abort() },
		"context": func(_ *Call, _ *Tunnel, cancel func()) { cancel() },
	} {
		t.Run(how, func(t *testing.T) {
			var call Call
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			tunnel, _, err := p.Upgrade(ctx, &call, upgrade(get(addr)))
			if err != nil {
				t.Fatal(err)
			}
			go abort(&call, tunnel, cancel)
			if _, err := tunnel.Conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Read = %v", err)
			}
			tunnel.Close()
			if s := p.stat(addr); s.Open != 0 {
				t.Errorf("stats = %+v", s)
			}
		})
	}
}
