package tunnel

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs a tunnel between pipes on a clock of its own.
func inBubble(t *testing.T, o Options, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, o, pipes)
		f(w)
		_ = w.client.Close()
		_ = w.upstream.Close()
	})
}

func TestSilence(t *testing.T) {
	inBubble(t, Options{Idle: time.Minute}, func(w *world) {
		start := time.Now()
		// One side that speaks is enough, and a ping is speech.
		for range 10 {
			time.Sleep(50 * time.Second)
			w.write(w.client, asked("x"))
			w.expect(w.upstream, asked("x"))
			time.Sleep(50 * time.Second)
			w.write(w.upstream, frame(opPing, true, nil, nil))
			w.expect(w.client, frame(opPing, true, nil, nil))
		}
		last := time.Now()
		w.ends(Result{By: Proxy, Why: Silent})
		if silent := time.Since(last); silent < time.Minute || silent > 75*time.Second {
			t.Errorf("ended after %v of silence", silent)
		}
		if last.Sub(start) < 10*time.Minute {
			t.Error("ended too early")
		}
	})
}

func TestStuck(t *testing.T) {
	for _, stuck := range []Party{Client, Upstream} {
		t.Run(stuck.String(), func(t *testing.T) {
			inBubble(t, Options{WriteTimeout: 20 * time.Second}, func(w *world) {
				start := time.Now()
				talker, listener, text := w.upstream, w.client, said("a")
				if stuck == Upstream {
					talker, listener, text = w.client, w.upstream, asked("a")
				}
				// A side that takes its time, but takes, may stay.
				for range 10 {
					w.write(talker, text)
					time.Sleep(15 * time.Second)
					w.expect(listener, text)
				}
				last := time.Now()
				if last.Sub(start) < 2*time.Minute {
					t.Error("ended too early")
				}
				w.write(talker, text)
				w.ends(Result{By: stuck, Why: Stuck})
				if took := time.Since(last); took < 20*time.Second || took > 25*time.Second {
					t.Errorf("ended after %v", took)
				}
			})
		})
	}
}

func TestCloseWait(t *testing.T) {
	inBubble(t, Options{}, func(w *world) {
		start := time.Now()
		w.write(w.client, closeFrame(1000, "", []byte{1, 2, 3, 4}))
		w.expect(w.upstream, closeFrame(1000, "", []byte{1, 2, 3, 4}))
		// What the upstream still has to say, is said.
		w.write(w.upstream, said(doneEvent))
		w.expect(w.client, said(doneEvent))
		w.ends(Result{Usage: exact(127, 64, 148), Responses: 1, By: Client, Why: Closed, CloseCode: 1000})
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("ended after %v", took)
		}
	})
}

// deaf is a connection that breaks when it is written to, and says nothing.
type deaf struct{ net.Conn }

func (deaf) Write([]byte) (int, error) { return 0, net.ErrClosed }

// A write that fails gives the other pump a moment, and no more.
func TestBrokenWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, farClient := net.Pipe()
		upstream, farUpstream := net.Pipe()
		tunnel := New(Options{}).Open(Side{Conn: client}, Side{Conn: deaf{upstream}}, nil)
		result := make(chan Result, 1)
		go func() { result <- tunnel.Run() }()
		w := &world{t: t, result: result}
		start := time.Now()
		w.write(farClient, asked("x"))
		w.write(farUpstream, said(doneEvent))
		w.expect(farClient, said(doneEvent))
		w.ends(Result{Usage: exact(127, 64, 148), Responses: 1, By: Upstream, Why: HungUp})
		if took := time.Since(start); took != time.Second {
			t.Errorf("ended after %v", took)
		}
		_ = farClient.Close()
		_ = farUpstream.Close()
	})
}

// A reader that is slow holds up its own tunnel, and what waits for it stays with the sender.
func TestSlowReaderIsWaitedFor(t *testing.T) {
	inBubble(t, Options{WriteTimeout: 20 * time.Second}, func(w *world) {
		events := said(textDelta(strings.Repeat("x", 1000)))
		sent := make(chan int, 1)
		go func() {
			n := 0
			for range 100 {
				if _, err := w.upstream.Write(events); err != nil {
					break
				}
				n++
			}
			sent <- n
		}()
		synctest.Wait()
		// A pipe has no buffer: one is in the tunnel's hand, and one is offered.
		if seen := w.tunnel.down.seen.Load(); seen > int64(2*len(events)) {
			t.Errorf("%d bytes were read for a client that reads nothing", seen)
		}
		for range 100 {
			time.Sleep(10 * time.Second)
			w.expect(w.client, events)
		}
		if n := <-sent; n != 100 {
			t.Errorf("%d events were sent", n)
		}
	})
}
