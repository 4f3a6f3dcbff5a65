package tunnel

import (
	"net"
	"strings"
	"testing"
)

// A frame of 200 bytes, from the upstream through the tunnel to the client, over loopback.
func BenchmarkRelay(b *testing.B) {
	client, upstream, end := warm(b)
	defer end()
	text, into := event200(), make([]byte, 4096)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		pass(b, upstream, client, text, into)
	}
}

// The same without a tunnel: what the kernel and the runtime take for one of the two hops, to be subtracted.
func BenchmarkBare(b *testing.B) {
	ln, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	far, err := new(net.Dialer).DialContext(b.Context(), "tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer far.Close()
	near, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer near.Close()
	text, into := event200(), make([]byte, 4096)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		pass(b, near, far, text, into)
	}
}

// What looking at a message costs, without a connection.
func BenchmarkFeed(b *testing.B) {
	audio := `{"type":"response.output_audio.delta","event_id":"event_1","delta":"` + strings.Repeat("A", 6400) + `"}`
	for name, text := range map[string]struct {
		stream []byte
		client bool
	}{
		"delta":  {event200(), false},
		"audio":  {said(audio), false},
		"done":   {said(doneEvent), false},
		"prompt": {asked(`{"type":"conversation.item.create","item":{"content":[{"text":"hello"}]}}`), true},
		"speech": {asked(`{"type":"input_audio_buffer.append","audio":"` + strings.Repeat("A", 6400) + `"}`), true},
	} {
		b.Run(name, func(b *testing.B) {
			var l ledger
			var m messages
			m.reset(New(Options{}), &l, text.client)
			b.SetBytes(int64(len(text.stream)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.feed(text.stream); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
