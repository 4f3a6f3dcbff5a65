package upstream

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// until waits for what other goroutines do. The test's own deadline bounds it.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for i := 0; !done(); i++ {
		if i == 20000 {
			t.Fatalf("in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// The first request to a warmed target pays no handshake, and connections that are closed or used are replaced.
func TestWarm(t *testing.T) {
	cert, roots := identity(t, "api.test")
	var shakes atomic.Int32
	hang := make(chan struct{})
	addr := rawServer(t, overTLS(&tls.Config{Certificates: []tls.Certificate{cert}}, func(n int, c net.Conn) {
		if c.(*tls.Conn).Handshake() != nil {
			return
		}
		shakes.Add(1)
		if n == 0 {
			<-hang
			return
		}
		always(okHello)(n, c)
	}))
	reg := prometheus.NewRegistry()
	p := newPool(t, Options{RootCAs: roots, Registry: reg})
	target := secureGet(addr, "api.test").Target
	idle := func() int { return p.stat(addr).Idle }
	p.Warm([]Target{target, target}, 2)
	until(t, "two warm connections", func() bool { return idle() == 2 && shakes.Load() == 2 })
	const want = `
# HELP fairway_upstream_warm_connections Idle connections of the targets that are kept warm.
# TYPE fairway_upstream_warm_connections gauge
fairway_upstream_warm_connections 2
# HELP fairway_upstream_warm_failures_total Connections that could not be opened ahead of need.
# TYPE fairway_upstream_warm_failures_total counter
fairway_upstream_warm_failures_total 0
# HELP fairway_upstream_warm_wanted Connections that are to be kept open for targets that are kept warm.
# TYPE fairway_upstream_warm_wanted gauge
fairway_upstream_warm_wanted 2
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "fairway_upstream_warm_connections",
		"fairway_upstream_warm_failures_total", "fairway_upstream_warm_wanted"); err != nil {
		t.Error(err)
	}

	close(hang) // the upstream closes one of them
	until(t, "a connection in place of the closed one", func() bool { return idle() == 2 && shakes.Load() == 3 })
	if s := p.stat(addr); s.Stale != 1 {
		t.Errorf("stats = %+v, want one stale connection", s)
	}

	r, err := p.Do(context.Background(), nil, secureGet(addr, "api.test"))
	if err != nil {
		t.Fatal(err)
	}
	if n := shakes.Load(); n != 3 {
		t.Errorf("%d handshakes, want none for the request", n)
	}
	r.Close() // unread: it takes its connection with it
	until(t, "a connection in place of the used one", func() bool { return idle() == 2 && shakes.Load() == 4 })

	p.Warm(nil, 2)
	until(t, "the target is forgotten", func() bool { return p.warmer.wanted.Load() == 0 })
	p.reap(time.Now().Add(time.Hour))
	if s := p.stat(addr); s.Open != 0 {
		t.Errorf("stats = %+v", s)
	}
}

// Connections that are about to expire are replaced before they do.
func TestWarmReplacesWhatExpires(t *testing.T) {
	p := newPool(t, Options{IdleTimeout: time.Minute})
	addr := rawServer(t, always(okHello))
	p.Warm([]Target{get(addr).Target}, 1)
	until(t, "a warm connection", func() bool { return p.stat(addr).Idle == 1 })
	h := p.host(&get(addr).Target)
	h.mu.Lock()
	c := h.idle[0]
	c.idle = time.Now().Add(-56 * time.Second)
	h.mu.Unlock()
	now := c.idle.Add(56 * time.Second)
	if ready, _ := h.warmth(now); ready != 0 || c.expired(now, h.maxAge) {
		t.Errorf("a connection that expires in 4 s: %d ready, expired %v", ready, c.expired(now, h.maxAge))
	}
	until(t, "a second one", func() bool { return p.stat(addr).Dials == 2 })
}

// No more than allowed, and each target gets one before any gets two.
func TestWarmBounds(t *testing.T) {
	addrs := make([]string, 4)
	var targets []Target
	for i := range addrs {
		addrs[i] = rawServer(t, always(okHello))
		targets = append(targets, get(addrs[i]).Target)
	}
	for _, tt := range []struct {
		name  string
		o     Options
		floor int
		want  [4]int
	}{
		{"in all", Options{MaxWarm: 6}, 3, [4]int{2, 2, 1, 1}},
		{"fewer than targets", Options{MaxWarm: 3}, 3, [4]int{1, 1, 1, 0}},
		{"kept per target", Options{MaxIdlePerHost: 2}, 3, [4]int{2, 2, 2, 2}},
		{"open per target", Options{MaxConnsPerHost: 1}, 3, [4]int{1, 1, 1, 1}},
		{"none", Options{}, 0, [4]int{}},
		{"less than none", Options{}, -1, [4]int{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPool(t, tt.o)
			p.Warm(targets, tt.floor)
			sum := int64(0)
			for _, n := range tt.want {
				sum += int64(n)
			}
			got := func() (n [4]int) {
				for i, addr := range addrs {
					n[i] = p.stat(addr).Idle
				}
				return n
			}
			until(t, "all of them", func() bool { return got() == tt.want && p.warmer.wanted.Load() == sum })
			p.warmer.nudge()
			p.warmer.nudge()
			if n := got(); n != tt.want {
				t.Errorf("%v, want %v", n, tt.want)
			}
		})
	}
}

// A target that refuses, or that closes whatever it is given, is tried again, later and later.
func TestWarmBackoff(t *testing.T) {
	now := time.Now()
	one := &warmth{}
	for i, seconds := range []int{1, 2, 4, 8, 16, 32, 64, 120, 120} {
		one.fail(now)
		most := time.Duration(seconds) * time.Second
		if wait := one.next.Sub(now); wait < most/2 || wait > most*3/2 {
			t.Errorf("failure %d: %v, want %v or half of it more or less", i+1, wait, most)
		}
	}
	t.Run("refuses", func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := ln.Addr().String()
		ln.Close()
		p := newPool(t, Options{})
		p.Warm([]Target{get(addr).Target}, 4)
		until(t, "failures", func() bool { return p.warmer.failures.Load() >= 4 })
		if s := p.stat(addr); s.Open > 1 || s.Dials > 6 {
			t.Errorf("stats = %+v: it is not left alone", s)
		}
	})
	t.Run("closes", func(t *testing.T) {
		p := newPool(t, Options{})
		addr := rawServer(t, func(int, net.Conn) {})
		p.Warm([]Target{get(addr).Target}, 1)
		h := p.host(&get(addr).Target)
		until(t, "two that were closed", func() bool { _, unused := h.warmth(time.Now()); return unused >= 2 })
		if s := p.stat(addr); s.Dials > 4 {
			t.Errorf("stats = %+v: it is not left alone", s)
		}
	})
}

// When the pool is stopped, dials under way end.
func TestWarmEndsWithThePool(t *testing.T) {
	reached := make(chan struct{}, 8)
	addr := rawServer(t, func(_ int, c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		reached <- struct{}{}
		_, _ = c.Read(make([]byte, 1<<20)) // no handshake
		_, _ = c.Read(make([]byte, 1<<20))
	})
	p := New(Options{AllowCIDRs: loopback})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	target := secureGet(addr, "api.test").Target
	target.TLSHandshake = time.Hour
	p.Warm([]Target{target}, 2)
	<-reached
	cancel()
	<-done
	if s := p.stat(addr); s.Open != 0 || p.warmer.failures.Load() != 0 {
		t.Errorf("stats = %+v, %d failures", s, p.warmer.failures.Load())
	}
}
