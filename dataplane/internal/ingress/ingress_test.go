package ingress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"fairway/dataplane/internal/sock"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// running is a server on a real listener.
type running struct {
	t      testing.TB
	server *Server
	addr   string
	stop   context.CancelFunc
	done   chan error
}

// lookout runs one for the test; nil where there is none.
func lookout(t testing.TB) *sock.Lookout {
	t.Helper()
	l, err := sock.NewLookout()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l
}

// forms runs a test with a lookout and without one: what is promised is the same.
func forms(t *testing.T, test func(t *testing.T, l *sock.Lookout)) {
	t.Run("lookout", func(t *testing.T) { test(t, lookout(t)) })
	t.Run("plain", func(t *testing.T) { test(t, nil) })
}

func start(t testing.TB, handler Handler, o Options) *running {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{t: t, server: New(handler, o), addr: ln.Addr().String(), stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- r.server.Run(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-r.done; err != nil {
			t.Errorf("Run: %v", err)
		}
		r.done <- nil
	})
	return r
}

func (r *running) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

func (r *running) raw(request string) string {
	r.t.Helper()
	c := r.dial()
	if _, err := io.WriteString(c, request); err != nil {
		r.t.Fatal(err)
	}
	out, err := io.ReadAll(c)
	if err != nil {
		r.t.Fatalf("after %q: %v", out, err)
	}
	return string(out)
}

func status(response string) string {
	_, rest, _ := strings.Cut(response, " ")
	code, _, _ := strings.Cut(rest, " ")
	return code
}

// echo reads the body and answers with it.
func echo(r *Request, w *Response) {
	body, err := io.ReadAll(r)
	if err != nil {
		w.Status(400)
	}
	_ = w.Send(body)
}

const closing = "Host: x\r\nConnection: close\r\n"

func TestFraming(t *testing.T) {
	r := start(t, echo, Options{Linger: 10 * time.Millisecond, MaxHeader: 8 << 10, Lookout: lookout(t)})
	for _, tc := range []struct{ name, request, want string }{
		{"plain", "GET / HTTP/1.1\r\n" + closing + "\r\n", "200"},
		{"body", "POST / HTTP/1.1\r\n" + closing + "Content-Length: 2\r\n\r\nab", "200"},
		{"chunked", "POST / HTTP/1.1\r\n" + closing + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", "200"},
		{"chunk extension", "POST / HTTP/1.1\r\n" + closing + "Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\n\r\n", "200"},
		{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "200"},
		{"close in another case", "GET / HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n", "200"},
		{"close in a list", "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n", "200"},
		{"close, then another", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nConnection: x-y\r\n\r\n", "200"},

		{"length and coding", "POST / HTTP/1.1\r\n" + closing + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		{"coding and length", "POST / HTTP/1.1\r\n" + closing + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "400"},
		{"two lengths", "POST / HTTP/1.1\r\n" + closing + "Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc", "400"},
		{"same length twice", "POST / HTTP/1.1\r\n" + closing + "Content-Length: 2\r\nContent-Length: 2\r\n\r\nab", "400"},
		{"list of lengths", "POST / HTTP/1.1\r\n" + closing + "Content-Length: 2, 2\r\n\r\nab", "400"},
		{"signed length", "POST / HTTP/1.1\r\n" + closing + "Content-Length: +2\r\n\r\nab", "400"},
		{"negative length", "POST / HTTP/1.1\r\n" + closing + "Content-Length: -2\r\n\r\nab", "400"},
		{"huge length", "POST / HTTP/1.1\r\n" + closing + "Content-Length: 99999999999999999999\r\n\r\nab", "400"},
		{"hex length", "POST / HTTP/1.1\r\n" + closing + "Content-Length: 0x2\r\n\r\nab", "400"},
		{"identity", "POST / HTTP/1.1\r\n" + closing + "Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nab", "400"},
		{"two codings", "POST / HTTP/1.1\r\n" + closing + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		{"gzip, chunked", "POST / HTTP/1.1\r\n" + closing + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400"},
		{"chunked in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		{"bare LF in headers", "GET / HTTP/1.1\r\nHost: x\nConnection: close\r\n\r\n", "400"},
		{"bare LF after the line", "GET / HTTP/1.1\n" + closing + "\r\n", "400"},
		{"bare CR", "GET / HTTP/1.1\r\nX: a\rY: b\r\n" + closing + "\r\n", "400"},
		{"folded", "GET / HTTP/1.1\r\nX: a\r\n b\r\n" + closing + "\r\n", "400"},
		{"folded name", "GET / HTTP/1.1\r\nX: a\r\n\tTransfer-Encoding: chunked\r\n" + closing + "\r\n", "400"},
		{"space before the colon", "POST / HTTP/1.1\r\n" + closing + "Content-Length : 2\r\n\r\nab", "400"},
		{"space in a name", "GET / HTTP/1.1\r\nX Y: a\r\n" + closing + "\r\n", "400"},
		{"NUL", "GET / HTTP/1.1\r\nX: a\x00b\r\n" + closing + "\r\n", "400"},
		{"no colon", "GET / HTTP/1.1\r\nX\r\n" + closing + "\r\n", "400"},
		{"two hosts", "GET / HTTP/1.1\r\nHost: y\r\n" + closing + "\r\n", "400"},
		{"no host", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "400"},
		{"HTTP/2.0", "GET / HTTP/2.0\r\n" + closing + "\r\n", "505"},
		{"HTTP/1.2", "GET / HTTP/1.2\r\n" + closing + "\r\n", "505"},
		{"no version", "GET /\r\n" + closing + "\r\n", "400"},
		{"odd method", "GE(T / HTTP/1.1\r\n" + closing + "\r\n", "400"},
		{"no target", "GET  HTTP/1.1\r\n" + closing + "\r\n", "400"},
		{"chunk size with a sign", "POST / HTTP/1.1\r\n" + closing + "Transfer-Encoding: chunked\r\n\r\n+2\r\nab\r\n0\r\n\r\n", "400"},
		{"chunk line with bare LF", "POST / HTTP/1.1\r\n" + closing + "Transfer-Encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n", "400"},
		{"chunk longer than its size", "POST / HTTP/1.1\r\n" + closing + "Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n", "400"},
		{"strange expectation", "POST / HTTP/1.1\r\n" + closing + "Expect: miracles\r\nContent-Length: 0\r\n\r\n", "417"},
		{"large head", "GET / HTTP/1.1\r\nX: " + strings.Repeat("a", 9<<10) + "\r\n" + closing + "\r\n", "431"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := r.raw(tc.request)
			if status(got) != tc.want {
				t.Errorf("status %s, want %s:\n%s", status(got), tc.want, got)
			}
			if n := strings.Count(got, "HTTP/1.1 "); n != 1 {
				t.Errorf("%d responses", n)
			}
			for _, want := range []string{"X-Request-Id: req_", "Connection: close"} {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
			if strings.Contains(got, "Server:") {
				t.Errorf("says what it is:\n%s", got)
			}
			if tc.want != "200" && !strings.Contains(got, `{"error":{"message":"`) && !strings.Contains(tc.name, "chunk ") {
				t.Errorf("not the envelope:\n%s", got)
			}
		})
	}
}

// What is not refused, net/http reads the same way.
func FuzzFramingAgainstNetHTTP(f *testing.F) {
	for _, seed := range []string{
		"Content-Length: 2\r\n\r\nab", "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", "\r\n",
		"X: a\r\n b\r\n\r\n", "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", "Content-Length:3\r\n\r\nabGET /x",
		"Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n\r\n", "Connection: x\r\nContent-Length: 0\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	type seen struct{ bodies []string }
	var mu sync.Mutex
	var ours, theirs seen
	r := start(f, func(r *Request, w *Response) {
		body, err := io.ReadAll(r)
		if err != nil {
			w.Status(400)
		}
		mu.Lock()
		ours.bodies = append(ours.bodies, string(body))
		mu.Unlock()
		_ = w.Send(body)
	}, Options{HeaderTimeout: 50 * time.Millisecond, BodyTimeout: 50 * time.Millisecond, Linger: time.Millisecond})
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		theirs.bodies = append(theirs.bodies, string(body))
		mu.Unlock()
	}))
	f.Cleanup(other.Close)
	send := func(t *testing.T, addr string, b []byte) string {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Skip(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		_, _ = c.Write(append([]byte("POST / HTTP/1.1\r\nHost: x\r\n"), b...))
		_ = c.(*net.TCPConn).CloseWrite()
		out, _ := io.ReadAll(c)
		return string(out)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		mu.Lock()
		ours, theirs = seen{}, seen{}
		mu.Unlock()
		mine := send(t, r.addr, b)
		if !strings.HasPrefix(mine, "HTTP/1.1 200") {
			return
		}
		_ = send(t, other.Listener.Addr().String(), b)
		mu.Lock()
		defer mu.Unlock()
		if len(theirs.bodies) == 0 || len(ours.bodies) == 0 {
			return // refused there, or a body that did not arrive
		}
		if ours.bodies[0] != theirs.bodies[0] {
			t.Fatalf("%q: we read %q, net/http reads %q", b, ours.bodies, theirs.bodies)
		}
	})
}

func TestPanic(t *testing.T) {
	r := start(t, func(_ *Request, w *Response) {
		w.Set("X-Half", "1")
		panic("boom")
	}, Options{})
	got := r.raw("GET / HTTP/1.1\r\n" + closing + "\r\n")
	if status(got) != "500" || !strings.Contains(got, `"internal error"`) || strings.Contains(got, "boom") ||
		strings.Contains(got, "X-Half") || !strings.Contains(got, "X-Request-Id: req_") {
		t.Errorf("answer:\n%s", got)
	}
	if n := testutil.ToFloat64(r.server.meters.panics); n != 1 {
		t.Errorf("panics = %v", n)
	}
}

func TestExpectContinue(t *testing.T) {
	r := start(t, echo, Options{})
	c := r.dial()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\n"+closing+"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n')
	if err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	// A bare LF in a body is no framing.
	_, _ = io.WriteString(c, "a\nb\n\n")
	rest, err := io.ReadAll(in)
	if err != nil || !strings.Contains(string(rest), "HTTP/1.1 200") || !strings.HasSuffix(string(rest), "a\nb\n\n") {
		t.Errorf("%q, %v", rest, err)
	}
}

// A body that the handler does not want is not read as a request, and its sender can read why.
func TestUnreadBody(t *testing.T) {
	var served int
	var mu sync.Mutex
	r := start(t, func(_ *Request, w *Response) {
		mu.Lock()
		served++
		mu.Unlock()
		w.Status(401)
		_ = w.Send(nil)
	}, Options{Linger: 5 * time.Second})
	body := strings.Repeat("GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n", 20_000)
	for _, framing := range []string{
		fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body),
		fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body),
	} {
		served = 0
		c := r.dial()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\n"+framing)
			_ = c.(*net.TCPConn).CloseWrite()
		}()
		out, err := io.ReadAll(c)
		if err != nil || status(string(out)) != "401" || strings.Count(string(out), "HTTP/1.1") != 1 {
			t.Errorf("%v:\n%s", err, out)
		}
		<-sent
		mu.Lock()
		if served != 1 {
			t.Errorf("%d requests were served", served)
		}
		mu.Unlock()
	}
}

func TestConnectionLimits(t *testing.T) {
	for name, o := range map[string]Options{"all": {MaxConns: 1}, "per address": {MaxConnsPerIP: 1}} {
		t.Run(name, func(t *testing.T) {
			r := start(t, echo, o)
			first := r.dial()
			in := bufio.NewReader(first)
			ask := func() {
				t.Helper()
				_, _ = io.WriteString(first, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				response, err := http.ReadResponse(in, nil)
				if err != nil || response.StatusCode != http.StatusOK {
					t.Fatalf("%v, %v", response, err)
				}
				_ = response.Body.Close()
			}
			ask()
			out, err := io.ReadAll(r.dial())
			if err != nil || !strings.Contains(string(out), "too_many_connections") || !strings.Contains(string(out), "X-Request-Id: req_") {
				t.Errorf("%v:\n%s", err, out)
			}
			ask()
			_ = first.Close()
			for {
				r.server.mu.Lock()
				n := len(r.server.conns)
				r.server.mu.Unlock()
				if n == 0 {
					break
				}
				time.Sleep(time.Millisecond)
			}
			if got := r.raw("GET / HTTP/1.1\r\n" + closing + "\r\n"); status(got) != "200" {
				t.Errorf("after the first has gone:\n%s", got)
			}
		})
	}
}

func TestDrainFinishesRequests(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	r := start(t, func(_ *Request, w *Response) {
		close(entered)
		<-release
		_ = w.Send([]byte("done"))
	}, Options{Lookout: lookout(t)})
	idle := r.dial() // never sends anything
	busy := r.dial()
	_, _ = io.WriteString(busy, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	r.stop()
	if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("an unused connection: %v", err)
	}
	close(release)
	out, err := io.ReadAll(busy)
	if err != nil || !strings.HasSuffix(string(out), "done") || !strings.Contains(string(out), "Connection: close") {
		t.Errorf("%v:\n%s", err, out)
	}
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	r.done <- nil
	if c, err := net.Dial("tcp", r.addr); err == nil {
		_ = c.Close()
		t.Error("still accepts")
	}
}

// told is a HangUp.
type told chan struct{}

func (h told) HungUp() { close(h) }

func TestDrainCutsWhatDoesNotEnd(t *testing.T) {
	entered := make(chan struct{})
	var ended atomic.Bool
	r := start(t, func(r *Request, _ *Response) {
		h := make(told)
		r.Watch(h)
		close(entered)
		<-h // only the cut ends it
		ended.Store(true)
	}, Options{Grace: 10 * time.Millisecond, WatchAfter: time.Hour})
	c := r.dial()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	r.done <- nil
	if !ended.Load() {
		t.Error("Run returned before the request had ended")
	}
}

func TestWatch(t *testing.T) { forms(t, testWatch) }

func testWatch(t *testing.T, l *sock.Lookout) {
	hung, again := make(chan struct{}, 1), make(chan struct{})
	r := start(t, func(r *Request, w *Response) {
		h := make(told)
		r.Watch(h)
		if string(r.Target()) == "/wait" {
			<-h
			hung <- struct{}{}
		} else {
			<-again
		}
		_ = w.Send(nil)
	}, Options{WatchAfter: time.Microsecond, Lookout: l})
	c := r.dial()
	in := bufio.NewReader(c)
	for i := range 50 {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		if i%2 == 0 {
			// The next request arrives in pieces while this one is watched.
			_, _ = io.WriteString(c, "G")
			again <- struct{}{}
			_, _ = io.WriteString(c, "ET / HTTP/1.1\r\nHost: x\r\n\r\n")
			response, err := http.ReadResponse(in, nil)
			if err != nil || response.StatusCode != http.StatusOK {
				t.Fatalf("request %d: %v, %v", i, response, err)
			}
			_ = response.Body.Close()
		}
		again <- struct{}{}
		response, err := http.ReadResponse(in, nil)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("request %d: %v, %v", i, response, err)
		}
		_ = response.Body.Close()
	}
	_, _ = io.WriteString(c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	_ = c.Close()
	<-hung
}

func TestSlowHeader(t *testing.T) {
	r := start(t, echo, Options{HeaderTimeout: 300 * time.Millisecond})
	if got := r.raw("GET / HTTP/1.1\r\nHost:"); status(got) != "408" {
		t.Errorf("answer:\n%s", got)
	}
}

func TestRequestIDsDiffer(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := string(appendRequestID(nil))
		if seen[id] || len(id) != requestIDLen {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
	}
}
