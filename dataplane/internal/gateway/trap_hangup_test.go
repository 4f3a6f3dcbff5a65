package gateway

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairway/dataplane/internal/ingress"
)

// floodEnv is how many requests TestTrap11HangUpsLeakNothing makes; 100000 is the number that the design promises.
const floodEnv = "FAIRWAY_HANGUPS"

// The places in which a client leaves.
var leavings = [...]struct {
	name   string
	stream bool
	size   int  // of the prompt
	upload bool // it leaves before its request is complete
	events int  // it reads before it leaves
	reach  bool // the upstream hears of it
}{
	{name: "waiting", reach: true},
	{name: "waiting for the first event", stream: true, reach: true},
	{name: "between events", stream: true, events: 2, reach: true},
	{name: "in its upload", size: 100_000, upload: true},
	{name: "in an upload that the upstream does not read", size: 6 << 20, reach: true},
	{name: "in the middle of a large answer", events: 1, reach: true},
}

// flood is a proxy and an upstream that never comes to an end: each connection ends because its client has left.
type flood struct {
	w *world
	u *trap

	heard   atomic.Int64
	ended   atomic.Int64
	reached [8]chan struct{} // for the callers one by one: the upstream has their request
	bytes   [len(leavings)][8]string
}

func newFlood(t testing.TB) *flood {
	f := &flood{w: newWorld(t, func(o *Options, i *ingress.Options) {
		o.MaxBodies = 64 << 20
		i.Linger = time.Millisecond
	})}
	for i := range f.reached {
		f.reached[i] = make(chan struct{}, 1)
	}
	f.u = newTrap(t, func(l *line) {
		h, ok := l.head()
		if !ok {
			return
		}
		f.heard.Add(1)
		defer f.ended.Add(1)
		var place, caller int
		_, _ = fmt.Sscan(h.header.Get("X-Leaving"), &place, &caller)
		switch p := leavings[place]; {
		case p.stream && p.events > 0:
			l.say(eventHead, chunk(delta("one of the events")), chunk(delta("another of the events")))
		case p.events > 0:
			l.say(framed(strings.Repeat("x", 100_000), "Content-Type: application/json", "Content-Length: 10000000"))
		case p.size > 1<<20:
			// It reads nothing, so the end that it sees is a reset; to write nothing tells.
			f.reached[caller] <- struct{}{}
			for {
				if _, err := l.Write(nil); err != nil {
					return
				}
				time.Sleep(100 * time.Microsecond)
			}
		}
		f.reached[caller] <- struct{}{}
		l.awaitEnd()
	})
	f.w.lure("m", f.u.base)
	f.w.publish()
	for place, p := range leavings {
		body := prompt("m", strings.Repeat("x", p.size), p.stream)
		for caller := range f.bytes[place] {
			whole := request(chatPath, f.w.key, body, fmt.Sprintf("X-Leaving: %d %d", place, caller))
			if p.upload {
				whole = whole[:len(whole)-p.size/2]
			}
			f.bytes[place][caller] = whole
		}
	}
	return f
}

// leave is one request of a caller, who leaves at place in one of three ways.
func (f *flood) leave(place, caller, way int) string {
	p := leavings[place]
	c, err := net.Dial("tcp", f.w.addr)
	if err != nil {
		return err.Error()
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(c, f.bytes[place][caller]); err != nil {
		return err.Error()
	}
	if p.reach {
		select {
		case <-f.reached[caller]:
		case <-time.After(time.Minute):
			return p.name + ": the upstream never heard of it"
		}
	}
	if p.events > 0 {
		r := newReader(c)
		for n := 0; n < p.events; {
			line, err := r.ReadString('\n')
			if err != nil {
				return p.name + ": " + err.Error()
			}
			if strings.HasPrefix(line, "data: {") || !p.stream && line == "\r\n" {
				n++
			}
		}
	}
	switch {
	case way == 0:
		_ = c.Close()
	case way == 1 && !p.upload && p.size == 0:
		half(c)
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
	default:
		reset(c)
	}
	return ""
}

// Clients leave, again and again: each time the upstream's connection ends, too, the request is settled once by what was
// delivered, and in the end nothing is left of any of them.
func TestTrap11HangUpsLeakNothing(t *testing.T) {
	total := 360
	if s := os.Getenv(floodEnv); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s: %v", floodEnv, err)
		}
		total = n
	}
	f := newFlood(t)
	const callers = len(f.reached)
	round := func(total int) {
		var running sync.WaitGroup
		for caller := range callers {
			running.Go(func() {
				for i := caller; i < total && !t.Failed(); i += callers {
					place := i / callers % len(leavings)
					if leavings[place].size > 1<<20 && i/callers%(5*len(leavings)) != place {
						place = 0 // large uploads take their time
					}
					if problem := f.leave(place, caller, i/callers/len(leavings)%3); problem != "" {
						t.Errorf("request %d: %s", i, problem)
					}
				}
			})
		}
		running.Wait()
		f.w.quiet()
		f.w.eventually("every upstream connection ends", func() bool { return f.ended.Load() == f.heard.Load() })
		f.w.eventually("every client's connection is gone", func() bool { return f.w.gauge("fairway_ingress_connections") == 0 })
	}
	// The first few grow what is kept.
	const warm = 6 * callers * 3
	round(warm)
	runtime.GC()
	goroutines := runtime.NumGoroutine()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	round(total)
	f.w.eventually("goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines+callers })
	runtime.GC()
	runtime.ReadMemStats(&after)
	records := f.w.books.all()
	// The books of this test keep each record.
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc) - int64(total)*512
	if grown > 16<<20 {
		t.Errorf("%d hang-ups left %d bytes on the heap", total, grown)
	}
	if n := f.heard.Load(); int64(len(records)) != n {
		t.Errorf("%d records for %d requests that reached the upstream", len(records), n)
	}
	delivered := 0
	for _, r := range records {
		if r.Error || !r.Estimated {
			t.Fatalf("record = %+v", r)
		}
		if r.Output > 0 {
			delivered++
		}
	}
	if delivered == 0 || delivered == len(records) {
		t.Errorf("%d of %d records say that something was delivered", delivered, len(records))
	}
	// Nothing of the budget of bodies is held: one that needs nearly all of what one may have is still taken, four times.
	f.w.settled(t)
	var running sync.WaitGroup
	for caller := range 2 {
		running.Go(func() {
			if problem := f.leave(4, caller, 2); problem != "" {
				t.Errorf("afterwards: %s", problem)
			}
		})
	}
	running.Wait()
	f.w.settled(t)
	t.Logf("%d requests, %d reached the upstream, %d goroutines before and %d after, heap %+d", total+warm, f.heard.Load(), goroutines,
		runtime.NumGoroutine(), int64(after.HeapAlloc)-int64(before.HeapAlloc))
}
