package gateway

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// echoing answers with what a request said, so that an answer shows whose it is; as a stream if it was asked for one.
func echoing(l *line) {
	for {
		h, ok := l.request()
		if !ok {
			return
		}
		if strings.Contains(h.body, `"stream":true`) {
			l.say(eventHead + chunk(delta(promptOf(h.body))) + chunk(usageEvent+doneEvent) + lastChunk)
		} else {
			l.say(sized(completion(promptOf(h.body))))
		}
	}
}

func promptOf(body string) string {
	_, rest, _ := strings.Cut(body, `"content":"`)
	text, _, _ := strings.Cut(rest, `"`)
	return text
}

// inChunks is a request whose body has no length: with extensions, and trailers that nobody must believe.
func inChunks(key, body string, headers ...string) string {
	head, _, _ := strings.Cut(request(chatPath, key, "", append(headers, "Transfer-Encoding: chunked", "Trailer: X-Sum")...), "\r\n\r\n")
	head = strings.Replace(head, "\r\nContent-Length: 0", "", 1)
	return head + "\r\n\r\n" + chunk(body[:1]) + fmt.Sprintf("%04X;a=\"b;c\";d\r\n%s\r\n", len(body)-1, body[1:]) +
		"0;end\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n"
}

// A request is the same wherever the network cuts it.
func TestTrapClientRequestSplitAtEveryByte(t *testing.T) {
	w := newWorld(t)
	u := newTrap(t, echoing)
	w.lure("m", u.base)
	w.publish()
	for name, whole := range map[string]string{
		"sized":            request(chatPath, w.key, prompt("m", "split", false)),
		"chunked, a close": inChunks(w.key, prompt("m", "split", false), "Connection: close"),
	} {
		t.Run(name, func(t *testing.T) {
			var running sync.WaitGroup
			const callers = 4
			for n := range callers {
				running.Go(func() {
					c := w.caller()
					for at := n; at <= len(whole); at += callers {
						_, _ = io.WriteString(c, whole[:at])
						breathe()
						_, _ = io.WriteString(c, whole[at:])
						got := c.answer()
						if !got.good() || got.body != completion("split") {
							t.Errorf("split at %d: %v", at, got)
							return
						}
						if got.close != strings.Contains(name, "close") {
							t.Errorf("split at %d: closes = %v", at, got.close)
							return
						}
						if got.close {
							_ = c.Close()
							c = w.caller()
						}
					}
				})
			}
			running.Wait()
			for _, h := range u.requests() {
				if h.body != prompt("m", "split", false) || h.target != chatPath || len(h.trailer) > 0 || h.header.Get("Trailer") != "" {
					t.Fatalf("the upstream got %+v", h)
				}
			}
			u.forget()
		})
	}
}

// An absolute target is refused or means the path in it; never the host in it.
func TestTrap17AbsoluteForm(t *testing.T) {
	w := newWorld(t)
	elsewhere := newTrap(t, func(l *line) { l.trap.t.Error("the proxy went where a client said"); l.awaitEnd() })
	u := newTrap(t, echoing)
	w.lure("m", u.base)
	w.publish()
	host := strings.TrimPrefix(elsewhere.base, "http://")
	for _, target := range []string{"http://proxy" + chatPath, elsewhere.base + chatPath, "HTTP://" + host + chatPath, "http://user:pass@" + host + chatPath, "https://" + host + chatPath, "//" + host + chatPath} {
		for _, hostHeader := range []string{"proxy", host} {
			whole := request(chatPath, w.key, prompt("m", "x", false), "Connection: close")
			whole = strings.Replace(strings.Replace(whole, chatPath, target, 1), "Host: proxy", "Host: "+hostHeader, 1)
			c := w.caller()
			_, _ = io.WriteString(c, whole)
			if got := c.answer(); got.broken != nil || got.status != 404 && got.status != 400 && got.status != 421 && (!got.good() || got.body != completion("x")) {
				t.Errorf("%s: %v", target, got)
			}
		}
	}
	for _, h := range u.requests() {
		if h.target != chatPath || "http://"+h.host != u.base {
			t.Errorf("the upstream was asked for %s at %s", h.target, h.host)
		}
	}
}

// A client that waits to be told to go on is told, one that does not wait is served, and the upstream hears of neither.
func TestTrap15Expect(t *testing.T) {
	w := newWorld(t)
	u := newTrap(t, echoing)
	w.lure("m", u.base)
	w.publish()
	for name, whole := range map[string]string{
		"sized":           request(chatPath, w.key, prompt("m", "expected", false), "Expect: 100-continue"),
		"chunked":         inChunks(w.key, prompt("m", "expected", false), "expect: 100-continue"),
		"stream":          request(chatPath, w.key, prompt("m", "expected", true), "Expect:100-continue"),
		"in another case": request(chatPath, w.key, prompt("m", "expected", false), "Expect: 100-Continue"),
	} {
		t.Run(name, func(t *testing.T) {
			want := completion("expected")
			if name == "stream" {
				want = delta("expected") + doneEvent
			}
			c := w.caller()
			head, body, _ := strings.Cut(whole, "\r\n\r\n")
			_, _ = io.WriteString(c, head+"\r\n\r\n")
			line, err := c.r.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
				t.Fatalf("%q, %v", line, err)
			}
			if line, err = c.r.ReadString('\n'); line != "\r\n" {
				t.Fatalf("behind the 100: %q, %v", line, err)
			}
			_, _ = io.WriteString(c, body)
			if got := c.answer(); !got.good() || got.body != want || got.interim > 0 {
				t.Errorf("one that waits: %v", got)
			}
			// On the same connection, without waiting, and with another request behind.
			_, _ = io.WriteString(c, whole+request(chatPath, w.key, prompt("m", "next", false)))
			if got := c.answer(); !got.good() || got.body != want {
				t.Errorf("one that does not wait: %v", got)
			}
			if got := c.answer(); !got.good() || got.body != completion("next") {
				t.Errorf("behind it: %v", got)
			}
		})
	}
	// Whoever is refused may be told so instead of being told to go on; either way there is one answer, and an end.
	for name, whole := range map[string]string{
		"no key":    request(chatPath, "sk-nobody", prompt("m", "x", false), "Expect: 100-continue"),
		"too large": strings.Replace(request(chatPath, w.key, "", "Expect: 100-continue"), "Length: 0", "Length: 999999999", 1),
	} {
		c := w.caller()
		head, body, _ := strings.Cut(whole, "\r\n\r\n")
		_, _ = io.WriteString(c, head+"\r\n\r\n")
		if line, err := c.r.Peek(len("HTTP/1.1 100")); err == nil && strings.HasSuffix(string(line), "100") {
			_, _ = io.WriteString(c, body+strings.Repeat(" ", 100_000))
		}
		if got := c.answer(); got.status < 400 || got.broken != nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, h := range u.requests() {
		if h.header.Get("Expect") != "" {
			t.Errorf("the upstream was told %q", h.header.Get("Expect"))
		}
	}
}

// A client cannot have headers of ours taken away by naming them in Connection, nor smuggle its own in that way.
func TestTrap15ConnectionNamesHeadersOfOurs(t *testing.T) {
	w := newWorld(t)
	u := newTrap(t, echoing)
	w.lure("m", u.base)
	w.publish()
	for _, header := range []string{
		"Connection: authorization, content-length, host, accept-encoding",
		"Connection: Content-Type\r\nconnection: AUTHORIZATION ,x-a\r\nX-A: hop",
		"Connection: ,, ,x-a,\r\nx-a: hop\r\nX-a: again",
		"Connection: keep-alive, X-A\r\nKeep-Alive: 7\r\nX-A: hop\r\nProxy-Connection: x",
		"Connection: x-a\r\nX-A: hop\r\nX-Forwarded-For: 1.2.3.4\r\nx-forwarded-for: 5.6.7.8\r\nFORWARDED: for=x\r\nX-ReAl-iP: 1.1.1.1",
	} {
		c := w.caller()
		_, _ = io.WriteString(c, request(chatPath, w.key, prompt("m", "x", false), strings.Split(header, "\r\n")...))
		if got := c.answer(); !got.good() {
			t.Errorf("%q: %v", header, got)
			continue
		}
		h := u.requests()[0]
		u.forget()
		if h.header.Get("Authorization") != "Bearer "+secretA || h.header.Get("Content-Type") == "" || h.body != prompt("m", "x", false) ||
			"http://"+h.host != u.base {
			t.Errorf("%q: the upstream got %+v", header, h)
		}
		for _, name := range []string{"X-A", "Connection", "Keep-Alive", "Proxy-Connection", "X-Forwarded-For", "Forwarded", "X-Real-Ip"} {
			if v := h.header.Values(name); len(v) > 0 {
				t.Errorf("%q: the upstream got %s: %q", header, name, v)
			}
		}
	}
}

// half ends the client's half of a connection.
func half(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() }

// A client that has said all it has to say may be taken for gone; whichever it is, the request is settled once, and the
// upstream is not left alone with it.
func TestTrap11HalfCloseBehindTheRequest(t *testing.T) {
	w := newWorld(t)
	u := newTrap(t, echoing)
	w.lure("m", u.base)
	w.publish()
	const asked = 40
	for i := range asked {
		stream := i%2 == 0
		c := w.caller()
		_, _ = io.WriteString(c, request(chatPath, w.key, prompt("m", "bye", stream)))
		half(c.Conn)
		want := completion("bye")
		if stream {
			want = delta("bye") + doneEvent
		}
		if got := c.answer(); got.good() && got.body != want {
			t.Errorf("%v", got)
		}
		if !c.over() {
			t.Error("the connection goes on")
		}
		_ = c.Close()
	}
	w.quiet()
	if n, m := len(w.books.all()), len(u.requests()); n > asked || n < m {
		t.Errorf("%d records for %d requests of which %d reached the upstream", n, asked, m)
	}
}
