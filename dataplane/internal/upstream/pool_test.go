package upstream

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// A body that was not read to its end takes its connection with it.
func TestCloseBeforeTheEnd(t *testing.T) {
	p := newPool(t, Options{})
	addr := rawServer(t, always(okHello))
	r, err := p.Do(context.Background(), nil, get(addr))
	if err != nil {
		t.Fatal(err)
	}
	one := make([]byte, 1)
	if _, err := r.Read(one); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if _, reused := mustFetch(t, p, get(addr)); reused {
		t.Error("a half-read connection served again")
	}
}

// Kept connections that the upstream closed meanwhile cost nothing but a look.
func TestClosedWhileIdle(t *testing.T) {
	for name, say := range map[string]string{
		"silently": "", "with a goodbye": "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, Options{})
			read, closed := make(chan struct{}, 2), make(chan struct{}, 2)
			addr := rawServer(t, func(_ int, c net.Conn) {
				answering(okHello)(0, c)
				<-read
				_, _ = io.WriteString(c, say)
				c.Close()
				closed <- struct{}{}
			})
			for range 2 {
				if body, reused := mustFetch(t, p, get(addr)); body != "hello" || reused {
					t.Errorf("got %q, reused %v", body, reused)
				}
				read <- struct{}{}
				<-closed
			}
			if s := p.Stats()[0]; s.Stale < 1 || s.Retries != 0 || s.Dials != 2 { // the second may have been seen to close, too
				t.Errorf("stats = %+v, want a stale connection and no retry", s)
			}
		})
	}
}

// Bytes that nobody asked for must never answer the next request.
func TestLateGarbage(t *testing.T) {
	p := newPool(t, Options{})
	sent := make(chan struct{})
	addr := rawServer(t, func(n int, c net.Conn) {
		br := bufio.NewReader(c)
		if readRequest(br) != nil {
			return
		}
		_, _ = io.WriteString(c, okHello)
		if n == 0 {
			<-sent
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged")
			sent <- struct{}{}
		}
		_ = readRequest(br)
	})
	mustFetch(t, p, get(addr))
	sent <- struct{}{}
	<-sent
	time.Sleep(time.Millisecond) // loopback delivers at once; this is for a loaded machine
	if body, reused := mustFetch(t, p, get(addr)); body != "hello" || reused {
		t.Errorf("got %q, reused %v; want hello from a fresh connection", body, reused)
	}
}

// The worst moment: the upstream takes the request from a kept connection and closes without a byte.
func TestStaleRetry(t *testing.T) {
	for _, tt := range []struct {
		name    string
		partial string
		reset   bool
		stream  bool
		phase   Phase
	}{
		{name: "no byte came: sent again"},
		{name: "a byte came: not sent again", partial: "H", phase: PhaseHead},
		{name: "a byte came, and a reset: not sent again", partial: "H", reset: true, phase: PhaseHead},
		{name: "no byte came, but a reset: sent again", reset: true},
		{name: "a stream is not sent again", stream: true, phase: PhaseFirstByte},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var served atomic.Int32
			read := make(chan struct{})
			addr := rawServer(t, func(n int, c net.Conn) {
				br := bufio.NewReader(c)
				for i := 0; readRequest(br) == nil; i++ {
					served.Add(1)
					if n == 0 && i == 1 {
						_, _ = io.WriteString(c, tt.partial)
						if tt.reset {
							<-read // a reset takes with it what was not read
							_ = c.(*net.TCPConn).SetLinger(0)
						}
						return
					}
					_, _ = io.WriteString(c, okHello)
				}
			})
			p := newPool(t, Options{})
			req := func() *Request {
				r := get(addr)
				if tt.stream {
					r.Head = []byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
					r.BodyStream, r.BodySize = strings.NewReader("x"), 1
				}
				return r
			}
			mustFetch(t, p, req())
			if tt.reset {
				time.AfterFunc(20*time.Millisecond, func() { close(read) })
			}
			_, body, _, err := fetch(p, req())
			if tt.phase == 0 {
				if err != nil || body != "hello" || p.Stats()[0].Retries != 1 || served.Load() != 3 {
					t.Errorf("got %q, %v after %d requests, stats %+v", body, err, served.Load(), p.Stats()[0])
				}
				return
			}
			e := wantError(t, err, tt.phase, nil)
			if !e.Reused || served.Load() != 2 {
				t.Errorf("error %+v after %d requests, want Reused and 2", e, served.Load())
			}
		})
	}
}

// Only once: a fresh connection that dies the same way is the upstream's fault.
func TestRetryOnlyOnce(t *testing.T) {
	var conns atomic.Int32
	addr := rawServer(t, func(n int, c net.Conn) {
		conns.Add(1)
		br := bufio.NewReader(c)
		if n == 0 && readRequest(br) == nil {
			_, _ = io.WriteString(c, okHello)
		}
		_ = readRequest(br)
	})
	p := newPool(t, Options{})
	mustFetch(t, p, get(addr))
	_, _, _, err := fetch(p, get(addr))
	if e := wantError(t, err, PhaseFirstByte, io.EOF); e.Reused {
		t.Error("the error is of the kept connection, want that of the fresh one")
	}
	if conns.Load() != 2 {
		t.Errorf("%d connections, want 2", conns.Load())
	}
}

func TestTimeouts(t *testing.T) {
	silent := func(_ int, c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	saying := func(s string) func(int, net.Conn) {
		return func(_ int, c net.Conn) {
			_, _ = io.WriteString(c, s)
			_, _ = io.Copy(io.Discard, c)
		}
	}
	deaf := func(_ int, c net.Conn) {
		for {
			if _, err := c.Write(nil); err != nil { // the test is over
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
	for _, tt := range []struct {
		name  string
		serve func(int, net.Conn)
		body  int
		phase Phase
	}{
		{"no first byte", silent, 0, PhaseFirstByte},
		{"no first byte after a large body", silent, 1 << 20, PhaseFirstByte},
		{"head stalls", saying("HTTP/1.1 200"), 0, PhaseHead},
		{"body stalls", saying("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"), 0, PhaseBody},
		{"body never begins", saying("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), 0, PhaseBody},
		{"large body is not taken", deaf, 64 << 20, PhaseWrite},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPool(t, Options{})
			req := get(rawServer(t, tt.serve))
			switch tt.phase {
			case PhaseBody:
				req.Target.Idle = 50 * time.Millisecond // what comes before it may take its time
			case PhaseHead, PhaseWrite:
				req.Target.FirstByte = time.Second // in which the beginning is to arrive
			default:
				req.Target.FirstByte = 50 * time.Millisecond
			}
			req.Body = make([]byte, tt.body)
			_, _, _, err := fetch(p, req)
			if e := wantError(t, err, tt.phase, nil); !e.Timeout || e.Aborted {
				t.Errorf("error = %+v, want a timeout", e)
			}
		})
	}
}

// A stream that lasts far longer than Idle lives on as long as something comes.
func TestIdleIsBetweenReads(t *testing.T) {
	p := newPool(t, Options{})
	next := make(chan struct{})
	addr := rawServer(t, func(_ int, c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range next {
			_, _ = io.WriteString(c, "1\r\nx\r\n")
		}
		_, _ = io.WriteString(c, "0\r\n\r\n")
		_, _ = io.Copy(io.Discard, c)
	})
	req := get(addr)
	req.Target.Idle = time.Second
	r, err := p.Do(context.Background(), nil, req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	buf := make([]byte, 16)
	for range 15 { // a second and a half in all
		time.Sleep(100 * time.Millisecond)
		next <- struct{}{}
		if n, err := r.Read(buf); n != 1 || err != nil {
			t.Fatalf("Read = %d, %v", n, err)
		}
	}
	close(next)
	if _, err := r.Read(buf); !errors.Is(err, io.EOF) {
		t.Errorf("Read = %v, want EOF", err)
	}
}

// No more connections than allowed; who waits gets one, or a clear error in bounded time.
func TestCap(t *testing.T) {
	const limit = 3
	p := newPool(t, Options{MaxConnsPerHost: limit})
	var open, most atomic.Int32
	gate := make(chan struct{})
	addr := rawServer(t, func(_ int, c net.Conn) {
		n := open.Add(1)
		defer open.Add(-1)
		for {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		br := bufio.NewReader(c)
		for readRequest(br) == nil {
			<-gate
			if _, err := io.WriteString(c, okHello); err != nil {
				return
			}
		}
	})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, _, _, err := fetch(p, get(addr)); err != nil {
				t.Errorf("request: %v", err)
			}
		})
	}
	for p.stat(addr).Waiting < 20-limit {
		time.Sleep(time.Millisecond)
	}

	impatient := get(addr)
	impatient.Target.Dial = 10 * time.Millisecond
	_, _, _, err := fetch(p, impatient)
	if e := wantError(t, err, PhaseQueue, context.DeadlineExceeded); !e.Timeout {
		t.Error("not a timeout")
	}
	var call Call
	done := make(chan error)
	go func() {
		_, err := p.Do(context.Background(), &call, get(addr))
		done <- err
	}()
	for p.stat(addr).Waiting < 20-limit+1 {
		time.Sleep(time.Millisecond)
	}
	call.Abort()
	if e := wantError(t, <-done, PhaseQueue, ErrAborted); !e.Aborted {
		t.Error("not aborted")
	}
	close(gate)
	wg.Wait()
	if most.Load() > limit {
		t.Errorf("%d connections at once, want at most %d", most.Load(), limit)
	}
	if s := p.stat(addr); s.Open > limit || s.Waiting != 0 || s.WaitTimeouts != 1 {
		t.Errorf("stats = %+v", s)
	}
}

// A connection that dies while others wait makes room for them.
func TestCapAfterFailures(t *testing.T) {
	p := newPool(t, Options{MaxConnsPerHost: 2})
	addr := rawServer(t, func(n int, c net.Conn) {
		if n%2 == 0 {
			_ = readRequest(bufio.NewReader(c))
			return
		}
		always(okHello)(n, c)
	})
	var wg sync.WaitGroup
	var failed, ok atomic.Int32
	for range 50 {
		wg.Go(func() {
			if _, _, _, err := fetch(p, get(addr)); err != nil {
				failed.Add(1)
			} else {
				ok.Add(1)
			}
		})
	}
	wg.Wait()
	if failed.Load() == 0 || ok.Load() == 0 {
		t.Errorf("%d failed, %d went well; want some of both", failed.Load(), ok.Load())
	}
	if s := p.stat(addr); s.Waiting != 0 || s.Open != s.Idle {
		t.Errorf("places leaked: %+v", s)
	}
}

func (p *Pool) stat(addr string) HostStats {
	for _, s := range p.Stats() {
		if s.Addr == addr {
			return s
		}
	}
	return HostStats{}
}

func TestReaper(t *testing.T) {
	p := newPool(t, Options{IdleTimeout: time.Minute})
	addr := rawServer(t, always("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	brief := rawServer(t, always("HTTP/1.1 200 OK\r\nKeep-Alive: max=9, timeout=5\r\nContent-Length: 5\r\n\r\nhello"))
	mustFetch(t, p, get(addr))
	mustFetch(t, p, get(brief))
	now := time.Now()
	idle := func() [2]int { return [2]int{p.stat(addr).Idle, p.stat(brief).Idle} }
	for _, step := range []struct {
		after time.Duration
		want  [2]int
	}{
		{3 * time.Second, [2]int{1, 1}},
		{5 * time.Second, [2]int{1, 0}}, // a second before the upstream closes it
		{50 * time.Second, [2]int{1, 0}},
		{time.Minute, [2]int{0, 0}},
	} {
		p.reap(now.Add(step.after))
		if got := idle(); got != step.want {
			t.Errorf("after %v: idle = %v, want %v", step.after, got, step.want)
		}
	}
	p.reap(now.Add(hostMemory + time.Hour))
	if got := p.Stats(); len(got) != 0 {
		t.Errorf("targets unused since an hour are remembered: %+v", got)
	}
	if body, reused := mustFetch(t, p, get(addr)); body != "hello" || reused {
		t.Errorf("after all that: %q, reused %v", body, reused)
	}
}

// Targets share connections only if they are the same place in every way.
func TestTargetsThatDoNotShare(t *testing.T) {
	a := Target{Addr: "h:1", Host: "h"}
	b := a
	if b.Host = "other"; a.key() != b.key() {
		t.Error("without TLS the name does not matter")
	}
	b = a
	if b.FirstByte = time.Hour; a.key() != b.key() {
		t.Error("times do not matter")
	}
	seen := map[key]string{a.key(): "plain"}
	for name, other := range map[string]Target{
		"address":        {Addr: "h:2", Host: "h"},
		"TLS":            {Addr: "h:1", Host: "h", TLS: true},
		"TLS name":       {Addr: "h:1", Host: "g", TLS: true},
		"proxy":          {Addr: "h:1", Proxy: mustURL("http://p:1")},
		"proxy scheme":   {Addr: "h:1", Proxy: mustURL("socks5://p:1")},
		"proxy user":     {Addr: "h:1", Proxy: mustURL("http://u@p:1")},
		"proxy password": {Addr: "h:1", Proxy: mustURL("http://u:p@p:1")},
	} {
		if twin, ok := seen[other.key()]; ok {
			t.Errorf("%s shares connections with %s", name, twin)
		}
		seen[other.key()] = name
	}
}

func TestClosedPool(t *testing.T) {
	p := New(Options{AllowCIDRs: loopback})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	hold := make(chan struct{})
	addr := rawServer(t, func(_ int, c net.Conn) {
		br := bufio.NewReader(c)
		_ = readRequest(br)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
		<-hold
		_, _ = io.WriteString(c, "llo")
		_ = readRequest(br)
	})
	r, err := p.Do(context.Background(), nil, get(addr))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	_, _, _, err = fetch(p, get(addr))
	wantError(t, err, PhaseQueue, ErrClosed)
	close(hold)
	if body, err := io.ReadAll(r); string(body) != "hello" || err != nil {
		t.Errorf("a response under way got %q, %v", body, err)
	}
	r.Close()
	if s := p.stat(addr); s.Open != 0 {
		t.Errorf("its connection was kept: %+v", s)
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	p := newPool(t, Options{Registry: reg, IdleTimeout: time.Minute})
	addr := rawServer(t, always(okHello))
	mustFetch(t, p, get(addr))
	mustFetch(t, p, get(addr))
	bad := get("10.0.0.1:80")
	_, _, _, err := fetch(p, bad)
	wantError(t, err, PhaseDial, ErrBlockedAddress)
	p.reap(time.Now().Add(hostMemory + time.Hour)) // forgotten targets still count
	want := `
# HELP fairway_upstream_dial_errors_total Dials that failed, in TCP, a proxy or TLS.
# TYPE fairway_upstream_dial_errors_total counter
fairway_upstream_dial_errors_total 1
# HELP fairway_upstream_dials_total Connections dialled.
# TYPE fairway_upstream_dials_total counter
fairway_upstream_dials_total 2
# HELP fairway_upstream_kept_total Kept connections taken for a request, the stale ones too.
# TYPE fairway_upstream_kept_total counter
fairway_upstream_kept_total 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want),
		"fairway_upstream_dials_total", "fairway_upstream_dial_errors_total", "fairway_upstream_kept_total"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(reg); err != nil || n < 15 {
		t.Errorf("%d series, %v", n, err)
	}
}

func TestErrorsAreErrors(t *testing.T) {
	p := newPool(t, Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	_, _, _, err = fetch(p, get(addr))
	wantError(t, err, PhaseDial, nil)
	if !strings.Contains(err.Error(), "upstream dial") {
		t.Errorf("error = %v", err)
	}
	_, _, _, err = fetch(p, get("no.such.host.invalid:80"))
	wantError(t, err, PhaseDial, nil)
	if e := new(net.DNSError); !errors.As(err, &e) {
		t.Errorf("error = %v, want a DNS error inside", err)
	}
}

func TestGuard(t *testing.T) {
	refuse := []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.255",
		"169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1",
		"198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
		"255.255.255.255",
		"::", "::1", "::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:169.254.169.254", "::127.0.0.1", "::8.8.8.8",
		"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "64:ff9b:1::808:808", "100::1", "2001::1", "2001:1ff::1",
		"2001:db8::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "fc00::1", "fdff::1", "fe80::1", "fe80::1%eth0", "fec0::1",
		"ff02::1", "5f00::1", "3fff::1", "4000::1", "1fff::1",
	}
	accept := []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"169.253.255.255", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "198.17.255.255", "198.20.0.0",
		"223.255.255.255", "::ffff:8.8.8.8", "64:ff9b::808:808", "2001:200::1", "2606:4700:4700::1111", "2a00:1450::1",
		"2003::1", "3ffe::1",
	}
	g := newGuard(nil)
	for _, s := range refuse {
		if err := g.check(netip.MustParseAddr(s)); !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("%s: %v, want it refused", s, err)
		}
	}
	for _, s := range accept {
		if err := g.check(netip.MustParseAddr(s)); err != nil {
			t.Errorf("%s: %v, want it accepted", s, err)
		}
	}
	g.allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for s, want := range map[string]bool{
		"10.1.1.1": true, "::ffff:10.1.1.1": true, "64:ff9b::a01:101": true, "fd12::1": true, "fd12::1%x": true,
		"11.0.0.1": true, "192.168.0.1": false, "fc00::1": false, "127.0.0.1": false,
	} {
		if err := g.check(netip.MustParseAddr(s)); (err == nil) != want {
			t.Errorf("with 10/8 and fd00::/8 allowed, %s: %v", s, err)
		}
	}
}

// The address is judged when the connection is made, whatever the name said before: nothing reaches a listener that is
// not allowed, by a literal or by a name.
func TestGuardAtConnect(t *testing.T) {
	var reached atomic.Int32
	addr := rawServer(t, func(int, net.Conn) { reached.Add(1) })
	_, port, _ := net.SplitHostPort(addr)
	p := newPool(t, Options{AllowCIDRs: []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16")}})
	for _, to := range []string{
		"127.0.0.1:" + port, "localhost:" + port, "[::ffff:127.0.0.1]:" + port, "0.0.0.0:" + port, "[::]:" + port, "0:" + port,
	} {
		_, _, _, err := fetch(p, get(to))
		wantError(t, err, PhaseDial, nil)
		if to != "0:"+port && !errors.Is(err, ErrBlockedAddress) {
			t.Errorf("%s: %v, want ErrBlockedAddress", to, err)
		}
	}
	// A resolver that changes its mind between two looks decides nothing: control sees what is dialled.
	if err := p.guard.control("tcp4", "169.254.169.254:80", nil); !errors.Is(err, ErrBlockedAddress) {
		t.Errorf("control: %v", err)
	}
	if err := p.guard.control("tcp", "nonsense", nil); !errors.Is(err, ErrBlockedAddress) {
		t.Errorf("control of nonsense: %v", err)
	}
	if reached.Load() != 0 {
		t.Error("the listener was reached")
	}
}
