package tunnel

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// world is a tunnel with somebody at each end.
type world struct {
	t                *testing.T
	tunnel           *Tunnel
	client, upstream net.Conn // the far ends
	used             chan Usage
	farewell         atomic.Pointer[Farewell] // what onUsage says
	result           chan Result
}

// pair is a connection of a kind: the near end and the far one.
type pair func(t *testing.T) (near, far net.Conn)

func pipes(*testing.T) (near, far net.Conn) { return net.Pipe() }

func sockets(t *testing.T) (near, far net.Conn) {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if far, err = new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if near, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

// secured is TLS on both ends.
func secured(t *testing.T) (near, far net.Conn) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	config := s.TLS.Clone()
	s.Close()
	near, far = sockets(t)
	near = tls.Server(near, config)
	client := tls.Client(far, &tls.Config{InsecureSkipVerify: true})
	done := make(chan error, 1)
	go func() { done <- client.HandshakeContext(t.Context()) }()
	if err := near.(*tls.Conn).HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return near, client
}

// open starts a tunnel.
func open(t *testing.T, o Options, kind pair) *world {
	t.Helper()
	if o.Linger == 0 {
		o.Linger = 50 * time.Millisecond
	}
	w := &world{t: t, used: make(chan Usage, 100), result: make(chan Result, 1)}
	var client, upstream Side
	client.Conn, w.client = kind(t)
	upstream.Conn, w.upstream = kind(t)
	w.tunnel = New(o).Open(client, upstream, func(u Usage) *Farewell {
		w.used <- u
		return w.farewell.Load()
	})
	go func() { w.result <- w.tunnel.Run() }()
	t.Cleanup(func() {
		w.tunnel.Abort(nil)
		_ = w.client.Close()
		_ = w.upstream.Close()
	})
	return w
}

func (w *world) write(to net.Conn, parts ...[]byte) {
	w.t.Helper()
	if _, err := to.Write(bytes.Join(parts, nil)); err != nil {
		w.t.Fatal(err)
	}
}

// expect reads exactly want.
func (w *world) expect(from net.Conn, want ...[]byte) {
	w.t.Helper()
	all := bytes.Join(want, nil)
	got := make([]byte, len(all))
	if n, err := io.ReadFull(from, got); err != nil || !bytes.Equal(got, all) {
		w.t.Fatalf("%v after %d bytes: %q, want %q", err, n, got[:n], all)
	}
}

// expectEnd reads nothing more.
func (w *world) expectEnd(from net.Conn) {
	w.t.Helper()
	if rest, err := io.ReadAll(from); len(rest) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.ErrUnexpectedEOF) {
		w.t.Fatalf("%q and %v, want an end", rest, err)
	}
}

// ends compares the result but for its bytes, its error and its messages.
func (w *world) ends(want Result) Result {
	w.t.Helper()
	got := <-w.result
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Result{}, "Err", "Up", "Down")); diff != "" {
		w.t.Errorf("%s (err %v)", diff, got.Err)
	}
	return got
}

var kinds = map[string]pair{"pipe": pipes, "tcp": sockets, "tls": secured}

func eachKind(t *testing.T, f func(t *testing.T, kind pair)) {
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) { f(t, kind) })
	}
}

func TestRelay(t *testing.T) {
	eachKind(t, func(t *testing.T, kind pair) {
		w := open(t, Options{}, kind)
		create, ping := asked(`{"type":"response.create"}`), frame(opPing, true, []byte("x"), []byte{1, 1, 1, 1})
		w.write(w.client, create, ping)
		w.expect(w.upstream, create, ping)
		w.write(w.upstream, said(textDelta("hi")), said(doneEvent))
		w.expect(w.client, said(textDelta("hi")), said(doneEvent))
		if got := <-w.used; got != exact(127, 64, 148) {
			t.Errorf("used %+v", got)
		}
		bye, answer := closeFrame(1000, "bye", []byte{1, 2, 3, 4}), closeFrame(1000, "bye", nil)
		w.write(w.client, bye)
		w.expect(w.upstream, bye)
		w.write(w.upstream, answer)
		w.expect(w.client, answer)
		w.expectEnd(w.client)
		got := w.ends(Result{Usage: exact(127, 64, 148), Responses: 1, By: Client, Why: Closed, CloseCode: 1000})
		up := Traffic{Bytes: int64(len(create) + len(ping) + len(bye)), Messages: 1}
		down := Traffic{Bytes: int64(len(said(textDelta("hi"))) + len(said(doneEvent)) + len(answer)), Messages: 2}
		if got.Up != up || got.Down != down || got.Err != nil {
			t.Errorf("up %+v, down %+v, want %+v, %+v; %v", got.Up, got.Down, up, down, got.Err)
		}
	})
}

// Whoever goes, by a half-close or for good: the other learns of it at once, and gets what came before.
func TestHangUp(t *testing.T) {
	half := func(c net.Conn) {
		if h, ok := c.(interface{ CloseWrite() error }); ok {
			_ = h.CloseWrite()
			return
		}
		_ = c.Close()
	}
	full := func(c net.Conn) { _ = c.Close() }
	reset := func(c net.Conn) {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
	}
	for name, leave := range map[string]func(net.Conn){"half": half, "full": full, "reset": reset} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind pair) {
				t.Run("client", func(t *testing.T) {
					w := open(t, Options{}, kind)
					w.write(w.client, asked("a"))
					w.expect(w.upstream, asked("a"))
					w.write(w.upstream, said(textDelta("12345")))
					w.expect(w.client, said(textDelta("12345")))
					leave(w.client)
					w.expectEnd(w.upstream)
					w.ends(Result{Usage: guess(0, 2), Estimates: 1, By: Client, Why: HungUp})
				})
				t.Run("upstream", func(t *testing.T) {
					w := open(t, Options{}, kind)
					w.write(w.upstream, said(doneEvent))
					w.expect(w.client, said(doneEvent))
					leave(w.upstream)
					w.expectEnd(w.client)
					w.ends(Result{Usage: exact(127, 64, 148), Responses: 1, By: Upstream, Why: HungUp})
				})
			})
		})
	}
}

// The upstream goes while the client has sent more than is taken: the last message arrives all the same, and is metered.
func TestLastMessageArrives(t *testing.T) {
	for name, kind := range map[string]pair{"tcp": sockets, "tls": secured} {
		t.Run(name, func(t *testing.T) {
			w := open(t, Options{Linger: time.Minute}, kind)
			// Until nothing goes on any more: then there is something that nobody will read.
			for err := error(nil); err == nil; {
				_ = w.client.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
				_, err = w.client.Write(asked(strings.Repeat("x", 5000)))
			}
			w.expect(w.upstream, asked(strings.Repeat("x", 5000)))
			w.write(w.upstream, said(doneEvent), closeFrame(1001, "", nil))
			if tcp, ok := w.upstream.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			} else {
				_ = w.upstream.(*tls.Conn).CloseWrite()
			}
			w.expect(w.client, said(doneEvent), closeFrame(1001, "", nil))
			// An end, and no reset, which could have overtaken what came before it.
			if rest, err := io.ReadAll(w.client); len(rest) > 0 || err != nil {
				t.Errorf("%q, %v", rest, err)
			}
			_ = w.client.Close()
			w.ends(Result{Usage: exact(127, 64, 148), Responses: 1, By: Upstream, Why: Closed, CloseCode: 1001})
		})
	}
}

// A Close frame is passed on, and one who closes without waiting for the answer is no mystery.
func TestCloseWithoutAnswer(t *testing.T) {
	eachKind(t, func(t *testing.T, kind pair) {
		t.Run("client leaves", func(t *testing.T) {
			w := open(t, Options{}, kind)
			bye := closeFrame(4000, "", []byte{0, 0, 0, 0})
			w.write(w.client, bye)
			w.expect(w.upstream, bye)
			_ = w.client.Close()
			w.expectEnd(w.upstream)
			w.ends(Result{By: Client, Why: Closed, CloseCode: 4000})
		})
		t.Run("upstream leaves", func(t *testing.T) {
			w := open(t, Options{}, kind)
			w.write(w.client, closeFrame(1000, "", []byte{0, 0, 0, 0}))
			w.expect(w.upstream, closeFrame(1000, "", []byte{0, 0, 0, 0}))
			_ = w.upstream.Close()
			w.expectEnd(w.client)
			w.ends(Result{By: Client, Why: Closed, CloseCode: 1000})
		})
		t.Run("nobody answers", func(t *testing.T) {
			w := open(t, Options{CloseWait: time.Millisecond}, kind)
			w.write(w.upstream, closeFrame(1000, "", nil))
			w.expect(w.client, closeFrame(1000, "", nil))
			w.expectEnd(w.client)
			w.expectEnd(w.upstream)
			w.ends(Result{By: Upstream, Why: Closed, CloseCode: 1000})
		})
	})
}

// What comes after a Close frame goes nowhere.
func TestNothingAfterClose(t *testing.T) {
	w := open(t, Options{}, sockets)
	w.write(w.upstream, closeFrame(1000, "", nil), said(doneEvent))
	w.expect(w.client, closeFrame(1000, "", nil))
	w.write(w.client, closeFrame(1000, "", []byte{1, 2, 3, 4}))
	w.expect(w.upstream, closeFrame(1000, "", []byte{1, 2, 3, 4}))
	w.expectEnd(w.client)
	w.ends(Result{By: Upstream, Why: Closed, CloseCode: 1000})
}

func TestViolations(t *testing.T) {
	eachKind(t, func(t *testing.T, kind pair) {
		t.Run("upstream", func(t *testing.T) {
			w := open(t, Options{Linger: time.Hour}, kind)
			w.write(w.upstream, said("good"), []byte{0xc1, 3, 'b', 'a', 'd'}) // compressed
			w.expect(w.client, said("good"))
			w.expectEnd(w.client)
			// It does not wait until the client has gone.
			w.expectEnd(w.upstream)
			_ = w.client.Close()
			if got := w.ends(Result{By: Upstream, Why: Violated}); !errors.Is(got.Err, ErrReservedBits) || got.Down.Messages != 1 {
				t.Errorf("%+v", got)
			}
		})
		t.Run("client", func(t *testing.T) {
			w := open(t, Options{}, kind)
			w.write(w.client, asked("good"), said("bad"))
			w.expect(w.upstream, asked("good"))
			w.expectEnd(w.upstream)
			w.expectEnd(w.client)
			if got := w.ends(Result{By: Client, Why: Violated}); !errors.Is(got.Err, ErrUnmasked) {
				t.Errorf("%+v", got)
			}
		})
	})
}

func TestBuffered(t *testing.T) {
	client, farClient := sockets(t)
	upstream, farUpstream := sockets(t)
	defer farClient.Close()
	defer farUpstream.Close()
	first, rest := said(doneEvent)[:7], said(doneEvent)[7:]
	tunnel := New(Options{}).Open(Side{Conn: client, Buffered: asked("early")[:3]}, Side{Conn: upstream, Buffered: first}, nil)
	result := make(chan Result, 1)
	go func() { result <- tunnel.Run() }()
	w := &world{t: t, result: result}
	w.write(farClient, asked("early")[3:])
	w.expect(farUpstream, asked("early"))
	w.write(farUpstream, rest)
	w.expect(farClient, said(doneEvent))
	_ = farClient.Close()
	w.ends(Result{Usage: exact(127, 64, 148), Responses: 1, By: Client, Why: HungUp})
}

func TestAbort(t *testing.T) {
	cause := errors.New("drained")
	eachKind(t, func(t *testing.T, kind pair) {
		t.Run("at rest", func(t *testing.T) {
			w := open(t, Options{}, kind)
			w.write(w.client, asked("a"))
			w.expect(w.upstream, asked("a"))
			go w.tunnel.Abort(cause)
			w.expectEnd(w.client)
			w.expectEnd(w.upstream)
			if got := w.ends(Result{By: Proxy, Why: Aborted}); !errors.Is(got.Err, cause) {
				t.Errorf("err %v", got.Err)
			}
			w.tunnel.Abort(nil)
		})
		t.Run("while both are stuck", func(t *testing.T) {
			w := open(t, Options{}, kind)
			done := make(chan struct{}, 2)
			for _, flood := range []struct {
				to    net.Conn
				frame []byte
			}{{w.client, asked(strings.Repeat("x", 1<<20))}, {w.upstream, said(strings.Repeat("x", 1<<20))}} {
				go func() {
					for {
						if _, err := flood.to.Write(flood.frame); err != nil {
							done <- struct{}{}
							return
						}
					}
				}()
			}
			for w.tunnel.up.writes.Load()%2 == 0 || w.tunnel.down.writes.Load()%2 == 0 {
				time.Sleep(time.Millisecond)
			}
			w.tunnel.Abort(cause)
			<-done
			<-done
			<-w.result
		})
		t.Run("before", func(t *testing.T) {
			near, far := kind(t)
			near2, far2 := kind(t)
			tunnel := New(Options{}).Open(Side{Conn: near}, Side{Conn: near2}, nil)
			tunnel.Abort(cause)
			if got := tunnel.Run(); got.Why != Aborted || !errors.Is(got.Err, cause) {
				t.Errorf("%+v", got)
			}
			w := &world{t: t}
			w.expectEnd(far)
			w.expectEnd(far2)
		})
		t.Run("by the callback", func(t *testing.T) {
			client, farClient := kind(t)
			upstream, farUpstream := kind(t)
			var tunnel *Tunnel
			tunnel = New(Options{}).Open(Side{Conn: client}, Side{Conn: upstream}, func(Usage) *Farewell {
				tunnel.Abort(cause)
				return nil
			})
			go func() { _, _ = farUpstream.Write(append(said(doneEvent), said("more")...)) }()
			go func() { _, _ = io.Copy(io.Discard, farClient) }()
			if got := tunnel.Run(); got.Why != Aborted || !errors.Is(got.Err, cause) || got.Responses != 1 {
				t.Errorf("%+v", got)
			}
			_ = farClient.Close()
			_ = farUpstream.Close()
		})
	})
}

// A callback that panics takes its own tunnel with it, on the goroutine that runs it, and closes what it had.
func TestPanic(t *testing.T) {
	client, farClient := sockets(t)
	upstream, farUpstream := sockets(t)
	tunnel := New(Options{}).Open(Side{Conn: client}, Side{Conn: upstream}, func(Usage) *Farewell { panic("books") })
	w := &world{t: t}
	w.write(farUpstream, said(doneEvent))
	func() {
		defer func() {
			if v := recover(); v != "books" {
				t.Errorf("recovered %v", v)
			}
		}()
		tunnel.Run()
	}()
	w.expectEnd(farClient)
	w.expectEnd(farUpstream)
}
