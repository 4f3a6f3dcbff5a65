package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fairway/dataplane/internal/sock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// rawServer accepts connections and gives each to serve, numbered from 0, until the test ends.
func rawServer(t testing.TB, serve func(n int, c net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
	)
	wg.Go(func() {
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				serve(n, c)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return ln.Addr().String()
}

// answering reads requests and answers each with the next of the given bytes; after the last it closes.
func answering(answers ...string) func(int, net.Conn) {
	return func(_ int, c net.Conn) {
		br := bufio.NewReader(c)
		for _, a := range answers {
			if readRequest(br) != nil {
				return
			}
			if _, err := io.WriteString(c, a); err != nil {
				return
			}
		}
	}
}

// always answers every request with the same bytes.
func always(answer string) func(int, net.Conn) {
	return func(_ int, c net.Conn) {
		br := bufio.NewReader(c)
		for readRequest(br) == nil {
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}
}

func readRequest(br *bufio.Reader) error {
	r, err := http.ReadRequest(br)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err
}

func newPool(t testing.TB, o Options) *Pool {
	t.Helper()
	if o.AllowCIDRs == nil {
		o.AllowCIDRs = loopback
	}
	var parts sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	if lookout, err := sock.NewLookout(); err == nil {
		o.Lookout = lookout
		parts.Go(func() { _ = lookout.Run(ctx) })
	}
	p := New(o)
	parts.Go(func() { _ = p.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		parts.Wait()
		for _, s := range p.Stats() {
			if s.Open != 0 || s.Waiting != 0 {
				t.Errorf("connections left when the pool was stopped: %+v", s)
			}
		}
	})
	return p
}

func get(addr string) *Request {
	return &Request{
		Target: Target{Addr: addr, Host: addr, Dial: time.Minute, FirstByte: time.Minute, Idle: time.Minute},
		Head:   []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
	}
}

// fetch does a request and reads its body.
func fetch(p *Pool, req *Request) (status int, body string, reused bool, err error) {
	r, err := p.Do(context.Background(), nil, req)
	if err != nil {
		return 0, "", false, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return r.Status, string(b), r.Reused, err
}

func mustFetch(t testing.TB, p *Pool, req *Request) (body string, reused bool) {
	t.Helper()
	_, body, reused, err := fetch(p, req)
	if err != nil {
		t.Fatalf("request failed: %v", err)
	}
	return body, reused
}

// wantError checks an error's phase and what it wraps.
func wantError(t testing.TB, err error, phase Phase, cause error) *Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got error %v (%T), want an *Error", err, err)
	}
	if e.Phase != phase || (cause != nil && !errors.Is(err, cause)) {
		t.Fatalf("got error %v in phase %s, want phase %s and cause %v", err, e.Phase, phase, cause)
	}
	return e
}

const okHello = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
