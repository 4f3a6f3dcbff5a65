package gateway

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"fairway/dataplane/internal/ingress"
)

// Clients that do not read what they asked for: the upstream is held back, the proxy keeps a piece and no more, others
// do not notice, and when they read on nothing is missing.
func TestTrapSlowReaders(t *testing.T) {
	const readers, limit = 6, 64 << 20
	w := newWorld(t)
	var mu sync.Mutex
	sums := make(map[string]hash.Hash)
	blocked := make(chan int64, readers) // how much an upstream got rid of
	resumed := make(chan struct{})
	event := delta(strings.Repeat("slow ", 3000))
	u := newTrap(t, func(l *line) {
		_ = l.Conn.(*net.TCPConn).SetWriteBuffer(64 << 10)
		h, ok := l.request()
		if !ok {
			return
		}
		if !strings.Contains(h.body, "slow") {
			for ok {
				l.say(sized(completion("fast")))
				_, ok = l.request()
			}
			return
		}
		sum := sha256.New()
		l.say(eventHead)
		wire := chunk(event)
		var sent int64
		for free := true; free && sent < limit; sent += int64(len(wire)) {
			_ = l.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
			n, err := io.WriteString(l, wire)
			_ = l.SetWriteDeadline(time.Time{})
			if err != nil {
				// It is held back. The rest of this chunk goes when the client reads again.
				blocked <- sent
				<-resumed
				_, _ = io.WriteString(l, wire[n:])
				free = false
			}
			_, _ = io.WriteString(sum, event)
		}
		if sent >= limit {
			blocked <- sent
		}
		l.say(chunk(usageEvent), chunk(doneEvent), lastChunk)
		_, _ = io.WriteString(sum, doneEvent)
		mu.Lock()
		sums[promptOf(h.body)] = sum
		mu.Unlock()
		l.awaitEnd()
	})
	w.lure("m", u.base)
	w.publish()
	var before, during runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var slow []*caller
	for i := range readers {
		c := w.caller()
		_, _ = io.WriteString(c, request(chatPath, w.key, prompt("m", fmt.Sprint("slow", i), true), "Connection: close"))
		slow = append(slow, c)
	}
	for range readers {
		if n := wait(t, "an upstream is held back", blocked); n >= limit {
			t.Errorf("%d bytes went into a client that reads nothing", n)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&during)
	if per := (int64(during.HeapAlloc) - int64(before.HeapAlloc)) / readers; per > 256<<10 {
		t.Errorf("a stream that is not read costs %d bytes", per)
	}
	for i := range 50 {
		if got := w.ask(chatPath, prompt("m", fmt.Sprint(i), false)); !got.good() || got.body != completion("fast") {
			t.Fatalf("another client: %v", got)
		}
	}
	close(resumed)
	for i, c := range slow {
		got := c.answer()
		mu.Lock()
		sum := sums[fmt.Sprint("slow", i)]
		mu.Unlock()
		if !got.good() || sum == nil || sha256.Sum256([]byte(got.body)) != [32]byte(sum.Sum(nil)) {
			t.Errorf("reader %d: status %d, %d bytes, %v: not what the upstream sent", i, got.status, len(got.body), got.broken)
		}
		_ = c.Close()
	}
	w.settled(t)
}

// Clients that never come to an end with what they have to say are refused, and cost nothing afterwards; the upstream
// never hears of them.
func TestTrapSlowSenders(t *testing.T) {
	const budget = 300 << 10
	w := newWorld(t, func(o *Options, i *ingress.Options) {
		o.MaxBody, o.MaxBodies = 200<<10, budget
		i.HeaderTimeout, i.BodyTimeout = 100*time.Millisecond, 100*time.Millisecond
		i.Linger = 10 * time.Millisecond
	})
	u := newTrap(t, echoing)
	w.lure("m", u.base)
	w.publish()
	full := request(chatPath, w.key, prompt("m", strings.Repeat("x", 100_000), false))
	for _, tc := range []struct {
		name, begin, drip string
	}{
		{"a request line", "POST /v1/ch", "a"},
		{"a header", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: ", "a"},
		{"headers without end", "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n", "X-A: b\r\n"},
		{"a body", full[:500], "a"},
		{"a large body", full[:90_000], "a"},
		{"a chunk", strings.TrimSuffix(inChunks(w.key, prompt("m", "x", false)), "}\r\n0;end\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n"), ""},
		{"a chunk's extension", inChunks(w.key, "{}")[:strings.Index(inChunks(w.key, "{}"), ";a=")+1], "a"},
		{"a trailer", strings.TrimSuffix(inChunks(w.key, prompt("m", "x", false)), "\r\n\r\n"), "a"},
		{"nothing", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := w.caller()
			_, _ = io.WriteString(c, tc.begin)
			stop := make(chan struct{})
			var dripping sync.WaitGroup
			dripping.Go(func() {
				for tc.drip != "" {
					select {
					case <-stop:
						return
					case <-time.After(10 * time.Millisecond):
						_, _ = io.WriteString(c, tc.drip)
					}
				}
			})
			if tc.name == "nothing" {
				half(c.Conn)
			}
			out, err := io.ReadAll(c.r)
			close(stop)
			dripping.Wait()
			if tooLate(err) {
				t.Fatal("the proxy waits forever")
			}
			if len(out) > 0 && (status(string(out)) < "400" || strings.Count(string(out), "HTTP/1.1 ") != 1) {
				t.Errorf("%.500s", out)
			}
		})
	}
	w.quiet()
	if n := len(u.requests()) + len(w.books.all()); n > 0 {
		t.Errorf("%d requests and records of what never arrived", n)
	}
	// All of the budget is there again: a body that needs nearly all of it is taken.
	if got := w.ask(chatPath, prompt("m", strings.Repeat("y", 190<<10), false)); !got.good() {
		t.Errorf("afterwards: %v", got)
	}
}
