package gateway

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// An upstream may answer a large upload before it has read it. The client gets that answer, and the upload's rest is never
// the beginning of another request at the upstream.
func TestTrap14EarlyResponseToALargeUpload(t *testing.T) {
	const refusal = `{"error":{"message":"too much for us","type":"invalid_request_error","code":"too_much"}}`
	early := fmt.Sprintf("HTTP/1.1 413 X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(refusal), refusal)
	big := prompt("m", strings.Repeat("a b ", 2<<20), false) // 8 MiB: no socket holds it
	readOn := func(l *line) bool { _, _ = io.CopyN(io.Discard, l.r, int64(len(big))); return true }
	for _, tc := range []struct {
		name string
		how  func(l *line) bool // whether the connection may serve again
		want int                // 0: the answer, or the failure that the reset made of it
	}{
		{"closes", func(l *line) bool { l.say(early); return false }, 0},
		{"resets", func(l *line) bool { l.say(early); l.reset(); return false }, 0},
		{"stops sending, reads on", func(l *line) bool { l.say(early); l.hush(); l.awaitEnd(); return false }, 413},
		{"keeps, reads on", func(l *line) bool { l.say(early); return readOn(l) }, 413},
		{"keeps, reads nothing", func(l *line) bool { l.say(early); <-l.trap.gone; return false }, 413},
		{"reads some, answers, reads nothing", func(l *line) bool {
			_, _ = io.CopyN(io.Discard, l.r, 1<<20)
			l.say(early)
			<-l.trap.gone
			return false
		}, 413},
		{"a good answer, keeps, reads nothing", func(l *line) bool { l.say(sized(completion("early"))); <-l.trap.gone; return false }, 200},
		{"a stream, keeps, reads nothing", func(l *line) bool {
			l.say(eventHead, chunk(delta("early")), chunk(doneEvent), lastChunk)
			<-l.trap.gone
			return false
		}, 200},
		{"100 first", func(l *line) bool { l.say("HTTP/1.1 100 Continue\r\n\r\n", early); return readOn(l) }, 413},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			u := newTrap(t, func(l *line) {
				// The kernel would take all of it, given the room.
				_ = l.Conn.(*net.TCPConn).SetReadBuffer(64 << 10)
				for again := true; again; {
					h, ok := l.head()
					if !ok {
						return
					}
					if h.header.Get("X-Small") == "" {
						again = tc.how(l)
						continue
					}
					_, _ = io.CopyN(io.Discard, l.r, int64(len(prompt("m", "x", false))))
					l.say(sized(completion("small")))
				}
			})
			w.lure("m", u.base)
			w.publish()
			body := big
			if strings.Contains(tc.name, "stream,") {
				body = strings.Replace(big, `"stream":false`, `"stream":true`, 1)
			}
			got := w.ask(chatPath, body)
			if tc.want == 0 && got.status >= 500 {
				tc.want = got.status // the reset overtook the answer
			} else if tc.want == 0 {
				tc.want = 413
			}
			if got.status != tc.want || got.broken != nil || got.status == 413 && got.body != refusal {
				t.Errorf("%v, want %d", got, tc.want)
			}
			// On a connection whose upload has not ended the next request would be read as its rest.
			if got := w.ask(chatPath, prompt("m", "x", false), "X-Small: 1"); !got.good() || got.body != completion("small") {
				t.Errorf("the next request: %v", got)
			}
			w.quiet()
		})
	}
}

// Large bodies arrive as they were sent, whatever their framing at the client, two at once.
func TestTrap14LargeBodies(t *testing.T) {
	w := newWorld(t)
	u := newTrap(t, always(sized(completion("got it"))))
	w.lure("m", u.base)
	w.publish()
	const size = 12 << 20
	done := make(chan string)
	for n := range 2 {
		go func() {
			body := prompt("m", strings.Repeat(fmt.Sprint(n), size), false)
			whole := request(chatPath, w.key, body, "Connection: close")
			if n%2 == 1 {
				whole = strings.Replace(chunked(w.key, body), "\r\n\r\n2710\r\n", "\r\n\r\n2710;a=\"b\"\r\n", 1)
			}
			c, err := net.Dial("tcp", w.addr)
			if err != nil {
				done <- err.Error()
				return
			}
			k := &caller{Conn: c, r: newReader(c)}
			_, _ = io.WriteString(k, whole)
			got := k.answer()
			_ = k.Close()
			if !got.good() || got.body != completion("got it") {
				done <- got.String()
				return
			}
			done <- ""
		}()
	}
	for range 2 {
		if failed := wait(t, "an upload", done); failed != "" {
			t.Error(failed)
		}
	}
	seen := make(map[byte]bool)
	for _, h := range u.requests() {
		i := strings.Index(h.body, `"content":"`) + len(`"content":"`)
		if n := h.body[i]; h.body != prompt("m", strings.Repeat(string(n), size), false) || len(h.trailer) > 0 {
			t.Error("a body changed on its way")
		} else {
			seen[n] = true
		}
	}
	if len(seen) != 2 {
		t.Errorf("%d of the bodies arrived", len(seen))
	}
	w.settled(t)
}
