package meter

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

const stream = ": hello\n\ndata: {\"a\":1}\n\ndata: {\"drop\":1}\r\n\r\nevent: x\ndata: {\"b\":\"[DONE]\"}\n\n" +
	": kept\n\ndata: {\"drop\":2}\n\ndata: [DONE]\n\n"

const filtered = ": hello\n\ndata: {\"a\":1}\n\nevent: x\ndata: {\"b\":\"[DONE]\"}\n\n: kept\n\ndata: [DONE]\n\n"

func drop(event []byte) bool { return bytes.Contains(event, []byte(`"drop"`)) }

// Two cuts at every place.
func TestEveryCut(t *testing.T) {
	var tap Tap
	var f Filter
	for i := 0; i <= len(stream); i++ {
		for j := i; j <= len(stream); j += 1 + (j-i)/8 {
			tap.Reset("data: [DONE]", nil)
			f.Reset(drop)
			var out strings.Builder
			for _, piece := range []string{stream[:i], stream[i:j], stream[j:]} {
				done := strings.Contains(stream, "data: [DONE]")
				p := []byte(piece)
				tap.Feed(p)
				out.Write(f.Feed(p))
				if seen := tap.Done(); seen && !done {
					t.Fatal("done too early")
				}
			}
			if !tap.Done() {
				t.Fatalf("cut at %d, %d: the mark was not seen", i, j)
			}
			if got := out.String() + string(f.Rest()); got != filtered {
				t.Fatalf("cut at %d, %d: %q", i, j, got)
			}
			if got := string(tap.AppendTail(nil)); got != stream {
				t.Fatalf("tail %q", got)
			}
		}
	}
}

func TestMarkOnlyAsWholeData(t *testing.T) {
	for text, want := range map[string]bool{
		"data: [DONE]":                             true,
		"data:[DONE]\n\n":                          true,
		"x: y\ndata: [DONE]\n":                     true,
		"data: {\"x\":\"data: [DONE]\"}\n\n":       false,
		"xdata: [DONE]\n":                          false,
		"data: {\"x\":\"\\ndata: [DONE]\"}\n\n":    false,
		strings.Repeat("x", 100) + "data: [DONE]":  false,
		strings.Repeat("x", 100) + "\rdata:[DONE]": true,
	} {
		for cut := range len(text) + 1 {
			var tap Tap
			tap.Reset("data: [DONE]", nil)
			tap.Feed([]byte(text[:cut]))
			tap.Feed([]byte(text[cut:]))
			if tap.Done() != want {
				t.Errorf("%q cut at %d: %v", text, cut, tap.Done())
			}
		}
	}
}

func TestWindowKeepsTheEnd(t *testing.T) {
	all := make([]byte, 5000)
	for i := range all {
		all[i] = byte(i * 7)
	}
	for _, size := range []int{1, 10, 64} {
		for _, piece := range []int{1, 3, 9, 10, 11, 64, 1000} {
			var w Window
			for round := range 2 {
				w.Reset()
				for at := 0; at < len(all); at += piece {
					end := min(at+piece, len(all))
					w.Write(all[at:end], size)
					if want := all[max(0, end-size):end]; !bytes.Equal(w.Append(nil), want) {
						t.Fatalf("size %d, pieces of %d, round %d, at %d: %v, want %v", size, piece, round, end, w.Append(nil), want)
					}
				}
			}
		}
	}
}

func TestHeadAndCounts(t *testing.T) {
	var tap Tap
	tap.Reset("", func(p []byte) int { return bytes.Count(p, []byte("x")) })
	for range 1000 {
		tap.Feed([]byte("xyz"))
	}
	if tap.Bytes() != 3000 || tap.TextBytes() != 1000 || len(tap.Head()) != HeadSize {
		t.Errorf("%d bytes, %d of text, head of %d", tap.Bytes(), tap.TextBytes(), len(tap.Head()))
	}
}

func TestLongEventPasses(t *testing.T) {
	var f Filter
	f.Reset(drop)
	long := "data: {\"drop\":\"" + strings.Repeat("x", 2*maxHeld) + "\"}\n\n"
	var out strings.Builder
	for rest := long + "data: {\"drop\":1}\n\ndata: y\n\n"; rest != ""; {
		n := min(1000, len(rest))
		out.Write(f.Feed([]byte(rest[:n])))
		rest = rest[n:]
		if held := len(f.Rest()); held > maxHeld+1000 {
			t.Fatalf("%d bytes are held", held)
		}
	}
	if want := long + "data: y\n\n"; out.String() != want {
		t.Errorf("%d bytes, want %d", out.Len(), len(want))
	}
}

func TestEstimate(t *testing.T) {
	for _, tc := range []struct{ text, want int64 }{{-1, 0}, {0, 0}, {1, 1}, {4, 1}, {5, 2}, {4000, 1000}} {
		if u := Estimate(tc.text, tc.text); u.Input != tc.want || u.Output != tc.want || !u.Estimated {
			t.Errorf("%d bytes: %+v", tc.text, u)
		}
	}
}

// FuzzFilter: whatever the cuts, what comes out is what comes out in one piece; and if nothing is dropped, all of it.
func FuzzFilter(f *testing.F) {
	f.Add([]byte(stream), uint8(7))
	f.Add([]byte("\ufeffdata: \r\rdata: \"drop\"\r\n\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		run := func(n int, drop func([]byte) bool) string {
			var f Filter
			f.Reset(drop)
			var out []byte
			for rest := bytes.Clone(b); len(rest) > 0; {
				k := min(n, len(rest))
				out = append(out, f.Feed(rest[:k:k])...)
				rest = rest[k:]
			}
			return string(append(out, f.Rest()...))
		}
		if got := run(int(piece)+1, func([]byte) bool { return false }); got != string(b) {
			t.Fatalf("bytes changed: %q", got)
		}
		if bytes.IndexByte(b, '\r') >= 0 {
			return // where a lone CR ends a piece, blocks may be cut elsewhere
		}
		if one, many := run(len(b)+1, drop), run(int(piece)+1, drop); one != many {
			t.Fatalf("in one piece %q, in pieces of %d %q", one, int(piece)+1, many)
		}
	})
}

func TestFeedAllocatesNothing(t *testing.T) {
	var tap Tap
	var f Filter
	tap.Reset("data: [DONE]", nil)
	f.Reset(drop)
	event := []byte("data: {\"choices\":[{\"delta\":{\"content\":\"hello\"}}]}\n\n")
	for range 1000 {
		tap.Feed(event)
	}
	if n := testing.AllocsPerRun(1000, func() {
		tap.Feed(event)
		f.Feed(event)
	}); n > 0 {
		t.Errorf("%v allocations an event", n)
	}
}

func BenchmarkEvent(b *testing.B) {
	event := []byte(fmt.Sprintf("data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"},\"finish_reason\":null}],\"x\":%q}\n\n",
		strings.Repeat("y", 100)))
	var tap Tap
	var f Filter
	tap.Reset("data: [DONE]", nil)
	f.Reset(drop)
	b.ReportAllocs()
	for b.Loop() {
		tap.Feed(event)
		f.Feed(event)
	}
}

// BenchmarkFeed is a tap alone: an event of 200 bytes, one a piece.
func BenchmarkFeed(b *testing.B) {
	event := []byte(`data: {"id":"chatcmpl-0123456789","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o",` +
		`"choices":[{"index":0,"delta":{"content":" hello there"},"finish_reason":null}],"x":"y"}` + "\n\n")
	for name, text := range map[string]func([]byte) int{"bare": nil, "text": func(p []byte) int { return len(p) }} {
		b.Run(name, func(b *testing.B) {
			var tap Tap
			tap.Reset("data: [DONE]", text)
			b.SetBytes(int64(len(event)))
			b.ReportAllocs()
			for b.Loop() {
				tap.Feed(event)
			}
		})
	}
}

// FuzzTap: the mark is seen whatever the cuts, when it is seen in one piece, and never else.
func FuzzTap(f *testing.F) {
	f.Add([]byte(stream), uint8(7))
	f.Add([]byte("data: [DONE]"), uint8(0))
	f.Add([]byte("\rdata:[DONE]xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\nxdata: [DONE]"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, piece uint8) {
		var one, many Tap
		one.Reset("data: [DONE]", nil)
		one.Feed(b)
		many.Reset("data: [DONE]", nil)
		for rest := b; len(rest) > 0; {
			n := min(int(piece)+1, len(rest))
			many.Feed(rest[:n])
			rest = rest[n:]
		}
		if one.Done() != many.Done() {
			t.Fatalf("in one piece %v, in pieces of %d %v", one.Done(), int(piece)+1, many.Done())
		}
	})
}
