package gateway

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// What is strange and has one meaning reaches the client as if it were not strange. kept says whether the connection may
// serve again; what may not is proven by the number of connections.
func TestTrapUpstreamFramingAccepted(t *testing.T) {
	body := completion("hello")
	ok := sized(body)
	for _, tc := range []struct {
		name   string
		parts  []string
		ends   bool // the upstream closes behind it
		status int
		kept   bool
	}{
		{"one 100", []string{"HTTP/1.1 100 Continue\r\n\r\n", ok}, false, 200, true},
		{"102 and 103 with headers", []string{"HTTP/1.1 102 Processing\r\nX-Request-Id: a\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\nX-Ratelimit-A: b\r\n\r\n" + ok}, false, 200, true},
		{"104, which nobody knows", []string{"HTTP/1.1 104 X\r\n\r\n" + ok[:9], ok[9:]}, false, 200, true},
		{"no length", []string{framed(body[:50], "Content-Type: application/json"), body[50:]}, true, 200, false},
		{"HTTP/1.0 without a length", []string{strings.Replace(framed(body, "Content-Type: application/json"), "1.1", "1.0", 1)}, true, 200, false},
		{"HTTP/1.0 with a length", []string{strings.Replace(ok, "1.1", "1.0", 1)}, false, 200, false},
		{"chunk by chunk", []string{framed("", "Transfer-Encoding: chunked", "Content-Type: application/json"), chunk(body[:1]), chunk(body[1:2]), chunk(body[2:]), lastChunk}, false, 200, true},
		{"extensions", []string{framed(fmt.Sprintf("%x;a=b;c=\"\\\"\";d\r\n%s\r\n0;z=0\r\n\r\n", len(body), body), "Transfer-Encoding: chunked")}, false, 200, true},
		{"trailers", []string{framed(chunk(body)+"0\r\nX-Sum: 1\r\nContent-Length: 7\r\nAuthorization: x\r\n\r\n", "Transfer-Encoding: chunked", "Trailer: X-Sum")}, false, 200, true},
		{"excess in the same write", []string{ok + "excess"}, false, 200, false},
		{"excess behind the last chunk", []string{framed(chunk(body)+lastChunk+"excess", "Transfer-Encoding: chunked")}, false, 200, false},
		{"a second response behind", []string{ok + sized(completion("not yours"))}, false, 200, false},
		{"closes though it said nothing", []string{ok}, true, 200, false},
		{"says close and does not", []string{sized(body, "Connection: close")}, false, 200, false},
		{"204", []string{"HTTP/1.1 204 No Content\r\n\r\n"}, false, 204, true},
		{"NUL bytes in the body", []string{sized("\x00" + body)}, false, 200, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			u := newTrap(t, func(l *line) {
				for {
					if _, ok := l.request(); !ok {
						return
					}
					if l.say(tc.parts...); tc.ends {
						return
					}
				}
			})
			w.lure("m", u.base)
			w.publish()
			c := w.caller()
			for i := range 3 {
				_, _ = io.WriteString(c, request(chatPath, w.key, prompt("m", fmt.Sprint(i), false)))
				got := c.answer()
				want := body
				switch {
				case tc.status == 204:
					want = ""
				case strings.HasPrefix(tc.name, "NUL"):
					want = "\x00" + body
				}
				if got.status != tc.status || got.broken != nil || got.body != want || got.interim > 0 || got.header.Get("Trailer") != "" {
					t.Fatalf("%v, head %v", got, got.header)
				}
				if got.header.Get("Link") != "" || got.header.Get("X-Ratelimit-A") != "" {
					t.Errorf("the head of an interim response is in the answer's: %v", got.header)
				}
				if got.close {
					t.Fatal("the client's connection ends with the upstream's")
				}
			}
			if n := u.connections(); tc.kept && n != 1 || !tc.kept && n != 3 {
				t.Errorf("%d connections for three requests, kept = %v", n, tc.kept)
			}
		})
	}
}

// What could be read in two ways, or is no end of a response at all, is the upstream's failure: the client gets an answer
// of ours, none of those bytes, and keeps its connection; the upstream's connection is not used again.
func TestTrapUpstreamFramingRefused(t *testing.T) {
	const secretBody = "not to be seen"
	const rest = "\r\n\r\n" + secretBody
	length := fmt.Sprintf("Content-Length: %d", len(secretBody))
	w := newWorld(t)
	answers := map[string]string{
		"two lengths":               "HTTP/1.1 200 OK\r\n" + length + "\r\nContent-Length: 3" + rest,
		"the same length twice":     "HTTP/1.1 200 OK\r\n" + length + "\r\n" + length + rest,
		"a list of lengths":         "HTTP/1.1 200 OK\r\nContent-Length: 14, 14" + rest,
		"length and coding":         "HTTP/1.1 200 OK\r\n" + length + "\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(secretBody) + lastChunk,
		"coding and length":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + length + "\r\n\r\n" + chunk(secretBody) + lastChunk,
		"two codings":               "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + chunk(secretBody) + lastChunk,
		"bare LF":                   "HTTP/1.1 200 OK\n" + length + "\n\n" + secretBody,
		"one bare LF":               "HTTP/1.1 200 OK\r\nX: y\n" + length + rest,
		"folded":                    "HTTP/1.1 200 OK\r\nX: y\r\n " + length + rest,
		"NUL in a header":           "HTTP/1.1 200 OK\r\nX: \x00\r\n" + length + rest,
		"NUL in a name":             "HTTP/1.1 200 OK\r\nX\x00: y\r\n" + length + rest,
		"space before the colon":    "HTTP/1.1 200 OK\r\nContent-Length : 14" + rest,
		"negative length":           "HTTP/1.1 200 OK\r\nContent-Length: -1" + rest,
		"garbage":                   "\x16\x03\x01" + rest,
		"HTTP/2":                    "HTTP/2.0 200 OK\r\n" + length + rest,
		"an upgrade nobody asked":   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade" + rest,
		"an interim with a body":    "HTTP/1.1 100 Continue\r\n" + length + rest + sized(completion("x")),
		"endless interims":          strings.Repeat("HTTP/1.1 103 Early Hints\r\nX: not to be seen\r\n\r\n", 100_000),
		"a head of 64 KiB":          "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n" + length + rest,
		"10,000 fields":             "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: b\r\n", 10_000) + length + rest,
		"a head without an end":     "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Some-Field: "+strings.Repeat("y", 1000)+"\r\n", 2000),
		"a line without an end":     "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 2<<20),
		"bare LF in chunks":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ne\n" + secretBody + "\n0\n\n",
		"a chunk beyond its size":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n" + secretBody + "\r\n0\r\n\r\n",
		"a size that wraps":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000000000000000e\r\n" + secretBody + "\r\n0\r\n\r\n",
		"endless extension":         "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ne;" + strings.Repeat("x", 2<<20),
		"endless trailers":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(secretBody) + "0\r\n" + strings.Repeat("X-T: y\r\n", 100_000),
		"shorter than its length":   framed(secretBody, "Content-Length: 1000"),
		"chunks without an end":     framed(chunk(secretBody), "Transfer-Encoding: chunked"),
		"an empty event stream":     framed("", "Content-Type: text/event-stream", "Content-Length: 0", "Connection: close"),
		"comments and then nothing": framed(": "+secretBody+"\n\n", "Content-Type: text/event-stream"),
	}
	u := newTrap(t, func(l *line) {
		h, ok := l.request()
		if !ok {
			return
		}
		go l.say(answers[h.header.Get("X-Case")]) // the proxy may well stop reading
		switch h.header.Get("X-Case") {
		case "shorter than its length", "chunks without an end", "comments and then nothing":
			breathe()
			l.hush()
		}
		l.awaitEnd()
	})
	models := make(map[string]string)
	for name := range answers {
		models[name] = fmt.Sprintf("m%d", len(models))
		w.lure(models[name], u.base)
	}
	w.publish()
	for name := range answers {
		t.Run(name, func(t *testing.T) {
			c := w.caller()
			for range 2 {
				_, _ = io.WriteString(c, request(chatPath, w.key, prompt(models[name], "x", strings.Contains(name, "event") || strings.Contains(name, "comments")), "X-Case: "+name))
				got := c.answer()
				if got.status < 500 || got.broken != nil || got.close || strings.Contains(got.body, secretBody) ||
					!strings.HasPrefix(got.body, `{"error":`) {
					t.Errorf("%v", got)
				}
				for name, values := range got.header {
					if strings.Contains(strings.Join(values, ""), secretBody) {
						t.Errorf("the refused head is in the answer's: %s", name)
					}
				}
			}
		})
	}
	w.quiet()
	if a, b := len(u.requests()), u.connections(); a != 2*len(answers) || b != a {
		t.Errorf("%d requests on %d connections, want %d, each on its own", a, b, 2*len(answers))
	}
}

// Statuses and what belongs to them pass as they are, with the head in any number of pieces.
func TestTrap12StatusesPass(t *testing.T) {
	for _, status := range []int{400, 404, 413, 422, 429, 500, 502, 503, 529} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			w := newWorld(t)
			const said = `{"error":{"message":"in their words","type":"t","param":null,"code":"c"},"more":[1.0,null]}`
			whole := fmt.Sprintf("HTTP/1.1 %d Whatever\r\nContent-Type: application/json\r\nContent-Length: %d\r\nRetry-After: 7\r\n"+
				"X-RateLimit-Remaining-Requests: 0\r\nx-ratelimit-reset-tokens: 6m0s\r\nX-Request-Id: req_up\r\nSet-Cookie: a=b\r\n\r\n%s",
				status, len(said), said)
			u := newTrap(t, func(l *line) {
				if _, ok := l.request(); ok {
					for i := range len(whole) {
						_, _ = io.WriteString(l, whole[i:i+1])
					}
					l.awaitEnd()
				}
			})
			w.lure("m", u.base)
			w.publish()
			got := w.ask(chatPath, prompt("m", "x", status%2 == 0))
			if got.status != status || got.body != said || got.broken != nil {
				t.Errorf("%v", got)
			}
			h := got.header
			if h.Get("X-Ratelimit-Remaining-Requests") != "0" || h.Get("X-Ratelimit-Reset-Tokens") != "6m0s" ||
				h.Get("X-Upstream-Request-Id") != "req_up" || !strings.HasPrefix(h.Get("X-Request-Id"), "req_") || h.Get("Set-Cookie") != "" {
				t.Errorf("head = %v", h)
			}
			if limited := status == 429 || status >= 500; limited && h.Get("Retry-After") != "7" {
				t.Errorf("Retry-After = %q", h.Get("Retry-After"))
			}
		})
	}
}
