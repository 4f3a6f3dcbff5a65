package gateway

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
)

// cut is where an answer ends although it should not.
type cut struct {
	answer   string
	at       int
	stream   bool
	complete string // what may come with a good end
}

func (c *cut) sawDone() bool {
	return c.stream && c.at >= strings.Index(c.answer, "[DONE]")+len("[DONE]")
}

// TestTrap02CutAtEveryByte ends the upstream's connection behind each byte of a response, by FIN and by RST: no client takes what it got
// for complete, unless it is; nothing is tried again after the first byte; it counts as the account's failure.
func TestTrap02CutAtEveryByte(t *testing.T) {
	w := newWorld(t)
	events := delta("one") + ": ping\n\n" + delta("two") + usageEvent + doneEvent
	stream := eventHead + chunk(delta("one")) + chunk(": ping\n\n"+delta("two")) + chunk(usageEvent) + chunk(doneEvent) + lastChunk
	plain := sized(completion("all of it"))
	large := framed("", "Content-Type: application/json", "Content-Length: 70000", "X: y") + strings.Repeat("z", 70_000)
	cuts := make(map[string]cut)
	for _, c := range []struct {
		cut
		step int
	}{{cut{stream, 0, true, strings.Replace(events, usageEvent, "", 1)}, 1}, {cut{plain, 0, false, completion("all of it")}, 1}, {cut{large, 0, false, "?"}, 9973}} {
		for at := 0; at < len(c.answer); at += c.step {
			c.at = at
			cuts[fmt.Sprintf("m%d", len(cuts))] = c.cut
		}
	}
	u := newTrap(t, func(l *line) {
		h, ok := l.request()
		if !ok {
			return
		}
		model := h.header.Get("X-Cut")
		l.say(cuts[model].answer[:cuts[model].at])
		if len(model)%2 == 0 {
			l.reset()
		}
	})
	// Three failures in a row rest an account, so each cut has its own.
	for model := range cuts {
		w.lure(model, u.base)
	}
	w.publish()
	work := make(chan string)
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for model := range work {
				c := cuts[model]
				k := w.caller()
				_, _ = io.WriteString(k, request(chatPath, w.key, prompt(model, "x", c.stream), "X-Cut: "+model))
				got := k.answer()
				// The mark of the end without its empty line is an end, too: nothing can follow it.
				sawDone := c.sawDone()
				whole := got.good() && (got.body == c.complete || sawDone && strings.HasPrefix(c.complete, got.body) && strings.Contains(got.body, "[DONE]"))
				switch {
				case got.good() && !whole:
					t.Errorf("cut at %d of %d: looks complete: %v", c.at, len(c.answer), got)
				case whole && !sawDone:
					t.Errorf("cut at %d of %d: complete before its end: %v", c.at, len(c.answer), got)
				case !got.good() && got.broken == nil && got.status < 500:
					t.Errorf("cut at %d: %v", c.at, got)
				case got.broken != nil && got.status == 200 && c.stream:
					body, epitaph, dead := strings.Cut(got.body, "data: {\"error\":")
					if !dead || !strings.HasSuffix(epitaph, "}\n\n") || strings.Contains(got.body, "[DONE]") {
						t.Errorf("cut at %d: no error event at the end: %v", c.at, got)
					}
					if !strings.HasPrefix(events, strings.TrimRight(body, "\n")) || strings.Contains(body, `"choices":[],"usage"`) {
						t.Errorf("cut at %d: not what the upstream said: %v", c.at, got)
					}
				}
				if got.broken != nil && !k.over() {
					t.Errorf("cut at %d: the connection goes on behind a broken response", c.at)
				}
				_ = k.Close()
			}
		})
	}
	for model := range cuts {
		work <- model
	}
	close(work)
	running.Wait()
	w.quiet()
	if n := len(u.requests()); n != len(cuts) {
		t.Errorf("%d requests reached the upstream for %d of clients: a retry where none can be", n, len(cuts))
	}
	records := w.books.all()
	if len(records) != len(cuts) {
		t.Errorf("%d records for %d requests", len(records), len(cuts))
	}
	for _, r := range records {
		c := cuts[r.Model]
		if r.Error == c.sawDone() {
			t.Errorf("cut at %d of %d: record = %+v", c.at, len(c.answer), r)
		}
	}
}

// An old client knows no chunks, so its stream ends with the connection: a dead one still ends in the error event, and
// has no [DONE].
func TestTrap02DeadStreamToAnOldClient(t *testing.T) {
	for _, keep := range []string{"", "Connection: keep-alive\r\n"} {
		w := newWorld(t)
		u := newTrap(t, func(l *line) {
			if _, ok := l.request(); ok {
				l.say(eventHead, chunk(delta("one")), chunk(delta("two")))
			}
		})
		w.lure("m", u.base)
		w.publish()
		body := prompt("m", "x", true)
		c := w.caller()
		_, _ = io.WriteString(c, fmt.Sprintf("POST %s HTTP/1.0\r\n%sContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s",
			chatPath, keep, w.key, len(body), body))
		// The connection may well be reset: that is the only way to say that this was not all.
		all, _ := io.ReadAll(c.r)
		got := string(all)
		_, events, _ := strings.Cut(got, "\r\n\r\n")
		if status(got) != "200" || !strings.HasPrefix(events, delta("one")+delta("two")+"data: {\"error\":") || strings.Contains(events, "[DONE]") {
			t.Errorf("%q: %q", keep, got)
		}
	}
}

// An error event inside a 200 is a failure on the books, wherever it stands, and the stream ends there as a broken one.
func TestTrap02ErrorEventInTheMiddle(t *testing.T) {
	const said = "data: {\"error\":{\"message\":\"boom\",\"type\":\"server_error\",\"code\":\"server_error\"}}\n\n"
	for name, behind := range map[string][]string{
		"then the end":    {lastChunk},
		"then a close":    {},
		"CRLF before":     {lastChunk},
		"with a comment":  {chunk(": bye\n\n"), lastChunk},
		"then even [DONE": {chunk("data: [DON"), lastChunk},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			u := newTrap(t, func(l *line) {
				if _, ok := l.request(); !ok {
					return
				}
				first := delta("one")
				if name == "CRLF before" {
					first = strings.ReplaceAll(first, "\n", "\r\n")
				}
				l.say(append([]string{eventHead, chunk(first), chunk(said)}, behind...)...)
			})
			w.lure("m", u.base)
			w.publish()
			got := w.ask(chatPath, prompt("m", "x", true))
			if got.status != 200 || got.broken == nil || strings.Count(got.body, `"error":`) == 0 || strings.Contains(got.body, "[DONE]") {
				t.Errorf("%v", got)
			}
			if r := w.record(); !r.Error || !r.Estimated {
				t.Errorf("record = %+v", r)
			}
		})
	}
}
