package gateway

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"fairway/dataplane/internal/ingress"
)

// Heads and bodies without an end are refused as soon as they are too much, and the upstream never hears of them.
func TestTrapClientBombs(t *testing.T) {
	w := newWorld(t, func(o *Options, i *ingress.Options) {
		o.MaxBody = 1 << 20
		i.Linger = 10 * time.Millisecond
	})
	u := newTrap(t, echoing)
	w.lure("m", u.base)
	w.publish()
	head := strings.TrimSuffix(request(chatPath, w.key, ""), "Content-Length: 0\r\n\r\n")
	chunkedHead := head + "Transfer-Encoding: chunked\r\n\r\n"
	for _, tc := range []struct {
		name, begin, piece string
		times              int // of piece
		want               string
	}{
		{"a line of 64 KiB", "POST /", "aaaaaaaaaaaaaaaa", 4 << 10, "431 414 400"},
		{"a query of 64 KiB", "POST /v1/chat/completions?", "aaaaaaaaaaaaaaaa", 4 << 10, "431 414 400"},
		{"a header of 64 KiB", head + "X-A: ", "aaaaaaaaaaaaaaaa", 4 << 10, "431"},
		{"10,000 fields", head, "X-A: b\r\n", 10_000, "431"},
		{"10,000 fields without names", head, ":\r\n", 10_000, "431 400"},
		{"10,000 empty lines first", "", "\r\n", 10_000, "400 431"},
		{"a header without end", head + "X-A: ", strings.Repeat("a", 1024), 100_000, "431"},
		{"a body without end", chunkedHead, chunk(strings.Repeat("a", 10_000)), 10_000, "413"},
		{"chunks of one byte without end", chunkedHead, chunk("a"), 2 << 20, "413"},
		{"one chunk without end", chunkedHead + "7fffffff\r\n", strings.Repeat("a", 10_000), 10_000, "413"},
		{"an extension without end", chunkedHead + "1;", strings.Repeat("a", 10_000), 10_000, "400 413 431"},
		{"trailers without end", chunkedHead + chunk("{}") + "0\r\n", "X-A: " + strings.Repeat("b", 1000) + "\r\n", 100_000, "400 413 431"},
		{"a length beyond the limit", head + "Content-Length: 1048577\r\n\r\n", "{", 1, "413"},
		{"a length beyond reason", head + "Content-Length: 9223372036854775807\r\n\r\n", "{", 1, "413 400"},
		{"a chunk beyond reason", chunkedHead + "7fffffffffffffff\r\n", strings.Repeat("a", 10_000), 10_000, "413 400"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := w.caller()
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				pieces := max(1, 16<<10/len(tc.piece))
				block := strings.Repeat(tc.piece, min(pieces, tc.times))
				if _, err := io.WriteString(c, tc.begin); err != nil {
					return
				}
				for i := 0; i < tc.times; i += pieces {
					if _, err := io.WriteString(c, block); err != nil {
						return
					}
				}
			}()
			got := c.answer()
			_ = c.Close()
			<-sent
			// A client that never stops sending may find its connection reset before it can read why.
			if got.status != 0 && (!strings.Contains(tc.want, fmt.Sprint(got.status)) || got.broken != nil) {
				t.Errorf("%v, want %s", got, tc.want)
			}
			if tooLate(got.broken) {
				t.Error("the proxy waits forever")
			}
			if got.status == 0 && tc.times == 1 {
				t.Errorf("no answer: %v", got)
			}
		})
	}
	w.settled(t)
	if n := len(u.requests()) + len(w.books.all()); n > 0 {
		t.Errorf("%d requests and records of what is refused", n)
	}
	if got := w.ask(chatPath, prompt("m", "x", false)); !got.good() {
		t.Errorf("afterwards: %v", got)
	}
}
