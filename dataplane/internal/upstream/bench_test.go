package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
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
	s := newSlabs()
	whole := []byte(chatHead + "Content-Length: 900\r\n\r\n")
	b.Run("scan", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var h head
			if n, err := h.scan(whole); n != len(whole) || err != nil {
				b.Fatal(n, err)
			}
		}
	})
	b.Run("fields", func(b *testing.B) {
		var r Response
		b.ReportAllocs()
		for b.Loop() {
			if err := s.parse(&r.Header, whole); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkLiveness(b *testing.B) {
	addr := rawServer(b, func(_ int, c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var p prober
	p.init(c)
	b.ReportAllocs()
	for b.Loop() {
		if p.readable() {
			b.Fatal("readable")
		}
	}
}

func BenchmarkChunks(b *testing.B) {
	event := "data: {\"choices\":[{\"delta\":{\"content\":\"hello\"}}]}\n\n"
	raw := []byte(fmt.Sprintf("%x\r\n%s\r\n", len(event), event))
	work := make([]byte, len(raw))
	var d chunks
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		copy(work, raw)
		if n, used, err := d.decode(work); n != len(event) || used != len(raw) || err != nil {
			b.Fatal(n, used, err)
		}
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
