package tunnel

import (
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// A message that never ends passes, and what is held for it is bounded.
func TestHugeMessage(t *testing.T) {
	const size = 64 << 20
	// Collections empty pools.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for name, begin := range map[string]string{
		"usage":   `{"type":"response.done","response":{"output":"`,
		"audio":   `{"type":"response.output_audio.delta","delta":"`,
		"no type": `{"x":"`,
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, Options{}, sockets)
			received := make(chan int64, 1)
			go func() {
				n, _ := io.Copy(io.Discard, w.client)
				received <- n
			}()
			chunk := []byte(strings.Repeat("x", 1<<20))
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			head := binary.BigEndian.AppendUint64([]byte{0x81, 127}, size)
			w.write(w.upstream, head, []byte(begin))
			for left := size - len(begin); left > 0; left -= len(chunk) {
				if _, err := w.upstream.Write(chunk[:min(left, len(chunk))]); err != nil {
					t.Fatal(err)
				}
			}
			w.write(w.upstream, said(doneEvent))
			if got := <-w.used; got.Estimated {
				// Audio that was delivered is settled with the response that says so.
				t.Errorf("used %+v", got)
			}
			runtime.ReadMemStats(&after)
			// All that was ever allocated, not what is left: 1 MiB held and the buffers on the way there, or the beginning.
			allowed := uint64(2 << 20)
			if name == "audio" {
				allowed = 512 << 10
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > allowed && !raceEnabled { // which empties them, too
				t.Errorf("%d bytes were allocated", grown)
			}
			_ = w.upstream.Close()
			got := <-w.result
			if n := <-received; n != got.Down.Bytes || n != int64(len(head)+size+len(said(doneEvent))) {
				t.Errorf("%d bytes passed, %d counted", n, got.Down.Bytes)
			}
			unmetered := int64(1)
			if name == "audio" {
				unmetered = 0
			}
			if got.Unmetered != unmetered || got.Down.Messages != 2 {
				t.Errorf("%+v, want %d unmetered", got, unmetered)
			}
		})
	}
}

// A tunnel at rest holds a small buffer for each direction, whatever went before.
func TestMemoryAtRest(t *testing.T) {
	w := open(t, Options{}, sockets)
	big := said(textDelta(strings.Repeat("x", 500_000)))
	go func() { _, _ = w.upstream.Write(big) }()
	w.expect(w.client, big)
	w.write(w.upstream, said("x"))
	w.expect(w.client, said("x"))
	_ = w.upstream.Close()
	<-w.result
	for _, p := range []*pump{&w.tunnel.up, &w.tunnel.down} {
		if p.small != nil || p.large != nil || p.messages.small != nil || p.messages.large != nil || cap(p.messages.held) > firstSize {
			t.Error("an ended tunnel holds buffers")
		}
	}
	p := &pump{t: w.tunnel}
	for _, step := range []struct {
		n     int
		large bool
	}{{100, false}, {smallSize, true}, {largeSize, true}, {largeSize - 1, false}, {smallSize - 1, false}} {
		p.Room()
		if p.fit(step.n); (p.large != nil) != step.large {
			t.Errorf("after %d bytes: large %t", step.n, p.large != nil)
		}
	}
	p.release()
}

// warm is a tunnel through which something has passed both ways.
func warm(tb testing.TB) (client, upstream net.Conn, end func()) {
	tb.Helper()
	ln, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	var near [2]net.Conn
	var far [2]net.Conn
	for i := range near {
		if far[i], err = new(net.Dialer).DialContext(tb.Context(), "tcp", ln.Addr().String()); err != nil {
			tb.Fatal(err)
		}
		if near[i], err = ln.Accept(); err != nil {
			tb.Fatal(err)
		}
	}
	tunnel := New(Options{}).Open(Side{Conn: near[0]}, Side{Conn: near[1]}, func(Usage) *Farewell { return nil })
	done := make(chan struct{})
	go func() {
		defer close(done)
		tunnel.Run()
	}()
	return far[0], far[1], func() {
		_ = far[0].Close()
		_ = far[1].Close()
		<-done
	}
}

// event200 is a frame of 200 bytes.
func event200() []byte {
	event := textDelta("")
	return said(textDelta(strings.Repeat("x", 200-4-len(event))))
}

func pass(tb testing.TB, from, to net.Conn, text, into []byte) {
	if _, err := from.Write(text); err != nil {
		tb.Fatal(err)
	}
	if _, err := io.ReadFull(to, into[:len(text)]); err != nil {
		tb.Fatal(err)
	}
}

// A relayed frame allocates nothing, in either direction, and neither does a response that is settled.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties pools")
	}
	client, upstream, end := warm(t)
	defer end()
	into := make([]byte, 64<<10)
	tests := map[string]struct {
		from, to net.Conn
		text     []byte
	}{
		"event":    {upstream, client, event200()},
		"response": {upstream, client, said(doneEvent)},
		"prompt":   {client, upstream, asked(`{"type":"conversation.item.create","text":"hello"}`)},
		"speech":   {client, upstream, asked(`{"type":"input_audio_buffer.append","audio":"` + strings.Repeat("A", 6400) + `"}`)},
	}
	for name, test := range tests {
		if n := testing.AllocsPerRun(200, func() { pass(t, test.from, test.to, test.text, into) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}
