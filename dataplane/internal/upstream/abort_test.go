package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A client that hangs up ends the upstream's work in every phase: the upstream sees its connection end.
func TestAbort(t *testing.T) {
	type phase struct {
		name  string
		want  Phase
		body  int
		serve func(c net.Conn, now chan<- struct{})
	}
	waitForEnd := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	for _, tt := range []phase{
		{"waiting for the response", PhaseFirstByte, 0, func(c net.Conn, now chan<- struct{}) {
			_ = readRequest(bufio.NewReader(c))
			close(now)
			waitForEnd(c)
		}},
		{"in the head", PhaseHead, 0, func(c net.Conn, now chan<- struct{}) {
			_, _ = io.WriteString(c, "HTTP/1.1 2")
			_ = readRequest(bufio.NewReader(c))
			close(now)
			waitForEnd(c)
		}},
		{"sending a large body", PhaseWrite, 64 << 20, func(c net.Conn, now chan<- struct{}) {
			_, _ = io.ReadFull(c, make([]byte, 100))
			close(now)
			for buf := make([]byte, 1); ; {
				if _, err := c.Write(nil); err != nil {
					return
				}
				if _, err := c.Read(buf); err != nil {
					return
				}
			}
		}},
	} {
		for how, abort := range map[string]func(*Call, context.CancelFunc){
			"by call": func(c *Call, _ context.CancelFunc) { c.Abort() }, "by context": func(_ *Call, f context.CancelFunc) { f() },
		} {
			t.Run(tt.name+" "+how, func(t *testing.T) {
				now, ended := make(chan struct{}), make(chan struct{})
				addr := rawServer(t, func(_ int, c net.Conn) {
					defer close(ended)
					tt.serve(c, now)
				})
				p := newPool(t, Options{})
				var call Call
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				req := get(addr)
				req.Body = make([]byte, tt.body)
				done := make(chan error)
				go func() {
					_, err := p.Do(ctx, &call, req)
					done <- err
				}()
				<-now
				abort(&call, cancel)
				err := <-done
				want := tt.want
				if e := new(Error); errors.As(err, &e) && want == PhaseHead && e.Phase == PhaseFirstByte {
					want = PhaseFirstByte // the abort was faster than what had been sent
				}
				if e := wantError(t, err, want, ErrAborted); !e.Aborted || e.Timeout {
					t.Errorf("error = %+v", e)
				}
				if how == "by context" && !errors.Is(err, context.Canceled) {
					t.Errorf("error %v hides the context's", err)
				}
				<-ended
			})
		}
	}
}

func TestAbortBetweenReads(t *testing.T) {
	for _, name := range []string{"waiting in Read", "before Read"} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan struct{})
			addr := rawServer(t, func(_ int, c net.Conn) {
				defer close(ended)
				_ = readRequest(bufio.NewReader(c))
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
				_, _ = io.Copy(io.Discard, c)
			})
			p := newPool(t, Options{})
			var call Call
			r, err := p.Do(context.Background(), &call, get(addr))
			if err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			if n, err := r.Read(buf); string(buf[:n]) != "one" || err != nil {
				t.Fatalf("Read = %q, %v", buf[:n], err)
			}
			if name == "before Read" {
				call.Abort()
				<-ended
			} else {
				go call.Abort()
			}
			_, err = r.Read(buf)
			if e := wantError(t, err, PhaseBody, ErrAborted); !e.Aborted {
				t.Errorf("error = %+v", e)
			}
			if _, again := r.Read(buf); !errors.Is(again, err) {
				t.Errorf("second Read = %v, want the same error", again)
			}
			<-ended
			r.Close()
			if s := p.Stats()[0]; s.Open != 0 {
				t.Errorf("connection kept: %+v", s)
			}
		})
	}
}

func TestAbortBeforeDo(t *testing.T) {
	p := newPool(t, Options{})
	addr := rawServer(t, always(okHello))
	var call Call
	call.Abort()
	call.Abort()
	_, err := p.Do(context.Background(), &call, get(addr))
	if e := wantError(t, err, PhaseDial, ErrAborted); !e.Aborted || !call.Aborted() {
		t.Errorf("error = %+v", e)
	}
	mustFetch(t, p, get(addr)) // leaves a kept connection
	_, err = p.Do(context.Background(), &call, get(addr))
	wantError(t, err, PhaseWrite, ErrAborted)
	if s := p.stat(addr); s.Open != 0 {
		t.Errorf("stats = %+v", s)
	}
	call.Reset()
	r, err := p.Do(context.Background(), &call, get(addr))
	if err != nil {
		t.Fatalf("after Reset: %v", err)
	}
	r.Close()
}

// An abort that comes when the response has ended harms nobody: the connection serves the next request.
func TestAbortAfterTheEnd(t *testing.T) {
	p := newPool(t, Options{})
	addr := rawServer(t, always(okHello))
	var call Call
	r, err := p.Do(context.Background(), &call, get(addr))
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(r); string(body) != "hello" || err != nil {
		t.Fatalf("%q, %v", body, err)
	}
	call.Abort()
	r.Close()
	call.Abort()
	if body, reused := mustFetch(t, p, get(addr)); body != "hello" || !reused {
		t.Errorf("%q, reused %v", body, reused)
	}
}

// An abort closes the connection even if all of the response has come already; it must not be kept.
func TestAbortBeforeTheLastRead(t *testing.T) {
	p := newPool(t, Options{})
	addr := rawServer(t, always(okHello))
	var call Call
	r, err := p.Do(context.Background(), &call, get(addr))
	if err != nil {
		t.Fatal(err)
	}
	call.Abort()
	_, _ = io.ReadAll(r) // the body, or the abort
	r.Close()
	if s := p.stat(addr); s.Open != 0 || s.Idle != 0 {
		t.Errorf("kept: %+v", s)
	}
}

// slow is a body that comes slowly.
type slow struct {
	inside, left chan struct{}
	done         atomic.Bool
}

func (s *slow) Read([]byte) (int, error) {
	close(s.inside)
	<-s.left
	s.done.Store(true)
	return 0, io.EOF
}

// When Close returns nothing of the request is in use: its memory may serve another.
func TestCloseWaitsForTheRequest(t *testing.T) {
	p := newPool(t, Options{})
	addr := rawServer(t, func(_ int, c net.Conn) {
		_, _ = c.Read(make([]byte, 1000))
		_, _ = io.WriteString(c, okHello)
		_, _ = io.Copy(io.Discard, c)
	})
	body := &slow{inside: make(chan struct{}), left: make(chan struct{})}
	req := get(addr)
	req.BodyStream, req.BodySize = body, 10
	r, err := p.Do(context.Background(), nil, req)
	if err != nil {
		t.Fatal(err)
	}
	<-body.inside
	time.AfterFunc(50*time.Millisecond, func() { close(body.left) })
	r.Close()
	if !body.done.Load() {
		t.Error("Close returned while the body was being read")
	}
}

// Aborts at any moment, also right at the end, never hand a closed or foreign connection to another request.
func TestAbortRaces(t *testing.T) {
	p := newPool(t, Options{MaxConnsPerHost: 4})
	addr := rawServer(t, always(okHello))
	done := make(chan struct{})
	for range 8 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 100 {
				var call Call
				aborted := make(chan struct{})
				go func() { call.Abort(); close(aborted) }()
				r, err := p.Do(context.Background(), &call, get(addr))
				if err == nil {
					body, err := io.ReadAll(r)
					if err == nil && string(body) != "hello" {
						t.Errorf("body = %q", body)
					}
					r.Close()
				} else if e := new(Error); !errors.As(err, &e) || !e.Aborted {
					t.Errorf("error = %v, want an abort", err)
				}
				<-aborted
				if body, _ := mustFetch(t, p, get(addr)); body != "hello" {
					t.Errorf("the next request got %q", body)
				}
			}
		}()
	}
	for range 8 {
		<-done
	}
	if s := p.stat(addr); s.Open != s.Idle || s.Waiting != 0 {
		t.Errorf("places leaked: %+v", s)
	}
}

// An answer that comes before a large body was read is delivered, and the connection does not serve again.
func TestEarlyResponse(t *testing.T) {
	for _, stream := range []bool{false, true} {
		for name, after := range map[string]func(net.Conn){
			"and the rest is not read": func(c net.Conn) { _, _ = io.Copy(io.Discard, io.LimitReader(c, 1<<20)) },
			"and closes":               func(net.Conn) {},
		} {
			t.Run(name, func(t *testing.T) {
				p := newPool(t, Options{})
				hold := make(chan struct{})
				addr := rawServer(t, func(_ int, c net.Conn) {
					_, _ = io.ReadFull(c, make([]byte, 50))
					_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge")
					if name == "and closes" {
						// As servers do that want their answer to arrive: no more is sent, and what comes is thrown away.
						_ = c.(*net.TCPConn).CloseWrite()
						_, _ = io.Copy(io.Discard, c)
						return
					}
					after(c)
					<-hold
				})
				req := get(addr)
				req.Head = []byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n")
				if stream {
					req.BodyStream, req.BodySize = io.LimitReader(zeros{}, 64<<20), 64<<20
				} else {
					req.Body = make([]byte, 64<<20)
				}
				r, err := p.Do(context.Background(), nil, req)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(r)
				if r.Status != 413 || string(body) != "large" || err != nil {
					t.Errorf("got %d %q %v", r.Status, body, err)
				}
				r.Close()
				close(hold)
				if s := p.stat(addr); s.Idle != 0 && name != "and closes" {
					t.Errorf("kept although the request was not sent: %+v", s)
				}
			})
		}
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// Bodies of all sizes, whole or streamed, arrive whole, and their connections serve again.
func TestBodiesArrive(t *testing.T) {
	p := newPool(t, Options{})
	addr := rawServer(t, func(_ int, c net.Conn) {
		br := bufio.NewReader(c)
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				return
			}
			n := 0
			for ; line != "\r\n"; line, _ = br.ReadString('\n') {
				if v, ok := strings.CutPrefix(line, "Content-Length: "); ok {
					n = mustAtoi(v)
				}
			}
			sum := byte(0)
			for range n {
				b, err := br.ReadByte()
				if err != nil {
					return
				}
				sum = sum*31 + b
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"+string(rune('a'+sum%26)))
		}
	})
	for i, n := range []int{0, 1, 3000, 5000, 16 << 10, 17 << 10, 64 << 10, 64<<10 + 1, inlineBody, inlineBody + 1, 1 << 20} {
		body := make([]byte, n)
		sum := byte(0)
		for j := range body {
			body[j] = byte(j * 7)
			sum = sum*31 + body[j]
		}
		for _, stream := range []bool{false, true} {
			req := get(addr)
			req.Head = []byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + strconv.Itoa(n) + "\r\n\r\n")
			if req.Body = body; stream {
				req.Body, req.BodyStream, req.BodySize = nil, strings.NewReader(string(body)), int64(n)
			}
			got, reused := mustFetch(t, p, req)
			if want := string(rune('a' + sum%26)); got != want || reused != (i > 0 || stream) {
				t.Errorf("%d bytes, stream %v: got %q, want %q; reused %v", n, stream, got, want, reused)
			}
		}
	}
}

// A stream that ends before its size says is an error of writing, not a hang.
func TestShortStream(t *testing.T) {
	p := newPool(t, Options{})
	addr := rawServer(t, func(_ int, c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	req := get(addr)
	req.Head = []byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
	req.BodyStream, req.BodySize = strings.NewReader("short"), 100
	_, _, _, err := fetch(p, req)
	wantError(t, err, PhaseWrite, io.ErrUnexpectedEOF)
}

func mustAtoi(s string) int {
	n, err := strconv.Atoi(strings.TrimSpace(s))
	if err != nil {
		panic(err)
	}
	return n
}
