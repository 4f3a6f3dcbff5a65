package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"fairway/dataplane/internal/sock"
)

// A kept connection whose upstream hangs up leaves the pool at once, not when it is needed.
func TestHangUpWhileIdle(t *testing.T) {
	cert, roots := identity(t, "api.test")
	for _, secure := range []bool{false, true} {
		p := newPool(t, Options{RootCAs: roots})
		if p.o.Lookout == nil {
			t.Skip("nobody looks out for hang-ups here")
		}
		hang := make(chan struct{})
		serve := func(_ int, c net.Conn) {
			answering(okHello)(0, c)
			<-hang
		}
		req := get(rawServer(t, serve))
		if secure {
			req = secureGet(rawServer(t, overTLS(&tls.Config{Certificates: []tls.Certificate{cert}}, serve)), "api.test")
		}
		addr := req.Target.Addr
		mustFetch(t, p, req)
		if s := p.stat(addr); s.Idle != 1 {
			t.Fatalf("stats = %+v", s)
		}
		close(hang)
		until(t, "it is taken out", func() bool { return p.stat(addr).Open == 0 })
		if s := p.stat(addr); s.Idle != 0 || s.Stale != 1 || s.Retries != 0 {
			t.Errorf("TLS %v: stats = %+v", secure, s)
		}
	}
}

// A hang-up that comes with the response, or while it is read, does not leave a dead connection in the pool, nor cost a byte
// of the response.
func TestHangUpWithTheResponse(t *testing.T) {
	eachWay(t, func(t *testing.T, p *Pool, serve func(func(int, net.Conn)) *Request) {
		body := strings.Repeat("0123456789", 10<<10)
		req := serve(answering("HTTP/1.1 200 OK\r\nContent-Length: 102400\r\n\r\n" + body))
		for i := range 20 {
			r, err := p.Do(context.Background(), nil, req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := reading(r, []string{"Read", "Each"}[i%2])
			if got != body || err != nil {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			r.Close()
		}
	})
}

// What comes behind a response in the same record, or in another one that arrived with it, is no answer to the next request.
func TestTLSExcess(t *testing.T) {
	cert, roots := identity(t, "api.test")
	const forged = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
	for name, write := range map[string]func(c *tls.Conn, wire net.Conn){
		"in the same record": func(c *tls.Conn, _ net.Conn) { _, _ = io.WriteString(c, okHello+forged) },
		"in another record": func(c *tls.Conn, _ net.Conn) {
			_, _ = io.WriteString(c, okHello)
			_, _ = io.WriteString(c, forged)
		},
	} {
		t.Run(name, func(t *testing.T) {
			addr := rawServer(t, func(_ int, wire net.Conn) {
				held := &corked{Conn: wire}
				c := tls.Server(held, &tls.Config{Certificates: []tls.Certificate{cert}})
				if c.Handshake() != nil {
					return
				}
				for br := bufio.NewReader(c); readRequest(br) == nil; {
					held.cork = true
					write(c, wire)
					held.flush()
				}
			})
			p := newPool(t, Options{RootCAs: roots})
			exact := make([]byte, 5) // leaves what follows where nobody but TLS sees it
			for range 3 {
				r, err := p.Do(context.Background(), nil, secureGet(addr, "api.test"))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(r, exact); string(exact) != "hello" || err != nil {
					t.Fatalf("%q, %v: not the answer to this request", exact, err)
				}
				if r.Reused {
					t.Error("a connection with forged bytes served again")
				}
				if _, err := r.Read(exact); !errors.Is(err, io.EOF) {
					t.Errorf("Read = %v", err)
				}
				r.Close()
			}
		})
	}
}

// corked collects what is written, so that it leaves in one piece.
type corked struct {
	net.Conn
	cork bool
	held []byte
}

func (c *corked) Write(p []byte) (int, error) {
	if !c.cork {
		return c.Conn.Write(p)
	}
	c.held = append(c.held, p...)
	return len(p), nil
}

func (c *corked) flush() {
	c.cork = false
	_, _ = c.Conn.Write(c.held)
	c.held = nil
}

// A deadline that has passed since the last request says nothing about the next one.
func TestDeadlineLeftBehind(t *testing.T) {
	eachWay(t, func(t *testing.T, p *Pool, serve func(func(int, net.Conn)) *Request) {
		req := serve(func(_ int, c net.Conn) {
			for br := bufio.NewReader(c); readRequest(br) == nil; {
				if _, err := io.WriteString(c, okHello); err != nil {
					return
				}
			}
		})
		req.Target.Idle = 400 * time.Millisecond // a deadline every 100 ms
		for i := range 4 {
			if body, reused := mustFetch(t, p, req); body != "hello" || reused != (i > 0) {
				t.Errorf("got %q, reused %v", body, reused)
			}
			time.Sleep(130 * time.Millisecond)
		}
		if s := p.Stats()[0]; s.Dials != 1 || s.Stale != 0 || s.Retries != 0 {
			t.Errorf("stats = %+v", s)
		}
	})
}

// A limit is four whole quarters after the first deadline, which may be an older one.
func TestPatience(t *testing.T) {
	s := &script{}
	wire := sock.New(s)
	c := &conn{rw: wire, sock: wire}
	c.expect(time.Minute)
	if c.tick != 15*time.Second {
		t.Errorf("deadline in %v, want 15 s", c.tick)
	}
	passes := func(up *upload) (n int) {
		for ; n < 100 && c.waitOn(up); n++ {
		}
		return n
	}
	if n := passes(nil); n != ticks {
		t.Errorf("gives up after %d deadlines, want %d", n, ticks)
	}
	c.stirred()
	if n := passes(nil); n != ticks {
		t.Errorf("after an arrival: %d, want %d", n, ticks)
	}
	c.expect(time.Hour)
	if c.tick != 15*time.Second {
		t.Error("a nearer deadline was moved")
	}
	c.expect(20 * time.Second)
	if c.tick != 5*time.Second {
		t.Errorf("deadline in %v, want 5 s", c.tick)
	}

	up := &upload{done: make(chan struct{})}
	if n := passes(up); n != 100 {
		t.Errorf("an upload under way: gives up after %d deadlines", n)
	}
	close(up.done)
	if n := passes(up); n != ticks+1 || !up.seen || c.limit != 20*time.Second {
		t.Errorf("an upload that has ended: gives up after %d deadlines, limit %v", n, c.limit)
	}
	up = &upload{done: make(chan struct{}), err: io.ErrClosedPipe}
	close(up.done)
	if n := passes(up); n != ticks+1 || c.limit != afterFailure {
		t.Errorf("an upload that has failed: gives up after %d deadlines, limit %v", n, c.limit)
	}
}

// A connection that was opened ahead of need and dies at the first request is replaced like any kept one.
func TestWarmButDead(t *testing.T) {
	p := newPool(t, Options{})
	addr := rawServer(t, func(n int, c net.Conn) {
		if n == 0 {
			_ = readRequest(bufio.NewReader(c))
			return
		}
		always(okHello)(n, c)
	})
	req := get(addr)
	p.Warm([]Target{req.Target}, 1)
	until(t, "a warm connection", func() bool { return p.stat(addr).Idle == 1 })
	if body, _ := mustFetch(t, p, req); body != "hello" || p.stat(addr).Retries != 1 {
		t.Errorf("got %q, stats %+v", body, p.stat(addr))
	}
}

// The write that does not fit is finished by an upload from where it stopped.
func TestUploadGoesOn(t *testing.T) {
	head, body := []byte("head head "), []byte("body body body")
	for sent := range len(head) + len(body) + 1 {
		a, b := net.Pipe()
		got := make(chan string)
		go func() {
			all, _ := io.ReadAll(b)
			got <- string(all)
		}()
		wire := sock.New(a)
		up := startUpload(&conn{rw: wire, sock: wire}, newSlabs(), &Request{Head: head, Body: body}, sent)
		<-up.done
		a.Close()
		if whole, want := <-got, (string(head) + string(body))[sent:]; whole != want || up.err != nil {
			t.Errorf("from %d: %q, %v, want %q", sent, whole, up.err, want)
		}
	}
}
