package upstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"fairway/dataplane/internal/sock"
	"fairway/pkg/h1"
)

// chatHead is about what a provider's answer looks like.
const chatHead = "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 20:00:00 GMT\r\nContent-Type: application/json\r\n" +
	"Connection: keep-alive\r\nServer: cloudflare\r\nx-request-id: req_0123456789abcdef0123456789abcdef\r\n" +
	"x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\nx-ratelimit-reset-requests: 6ms\r\n" +
	"openai-processing-ms: 312\r\nstrict-transport-security: max-age=31536000; includeSubDomains; preload\r\n"

// quick answers fixed bytes to each request, found by the empty line, without parsing or allocating: requests have no
// body, or one of size bytes.
func quick(answer string, size int) func(int, net.Conn) {
	return func(_ int, c net.Conn) {
		b := make([]byte, 256<<10)
		out := []byte(answer)
		n := 0
		for {
			m, err := c.Read(b[n:])
			if err != nil {
				return
			}
			n += m
			if i := bytes.Index(b[:n], []byte("\r\n\r\n")); i >= 0 && n >= i+4+size {
				n = 0
				if _, err := c.Write(out); err != nil {
					return
				}
			}
		}
	}
}

func exchangeOnce(tb testing.TB, p *Pool, call *Call, req *Request, buf []byte) {
	r, err := p.Do(context.Background(), call, req)
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := r.Read(buf); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			tb.Fatal(err)
		}
	}
	r.Close()
	call.Reset()
}

func BenchmarkRequest(b *testing.B) {
	for _, size := range []int{0, 1 << 10, 32 << 10, 128 << 10} {
		b.Run(fmt.Sprintf("body=%d", size), func(b *testing.B) {
			addr := rawServer(b, quick(chatHead+"Content-Length: 900\r\n\r\n"+strings.Repeat("x", 900), size))
			p := newPool(b, Options{})
			req := get(addr)
			req.Head = fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size)
			req.Body = make([]byte, size)
			buf := make([]byte, 8<<10)
			var call Call
			exchangeOnce(b, p, &call, req, buf)
			b.ReportAllocs()
			for b.Loop() {
				exchangeOnce(b, p, &call, req, buf)
			}
		})
	}
}

// One event of a stream, from the upstream's write to the caller's hands and back.
func BenchmarkEvent(b *testing.B) {
	event := "data: {\"choices\":[{\"delta\":{\"content\":\"hello\"}}]}\n\n"
	raw := fmt.Appendf(nil, "%x\r\n%s\r\n", len(event), event)
	for _, how := range []string{"Read", "Each"} {
		b.Run(how, func(b *testing.B) {
			tick := make(chan struct{})
			defer close(tick)
			addr := rawServer(b, func(_ int, c net.Conn) {
				_ = readRequest(bufio.NewReader(c))
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
				for range tick {
					_, _ = c.Write(raw)
				}
			})
			p := newPool(b, Options{})
			r, err := p.Do(context.Background(), nil, get(addr))
			if err != nil {
				b.Fatal(err)
			}
			got := 0
			buf := make([]byte, slabSize)
			b.ReportAllocs()
			tick <- struct{}{}
			if how == "Read" {
				for b.Loop() {
					if n, err := r.Read(buf); n != len(event) || err != nil {
						b.Fatal(n, err)
					}
					tick <- struct{}{}
				}
			} else {
				err = r.Each(func(piece []byte) bool {
					got += len(piece)
					if !b.Loop() {
						return false
					}
					tick <- struct{}{}
					return true
				})
				if err != nil || got%len(event) != 0 {
					b.Fatal(got, err)
				}
			}
			r.Close()
		})
	}
}

// The ping-pong of a bare connection: what the kernel and the runtime take, to be subtracted.
func BenchmarkBare(b *testing.B) {
	addr := rawServer(b, quick(chatHead+"Content-Length: 900\r\n\r\n"+strings.Repeat("x", 900), 0))
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	req := []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	buf := make([]byte, 8<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(req); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHead(b *testing.B) {
	whole := []byte(chatHead + "Content-Length: 900\r\n\r\n")
	b.Run("scan", func(b *testing.B) {
		var fields []field
		b.ReportAllocs()
		for b.Loop() {
			h := head{fields: fields[:0]}
			if n, err := h.scan(whole); n != len(whole) || err != nil {
				b.Fatal(n, err)
			}
			fields = h.fields
		}
	})
	b.Run("fields", func(b *testing.B) {
		var h head
		if _, err := h.scan(whole); err != nil {
			b.Fatal(err)
		}
		s := newSlabs()
		var r header
		b.ReportAllocs()
		for b.Loop() {
			r.keep(s, whole, h.fields)
			if len(r.Get("content-type")) == 0 || len(r.Get("x-request-id")) == 0 || r.Get("retry-after") != nil {
				b.Fatal("fields are missing")
			}
			s.put(r.slab)
		}
	})
}

func BenchmarkLiveness(b *testing.B) {
	addr := rawServer(b, func(_ int, c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	s := sock.New(nc)
	defer s.Close()
	c := &conn{rw: s, sock: s}
	b.ReportAllocs()
	for b.Loop() {
		if !c.clean() {
			b.Fatal("not clean")
		}
	}
}

func BenchmarkChunks(b *testing.B) {
	event := "data: {\"choices\":[{\"delta\":{\"content\":\"hello\"}}]}\n\n"
	raw := []byte(fmt.Sprintf("%x\r\n%s\r\n", len(event), event))
	work := make([]byte, len(raw))
	var d h1.Chunks
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		copy(work, raw)
		if n, used, err := d.Decode(work); n != len(event) || used != len(raw) || err != nil {
			b.Fatal(n, used, err)
		}
	}
}

// What crypto/tls takes by itself is in here.
func BenchmarkTLS(b *testing.B) {
	cert, roots := identity(b, "api.test")
	serve := quick(chatHead+"Content-Length: 900\r\n\r\n"+strings.Repeat("x", 900), 1<<10)
	addr := rawServer(b, overTLS(&tls.Config{Certificates: []tls.Certificate{cert}}, serve))
	p := newPool(b, Options{RootCAs: roots})
	req := secureGet(addr, "api.test")
	req.Head = []byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1024\r\n\r\n")
	req.Body = make([]byte, 1<<10)
	buf := make([]byte, 8<<10)
	var call Call
	exchangeOnce(b, p, &call, req, buf)
	b.ReportAllocs()
	for b.Loop() {
		exchangeOnce(b, p, &call, req, buf)
	}
}

// The steady state allocates nothing of its own.
func TestAllocations(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		body         int
	}{
		{"sized", chatHead + "Content-Length: 900\r\n\r\n" + strings.Repeat("x", 900), 1 << 10},
		{"chunked", chatHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 0},
		{"large body inline", okHello, 40 << 10},
		{"no body", "HTTP/1.1 204 No Content\r\n\r\n", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			addr := rawServer(t, quick(tt.answer, tt.body))
			p := newPool(t, Options{})
			req := get(addr)
			req.Body = make([]byte, tt.body)
			buf := make([]byte, 4<<10)
			var call Call
			for range 10 {
				exchangeOnce(t, p, &call, req, buf)
			}
			if raceEnabled {
				t.Skip("the race detector makes pools forget")
			}
			if got := testing.AllocsPerRun(500, func() { exchangeOnce(t, p, &call, req, buf) }); got > 1 {
				t.Errorf("%v allocations per request, want at most 1", got)
			}
		})
	}
}
