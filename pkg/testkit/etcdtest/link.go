package etcdtest

import (
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Link is a wire between a client and a member that can be cut and mended.
type Link struct {
	listen, target string
	ln             net.Listener
	wg             sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

// NewLink puts a link in front of a member's unix endpoint.
func NewLink(t testing.TB, endpoint string) *Link {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "unix" {
		t.Fatalf("etcdtest: %q is not a unix endpoint", endpoint)
	}
	dir, err := os.MkdirTemp("", "link")
	if err != nil {
		t.Fatalf("etcdtest: %v", err)
	}
	l := &Link{listen: filepath.Join(dir, "s"), target: u.Path, conns: map[net.Conn]bool{}}
	if l.ln, err = net.Listen("unix", l.listen); err != nil {
		t.Fatalf("etcdtest: %v", err)
	}
	l.wg.Add(1)
	go l.accept()
	t.Cleanup(func() {
		_ = l.ln.Close()
		l.Cut()
		l.wg.Wait()
		_ = os.RemoveAll(dir)
	})
	return l
}

// Endpoint is the link's near end.
func (l *Link) Endpoint() string { return "unix://" + l.listen }

// Cut closes all connections and every new one.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	for c := range l.conns {
		_ = c.Close()
	}
	clear(l.conns)
}

// Mend lets new connections through.
func (l *Link) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = false
}

func (l *Link) accept() {
	defer l.wg.Done()
	for {
		near, err := l.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("unix", l.target)
		if err != nil || !l.keep(near, far) {
			_ = near.Close()
			if far != nil {
				_ = far.Close()
			}
			continue
		}
		l.wg.Add(2)
		go l.pump(near, far)
		go l.pump(far, near)
	}
}

func (l *Link) keep(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return false
	}
	for _, c := range conns {
		l.conns[c] = true
	}
	return true
}

func (l *Link) pump(dst, src net.Conn) {
	defer l.wg.Done()
	_, _ = io.Copy(dst, src)
	_ = dst.Close()
	_ = src.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, dst)
	delete(l.conns, src)
}
