package gateway

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// Byte by byte, several requests of each kind behind each other.
func TestTrap17PipelinedByteByByte(t *testing.T) {
	w := newWorld(t)
	u := newTrap(t, echoing)
	w.lure("m", u.base)
	w.publish()
	whole := request(chatPath, w.key, prompt("m", "a", false)) + inChunks(w.key, prompt("m", "b", true)) +
		request(chatPath, w.key, prompt("m", "c", true), "Connection: close")
	c := w.caller()
	go func() {
		for i := range len(whole) {
			_, _ = io.WriteString(c, whole[i:i+1])
		}
	}()
	for _, want := range []string{completion("a"), delta("b") + doneEvent, delta("c") + doneEvent} {
		if got := c.answer(); !got.good() || got.body != want {
			t.Fatalf("%v, want %q", got, want)
		}
	}
	if !c.over() {
		t.Error("the connection goes on behind the last request")
	}
}

// Many requests in one segment are answered in order; behind a bad one there is nothing any more, although good ones
// follow.
func TestTrap17PipelinedInOneSegment(t *testing.T) {
	good := func(w *world, text string, stream bool) string {
		return request(chatPath, w.key, prompt("m", text, stream))
	}
	for _, tc := range []struct {
		name, bad string
		ends      bool
	}{
		{"all good", "", false},
		{"an unknown path", "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", false},
		{"no key", request(chatPath, "sk-nobody", ""), false},
		{"not JSON", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: 3\r\n\r\n{,}", false},
		{"garbage", "\x00\x01\x02 garbage\r\n\r\n", true},
		{"two lengths", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: 0\r\nContent-Length: 3\r\n\r\n", true},
		{"length and coding", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true},
		{"bare LF", "GET /v1/models HTTP/1.1\nHost: x\n\n", true},
		{"broken chunks", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", true},
		{"a large head", "GET / HTTP/1.1\r\nX: " + strings.Repeat("a", 100_000) + "\r\nHost: x\r\n\r\n", true},
		{"another version", "GET / HTTP/3.0\r\nHost: x\r\n\r\n", true},
		{"a body behind a refused head", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\r\nContent-Length: 99999999999\r\n\r\n", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			u := newTrap(t, echoing)
			w.lure("m", u.base)
			w.publish()
			c := w.caller()
			bad := strings.ReplaceAll(tc.bad, "KEY", w.key)
			_, _ = io.WriteString(c, good(w, "one", false)+good(w, "two", true)+inChunks(w.key, prompt("m", "three", false))+bad+
				good(w, "four", false)+good(w, "five", true))
			for _, want := range []string{completion("one"), delta("two") + doneEvent, completion("three")} {
				if got := c.answer(); !got.good() || got.body != want {
					t.Fatalf("%v, want %q", got, want)
				}
			}
			if bad != "" {
				if got := c.answer(); got.status < 400 || got.broken != nil {
					t.Fatalf("the bad one: %v", got)
				} else if tc.ends && !got.close {
					t.Errorf("the bad one does not say that it ends the connection: %v", got)
				}
			}
			if tc.ends {
				if !c.over() {
					t.Error("something follows the bad one")
				}
			} else {
				for _, want := range []string{completion("four"), delta("five") + doneEvent} {
					if got := c.answer(); !got.good() || got.body != want {
						t.Fatalf("%v, want %q", got, want)
					}
				}
			}
			_ = c.Close()
			w.quiet()
			if n := len(u.requests()); n != map[bool]int{true: 3, false: 5}[tc.ends] {
				t.Errorf("%d requests reached the upstream", n)
			}
		})
	}
}

// Old clients: a body has its length or ends with the connection, never chunks; a connection is kept only if asked for.
func TestTrap17OldClients(t *testing.T) {
	for _, tc := range []struct {
		name, headers string
		stream        bool
		kept          string // may, must, never
	}{
		{"plain", "", false, "never"},
		{"plain, kept", "Connection: keep-alive\r\n", false, "may"},
		{"stream", "", true, "never"},
		{"stream, kept", "Connection: Keep-Alive\r\n", true, "never"},
		{"plain, close", "Connection: close\r\n", false, "never"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.lure("m", newTrap(t, echoing).base)
			w.publish()
			ask := func(text string) string {
				body := prompt("m", text, tc.stream)
				return fmt.Sprintf("POST %s HTTP/1.0\r\n%sContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
					chatPath, tc.headers, w.key, len(body), body)
			}
			c := w.caller()
			for i := range 3 {
				text := fmt.Sprint("old ", i)
				_, _ = io.WriteString(c, ask(text))
				head, err := c.r.Peek(8)
				if err != nil {
					t.Fatal(err)
				}
				got := c.answer()
				want := completion(text)
				if tc.stream {
					want = delta(text) + doneEvent
				}
				if !got.good() || got.body != want || got.header.Get("Transfer-Encoding") != "" || !strings.HasPrefix(string(head), "HTTP/1.") {
					t.Fatalf("%v, head %v", got, got.header)
				}
				kept := strings.EqualFold(got.header.Get("Connection"), "keep-alive")
				if kept && tc.kept == "never" {
					t.Errorf("kept: %v", got.header)
				}
				if kept && got.header.Get("Content-Length") == "" {
					t.Errorf("kept without a length: %v", got.header)
				}
				if !kept {
					if !c.over() {
						t.Error("not kept, and not closed")
					}
					break
				}
			}
			w.quiet()
		})
	}
}

// Connection: close, in every spelling, ends the connection behind the answer, and not before.
func TestTrap17ConnectionClose(t *testing.T) {
	w := newWorld(t)
	u := newTrap(t, echoing)
	w.lure("m", u.base)
	w.publish()
	for _, header := range []string{"Connection: close", "connection: CLOSE", "Connection: x-a, close", "Connection: keep-alive\r\nConnection: close", "Connection:close"} {
		for _, stream := range []bool{false, true} {
			c := w.caller()
			_, _ = io.WriteString(c, request(chatPath, w.key, prompt("m", "last", stream), header)+request(chatPath, w.key, prompt("m", "never", false)))
			want := completion("last")
			if stream {
				want = delta("last") + doneEvent
			}
			if got := c.answer(); !got.good() || got.body != want || !got.close {
				t.Errorf("%q: %v, closes = %v", header, got, got.close)
			}
			if !c.over() {
				t.Errorf("%q: the connection goes on", header)
			}
		}
	}
	for _, h := range u.requests() {
		if promptOf(h.body) == "never" || h.header.Get("Connection") != "" {
			t.Errorf("the upstream got %+v", h)
		}
	}
}
