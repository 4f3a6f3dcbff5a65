package gateway

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// mark is what a response says of the request that it belongs to. Nothing else may carry it.
var mark = regexp.MustCompile(`mark-[0-9]+-of-the-request`)

func markOf(n int64) string { return fmt.Sprintf("mark-%012d-of-the-request", n) }

// misbehaviours are the ways in which an upstream ends, or does not end, its answer to the request marked m. Each says
// whether the upstream keeps the connection. by is how much, or where.
//
// A whole response that nobody asked for, sent while no request is under way, is not among them: if it arrives between a
// look at the connection and the next request, nothing tells it from the answer. Behind a response in the same write it
// is.
var misbehaviours = []func(l *line, m string, by int) bool{
	func(l *line, m string, _ int) bool { l.say(sized(completion(m))); return true },
	func(l *line, m string, _ int) bool { l.say(markedStream(m)); return true },
	func(l *line, m string, by int) bool {
		a := sized(completion(m))
		l.say(a[:by%len(a)], a[by%len(a):])
		return true
	},
	func(l *line, m string, by int) bool {
		a := markedStream(m)
		l.say(a[:by%len(a)], a[by%len(a):])
		return true
	},
	// Too much.
	func(l *line, m string, by int) bool {
		l.say(sized(completion(m)) + strings.Repeat(m, 1+by))
		return true
	},
	func(l *line, m string, by int) bool {
		l.say(sized(completion(m)) + sized(completion(m))[:1+by%200])
		return true
	},
	func(l *line, m string, _ int) bool { l.say(sized(completion(m)) + sized(completion(m))); return true },
	func(l *line, m string, _ int) bool { l.say(markedStream(m) + markedStream(m)); return true },
	func(l *line, m string, by int) bool { l.say(markedStream(m) + strings.Repeat(m, 1+by)); return true },
	func(l *line, m string, by int) bool {
		// Each has 512 bytes, so that a read that leaves some of it leaves whole responses.
		a := strings.Repeat(evenly(m, 512), 1+by)
		l.say(a)
		return true
	},
	func(l *line, m string, _ int) bool {
		a := sized(completion(m + m)) // longer than it says
		l.say(strings.Replace(a, "Content-Length: ", "Content-Length: 1\r\nX-Was: ", 1))
		return true
	},
	func(l *line, m string, _ int) bool {
		l.say("HTTP/1.1 204 No Content\r\n\r\n" + completion(m))
		return true
	},
	func(l *line, m string, _ int) bool {
		l.say("HTTP/1.1 304 Not Modified\r\n\r\n" + sized(completion(m)))
		return true
	},
	// Too late.
	func(l *line, m string, by int) bool {
		l.say(sized(completion(m)), m)
		time.Sleep(time.Duration(by) * time.Microsecond)
		l.say(m)
		return true
	},
	func(l *line, m string, by int) bool {
		l.say(markedStream(m))
		time.Sleep(time.Duration(by) * time.Microsecond)
		l.say("\r\n" + m + "\r\n\r\n")
		return true
	},
	func(l *line, m string, _ int) bool {
		l.say("HTTP/1.1 100 Continue\r\nX: " + m + "\r\n\r\n" + sized(completion(m)))
		return true
	},
	// Too little.
	func(l *line, m string, by int) bool { a := sized(completion(m)); l.say(a[:by%len(a)]); return false },
	func(l *line, m string, by int) bool {
		a := markedStream(m)
		l.say(a[:by%len(a)])
		l.reset()
		return false
	},
	func(*line, string, int) bool { return false },
	func(l *line, _ string, _ int) bool { l.reset(); return false },
	func(l *line, m string, _ int) bool { l.say(sized(completion(m))); return false },
	func(l *line, m string, _ int) bool { l.say(sized(completion(m))); l.reset(); return false },
	func(l *line, m string, _ int) bool {
		l.say(framed(completion(m), "Content-Type: application/json"))
		return false
	},
	func(l *line, m string, by int) bool { l.say(sized(completion(m))); l.hush(); return by%2 == 0 },
	// In a framing that nobody understands.
	func(l *line, m string, _ int) bool {
		l.say(framed(chunk(delta(m))+"zz\r\n"+m, "Content-Type: text/event-stream", "Transfer-Encoding: chunked"))
		return true
	},
	func(l *line, m string, _ int) bool { l.say(sized(completion(m), "Content-Length: 2")); return true },
	func(l *line, m string, _ int) bool { l.say(m + "\r\n\r\n" + sized(completion(m))); return true },
	func(l *line, m string, _ int) bool {
		l.say(framed(chunk(completion(m))+"0\r\nX: "+m+"\r\n\r\n"+m, "Transfer-Encoding: chunked"))
		return true
	},
}

// evenly is a plain answer of size bytes, head and all.
func evenly(m string, size int) string {
	body := completion(m)
	for pad := range size {
		if a := sized(body + strings.Repeat(" ", pad)); len(a) == size {
			return a
		}
	}
	panic("too long")
}

func markedStream(m string) string {
	return eventHead + chunk(delta(m)) + chunk(delta(m)+usageEvent) + chunk(doneEvent) + lastChunk
}

// babel is a proxy in front of an upstream that misbehaves as it is told: the request's X-Script has two numbers.
type babel struct {
	w      *world
	u      *trap
	models int
	marks  atomic.Int64
}

func newBabel(t testing.TB, models int) *babel {
	b := &babel{w: newWorld(t), models: models}
	b.u = newTrap(t, func(l *line) {
		for {
			h, ok := l.request()
			if !ok {
				return
			}
			var how, by int
			_, _ = fmt.Sscan(h.header.Get("X-Script"), &how, &by)
			if !misbehaviours[how%len(misbehaviours)](l, mark.FindString(h.body), by) {
				return
			}
		}
	})
	// One account would soon rest. All have the same address, so they share their connections.
	for i := range models {
		b.w.lure(fmt.Sprintf("m%d", i), b.u.base)
	}
	b.w.publish()
	return b
}

// talk makes requests, one behind the other over as few connections as the proxy lets it. It returns what went wrong and
// how many answers were good.
func (b *babel) talk(script [][2]int) (problem string, good int) {
	var c *caller
	defer func() {
		if c != nil {
			_ = c.Close()
		}
	}()
	for _, step := range script {
		if c == nil {
			raw, err := net.Dial("tcp", b.w.addr)
			if err != nil {
				return err.Error(), good
			}
			c = &caller{Conn: raw, r: newReader(raw)}
		}
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		n := b.marks.Add(1)
		mine := markOf(n)
		_, _ = io.WriteString(c, request(chatPath, b.w.key, prompt(fmt.Sprintf("m%d", n%int64(b.models)), mine, step[0]%2 == 1),
			fmt.Sprintf("X-Script: %d %d", step[0], step[1])))
		got := c.answer()
		if got.status == 0 {
			return fmt.Sprintf("no answer at all to %v: %v", step, got), good
		}
		all := got.body
		for name, values := range got.header {
			all += name + strings.Join(values, "\n")
		}
		for _, m := range mark.FindAllString(all, -1) {
			if m != mine {
				return fmt.Sprintf("the answer to %s has %s in it: %v", mine, m, got), good
			}
		}
		if got.good() {
			good++
			if !strings.Contains(got.body, mine) && !strings.Contains(got.body, "{") {
				return fmt.Sprintf("a good answer that is nobody's: %v", got), good
			}
		}
		if got.broken != nil || got.close {
			_ = c.Close()
			c = nil
		}
	}
	return "", good
}

// No byte of one response ever reaches another client, whatever the upstream does behind, before and inside its answers.
func TestTrapNoCrossTalk(t *testing.T) {
	b := newBabel(t, 512)
	var good atomic.Int64
	var running sync.WaitGroup
	const clients, each = 8, 200
	for n := range clients {
		random := rand.New(rand.NewPCG(uint64(n), 1))
		running.Go(func() {
			var script [][2]int
			for i := range each {
				how := (i + n*each) % len(misbehaviours)
				if random.IntN(2) == 0 { // else too few connections live to be used again
					how = random.IntN(4)
				}
				script = append(script, [2]int{how, random.IntN(400)})
			}
			problem, n := b.talk(script)
			if problem != "" {
				t.Error(problem)
			}
			good.Add(int64(n))
		})
	}
	running.Wait()
	b.w.quiet()
	if n := good.Load(); n < clients*each/2 {
		t.Errorf("%d of %d answers were good: this proves little", n, clients*each)
	}
	if n := b.u.connections(); n >= len(b.u.requests()) {
		t.Errorf("%d connections for %d requests: none was used again", n, len(b.u.requests()))
	}
}

// A whole response that nobody asked for lies on a kept connection before the next request begins: that one is not
// answered with it.
func TestTrapUnaskedResponseOnAKeptConnection(t *testing.T) {
	for name, first := range map[string]string{
		"plain": sized(completion("first")), "stream": eventHead + chunk(delta("first")) + chunk(usageEvent+doneEvent) + lastChunk,
		"empty": "HTTP/1.1 204 No Content\r\n\r\n",
	} {
		for late, unasked := range map[string]string{
			"a response": sized(completion("nobody's")), "a byte": "H", "an interim response": "HTTP/1.1 100 Continue\r\n\r\n",
			"many responses": strings.Repeat(sized(completion("nobody's")), 100),
		} {
			t.Run(name+", "+late, func(t *testing.T) {
				w := newWorld(t)
				answered, lies := make(chan struct{}), make(chan struct{})
				u := newTrap(t, func(l *line) {
					if _, ok := l.request(); !ok {
						return
					}
					if l.n > 0 {
						l.say(sized(completion("second")))
						l.awaitEnd()
						return
					}
					l.say(first)
					select {
					case <-answered:
					case <-l.trap.gone:
						return
					}
					l.say(unasked)
					close(lies)
					l.awaitEnd()
				})
				w.lure("m", u.base)
				w.publish()
				c := w.caller()
				_, _ = io.WriteString(c, request(chatPath, w.key, prompt("m", "1", name == "stream")))
				if got := c.answer(); got.broken != nil || got.status >= 300 {
					t.Fatalf("first: %v", got)
				}
				close(answered)
				wait(t, "the unasked response", lies)
				_, _ = io.WriteString(c, request(chatPath, w.key, prompt("m", "2", false)))
				if got := c.answer(); !got.good() || got.body != completion("second") {
					t.Errorf("second: %v", got)
				}
			})
		}
	}
}

// FuzzNoCrossTalk scripts the upstream: each pair of bytes is one answer, in turn for one of two clients.
func FuzzNoCrossTalk(f *testing.F) {
	for how := range misbehaviours {
		f.Add([]byte{0, 0, byte(how), 3, 0, 0, 1, 9, byte(how), 90, byte(how), 0, 0, 0})
	}
	b := newBabel(f, 4096)
	f.Fuzz(func(t *testing.T, script []byte) {
		var scripts [2][][2]int
		for i := 0; i+1 < len(script) && i < 32; i += 2 {
			scripts[i/2%2] = append(scripts[i/2%2], [2]int{int(script[i]), int(script[i+1])})
		}
		var running sync.WaitGroup
		for _, s := range scripts {
			running.Go(func() {
				if problem, _ := b.talk(s); problem != "" {
					t.Error(problem)
				}
			})
		}
		running.Wait()
		b.u.forget()
	})
}
