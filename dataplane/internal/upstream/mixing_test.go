//go:build unix

package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairway/dataplane/internal/sock"
)

// Wherever the network cuts a response in two, we make the same of it, by Read and by Each.
func FuzzSplit(f *testing.F) {
	gz := encoded1(f, "gzip", "hello hello hello")
	for _, seed := range []string{
		okHello, okHello + okHello, "HTTP/1.1 200 OK\r\n\r\nuntil close", "HTTP/1.1 100 Continue\r\n\r\n" + okHello,
		"HTTP/1.1 200 OK\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nx", "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		sized("gzip", gz), sized("gzip", gz+"x"), chunked("zstd", encoded1(f, "zstd", "hello"), ""), chunked("zstd", encoded1(f, "zstd", "hello")),
	} {
		f.Add([]byte(seed), uint16(3))
	}
	f.Fuzz(func(t *testing.T, answer []byte, buf uint16) {
		if len(answer) > 500 {
			return
		}
		whole := ours(&script{answer: answer, piece: len(answer) + 1}, 1000)
		step := 1 + len(whole.body)/1000
		if bytes.Contains(bytes.ToLower(answer), []byte("zstd")) {
			step += len(answer) / 40 // each decoder takes memory, and time
		}
		for cut := 0; cut < len(answer); cut += step {
			for _, how := range []int{int(buf), 0} {
				got := ours(&script{answer: answer, piece: len(answer) + 1, cut: cut}, how)
				// How much came with the end of the body decides whether excess is seen at once, or by the next look.
				if got.status != whole.status || got.body != whole.body || (got.err == nil) != (whole.err == nil) {
					t.Fatalf("%q cut at %d, buffer %d: %+v, whole: %+v", answer, cut, how, got, whole)
				}
				if got.err != nil && got.kept {
					t.Fatalf("%q cut at %d: kept after %v", answer, cut, got.err)
				}
			}
		}
	})
}

// pair returns the two ends of a connection that delivers at once.
func pair(t testing.TB) (ours, theirs net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "pair")
		ends[i], err = net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	return ends[0], ends[1]
}

// paired returns a fresh connection of the pool, for a request, and its other end.
func (p *Pool) paired(t testing.TB, req *Request) (*conn, net.Conn) {
	mine, upstream := pair(t)
	h := p.host(&req.Target)
	h.open++
	c := &conn{sock: sock.New(mine), host: h, born: time.Now()}
	c.rw = c.sock
	c.sock.Watch(p.o.Lookout, c)
	return c, upstream
}

// Whatever an upstream sends, with its response, behind it, or while the connection idles: not one byte of it is read as
// part of the next response.
func FuzzMixing(f *testing.F) {
	const next = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext"
	for _, seed := range []string{
		okHello, okHello + okHello, "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n" + okHello,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + okHello, "HTTP/1.1 200 OK\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		sized("gzip", encoded1(f, "gzip", "hello")), sized("gzip", encoded1(f, "gzip", "hello")+"x") + okHello,
	} {
		for _, late := range []string{"", "H", okHello} {
			f.Add([]byte(seed), []byte(late), uint16(5), uint16(20), true)
			f.Add([]byte(seed), []byte(late), uint16(0), uint16(0), false)
		}
	}
	addr := rawServer(f, always(next))
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	lookout, err := sock.NewLookout()
	if err == nil {
		parts.Go(func() { _ = lookout.Run(ctx) })
	}
	f.Cleanup(func() { cancel(); parts.Wait() })
	f.Fuzz(func(t *testing.T, answer, late []byte, buf, cut uint16, watched bool) {
		if len(answer)+len(late) > 16<<10 {
			return // must fit into the kernel's buffers
		}
		p := New(Options{AllowCIDRs: loopback})
		if watched {
			p.o.Lookout = lookout
		}
		req := get(addr)
		req.Target.FirstByte, req.Target.Idle = 10*time.Second, 10*time.Second
		c, upstream := p.paired(t, req)
		var serving sync.WaitGroup
		told := make(chan bool)
		serving.Go(func() {
			asked := make([]byte, 1000)
			_, _ = upstream.Read(asked)
			at := min(int(cut), len(answer))
			_, _ = upstream.Write(answer[:at])
			_, _ = upstream.Write(answer[at:])
			if o := theirs(answer); o.err != nil || !o.kept || o.used > len(answer) {
				_ = upstream.(*net.UnixConn).CloseWrite() // nobody is to wait for what does not come
			}
			<-told
			_, _ = upstream.Write(late)
			told <- true
			if n, _ := upstream.Read(asked); bytes.HasPrefix(asked[:n], []byte("GET ")) {
				_, _ = io.WriteString(upstream, next)
			}
			_, _ = io.Copy(io.Discard, upstream)
		})
		r := p.responses.Get().(*Response)
		r.pool, r.call = p, &r.own
		if _, err := p.exchange(r, c, req, false); err == nil {
			var err error
			if buf == 0 {
				err = r.Each(func(p []byte) bool { clear(p[:cap(p)]); return true })
			} else {
				for b := make([]byte, buf); err == nil; {
					_, err = r.Read(b)
				}
			}
			if e := (*Error)(nil); errors.As(err, &e) && e.Timeout {
				t.Errorf("%q: waits for more than there is", answer)
			}
			r.Close()
		}
		told <- true
		<-told
		status, body, _, err := fetch(p, req)
		if status != 200 || body != "next" || err != nil {
			t.Errorf("%q, then %q: the next response is %d %q, %v", answer, late, status, body, err)
		}
		if s := p.stat(addr); s.Open != s.Idle {
			t.Errorf("places leaked: %+v", s)
		}
		c.host.reap(time.Time{}, true)
		c.close()
		serving.Wait()
		upstream.Close()
	})
}

// A body that the upstream does not take at once goes out beside the reading: an answer that comes early is delivered, and
// the rest of the body arrives.
func TestInlineBodyThatDoesNotFit(t *testing.T) {
	p := newPool(t, Options{})
	req := get("192.0.2.1:80")
	req.Body = make([]byte, inlineBody)
	for i := range req.Body {
		req.Body[i] = byte(i * 7)
	}
	c, upstream := p.paired(t, req)
	_ = c.sock.Conn.(*net.UnixConn).SetWriteBuffer(8 << 10)
	answered, arrived := make(chan struct{}), make(chan []byte)
	go func() {
		_, _ = io.ReadFull(upstream, make([]byte, len(req.Head)))
		_, _ = io.WriteString(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
		<-answered
		body, _ := io.ReadAll(io.LimitReader(upstream, inlineBody))
		arrived <- body
		upstream.Close()
	}()
	r := p.responses.Get().(*Response)
	r.pool, r.call = p, &r.own
	if _, err := p.exchange(r, c, req, false); err != nil {
		t.Fatal(err)
	}
	if r.up == nil {
		t.Error("a buffer of 8 KiB took it all")
	}
	if body, err := io.ReadAll(r); string(body) != "early" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
	close(answered)
	if body := <-arrived; !bytes.Equal(body, req.Body) {
		t.Errorf("%d bytes arrived, or not the same", len(body))
	}
	r.Close()
}

// An upstream that speaks before it is asked is heard at once, not when a deadline passes.
func TestSpeaksFirst(t *testing.T) {
	p := newPool(t, Options{})
	req := get("192.0.2.1:80")
	req.Target.FirstByte, req.Target.Idle = time.Hour, time.Hour
	c, upstream := p.paired(t, req)
	defer upstream.Close()
	_, _ = io.WriteString(upstream, "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
	time.Sleep(20 * time.Millisecond) // not asserted on: the runtime's poller is to have seen it
	r := p.responses.Get().(*Response)
	r.pool, r.call = p, &r.own
	if _, err := p.exchange(r, c, req, false); err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(r); string(body) != "busy" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
	r.Close()
}

// A connection whose upstream was seen to hang up while it was read does not go back to the pool.
func TestHangUpBeforeTheEnd(t *testing.T) {
	p := newPool(t, Options{})
	if p.o.Lookout == nil {
		t.Skip("nobody looks out for hang-ups here")
	}
	req := get("192.0.2.1:80")
	c, upstream := p.paired(t, req)
	r := p.responses.Get().(*Response)
	r.pool, r.call = p, &r.own
	go func() {
		_ = readRequest(bufio.NewReader(upstream))
		_, _ = io.WriteString(upstream, okHello)
		upstream.Close()
	}()
	if _, err := p.exchange(r, c, req, false); err != nil {
		t.Fatal(err)
	}
	until(t, "the hang-up is seen", c.sock.HungUp)
	if body, err := io.ReadAll(r); string(body) != "hello" || err != nil {
		t.Errorf("%q, %v", body, err)
	}
	r.Close()
	if s := p.Stats()[0]; s.Open != 0 {
		t.Errorf("stats = %+v", s)
	}
}
