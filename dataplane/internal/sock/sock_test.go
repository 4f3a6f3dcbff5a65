package sock

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lookout runs one for the test; nil where there is none.
func lookout(t testing.TB) *Lookout {
	t.Helper()
	l, err := NewLookout()
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l
}

// pair connects a Conn, watched by l, with the other side.
func pair(t testing.TB, l *Lookout, h Hanger) (*Conn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialled, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := New(dialled)
	c.Watch(l, h)
	t.Cleanup(func() { _ = c.Close(); _ = accepted.Close() })
	_ = accepted.SetDeadline(time.Now().Add(time.Minute))
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	return c, accepted.(*net.TCPConn)
}

// forms runs a test with a lookout and without one: what is promised is the same.
func forms(t *testing.T, test func(t *testing.T, l *Lookout)) {
	t.Run("waiting first", func(t *testing.T) { test(t, lookout(t)) })
	t.Run("plain", func(t *testing.T) { test(t, nil) })
}

// gathering takes all that comes and reports it.
type gathering struct {
	room  []byte
	limit int // 0 = none
	took  chan int
	mu    sync.Mutex
	all   []byte
	err   error
}

func newGathering(room int) *gathering {
	return &gathering{room: make([]byte, room), took: make(chan int, 1<<16)}
}

func (g *gathering) Room() []byte { return g.room }

func (g *gathering) Take(n int, err error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all = append(g.all, g.room[:n]...)
	g.err = err
	if n > 0 {
		g.took <- n
	}
	return err == nil && (g.limit == 0 || len(g.all) < g.limit)
}

func TestEachTakesEveryByte(t *testing.T) {
	forms(t, func(t *testing.T, l *Lookout) {
		for _, room := range []int{1, 7, 64, 4096} {
			c, other := pair(t, l, nil)
			g := newGathering(room)
			var want []byte
			go func() {
				for i := range 200 {
					p := bytes.Repeat([]byte{byte(i)}, i%71+1)
					if _, err := other.Write(p); err != nil {
						t.Error(err)
					}
				}
				_ = other.Close()
			}()
			for i := range 200 {
				want = append(want, bytes.Repeat([]byte{byte(i)}, i%71+1)...)
			}
			c.Each(c, g)
			if !bytes.Equal(g.all, want) {
				t.Fatalf("room of %d: got %d bytes, want %d", room, len(g.all), len(want))
			}
			if !errors.Is(g.err, io.EOF) {
				t.Errorf("room of %d: ended with %v, want EOF", room, g.err)
			}
		}
	})
}

// An end that comes in the same moment as data must not be waited for: only the lookout can tell.
func TestEachSeesEndBehindData(t *testing.T) {
	forms(t, func(t *testing.T, l *Lookout) {
		for range 300 {
			c, other := pair(t, l, nil)
			g := newGathering(4096)
			ended := make(chan struct{})
			go func() { defer close(ended); c.Each(c, g) }()
			_, _ = other.Write([]byte("last words"))
			_ = other.Close()
			select {
			case <-ended:
			case <-time.After(time.Minute):
				t.Fatal("the end was not seen")
			}
			if string(g.all) != "last words" || !errors.Is(g.err, io.EOF) {
				t.Fatalf("got %q, %v", g.all, g.err)
			}
			_ = c.Close()
		}
	})
}

func TestEachEndsWhenTakerHasEnough(t *testing.T) {
	forms(t, func(t *testing.T, l *Lookout) {
		c, other := pair(t, l, nil)
		g := newGathering(8)
		g.limit = 8
		_, _ = other.Write([]byte("12345678rest"))
		c.Each(c, g)
		rest := make([]byte, 4)
		if _, err := io.ReadFull(c, rest); err != nil || string(g.all)+string(rest) != "12345678rest" {
			t.Fatalf("got %q and %q, %v", g.all, rest, err)
		}
	})
}

func TestEachEndsByDeadlineAndClose(t *testing.T) {
	forms(t, func(t *testing.T, l *Lookout) {
		c, _ := pair(t, l, nil)
		g := newGathering(8)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		c.Each(c, g)
		if !isDeadline(g.err) {
			t.Fatalf("got %v, want a deadline", g.err)
		}
		c, _ = pair(t, l, nil)
		g = newGathering(8)
		ended := make(chan struct{})
		go func() { defer close(ended); c.Each(c, g) }()
		_ = c.Close()
		<-ended
		if !errors.Is(g.err, net.ErrClosed) {
			t.Fatalf("got %v, want closed", g.err)
		}
	})
}

func TestAsk(t *testing.T) {
	forms(t, func(t *testing.T, l *Lookout) {
		c, other := pair(t, l, nil)
		go func() {
			p := make([]byte, 16)
			for {
				n, err := other.Read(p)
				if err != nil {
					return
				}
				_, _ = other.Write(bytes.ToUpper(p[:n]))
			}
		}()
		in := make([]byte, 16)
		for range 100 {
			n, err := c.Ask(c, []byte("hello"), c, in)
			if err != nil || string(in[:n]) != "HELLO" {
				t.Fatalf("got %q, %v", in[:n], err)
			}
		}
	})
}

func TestAskDeadAndSilent(t *testing.T) {
	forms(t, func(t *testing.T, l *Lookout) {
		in := make([]byte, 16)
		t.Run("closed before", func(t *testing.T) {
			c, other := pair(t, l, nil)
			_ = other.Close()
			n, err := c.Ask(c, []byte("hello"), c, in)
			if n != 0 || err == nil || isDeadline(err) {
				t.Fatalf("got %d, %v, want an end", n, err)
			}
		})
		t.Run("closed after reading", func(t *testing.T) {
			c, other := pair(t, l, nil)
			go func() {
				_, _ = io.ReadFull(other, make([]byte, 5))
				_ = other.Close()
			}()
			n, err := c.Ask(c, []byte("hello"), c, in)
			if n != 0 || !errors.Is(err, io.EOF) {
				t.Fatalf("got %d, %v, want EOF", n, err)
			}
		})
		t.Run("silent", func(t *testing.T) {
			c, _ := pair(t, l, nil)
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
			if _, err := c.Ask(c, []byte("hello"), c, in); !isDeadline(err) || errors.Is(err, ErrWrite) {
				t.Fatalf("got %v, want a deadline of reading", err)
			}
		})
		t.Run("closed here", func(t *testing.T) {
			c, _ := pair(t, l, nil)
			_ = c.Close()
			if _, err := c.Ask(c, []byte("hello"), c, in); !errors.Is(err, ErrWrite) {
				t.Fatalf("got %v, want an error of writing", err)
			}
		})
	})
}

type hangUp chan struct{}

func (h hangUp) HungUp() { close(h) }

func TestLookoutTellsHangUps(t *testing.T) {
	l := lookout(t)
	if l == nil {
		t.Skip("no lookout on this system")
	}
	ends := map[string]func(*net.TCPConn){
		"close":      func(c *net.TCPConn) { _ = c.Close() },
		"half-close": func(c *net.TCPConn) { _ = c.CloseWrite() },
		"reset":      func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			h := make(hangUp)
			c, other := pair(t, l, h)
			_, _ = other.Write([]byte("before"))
			end(other)
			select {
			case <-h:
			case <-time.After(time.Minute):
				t.Fatal("nobody said so")
			}
			if !c.HungUp() {
				t.Error("HungUp is false")
			}
			if name == "reset" {
				return
			}
			got, err := io.ReadAll(c)
			if string(got) != "before" || err != nil {
				t.Errorf("what came before: %q, %v", got, err)
			}
		})
	}
}

// A descriptor is used again at once; what concerned the old connection must not hit the new one.
func TestLookoutKnowsConnectionsApart(t *testing.T) {
	l := lookout(t)
	for range 300 {
		c, other := pair(t, l, nil)
		_ = other.Close()
		_ = c.Close()
		fresh, still := pair(t, l, nil)
		if fresh.HungUp() {
			t.Fatal("a fresh connection has hung up")
		}
		_ = fresh.Close()
		_ = still.Close()
	}
}

func TestWritesLargerThanTheKernelTakes(t *testing.T) {
	c, other := pair(t, lookout(t), nil)
	c.SetWriteTimeout(time.Minute)
	a, b := bytes.Repeat([]byte("a"), 3<<20), bytes.Repeat([]byte("b"), 5<<20)
	done := make(chan error, 1)
	go func() {
		err := c.WriteBoth(a, b)
		_ = c.CloseWrite()
		done <- err
	}()
	got, err := io.ReadAll(other)
	if err != nil || !bytes.Equal(got, append(bytes.Clone(a), b...)) {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("a write after CloseWrite succeeded")
	}
}

func TestWriteGivesUpOnWhoDoesNotRead(t *testing.T) {
	c, _ := pair(t, nil, nil)
	c.SetWriteTimeout(20 * time.Millisecond)
	n, err := c.Write(make([]byte, 64<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == 64<<20 {
		t.Fatalf("wrote %d, %v", n, err)
	}
}

func TestTryWriteDoesNotWait(t *testing.T) {
	c, other := pair(t, nil, nil)
	n, err := c.TryWriteBoth(make([]byte, 10), make([]byte, 64<<20))
	if err != nil || n < 10 || n == 10+64<<20 {
		t.Fatalf("wrote %d, %v", n, err)
	}
	_ = c.CloseWrite()
	got, err := io.Copy(io.Discard, other)
	if err != nil || int(got) != n {
		t.Fatalf("other side got %d, %v; want %d", got, err, n)
	}
}

func TestPending(t *testing.T) {
	c, other := pair(t, nil, nil)
	if c.Pending() {
		t.Error("something is there before anything was sent")
	}
	_, _ = other.Write([]byte("x"))
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = other.Close()
	_, _ = c.Read(make([]byte, 1))
	if !c.Pending() {
		t.Error("an end is something to read")
	}
}

// BenchmarkEach is one arrival after the other, the other side's write included.
func BenchmarkEach(b *testing.B) {
	c, other := pair(b, lookout(b), nil)
	_ = c.SetReadDeadline(time.Time{})
	_ = other.SetDeadline(time.Time{})
	g := &discard{room: make([]byte, 4096), took: make(chan struct{}, 1)}
	go c.Each(c, g)
	p := make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := other.Write(p); err != nil {
			b.Fatal(err)
		}
		<-g.took
	}
	_ = c.Close()
	<-g.took
}

type discard struct {
	room []byte
	took chan struct{}
}

func (d *discard) Room() []byte { return d.room }

func (d *discard) Take(n int, err error) bool {
	if n > 0 || err != nil {
		d.took <- struct{}{}
	}
	return err == nil
}
