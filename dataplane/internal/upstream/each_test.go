package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairway/pkg/h1"
)

// eachWay runs a test over plain connections and over TLS, with somebody who looks out for hang-ups and without.
func eachWay(t *testing.T, test func(t *testing.T, p *Pool, serve func(func(int, net.Conn)) *Request)) {
	t.Helper()
	cert, roots := identity(t, "api.test")
	for _, secure := range []bool{false, true} {
		for _, alone := range []bool{false, true} {
			t.Run(fmt.Sprintf("TLS %v, lookout %v", secure, !alone), func(t *testing.T) {
				p := newPool(t, Options{RootCAs: roots})
				if alone {
					p.o.Lookout = nil
				}
				test(t, p, func(serve func(int, net.Conn)) *Request {
					if secure {
						return secureGet(rawServer(t, overTLS(&tls.Config{Certificates: []tls.Certificate{cert}}, serve)), "api.test")
					}
					return get(rawServer(t, serve))
				})
			})
		}
	}
}

// Each hands on every event as it arrives, and the connection serves again.
func TestEach(t *testing.T) {
	eachWay(t, func(t *testing.T, p *Pool, serve func(func(int, net.Conn)) *Request) {
		next := make(chan int)
		req := serve(func(_ int, c net.Conn) {
			for br := bufio.NewReader(c); readRequest(br) == nil; {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst \r\n")
				for i := range next {
					if i < 0 {
						break
					}
					event := fmt.Sprintf("event %d ", i)
					_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", len(event), event)
				}
				_, _ = io.WriteString(c, "0\r\n\r\n")
			}
		})
		for round := range 3 {
			r, err := p.Do(context.Background(), nil, req)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			piece := ""
			err = r.Each(func(p []byte) bool {
				piece += string(p)
				clear(p[:cap(p)])
				if strings.HasSuffix(piece, " ") {
					got = append(got, piece)
					piece = ""
					if n := len(got); n < 5 {
						next <- n
					} else {
						next <- -1
					}
				}
				return true
			})
			if diff := cmp.Diff([]string{"first ", "event 1 ", "event 2 ", "event 3 ", "event 4 "}, got); diff != "" || err != nil {
				t.Errorf("error %v (-want +got):\n%s", err, diff)
			}
			if r.Reused != (round > 0) {
				t.Errorf("round %d: reused %v", round, r.Reused)
			}
			if err := r.Each(func([]byte) bool { t.Error("more"); return true }); err != nil {
				t.Errorf("after the end: %v", err)
			}
			r.Close()
		}
		close(next)
	})
}

// Who has enough ends the sitting; the rest is still to be read, in either way, and Close without it closes the connection.
func TestEachStops(t *testing.T) {
	eachWay(t, func(t *testing.T, p *Pool, serve func(func(int, net.Conn)) *Request) {
		two := make(chan bool)
		req := serve(func(_ int, c net.Conn) {
			for br := bufio.NewReader(c); readRequest(br) == nil; {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none")
				<-two
				_, _ = io.WriteString(c, "two")
			}
		})
		for _, rest := range []string{"Read", "Each", "Close"} {
			r, err := p.Do(context.Background(), nil, req)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for len(got) < 3 {
				if err := r.Each(func(p []byte) bool { got += string(p); return false }); err != nil || r.err != nil {
					t.Fatal(err, r.err)
				}
			}
			two <- true
			if rest != "Close" {
				if more, err := reading(r, rest); got+more != "onetwo" || err != nil {
					t.Errorf("by %s: %q and %q, %v", rest, got, more, err)
				}
			}
			r.Close()
			for _, s := range p.Stats() {
				if want := map[bool]int{true: 0, false: 1}[rest == "Close"]; s.Open != want {
					t.Errorf("%s: %d connections open, want %d", rest, s.Open, want)
				}
			}
		}
	})
}

// take may stop at the last piece: the body has ended well all the same.
func TestEachStopsAtTheEnd(t *testing.T) {
	p := newPool(t, Options{})
	addr := rawServer(t, always(okHello))
	for i := range 2 {
		r, err := p.Do(context.Background(), nil, get(addr))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Each(func([]byte) bool { return false }); err != nil || r.Reused != (i > 0) {
			t.Errorf("%v, reused %v", err, r.Reused)
		}
		r.Close()
	}
}

// The errors of Each are those of Read.
func TestEachErrors(t *testing.T) {
	const chunkedHead = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	eachWay(t, func(t *testing.T, p *Pool, serve func(func(int, net.Conn)) *Request) {
		for _, tt := range []struct {
			name, answer, body string
			cause              error // nil = the body ends well
			timeout            bool
		}{
			{"cut", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", "hello", io.ErrUnexpectedEOF, false},
			{"chunks cut", chunkedHead + "5\r\nhello\r\n", "hello", io.ErrUnexpectedEOF, false},
			{"malformed", chunkedHead + "5\r\nhello\n", "hello", ErrMalformed, false},
			{"too large", chunkedHead + "5;" + strings.Repeat("x", h1.MaxChunkLine) + "\r\n", "", ErrTooLarge, false},
			{"until close", "HTTP/1.1 200 OK\r\n\r\nhello", "hello", nil, false},
			{"silence", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", "hello", nil, true},
			{"silence from the start", chunkedHead, "", nil, true},
		} {
			t.Run(tt.name, func(t *testing.T) {
				req := serve(func(_ int, c net.Conn) {
					if readRequest(bufio.NewReader(c)) != nil {
						return
					}
					at := strings.Index(tt.answer, "\r\n\r\n") + 4
					_, _ = io.WriteString(c, tt.answer[:at])
					_, _ = io.WriteString(c, tt.answer[at:])
					if tt.timeout {
						_, _ = io.Copy(io.Discard, c)
					}
				})
				if tt.timeout {
					req.Target.Idle = 250 * time.Millisecond // between the two pieces too
				}
				r, err := p.Do(context.Background(), nil, req)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				body, err := reading(r, "Each")
				if body != tt.body {
					t.Errorf("body = %q, want %q", body, tt.body)
				}
				if tt.cause == nil && !tt.timeout {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if e := wantError(t, err, PhaseBody, tt.cause); e.Timeout != tt.timeout {
					t.Errorf("error = %+v", e)
				}
				if again := r.Each(func([]byte) bool { return true }); !errors.Is(again, err) {
					t.Errorf("the next Each says %v", again)
				}
			})
		}
	})
}

// An abort ends a sitting, also from within.
func TestEachAbort(t *testing.T) {
	eachWay(t, func(t *testing.T, p *Pool, serve func(func(int, net.Conn)) *Request) {
		ended := make(chan struct{}, 2)
		req := serve(func(_ int, c net.Conn) {
			_ = readRequest(bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
			_, _ = io.Copy(io.Discard, c)
			ended <- struct{}{}
		})
		for _, within := range []bool{false, true} {
			r, err := p.Do(context.Background(), nil, req)
			if err != nil {
				t.Fatal(err)
			}
			err = r.Each(func([]byte) bool {
				if within {
					r.Abort()
				} else {
					go r.Abort()
				}
				return true
			})
			if e := wantError(t, err, PhaseBody, ErrAborted); !e.Aborted {
				t.Errorf("error = %+v", e)
			}
			<-ended
			r.Close()
		}
		if s := p.Stats()[0]; s.Open != 0 {
			t.Errorf("connection kept: %+v", s)
		}
	})
}

// A sitting allocates nothing, however many events there are.
func TestEachAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	p := newPool(t, Options{})
	event := "data: {\"choices\":[{\"delta\":{\"content\":\"hello\"}}]}\n\n"
	raw := fmt.Appendf(nil, "%x\r\n%s\r\n", len(event), event)
	tick := make(chan struct{})
	defer close(tick)
	addr := rawServer(t, func(_ int, c net.Conn) {
		_ = readRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range tick {
			_, _ = c.Write(raw)
		}
	})
	r, err := p.Do(context.Background(), nil, get(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make(chan struct{})
	done := make(chan error)
	go func() {
		done <- r.Each(func(piece []byte) bool {
			got <- struct{}{}
			return string(piece) == event
		})
	}()
	once := func() { tick <- struct{}{}; <-got }
	for range 100 {
		once()
	}
	if n := testing.AllocsPerRun(1000, once); n >= 1 {
		t.Errorf("%v allocations for each event", n)
	}
	r.Abort()
	if err := <-done; !errors.Is(err, ErrAborted) {
		t.Error(err)
	}
}
