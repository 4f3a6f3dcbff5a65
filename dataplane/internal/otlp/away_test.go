package otlp

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"fairway/dataplane/internal/journal"
)

// pipes replaces the network by pipes, so that time is the test's.
func (f *fixture) pipes(serve func(net.Conn)) {
	transport := f.client.Transport.(*http.Transport)
	transport.Proxy = nil
	transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go serve(there)
		return here, nil
	}
}

// A collector that takes connections and never answers: whoever records goes on at once, what is too much is counted, and
// the end does not wait for it longer than it may.
func TestSilentCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open sync.WaitGroup
		defer open.Wait()
		f := prepare(t, Options{Endpoint: "http://127.0.0.1:1", Sample: 1, Buffer: 1024})
		f.pipes(func(c net.Conn) {
			open.Add(1)
			defer open.Done()
			buf := make([]byte, 4096)
			for { // reads all, says nothing
				if _, err := c.Read(buf); err != nil {
					return
				}
			}
		})
		f.run(t)
		const rounds, each = 30, 300
		for range rounds {
			before := time.Now()
			for range each {
				e := retried()
				f.Record(&e)
			}
			if took := time.Since(before); took != 0 {
				t.Fatalf("recording waited %v", took)
			}
			time.Sleep(gatherTime)
			synctest.Wait()
		}
		if n := f.count(t, "requests_dropped_total"); n != 0 {
			t.Errorf("%d requests found the queue full: who looks at them waits for the collector", n)
		}
		full, failed := f.count(t, "spans_dropped_total", "full"), f.count(t, "spans_dropped_total", "send")
		if full == 0 || failed == 0 {
			t.Errorf("%d spans were too many, %d could not be sent", full, failed)
		}
		begin := time.Now()
		f.end(t)
		if took := time.Since(begin); took > flushTime {
			t.Errorf("the end took %v", took)
		}
		// Each request is three spans, and each is lost for one of two reasons.
		full, failed = f.count(t, "spans_dropped_total", "full"), f.count(t, "spans_dropped_total", "send")
		if f.count(t, "spans_total") != 0 || full+failed != 3*rounds*each {
			t.Errorf("%d and %d lost of %d spans", full, failed, 3*rounds*each)
		}
		if n := strings.Count(f.logged.String(), "signal=traces"); n == 0 || n > 2 {
			t.Errorf("%d warnings in a minute", n)
		}
	})
}

// Nobody listens: the same, and quicker.
func TestNoCollector(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	ln.Close()
	f := prepare(t, Options{Endpoint: "http://" + address, Sample: 1})
	f.run(t)
	e := retried()
	f.Record(&e)
	f.end(t)
	if n := f.count(t, "spans_dropped_total", "send"); n != 3 || f.count(t, "errors_total", "metrics") != 1 {
		t.Errorf("%d spans counted as lost", n)
	}
}

// A collector that is busy is asked again.
func TestBusyCollector(t *testing.T) {
	c := listen(t)
	var asked atomic.Int32
	c.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		if asked.Add(1) == 1 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
			return false
		}
		return true
	}
	f := prepare(t, Options{Endpoint: c.URL, Sample: 1, NoMetrics: true})
	f.run(t)
	e := retried()
	f.Record(&e)
	f.end(t)
	if len(c.spans) != 3 || f.count(t, "spans_total") != 3 || f.count(t, "errors_total", "traces") != 0 {
		t.Errorf("%d spans arrived after %d calls", len(c.spans), asked.Load())
	}
}

// Without a reader the queue fills; what is too much is counted, and the oldest are told of.
func TestOverflow(t *testing.T) {
	c := listen(t)
	f := prepare(t, Options{Endpoint: c.URL, Sample: 1, Buffer: 16, NoMetrics: true})
	for range 20 {
		e := retried()
		f.Record(&e)
	}
	f.run(t)
	f.end(t)
	if n := f.count(t, "requests_dropped_total"); n != 4 || len(c.spans) != 3*16 {
		t.Errorf("%d requests dropped, %d spans", n, len(c.spans))
	}
}

// Many requests at once: every span arrives or is counted, and what is sent is in batches.
func TestBurst(t *testing.T) {
	c := listen(t)
	f := prepare(t, Options{Endpoint: c.URL, Sample: 1, Buffer: 4096})
	f.run(t)
	const producers, each = 4, 1000
	var wg sync.WaitGroup
	for range producers {
		wg.Go(func() {
			for range each {
				f.Record(&journal.Entry{Time: began, Operation: "chat"})
			}
		})
	}
	wg.Wait()
	f.end(t)
	lost := f.count(t, "requests_dropped_total") + f.count(t, "spans_dropped_total", "full") + f.count(t, "spans_dropped_total", "send")
	if got := len(c.spans); got+lost != producers*each || got == 0 {
		t.Errorf("%d arrived and %d lost of %d", got, lost, producers*each)
	}
	if c.exports > 40 {
		t.Errorf("%d exports for %d spans", c.exports, len(c.spans))
	}
}

// Metrics go out from time to time, also when nobody calls, until the end.
func TestMetricsEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		f := prepare(t, Options{Endpoint: "http://127.0.0.1:1", NoTraces: true, Every: 10 * time.Second})
		f.pipes(func(c net.Conn) {
			server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) })}
			ln := &oneConn{c: c, closed: make(chan struct{})}
			_ = server.Serve(ln)
		})
		f.run(t)
		e := retried()
		f.Record(&e)
		time.Sleep(35 * time.Second)
		synctest.Wait()
		if n := calls.Load(); n != 3 {
			t.Errorf("%d exports in 35 s, want one each 10 s", n)
		}
		f.end(t)
		if n := calls.Load(); n != 4 {
			t.Errorf("%d exports at the end, want a last one", n)
		}
	})
}

// oneConn is a listener that has one connection.
type oneConn struct {
	c      net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	var c net.Conn
	l.once.Do(func() { c = &closing{Conn: l.c, l: l} })
	if c != nil {
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// closing ends its listener with itself.
type closing struct {
	net.Conn
	l    *oneConn
	once sync.Once
}

func (c *closing) Close() error {
	c.once.Do(func() { close(c.l.closed) })
	return c.Conn.Close()
}
