package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairway/pkg/h1"
)

// Every way in which the end of a response could be read in two ways is refused, and never serves again.
func TestRefusedHeads(t *testing.T) {
	const rest = "\r\n\r\nhello"
	for name, answer := range map[string]string{
		"duplicate content-length":             "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6" + rest,
		"content-length twice the same":        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ncontent-length: 5" + rest,
		"content-length list":                  "HTTP/1.1 200 OK\r\nContent-Length: 5, 5" + rest,
		"content-length and chunked":           "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunked and content-length":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"negative content-length":              "HTTP/1.1 200 OK\r\nContent-Length: -5" + rest,
		"signed content-length":                "HTTP/1.1 200 OK\r\nContent-Length: +5" + rest,
		"hexadecimal content-length":           "HTTP/1.1 200 OK\r\nContent-Length: 0x5" + rest,
		"content-length with a space inside":   "HTTP/1.1 200 OK\r\nContent-Length: 5 5" + rest,
		"empty content-length":                 "HTTP/1.1 200 OK\r\nContent-Length:" + rest,
		"huge content-length":                  "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999" + rest,
		"gzip, chunked":                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"chunked, identity":                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		"identity":                             "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity" + rest,
		"chunked twice":                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"xchunked":                             "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"chunked in quotes":                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
		"chunked in HTTP/1.0":                  "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"space before the colon":               "HTTP/1.1 200 OK\r\nContent-Length : 5" + rest,
		"tab before the colon":                 "HTTP/1.1 200 OK\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
		"folded header":                        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 5" + rest,
		"folded first header":                  "HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 5" + rest,
		"header without a colon":               "HTTP/1.1 200 OK\r\nContent-Length 5" + rest,
		"header without a name":                "HTTP/1.1 200 OK\r\n: 5\r\nContent-Length: 5" + rest,
		"bare LF after the status line":        "HTTP/1.1 200 OK\nContent-Length: 5" + rest,
		"bare LF after a header":               "HTTP/1.1 200 OK\r\nX: y\nContent-Length: 5" + rest,
		"bare LF at the end":                   "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\nhello",
		"bare CR in a value":                   "HTTP/1.1 200 OK\r\nX: a\rContent-Length: 4\r\nContent-Length: 5" + rest,
		"NUL in a value":                       "HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 5" + rest,
		"NUL in a name":                        "HTTP/1.1 200 OK\r\nContent-Length\x00: 5" + rest,
		"bare CR in the reason":                "HTTP/1.1 200 O\rK\r\nContent-Length: 5" + rest,
		"leading empty line":                   "\r\nHTTP/1.1 200 OK\r\nContent-Length: 5" + rest,
		"HTTP/2":                               "HTTP/2.0 200 OK\r\nContent-Length: 5" + rest,
		"HTTP/1.2":                             "HTTP/1.2 200 OK\r\nContent-Length: 5" + rest,
		"HTTP/0.9":                             "hello",
		"lower case":                           "http/1.1 200 OK\r\nContent-Length: 5" + rest,
		"ICY":                                  "ICY 200 OK\r\nContent-Length: 5" + rest,
		"two spaces":                           "HTTP/1.1  200 OK\r\nContent-Length: 5" + rest,
		"status of four digits":                "HTTP/1.1 2000 OK\r\nContent-Length: 5" + rest,
		"status of two digits":                 "HTTP/1.1 20 OK\r\nContent-Length: 5" + rest,
		"status 99":                            "HTTP/1.1 099 OK\r\nContent-Length: 5" + rest,
		"status 600":                           "HTTP/1.1 600 OK\r\nContent-Length: 5" + rest,
		"status +20":                           "HTTP/1.1 +20 OK\r\nContent-Length: 5" + rest,
		"upgrade":                              "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
		"interim response with a body":         "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n" + okHello,
		"interim response with chunks":         "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n" + okHello,
		"endless interim responses":            strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", maxInterim+1) + okHello,
		"TLS":                                  "\x15\x03\x01\x00\x02\x02\x28\r\n",
		"too many fields":                      "HTTP/1.1 200 OK\r\n" + strings.Repeat("a: b\r\n", maxFields+1) + "\r\n",
		"trailer that announces a length":      "HTTP/1.1 200 OK\r\nTrailer: Content-Length\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"control character in the status line": "HTTP/1.1 200 O\x01K\r\nContent-Length: 5" + rest,
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, Options{})
			addr := rawServer(t, func(_ int, c net.Conn) {
				if readRequest(bufio.NewReader(c)) == nil {
					_, _ = io.WriteString(c, answer)
					_, _ = io.Copy(io.Discard, c) // the client must not wait for our close
				}
			})
			status, body, _, err := fetch(p, get(addr))
			if err == nil {
				t.Fatalf("accepted: status %d, body %q", status, body)
			}
			e := wantError(t, err, PhaseHead, nil)
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("error = %v, want ErrMalformed", err)
			}
			if e.Timeout {
				t.Error("refused by a timeout only")
			}
			if strings.Contains(err.Error(), "hello") {
				t.Errorf("error shows the upstream's bytes: %v", err)
			}
			if s := p.Stats()[0]; s.Open != 0 {
				t.Errorf("connection kept: %+v", s)
			}
		})
	}
}

// What is strange and yet has one meaning only is accepted. keep says whether the connection serves again.
func TestAcceptedResponses(t *testing.T) {
	for _, tt := range []struct {
		name, answer, body string
		status             int
		keep               bool
	}{
		{"sized", okHello, "hello", 200, true},
		{"empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", 200, true},
		{"no reason", "HTTP/1.1 429\r\nContent-Length: 2\r\n\r\nno", "no", 429, true},
		{"empty reason", "HTTP/1.1 429 \r\nContent-Length: 2\r\n\r\nno", "no", 429, true},
		{"overloaded", "HTTP/1.1 529 Overloaded\r\nContent-Length: 2\r\n\r\nno", "no", 529, true},
		{"redirect", "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", "", 302, true},
		{"spaces around a value", "HTTP/1.1 200 OK\r\nContent-Length: \t 5 \t\r\n\r\nhello", "hello", 200, true},
		{"leading zeros", "HTTP/1.1 200 OK\r\nContent-Length: 0000005\r\n\r\nhello", "hello", 200, true},
		{"odd case", "HTTP/1.1 200 OK\r\ncOnTeNt-LeNgTh: 5\r\n\r\nhello", "hello", 200, true},
		{"empty value", "HTTP/1.1 200 OK\r\nX:\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, true},
		{"connection: close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, false},
		{"close in a list", "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, false},
		{"close in a second line", "HTTP/1.1 200 OK\r\nConnection: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, false},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, false},
		{"HTTP/1.0 kept", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, true},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", "hello", 200, true},
		{"chunk extensions", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b;c=\"d;e\"\r\nhello\r\n0;x\r\n\r\n", "hello", 200, true},
		{"chunk size with spaces", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5  \r\nhello\r\n0 ;x\r\n\r\n", "hello", 200, true},
		{"chunk size with zeros", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00000005\r\nhello\r\n000\r\n\r\n", "hello", 200, true},
		{"trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\nZ:\r\n\r\n", "hello", 200, true},
		{"interim responses", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + okHello, "hello", 200, true},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", "", 204, true},
		{"204 with length 0", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "", 204, true},
		{"204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "", 204, false},
		{"204 with chunks", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "", 204, false},
		{"304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "", 304, true},
		{"garbage behind", okHello + "x", "hello", 200, false},
		{"a second response behind", okHello + okHello, "hello", 200, false},
		{"garbage behind chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nx", "hello", 200, false},
		{"garbage behind nothing", "HTTP/1.1 204 No Content\r\n\r\nx", "", 204, false},
		{"large head", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 60<<10) + "\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, true},
		{"large body", "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("z", 300000), strings.Repeat("z", 300000), 200, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPool(t, Options{})
			addr := rawServer(t, always(tt.answer))
			for i := range 2 {
				status, body, reused, err := fetch(p, get(addr))
				if err != nil {
					t.Fatal(err)
				}
				if status != tt.status || body != tt.body {
					t.Errorf("got %d %.40q, want %d %.40q", status, body, tt.status, tt.body)
				}
				if i == 1 && reused != tt.keep {
					t.Errorf("second request on the same connection: %v, want %v", reused, tt.keep)
				}
			}
		})
	}
}

func TestBodyUntilClose(t *testing.T) {
	for name, head := range map[string]string{
		"HTTP/1.1": "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0": "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, Options{})
			addr := rawServer(t, answering(head+"hello"))
			for range 2 {
				if body, reused := mustFetch(t, p, get(addr)); body != "hello" || reused {
					t.Errorf("got %q, reused %v; want hello on a connection of its own", body, reused)
				}
			}
		})
	}
}

func TestHeadHasNoBody(t *testing.T) {
	p := newPool(t, Options{})
	addr := rawServer(t, always("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"))
	req := get(addr)
	req.Head = []byte("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
	for i := range 2 {
		if body, reused := mustFetch(t, p, req); body != "" || reused != (i == 1) {
			t.Errorf("got %q, reused %v", body, reused)
		}
	}
}

// A body that ends too early, or is broken, is an error after what did come, and never io.EOF.
func TestBrokenBodies(t *testing.T) {
	const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, tt := range []struct {
		name, answer, body string
		cause              error
	}{
		{"sized, cut", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", "hello", io.ErrUnexpectedEOF},
		{"sized, nothing", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", "", io.ErrUnexpectedEOF},
		{"chunk cut", chunked + "6\r\nhello", "hello", io.ErrUnexpectedEOF},
		{"no last chunk", chunked + "5\r\nhello\r\n", "hello", io.ErrUnexpectedEOF},
		{"last chunk cut", chunked + "5\r\nhello\r\n0\r\n", "hello", io.ErrUnexpectedEOF},
		{"last line cut", chunked + "5\r\nhello\r\n0\r\n\r", "hello", io.ErrUnexpectedEOF},
		{"trailer cut", chunked + "5\r\nhello\r\n0\r\nX: y", "hello", io.ErrUnexpectedEOF},
		{"chunk too long", chunked + "5\r\nhellox\r\n0\r\n\r\n", "hello", ErrMalformed},
		{"chunk too short", chunked + "6\r\nhello\r\n0\r\n\r\n", "hello\r", ErrMalformed},
		{"negative size", chunked + "-5\r\nhello\r\n0\r\n\r\n", "", ErrMalformed},
		{"0x", chunked + "0x5\r\nhello\r\n0\r\n\r\n", "", ErrMalformed},
		{"size that wraps", chunked + "10000000000000005\r\nhello\r\n0\r\n\r\n", "", ErrMalformed},
		{"size beyond 63 bits", chunked + "fffffffffffffff0\r\nhello\r\n0\r\n\r\n", "", ErrMalformed},
		{"no size", chunked + "\r\nhello\r\n0\r\n\r\n", "", ErrMalformed},
		{"extension without a size", chunked + ";x\r\nhello\r\n0\r\n\r\n", "", ErrMalformed},
		{"digits after a space", chunked + "5 5\r\nhello\r\n0\r\n\r\n", "", ErrMalformed},
		{"bare LF after a size", chunked + "5\nhello\r\n0\r\n\r\n", "", ErrMalformed},
		{"bare LF in an extension", chunked + "5;a\nhello\r\n0\r\n\r\n", "", ErrMalformed},
		{"bare CR after a size", chunked + "5\rhello\r\n0\r\n\r\n", "", ErrMalformed},
		{"bare CR in an extension", chunked + "5;a\rb\r\nhello\r\n0\r\n\r\n", "", ErrMalformed},
		{"bare LF after data", chunked + "5\r\nhello\n0\r\n\r\n", "hello", ErrMalformed},
		{"bare LF at the end", chunked + "5\r\nhello\r\n0\r\n\n", "hello", ErrMalformed},
		{"trailer without a colon", chunked + "5\r\nhello\r\n0\r\nfoo\r\n\r\n", "hello", ErrMalformed},
		{"trailer without a name", chunked + "5\r\nhello\r\n0\r\n:x\r\n\r\n", "hello", ErrMalformed},
		{"folded trailer", chunked + "5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n", "hello", ErrMalformed},
		{"bare LF after a trailer", chunked + "5\r\nhello\r\n0\r\nA: b\n\r\n", "hello", ErrMalformed},
		{"endless extension", chunked + "5;" + strings.Repeat("x", h1.MaxChunkLine) + "\r\nhello\r\n0\r\n\r\n", "", ErrTooLarge},
		{"endless trailers", chunked + "5\r\nhello\r\n0\r\n" + strings.Repeat("a: b\r\n", h1.MaxTrailers) + "\r\n", "hello", ErrTooLarge},
		{"extensions all over", chunked + strings.Repeat("1;"+strings.Repeat("y", 1000)+"\r\nx\r\n", 100) + "0\r\n\r\n", strings.Repeat("x", 16), ErrTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPool(t, Options{})
			addr := rawServer(t, answering(tt.answer))
			_, body, _, err := fetch(p, get(addr))
			wantError(t, err, PhaseBody, tt.cause)
			if body != tt.body {
				t.Errorf("body = %q, want %q", body, tt.body)
			}
			if s := p.Stats()[0]; s.Open != 0 {
				t.Errorf("connection kept: %+v", s)
			}
		})
	}
}

// A head without end is bounded and never becomes memory without end.
func TestHeadBomb(t *testing.T) {
	for name, part := range map[string]string{
		"one endless line": strings.Repeat("x", 1000), "endless lines": "X-Some-Header: " + strings.Repeat("y", 1000) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, Options{})
			addr := rawServer(t, func(_ int, c net.Conn) {
				if readRequest(bufio.NewReader(c)) != nil {
					return
				}
				_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
				for sent := 0; err == nil; sent += len(part) {
					if sent > 64<<20 {
						t.Error("the client reads a head of 64 MiB")
						return
					}
					_, err = io.WriteString(c, part)
				}
			})
			_, _, _, err := fetch(p, get(addr))
			wantError(t, err, PhaseHead, ErrTooLarge)
		})
	}
}

// Whatever pieces a response comes in, it is the same response.
func TestSplitAtEveryByte(t *testing.T) {
	for name, answer := range map[string]string{
		"sized":   "HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 11\r\n\r\nhello world",
		"chunked": "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n6;ext=1\r\nhello \r\n5\r\nworld\r\n0\r\nT: z\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			cut := make(chan int, 1)
			addr := rawServer(t, func(_ int, c net.Conn) {
				br := bufio.NewReader(c)
				for readRequest(br) == nil {
					at := <-cut
					_, _ = io.WriteString(c, answer[:at])
					time.Sleep(time.Millisecond) // not asserted on: it makes two reads of it, mostly
					_, _ = io.WriteString(c, answer[at:])
				}
			})
			p := newPool(t, Options{})
			for at := 1; at < len(answer); at++ {
				cut <- at
				r, err := p.Do(context.Background(), nil, get(addr))
				if err != nil {
					t.Fatalf("cut at %d: %v", at, err)
				}
				body, err := io.ReadAll(r)
				if string(body) != "hello world" || err != nil || string(r.Get("x")) != "y" {
					t.Errorf("cut at %d: body %q, error %v, X %q", at, body, err, r.Get("x"))
				}
				r.Close()
			}
			if s := p.Stats()[0]; s.Dials != 1 {
				t.Errorf("%d connections, want 1 for all", s.Dials)
			}
		})
	}
}

// The decoder sees the same body in whatever pieces, down to single bytes.
func TestChunksInPieces(t *testing.T) {
	raw := "5;x=y\r\nhello\r\n1\r\n \r\n00a \r\nworld abcd\r\n0\r\nA: b\r\n\r\nrest"
	for size := 1; size <= len(raw); size++ {
		var d h1.Chunks
		var body []byte
		used := 0
		for at := 0; at < len(raw) && !d.Ended(); at += size {
			piece := []byte(raw[at:min(at+size, len(raw))])
			n, u, err := d.Decode(piece)
			if err != nil {
				t.Fatalf("pieces of %d: %v", size, err)
			}
			body = append(body, piece[:n]...)
			used += u
		}
		if diff := cmp.Diff("hello world abcd", string(body)); diff != "" || used != len(raw)-len("rest") {
			t.Errorf("pieces of %d: used %d (-want +got):\n%s", size, used, diff)
		}
	}
}

func TestHeaders(t *testing.T) {
	p := newPool(t, Options{})
	addr := rawServer(t, always("HTTP/1.1 200 OK\r\nretry-after: 5\r\nX-Request-Id: abc\r\nSet-Cookie: a=b\r\n"+
		"Content-Type: text/event-stream\r\nx-many: 1\r\nx-many: 2\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n"))
	r, err := p.Do(context.Background(), nil, get(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := map[string]string{}
	for _, name := range []string{"retry-after", "x-request-id", "content-type", "set-cookie", "x-many", "x-empty"} {
		got[name] = string(r.Get(name))
	}
	for name, value := range r.Fields {
		got["all"] += string(name) + "=" + string(value) + " "
	}
	want := map[string]string{
		"retry-after": "5", "x-request-id": "abc", "content-type": "text/event-stream", "set-cookie": "a=b", "x-many": "1",
		"x-empty": "",
		"all":     "retry-after=5 X-Request-Id=abc Set-Cookie=a=b Content-Type=text/event-stream x-many=1 x-many=2 X-Empty= Content-Length=0 ",
	}
	if r.Get("x-empty") == nil || r.Get("x-absent") != nil {
		t.Error("an empty field is nil, or an absent one is not")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r.ContentLength != 0 {
		t.Errorf("ContentLength = %d, want 0", r.ContentLength)
	}
}

func TestCleanText(t *testing.T) {
	for at := range 20 {
		for c := range 256 {
			b := []byte("abcdefgh\xe9\xffklmno\tqrst")
			b[at] = byte(c)
			if got, want := h1.Text(b), c == '\t' || (c >= ' ' && c != 0x7f); got != want {
				t.Errorf("h1.Text(%q) = %v, want %v", b, got, want)
			}
		}
	}
}

func TestTokenChars(t *testing.T) {
	const token = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for c := range 256 {
		if got, want := h1.TokenChar(byte(c)), strings.IndexByte(token, byte(c)) >= 0; got != want {
			t.Errorf("h1.TokenChar(%#x) = %v, want %v", c, got, want)
		}
	}
}
