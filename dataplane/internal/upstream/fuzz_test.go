package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
	"time"

	"fairway/dataplane/internal/sock"
	"fairway/pkg/h1"
)

// script is a connection that answers fixed bytes in pieces of one size, and then ends.
type script struct {
	net.Conn
	answer []byte
	piece  int
	cut    int // no piece reaches over it; 0 = none
	at     int
}

func (s *script) Read(p []byte) (int, error) {
	if s.at == len(s.answer) {
		return 0, io.EOF
	}
	to := len(s.answer)
	if s.at < s.cut {
		to = min(to, s.cut)
	}
	n := copy(p[:min(len(p), s.piece)], s.answer[s.at:to])
	s.at += n
	return n, nil
}

func (s *script) Write(p []byte) (int, error)      { return len(p), nil }
func (s *script) Close() error                     { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// outcome is what somebody makes of an answer.
type outcome struct {
	status int
	body   string
	used   int  // bytes of the answer
	kept   bool // the connection may serve again
	err    error
}

// ours is what this package makes of it, with buffers of a size; 0 = by Each.
func ours(s *script, buf int) (o outcome) {
	p := New(Options{})
	h := p.newHost(key{}, &Target{})
	h.open = 1
	r := p.responses.Get().(*Response)
	r.pool, r.call = p, &r.own
	wire := sock.New(s)
	_, err := p.exchange(r, &conn{rw: wire, sock: wire, host: h}, &Request{Head: []byte("GET / HTTP/1.1\r\n\r\n")}, false)
	if err != nil {
		return outcome{err: err}
	}
	var body []byte
	if buf == 0 {
		o.err = r.Each(func(p []byte) bool { body = append(body, p...); clear(p[:cap(p)]); return true })
	}
	for b := make([]byte, buf); o.err == nil && buf > 0; {
		n, err := r.Read(b)
		body, o.err = append(body, b[:n]...), err
	}
	if errors.Is(o.err, io.EOF) {
		o.err = nil
	}
	o.status, o.body, o.used = r.Status, string(body), s.at
	r.Close()
	o.kept = len(h.idle) == 1
	if h.open != len(h.idle) {
		o.err = errors.New("a place leaked")
	}
	return o
}

// theirs is what net/http makes of it.
func theirs(answer []byte) (o outcome) {
	src := bytes.NewReader(answer)
	br := bufio.NewReader(src)
	req, _ := http.NewRequest(http.MethodGet, "http://x/", nil)
	for {
		res, err := http.ReadResponse(br, req)
		if err != nil {
			return outcome{err: err}
		}
		if res.StatusCode < 200 && res.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		body, err := io.ReadAll(res.Body)
		o.status, o.body, o.err = res.StatusCode, string(body), err
		o.used = len(answer) - src.Len() - br.Buffered()
		o.kept = !res.Close
		return o
	}
}

// Whatever an upstream sends: what we take for a whole response, net/http takes for the same response; and a connection
// serves again only if we have used exactly the bytes of its response, so that none of them can reach another request.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{
		okHello, okHello + okHello, "HTTP/1.1 200 OK\r\n\r\nuntil close", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 100 Continue\r\n\r\n" + okHello, "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
		"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nx",
		"HTTP/1.1 205 Reset\r\nContent-Length: 1\r\n\r\nx",
	} {
		f.Add([]byte(seed), uint16(1000), uint16(100))
		f.Add([]byte(seed), uint16(1), uint16(1))
	}
	f.Fuzz(func(t *testing.T, answer []byte, piece, buf uint16) {
		got := ours(&script{answer: answer, piece: int(piece) + 1}, int(buf))
		if got.err != nil {
			if got.kept {
				t.Errorf("kept after an error: %v", got.err)
			}
			if strings.Contains(got.err.Error(), "leaked") {
				t.Error(got.err)
			}
			return
		}
		want := theirs(answer)
		if want.err != nil {
			t.Fatalf("accepted %q, which net/http refuses: %v", answer, want.err)
		}
		if got.status != want.status || got.body != want.body {
			t.Errorf("of %q we make %d %q, net/http makes %d %q", answer, got.status, got.body, want.status, want.body)
		}
		if got.kept && (!want.kept || got.used != want.used) {
			t.Errorf("%q: kept after %d bytes; net/http keeps: %v, after %d", answer, got.used, want.kept, want.used)
		}
	})
}

// Chunked bodies decode the same in whatever pieces, and as net/http decodes them.
func FuzzChunks(f *testing.F) {
	for _, seed := range []string{
		"5\r\nhello\r\n0\r\n\r\n", "5;x\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\nrest", "0\r\n\r\n", "00\r\n\r\n", "a\r\n0123456789\r\n0;\r\n\r\n",
	} {
		f.Add([]byte(seed), uint8(3))
	}
	decode := func(raw []byte, piece int) (string, int, bool) {
		var d h1.Chunks
		var body []byte
		used := 0
		for at := 0; at < len(raw) && !d.Ended(); at += piece {
			b := bytes.Clone(raw[at:min(at+piece, len(raw))])
			n, u, err := d.Decode(b)
			if n > u || u > len(b) {
				return "more than there is", 0, false
			}
			body, used = append(body, b[:n]...), used+u
			if err != nil {
				return string(body), 0, false
			}
		}
		return string(body), used, d.Ended()
	}
	f.Fuzz(func(t *testing.T, raw []byte, piece uint8) {
		body, used, ok := decode(raw, len(raw)+1)
		body2, used2, ok2 := decode(raw, int(piece)+1)
		if body != body2 || used != used2 || ok != ok2 {
			t.Fatalf("%q: whole %q %d %v, in pieces %q %d %v", raw, body, used, ok, body2, used2, ok2)
		}
		if !ok {
			return
		}
		theirs, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(raw)))
		if err != nil || string(theirs) != body {
			t.Fatalf("%q: we make %q, net/http %q, %v", raw, body, theirs, err)
		}
	})
}
