package gateway

import (
	"fmt"
	"io"
	"testing"
)

// An upstream may end a kept connection at any moment. Where nothing of an answer has come, the request goes out once
// more on a fresh connection and the client sees nothing of it; where something has, it fails and is not sent again.
func TestTrapKeepAliveEndsAtTheWorstMoment(t *testing.T) {
	first := sized(completion("first"))
	for _, tc := range []struct {
		name string
		// second is what the upstream does on the connection that has answered one request.
		second func(l *line)
		good   bool // the second request succeeds
		sent   int  // how often the second request arrives whole, at most
	}{
		{"right behind the response", func(*line) {}, true, 1},
		{"right behind the response, reset", func(l *line) { l.reset() }, true, 1},
		{"half, right behind the response", func(l *line) { l.hush(); l.awaitEnd() }, true, 1},
		{"when the next request begins", func(l *line) { _, _ = l.r.Peek(1) }, true, 1},
		{"when the next request begins, reset", func(l *line) { _, _ = l.r.Peek(1); l.reset() }, true, 1},
		{"when the next request's head is there", func(l *line) { _, _ = l.head() }, true, 1},
		{"when the next request is there", func(l *line) { _, _ = l.request() }, true, 2},
		{"when the next request is there, reset", func(l *line) { _, _ = l.request(); l.reset() }, true, 2},
		{"half, when the next request is there", func(l *line) { _, _ = l.request(); l.hush(); l.awaitEnd() }, true, 2},
		{"behind one byte of the next answer", func(l *line) { _, _ = l.request(); l.say("H") }, false, 1},
		{"behind one byte of the next answer, reset", func(l *line) { _, _ = l.request(); l.say("H"); l.reset() }, false, 1},
		{"behind an interim response", func(l *line) { _, _ = l.request(); l.say("HTTP/1.1 100 Continue\r\n\r\n") }, false, 1},
		{"between head and body", func(l *line) { _, _ = l.request(); l.say(first[:len(first)-len(completion("first"))]) }, false, 1},
		{"half, between head and body", func(l *line) {
			_, _ = l.request()
			l.say(first[:len(first)-len(completion("first"))])
			l.hush()
			l.awaitEnd()
		}, false, 1},
		{"before the body's last byte", func(l *line) { _, _ = l.request(); l.say(first[:len(first)-1]) }, false, 1},
		{"before the last chunk's end", func(l *line) {
			_, _ = l.request()
			l.say(framed(chunk(completion("x")), "Transfer-Encoding: chunked"), lastChunk[:len(lastChunk)-1])
		}, false, 1},
	} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stream=%v", tc.name, stream), func(t *testing.T) {
				w := newWorld(t)
				answer := func(text string) string {
					if stream {
						return eventHead + chunk(delta(text)) + chunk(usageEvent) + chunk(doneEvent) + lastChunk
					}
					return sized(completion(text))
				}
				ended := make(chan struct{})
				u := newTrap(t, func(l *line) {
					if _, ok := l.request(); !ok {
						return
					}
					if l.n > 0 {
						l.say(answer("again"))
						l.awaitEnd()
						return
					}
					l.say(answer("first"))
					tc.second(l)
					_ = l.Close()
					close(ended)
				})
				w.lure("m", u.base)
				w.publish()
				c := w.caller()
				_, _ = io.WriteString(c, request(chatPath, w.key, prompt("m", "1", stream)))
				if got := c.answer(); !got.good() {
					t.Fatalf("first: %v", got)
				}
				if tc.name[:5] == "right" {
					wait(t, "the end of the kept connection", ended)
				}
				u.forget()
				_, _ = io.WriteString(c, request(chatPath, w.key, prompt("m", "2", stream)))
				got := c.answer()
				want := completion("again")
				if stream {
					want = delta("again") + doneEvent
				}
				switch {
				case tc.good && (!got.good() || got.body != want):
					t.Errorf("second: %v", got)
				case !tc.good && (got.status < 500 || got.broken != nil):
					t.Errorf("second: %v, want a failure in one piece", got)
				}
				if n := len(u.requests()); n > tc.sent {
					t.Errorf("the second request was sent %d times, want %d at most", n, tc.sent)
				}
				w.quiet()
				if records := w.books.all(); len(records) != 2 || records[0].Error || records[1].Error == tc.good {
					t.Errorf("records = %+v", records)
				}
			})
		}
	}
}

// On a connection that has served nothing yet an end before the answer is the account's failure: the request may have
// been taken, so it is not sent to the same account again.
func TestTrapFreshConnectionEnds(t *testing.T) {
	for name, how := range map[string]func(*line){
		"at once":                  func(*line) {},
		"at once, reset":           func(l *line) { l.reset() },
		"behind the head":          func(l *line) { _, _ = l.head() },
		"behind the request":       func(l *line) { _, _ = l.request() },
		"behind the request, half": func(l *line) { _, _ = l.request(); l.hush(); l.awaitEnd() },
		"in the head":              func(l *line) { _, _ = l.request(); l.say("HTTP/1.1 200 OK\r\nContent-"); l.hush(); l.awaitEnd() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			u := newTrap(t, how)
			w.lure("m", u.base)
			w.publish()
			if got := w.ask(chatPath, prompt("m", "x", false)); got.status < 500 || got.broken != nil {
				t.Errorf("%v", got)
			}
			w.quiet()
			if n := len(u.requests()); n > 1 {
				t.Errorf("the upstream got the request %d times", n)
			}
			if r := w.record(); !r.Error {
				t.Errorf("record = %+v", r)
			}
		})
	}
}
