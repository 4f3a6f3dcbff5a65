package tunnel

import (
	"strings"
	"testing"
)

// TestFarewell: who is dismissed gets the response that ended, the last words and nothing behind them; the upstream sees the
// end, and what it still says counts for nothing.
func TestFarewell(t *testing.T) {
	for name, tc := range map[string]struct {
		farewell Farewell
		want     [][]byte
	}{
		"with a message": {Farewell{Message: []byte(`{"type":"error"}`), Code: 1013, Reason: "later"},
			[][]byte{said(`{"type":"error"}`), closeFrame(1013, "later", nil)}},
		"with a long one": {Farewell{Message: []byte(strings.Repeat("x", 126)), Code: 1013},
			[][]byte{said(strings.Repeat("x", 126)), closeFrame(1013, "", nil)}},
		"with a very long one": {Farewell{Message: []byte(strings.Repeat("x", 70_000)), Code: 1013},
			[][]byte{said(strings.Repeat("x", 70_000)), closeFrame(1013, "", nil)}},
		"without":               {Farewell{Code: 1008}, [][]byte{closeFrame(1008, "", nil)}},
		"for too long a reason": {Farewell{Code: 1008, Reason: strings.Repeat("r", 200)}, [][]byte{closeFrame(1008, strings.Repeat("r", 123), nil)}},
	} {
		t.Run(name, func(t *testing.T) {
			eachKind(t, func(t *testing.T, kind pair) {
				w := open(t, Options{}, kind)
				w.farewell.Store(&tc.farewell)
				go func() {
					_, _ = w.upstream.Write(append(append(said("before"), said(doneEvent)...), said(doneEvent)...))
				}()
				w.expect(w.client, append([][]byte{said("before"), said(doneEvent)}, tc.want...)...)
				w.expectEnd(w.client)
				w.expectEnd(w.upstream)
				w.ends(Result{Usage: exact(127, 64, 148), Responses: 1, By: Proxy, Why: Dismissed})
			})
		})
	}
}

// TestFarewellInPieces: wherever the reads cut the response, the last words come behind it.
func TestFarewellInPieces(t *testing.T) {
	stream := fragmented(doneEvent, 100, nil)
	for at := range stream {
		l := ledger{on: func(Usage) *Farewell { return &Farewell{} }}
		var m messages
		m.reset(New(Options{}), &l, false)
		first, err := m.feed(stream[:at])
		if err != nil || m.dismissed() {
			t.Fatalf("cut at %d: %v, dismissed %t", at, err, m.dismissed())
		}
		rest := append(append([]byte(nil), stream[at:]...), said("behind")...)
		good, err := m.feed(rest)
		if err != nil || first != at || good != len(stream)-at || !m.dismissed() || !m.frames.boundary() {
			t.Fatalf("cut at %d: %d and %d of %d bytes, %v", at, first, good, len(stream), err)
		}
		m.release()
	}
}
