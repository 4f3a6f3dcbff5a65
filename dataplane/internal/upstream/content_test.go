package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"fairway/pkg/h1"
)

// encoder is a compressor that can flush.
type encoder interface {
	io.WriteCloser
	Flush() error
}

func encoding(t testing.TB, coding string, to io.Writer) encoder {
	t.Helper()
	if coding == "zstd" {
		w, err := zstd.NewWriter(to, zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	return gzip.NewWriter(to)
}

func encoded1(t testing.TB, coding, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := encoding(t, coding, &b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// sized and chunked frame a body, whose content is encoded.
func sized(coding, body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\nX: y\r\nContent-Length: %d\r\n\r\n%s", coding, len(body), body)
}

func chunked(coding string, pieces ...string) string {
	s := "HTTP/1.1 200 OK\r\nContent-Encoding: " + coding + "\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, p := range pieces {
		s += fmt.Sprintf("%x\r\n%s\r\n", len(p), p)
	}
	return s + "0\r\n\r\n"
}

// reading reads a body in two ways.
func reading(r *Response, how string) (string, error) {
	if how == "Read" {
		b, err := io.ReadAll(r)
		return string(b), err
	}
	var b []byte
	err := r.Each(func(piece []byte) bool {
		b = append(b, piece...)
		clear(piece[:cap(piece)]) // it is ours until we return
		return true
	})
	return string(b), err
}

func TestDecodedContent(t *testing.T) {
	text := strings.Repeat("the quick brown fox jumps over the lazy dog; ", 5000)
	for _, tt := range []struct{ name, answer, body string }{
		{"gzip", sized("gzip", encoded1(t, "gzip", text)), text},
		{"x-gzip", sized("X-GZip", encoded1(t, "gzip", text)), text},
		{"zstd", sized("zstd", encoded1(t, "zstd", text)), text},
		{"gzip in chunks", chunked("gzip", encoded1(t, "gzip", text)[:7], encoded1(t, "gzip", text)[7:]), text},
		{"zstd in chunks", chunked("zstd", encoded1(t, "zstd", text)[:2], encoded1(t, "zstd", text)[2:]), text},
		{"two members", sized("gzip", encoded1(t, "gzip", "a")+encoded1(t, "gzip", "b")), "ab"},
		{"two frames", sized("zstd", encoded1(t, "zstd", "a")+encoded1(t, "zstd", "b")), "ab"},
		{"nothing in gzip", sized("gzip", encoded1(t, "gzip", "")), ""},
		{"nothing at all", sized("gzip", ""), ""},
		{"nothing in chunks", chunked("gzip"), ""},
		{"nothing in chunks, zstd", chunked("zstd"), ""},
	} {
		for _, how := range []string{"Read", "Each"} {
			t.Run(tt.name+" by "+how, func(t *testing.T) {
				p := newPool(t, Options{})
				addr := rawServer(t, always(tt.answer))
				for i := range 3 { // pooled decoders serve again
					r, err := p.Do(context.Background(), nil, get(addr))
					if err != nil {
						t.Fatal(err)
					}
					if r.Get("content-encoding") != nil || (r.ContentLength != -1 && tt.body != "") {
						t.Errorf("the coding shows: %q, length %d", r.Get("content-encoding"), r.ContentLength)
					}
					for name := range r.Fields {
						if h1.Is(name, "content-encoding") {
							t.Error("the coding shows in Fields")
						}
					}
					body, err := reading(r, how)
					if body != tt.body || err != nil || r.Reused != (i > 0) {
						t.Errorf("got %.50q (%d bytes), %v, reused %v", body, len(body), err, r.Reused)
					}
					r.Close()
				}
			})
		}
	}
}

// An event that the upstream has flushed comes out before anything follows it.
func TestDecodedEvents(t *testing.T) {
	for _, coding := range []string{"gzip", "zstd"} {
		for _, how := range []string{"Read", "Each"} {
			t.Run(coding+" by "+how, func(t *testing.T) {
				next := make(chan string)
				addr := rawServer(t, func(_ int, c net.Conn) {
					if readRequest(bufio.NewReader(c)) != nil {
						return
					}
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Encoding: "+coding+"\r\nTransfer-Encoding: chunked\r\n\r\n")
					w := encoding(t, coding, chunkWriter{c})
					for event := range next {
						_, _ = io.WriteString(w, event)
						_ = w.Flush()
					}
					_ = w.Close()
					_, _ = io.WriteString(c, "0\r\n\r\n")
					_, _ = io.Copy(io.Discard, c)
				})
				p := newPool(t, Options{})
				r, err := p.Do(context.Background(), nil, get(addr))
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				want, got := "", ""
				say := func(i int) { // the upstream says no more until this was read
					event := fmt.Sprintf("data: event %d\n\n", i)
					want += event
					next <- event
				}
				say(0)
				events := 0
				come := func(piece []byte) bool {
					if got += string(piece); got == want && events < 20 {
						if events++; events == 20 {
							close(next)
						} else {
							say(events)
						}
					}
					return true
				}
				if how == "Each" {
					err = r.Each(come)
				} else {
					buf := make([]byte, 1000)
					for err == nil {
						var n int
						n, err = r.Read(buf)
						come(buf[:n])
					}
					if errors.Is(err, io.EOF) {
						err = nil
					}
				}
				if err != nil || got != want || events != 20 {
					t.Errorf("%v after %d events, got %q", err, events, got)
				}
			})
		}
	}
}

// chunkWriter makes a chunk of each write.
type chunkWriter struct{ c net.Conn }

func (w chunkWriter) Write(p []byte) (int, error) {
	if _, err := fmt.Fprintf(w.c, "%x\r\n%s\r\n", len(p), p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func TestRefusedContent(t *testing.T) {
	text := strings.Repeat("hello ", 100)
	gz, zs := encoded1(t, "gzip", text), encoded1(t, "zstd", text)
	var wide bytes.Buffer
	w, err := zstd.NewWriter(&wide, zstd.WithWindowSize(16<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(w, text)
	_ = w.Flush()
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	zeros := strings.Repeat("\x00", 64<<20)
	broken := []byte(gz)
	broken[len(broken)-6] ^= 1 // of the checksum
	for _, tt := range []struct {
		name, coding, body string
		cause              error
	}{
		{"gzip cut", "gzip", gz[:len(gz)-1], ErrMalformed},
		{"gzip cut in its head", "gzip", gz[:5], ErrMalformed},
		{"zstd cut", "zstd", zs[:len(zs)-1], ErrMalformed},
		{"zstd cut in its head", "zstd", zs[:3], ErrMalformed},
		{"not gzip", "gzip", text, ErrMalformed},
		{"not zstd", "zstd", text, ErrMalformed},
		{"gzip with another sum", "gzip", string(broken), ErrMalformed},
		{"garbage behind gzip", "gzip", gz + "x", ErrMalformed},
		{"zeros behind gzip", "gzip", gz + strings.Repeat("\x00", 20), ErrMalformed},
		{"garbage behind zstd", "zstd", zs + "x", ErrMalformed},
		{"more garbage behind zstd", "zstd", zs + "garbage", ErrMalformed},
		{"gzip bomb", "gzip", encoded1(t, "gzip", zeros), ErrTooLarge},
		{"zstd bomb", "zstd", encoded1(t, "zstd", zeros), ErrTooLarge},
		{"zstd with a wide window", "zstd", wide.String(), ErrTooLarge},
	} {
		for _, how := range []string{"Read", "Each"} {
			t.Run(tt.name+" by "+how, func(t *testing.T) {
				p := newPool(t, Options{})
				addr := rawServer(t, always(sized(tt.coding, tt.body)))
				r, err := p.Do(context.Background(), nil, get(addr))
				if err != nil {
					t.Fatal(err)
				}
				body, err := reading(r, how)
				wantError(t, err, PhaseBody, tt.cause)
				if len(body) > freeContent+maxRatio*(len(tt.body)+slabSize) {
					t.Errorf("%d bytes came out of %d", len(body), len(tt.body))
				}
				if strings.Contains(err.Error(), "hello") {
					t.Errorf("error shows the upstream's bytes: %v", err)
				}
				if _, again := r.Read(make([]byte, 10)); !errors.Is(again, err) {
					t.Errorf("the next read says %v", again)
				}
				r.Close()
			})
		}
	}
}

// A body that breaks off is its own error, not its content's.
func TestEncodedBodyCut(t *testing.T) {
	p := newPool(t, Options{})
	whole := chunked("gzip", encoded1(t, "gzip", "hello"))
	addr := rawServer(t, answering(whole[:len(whole)-12]))
	_, _, _, err := fetch(p, get(addr))
	wantError(t, err, PhaseBody, io.ErrUnexpectedEOF)
	if s := p.stat(addr); s.Open != 0 {
		t.Errorf("kept: %+v", s)
	}
}

// Codings that nobody here knows are left alone, and shown.
func TestOtherCodings(t *testing.T) {
	p := newPool(t, Options{})
	for _, coding := range []string{"br", "deflate", "identity", "gzip, zstd", "gzip;q=1", ""} {
		r, err := p.Do(context.Background(), nil, get(rawServer(t, always(sized(coding, "hello")))))
		if err != nil {
			t.Fatal(err)
		}
		body, err := reading(r, "Read")
		if body != "hello" || err != nil || string(r.Get("content-encoding")) != coding || r.ContentLength != 5 {
			t.Errorf("%q: got %q, %v, coding %q, length %d", coding, body, err, r.Get("content-encoding"), r.ContentLength)
		}
		r.Close()
	}
	two := "HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"
	_, _, _, err := fetch(p, get(rawServer(t, always(two))))
	wantError(t, err, PhaseHead, ErrMalformed)
}

// Where no body can be there is nothing to decode.
func TestCodingWithoutBody(t *testing.T) {
	p := newPool(t, Options{})
	for _, answer := range []string{
		"HTTP/1.1 304 Not Modified\r\nContent-Encoding: gzip\r\n\r\n", "HTTP/1.1 204 No Content\r\nContent-Encoding: zstd\r\n\r\n",
	} {
		addr := rawServer(t, always(answer))
		for i := range 2 {
			if body, reused := mustFetch(t, p, get(addr)); body != "" || reused != (i == 1) {
				t.Errorf("got %q, reused %v", body, reused)
			}
		}
	}
}

// A response that is closed in the middle gives everything back and closes its connection, also when nothing but the rest
// of the content was left to decode.
func TestCloseWhileDecoding(t *testing.T) {
	p := newPool(t, Options{})
	for _, size := range []int{100 << 10, 4 << 10} {
		text := strings.Repeat("0123456789abcdef", size)
		addr := rawServer(t, always(sized("gzip", encoded1(t, "gzip", text))))
		for range 3 {
			r, err := p.Do(context.Background(), nil, get(addr))
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Each(func([]byte) bool { return false }); err != nil || r.Reused {
				t.Fatal(err, r.Reused)
			}
			r.Close()
		}
		if s := p.stat(addr); s.Open != 0 {
			t.Errorf("kept: %+v", s)
		}
	}
}
