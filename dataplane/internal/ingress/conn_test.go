package ingress

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"fairway/dataplane/internal/sock"
)

// describe answers with what it saw of a request.
func describe(r *Request, w *Response) {
	body, err := io.ReadAll(r)
	if err != nil {
		w.Status(400)
		_ = w.Send([]byte(err.Error()))
		return
	}
	_ = w.Send(fmt.Appendf(nil, "%s %s %d:%s", r.Method(), r.Target(), len(body), body))
}

// responses reads n responses from c and returns their bodies.
func responses(t *testing.T, c net.Conn, n int) []string {
	t.Helper()
	in := bufio.NewReader(c)
	var got []string
	for range n {
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		got = append(got, fmt.Sprint(response.StatusCode, " ", string(body)))
	}
	return got
}

// Requests of every framing, one behind the other, cut at every byte: each is read as itself.
func TestPipelineInTwoPieces(t *testing.T) { forms(t, testPipelineInTwoPieces) }

func testPipelineInTwoPieces(t *testing.T, l *sock.Lookout) {
	const stream = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" +
		"GET /b HTTP/1.1\r\nHost: x\r\n\r\n" +
		"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: u\r\n\r\n" +
		"PUT http://elsewhere/d?e=f HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi" +
		"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	want := []string{"200 POST /a 5:hello", "200 GET /b 0:", "200 POST /c 5:abcde", "200 PUT /d?e=f 2:hi", "200 GET /last 0:"}
	r := start(t, describe, Options{Lookout: l, WatchAfter: time.Hour})
	for cut := 1; cut < len(stream); cut++ {
		c := r.dial()
		_, _ = io.WriteString(c, stream[:cut])
		if cut%3 == 0 {
			time.Sleep(100 * time.Microsecond) // so that the pieces arrive apart, mostly
		}
		_, _ = io.WriteString(c, stream[cut:])
		if got := responses(t, c, len(want)); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("cut at %d: %q", cut, got)
		}
		if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
			t.Fatalf("cut at %d: after the last response: %q, %v", cut, rest, err)
		}
		_ = c.Close()
	}
}

func TestByteByByte(t *testing.T) {
	r := start(t, describe, Options{Lookout: lookout(t)})
	c := r.dial()
	for _, b := range []byte("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nHost: x\r\n\r\n") {
		_, _ = c.Write([]byte{b})
	}
	if got := responses(t, c, 2); got[0] != "200 POST /a 5:hello" || got[1] != "200 GET /b 0:" {
		t.Fatalf("%q", got)
	}
}

// A request in the middle that is refused ends the connection: what follows it is not served.
func TestNothingIsServedBehindAnAmbiguousRequest(t *testing.T) {
	r := start(t, describe, Options{Lookout: lookout(t), Linger: time.Millisecond})
	got := r.raw("GET /a HTTP/1.1\r\nHost: x\r\n\r\n" +
		"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" +
		"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
	if strings.Count(got, "HTTP/1.1 ") != 2 || !strings.Contains(got, "HTTP/1.1 400") || strings.Contains(got, "smuggled") {
		t.Fatalf("%s", got)
	}
}

func TestOldClients(t *testing.T) {
	r := start(t, func(r *Request, w *Response) {
		if string(r.Target()) == "/stream" {
			w.Begin(-1)
			_, _ = w.Write([]byte("one,"))
			_ = w.Last([]byte("two"))
			return
		}
		describe(r, w)
	}, Options{Lookout: lookout(t)})
	if got := r.raw("GET / HTTP/1.0\r\n\r\n"); !strings.Contains(got, "Connection: close\r\n") || !strings.HasSuffix(got, "GET / 0:") {
		t.Errorf("%s", got)
	}
	if got := r.raw("GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"); strings.Contains(got, "chunked") ||
		strings.Contains(got, "Content-Length") || !strings.HasSuffix(got, "\r\n\r\none,two") {
		t.Errorf("%s", got)
	}
	got := r.raw("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n")
	if strings.Count(got, "200 OK") != 2 || !strings.Contains(got, "Connection: keep-alive\r\n") {
		t.Errorf("%s", got)
	}
}

// A stream that is cut must not look whole, to old clients neither.
func TestCut(t *testing.T) {
	r := start(t, func(r *Request, w *Response) {
		length := int64(-1)
		if string(r.Target()) == "/length" {
			length = 10
		}
		w.Begin(length)
		_, _ = w.Write([]byte("half"))
		switch string(r.Target()) {
		case "/forgotten":
		case "/panic":
			panic("boom")
		case "/short":
			_ = w.Last(nil)
		default:
			w.Cut()
		}
	}, Options{Lookout: lookout(t)})
	for _, request := range []string{
		"GET /cut HTTP/1.1\r\nHost: x\r\n\r\n", "GET /forgotten HTTP/1.1\r\nHost: x\r\n\r\n", "GET /panic HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /length HTTP/1.1\r\nHost: x\r\n\r\n", "GET /cut HTTP/1.0\r\n\r\n",
	} {
		c := r.dial()
		_, _ = io.WriteString(c, request)
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			continue // an old client's connection was reset before it read
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err == nil || len(body) > 4 {
			t.Errorf("%s: %q, %v", request, body, err)
		}
	}
	if got := r.raw("GET /short HTTP/1.1\r\n" + closing + "\r\n"); !strings.HasSuffix(got, "4\r\nhalf\r\n0\r\n\r\n") {
		t.Errorf("%s", got)
	}
}

// A promise of a length that is not kept must not reach into the next response.
func TestLengthIsKept(t *testing.T) {
	r := start(t, func(_ *Request, w *Response) {
		w.Begin(3)
		_ = w.Last([]byte("four"))
	}, Options{})
	c := r.dial()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
	out, _ := io.ReadAll(c)
	if strings.Count(string(out), "HTTP/1.1") != 1 {
		t.Errorf("%s", out)
	}
}

func TestHeadHasNoBody(t *testing.T) {
	r := start(t, describe, Options{})
	if got := r.raw("HEAD /a HTTP/1.1\r\n" + closing + "\r\n"); !strings.Contains(got, "Content-Length: 10\r\n") || !strings.HasSuffix(got, "\r\n\r\n") {
		t.Errorf("%s", got)
	}
}

// Large heads, large bodies behind them, and chunks that share the buffer with a head.
func TestLargeRequests(t *testing.T) {
	r := start(t, describe, Options{Lookout: lookout(t), MaxHeader: 64 << 10})
	for _, size := range []int{100, bufferSize - 60, bufferSize, 10 << 10, 17 << 10, 50 << 10} {
		filler := "X: " + strings.Repeat("a", size) + "\r\n"
		body := strings.Repeat("b", size)
		c := r.dial()
		go func() {
			_, _ = io.WriteString(c, "POST /a HTTP/1.1\r\nHost: x\r\n"+filler+fmt.Sprintf("Content-Length: %d\r\n\r\n%s", size, body))
			_, _ = io.WriteString(c, "POST /b HTTP/1.1\r\nHost: x\r\n"+filler+"Transfer-Encoding: chunked\r\n\r\n")
			for rest := []byte(body); len(rest) > 0; {
				n := min(len(rest), 1000)
				_, _ = fmt.Fprintf(c, "%x\r\n%s\r\n", n, rest[:n])
				rest = rest[n:]
			}
			_, _ = io.WriteString(c, "0\r\n\r\nGET /c HTTP/1.1\r\nHost: x\r\n\r\n")
		}()
		got := responses(t, c, 3)
		for i, want := range []string{
			fmt.Sprintf("200 POST /a %d:%s", size, body), fmt.Sprintf("200 POST /b %d:%s", size, body), "200 GET /c 0:",
		} {
			if got[i] != want {
				t.Fatalf("size %d, response %d: %.80q", size, i, got[i])
			}
		}
	}
}

// A client that does not read is given up, and no piece is lost or doubled for one that reads slowly.
func TestSlowReader(t *testing.T) {
	const pieces, size = 400, 32 << 10
	failed := make(chan error, 1)
	r := start(t, func(r *Request, w *Response) {
		w.Begin(-1)
		for i := range pieces {
			if _, err := w.Write(bytes.Repeat([]byte{byte('a' + i%26)}, size)); err != nil {
				failed <- err
				return
			}
		}
		_ = w.Last(nil)
	}, Options{Lookout: lookout(t), WriteTimeout: 2 * time.Second})
	c := r.dial()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	response, err := http.ReadResponse(bufio.NewReaderSize(c, 4<<10), nil)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, size)
	for i := range pieces {
		if _, err := io.ReadFull(response.Body, buf); err != nil {
			t.Fatal(err)
		}
		if buf[0] != byte('a'+i%26) || buf[size-1] != buf[0] {
			t.Fatalf("piece %d is %q…%q", i, buf[0], buf[size-1])
		}
		if i%50 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	if n, err := response.Body.Read(buf); n > 0 || err != io.EOF {
		t.Fatalf("at the end: %d, %v", n, err)
	}
	_ = response.Body.Close()
	stuck := r.dial()
	_, _ = io.WriteString(stuck, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-failed
}

// The memory of a head is given back, and what comes behind it is not lost.
func TestForget(t *testing.T) {
	r := start(t, func(r *Request, w *Response) {
		body, _ := io.ReadAll(r)
		target := string(r.Target())
		r.Forget()
		if r.Get("host") != nil || len(r.Method()) > 0 {
			t.Error("a head that was forgotten is still there")
		}
		_ = w.Send(append([]byte(target), body...))
	}, Options{Lookout: lookout(t)})
	c := r.dial()
	_, _ = io.WriteString(c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhiGET /b HTTP/1.1\r\nHost: x\r\n\r\n")
	if got := responses(t, c, 2); got[0] != "200 /ahi" || got[1] != "200 /b" {
		t.Fatalf("%q", got)
	}
}

// A connection that is kept serves as long as requests come, whatever its deadlines were before.
func TestIdleTimeout(t *testing.T) {
	r := start(t, describe, Options{Lookout: lookout(t), IdleTimeout: time.Second, HeaderTimeout: 20 * time.Second})
	c := r.dial()
	for range 20 {
		time.Sleep(60 * time.Millisecond)
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		_ = responses(t, c, 1)
	}
	if out, err := io.ReadAll(c); len(out) > 0 || err != nil {
		t.Fatalf("at the end: %q, %v", out, err)
	}
}

// FuzzHead: what the head's reader takes, net/http reads as the same request.
func FuzzHead(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST http://a/b?c HTTP/1.0\r\nA: b\r\n\r\n", "GET /\xc3 HTTP/1.1\r\nHost:\r\n\r\n",
		"G\x00T / HTTP/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nA:\tb \r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, bad := Parse(raw)
		if bad != nil {
			return
		}
		theirs, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			// net/http also judges what the target and the host mean; that is not ours.
			return
		}
		if theirs.Method != string(r.Method()) || theirs.URL.RequestURI() != string(r.Target()) && theirs.URL.Host == "" && theirs.RequestURI != string(r.Target()) {
			t.Fatalf("%q: %s %s, net/http: %s %s", raw, r.Method(), r.Target(), theirs.Method, theirs.RequestURI)
		}
		if r.ContentLength() != theirs.ContentLength {
			t.Fatalf("%q: length %d, net/http: %d", raw, r.ContentLength(), theirs.ContentLength)
		}
		for name, value := range r.Fields {
			if key := http.CanonicalHeaderKey(string(name)); key != "Host" && key != "Transfer-Encoding" && key != "Content-Length" {
				found := false
				for _, v := range theirs.Header[key] {
					found = found || v == string(value)
				}
				if !found {
					t.Fatalf("%q: %s: %q, net/http has %q", raw, name, value, theirs.Header[key])
				}
			}
		}
	})
}
