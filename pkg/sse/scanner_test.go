package sse

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// pieces feeds a scanner the pieces one after the other and returns the indices in the stream where events ended.
func pieces(s *Scanner, parts ...string) []int {
	var ends []int
	base := 0
	for _, p := range parts {
		for at := 0; ; {
			n := s.Feed([]byte(p[at:]))
			if n < 0 {
				break
			}
			at += n
			ends = append(ends, base+at)
		}
		base += len(p)
	}
	return ends
}

func TestScannerFindsEnds(t *testing.T) {
	tests := []struct {
		name, stream string
		want         []int
		boundary     bool
	}{
		{"nothing", "", nil, true},
		{"one event", "data: x\n\n", []int{9}, true},
		{"two events", "data: x\n\ndata: y\n\n", []int{9, 18}, true},
		{"unfinished line", "data: x", nil, false},
		{"unfinished event", "data: x\n", nil, false},
		{"unfinished second", "data: x\n\ndata: y\n", []int{9}, false},
		{"crlf", "data: x\r\n\r\ndata: y\r\n\r\n", []int{11, 22}, true},
		{"cr", "data: x\r\rdata: y\r\r", []int{9, 18}, true},
		{"mixed line ends", "data: x\r\n\ndata: y\n\r\n", []int{10, 20}, true},
		{"bom", "\xef\xbb\xbfdata: x\n\n", []int{12}, true},
		{"bom only in front", "data: x\n\n\xef\xbb\xbfdata: y\n\ndata: z\n\n", []int{9, 30}, true},
		{"half a bom", "\xef\xbbdata: x\n\ndata: y\n\n", []int{20}, true},
		{"comments are no events", ": ping\n\n: ping\n\ndata: x\n\n", []int{25}, true},
		{"comment inside", ": c\ndata: x\n: d\n\n", []int{17}, true},
		{"comment block at the end", "data: x\n\n: ping\n\n", []int{9}, true},
		{"blank lines between", "\n\n\ndata: x\n\n\n\ndata: y\n\n", []int{12, 23}, true},
		{"named event without data", "event: a\n\nevent: b\ndata: x\n\n", []int{28}, true},
		{"data without colon", "data\n\n", []int{6}, true},
		{"data without value", "data:\n\n", []int{7}, true},
		{"other fields", "database: x\n\ndat: x\n\n data: x\n\nDATA: x\n\n", nil, true},
		{"several lines", "event: a\nid: 1\ndata: x\ndata: y\n\n", []int{32}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var s Scanner
			got := pieces(&s, tt.stream)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ends of %q (-want +got):\n%s", tt.stream, diff)
			}
			if got := s.AtBoundary(); got != tt.boundary {
				t.Errorf("AtBoundary after %q = %v, want %v", tt.stream, got, tt.boundary)
			}
		})
	}
}

// Streams whose lines all end with LF or all with CRLF are cut at the same places however they arrive.
func TestScannerAtEverySplit(t *testing.T) {
	stream := ": ping\n\ndata: {\"a\":1}\n\nevent: done\nid: 7\ndata: x\ndata: y\n: c\n\n\n\ndata\n\nretry: 3\n\ndata: [DONE]\n\n"
	for _, bom := range []string{"", bomText} {
		for _, end := range []string{"\n", "\r\n"} {
			stream := bom + strings.ReplaceAll(stream, "\n", end)
			var whole Scanner
			want := pieces(&whole, stream)
			if len(want) != 4 {
				t.Fatalf("%d events in the corpus, want 4", len(want))
			}
			for i := range len(stream) + 1 {
				for j := i; j <= len(stream); j++ {
					var s Scanner
					got := pieces(&s, stream[:i], stream[i:j], stream[j:])
					if diff := cmp.Diff(want, got); diff != "" {
						t.Fatalf("split at %d and %d of %q (-want +got):\n%s", i, j, stream, diff)
					}
					if !s.AtBoundary() {
						t.Fatalf("split at %d and %d: not at a boundary at the end", i, j)
					}
				}
			}
		}
	}
}

// An event whose lines end with CR is not held back for a byte that may never come.
func TestScannerEndsCREventAtOnce(t *testing.T) {
	var s Scanner
	if diff := cmp.Diff([]int{9}, pieces(&s, "data: x\r", "\r")); diff != "" {
		t.Errorf("ends (-want +got):\n%s", diff)
	}
	// And the LF that comes after all belongs to that line, it does not end another.
	if diff := cmp.Diff([]int{10}, pieces(&s, "\ndata: y\r", "\r")); diff != "" {
		t.Errorf("ends after an LF (-want +got):\n%s", diff)
	}
}

func TestScannerReset(t *testing.T) {
	var s Scanner
	pieces(&s, "data: x\n")
	s.Reset()
	if diff := cmp.Diff([]int(nil), pieces(&s, "\n")); diff != "" {
		t.Errorf("the event from before Reset ended after it:\n%s", diff)
	}
}

func TestScannerDoesNotAllocate(t *testing.T) {
	chunk := []byte(": ping\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"hello\"}}]}\r\n\r\n")
	var s Scanner
	if n := testing.AllocsPerRun(100, func() {
		for p := chunk; len(p) > 0; {
			end := s.Feed(p)
			if end < 0 {
				return
			}
			p = p[end:]
		}
	}); n != 0 {
		t.Errorf("%v allocations per chunk, want 0", n)
	}
}

// naive is a reader of the standard's text: whole lines, one after the other.
func naive(stream string) []string {
	stream = strings.TrimPrefix(stream, bomText)
	stream = strings.ReplaceAll(stream, "\r\n", "\n")
	stream = strings.ReplaceAll(stream, "\r", "\n")
	lines := strings.Split(stream, "\n")
	lines = lines[:len(lines)-1] // not ended
	var events []string
	var name string
	var data []string
	for _, line := range lines {
		if line == "" {
			if data != nil {
				events = append(events, name+"|"+strings.Join(data, "\n"))
			}
			name, data = "", nil
			continue
		}
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch key {
		case "event":
			name = value
		case "data":
			data = append(data, value)
		}
	}
	return events
}

// However a stream is cut: the scanner's blocks put together are the stream, each of them parses to the event that a
// naive reader sees, and Reader agrees.
func FuzzScanner(f *testing.F) {
	f.Add([]byte("data: x\n\ndata: y\n\n"), uint8(1), uint8(3))
	f.Add([]byte("\xef\xbb\xbf: c\r\n\r\nevent: e\r\ndata: x\r\ndata: y\r\n\r\n"), uint8(7), uint8(2))
	f.Add([]byte("data: x\r\rdata\r\r\n\n"), uint8(0), uint8(1))
	f.Add([]byte("data: x\r\n\r\n\xef\xbb\xbfdata: y\r\n\r\r\n"), uint8(9), uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, first, step uint8) {
		var parts []string
		rest := string(stream)
		for n := int(first); len(rest) > 0; n = max(1, int(step)) {
			n = min(n, len(rest))
			parts = append(parts, rest[:n])
			rest = rest[n:]
		}
		want := naive(string(stream))

		var s Scanner
		ends := pieces(&s, parts...)
		var got []string
		start := 0
		for _, end := range ends {
			raw := stream[start:end]
			start = end
			e := parse(raw)
			if len(got) == 0 {
				e = Parse(raw)
			}
			if !e.HasData {
				t.Fatalf("a block without data: %q", raw)
			}
			got = append(got, string(e.Name)+"|"+string(e.Data))
		}
		if s.wait && s.data && s.line == lineStart {
			// The LF that it waits for changes nothing but the place of the cut.
			e := parse(stream[start:])
			if len(got) == 0 {
				e = Parse(stream[start:])
			}
			got = append(got, string(e.Name)+"|"+string(e.Data))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q in %q (-naive +scanner):\n%s", stream, parts, diff)
		}

		r := NewReader(iotest.OneByteReader(bytes.NewReader(stream)), len(stream)+1)
		var raws []byte
		got = nil
		for {
			e, err := r.Next()
			raws = append(raws, e.Raw...)
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("Next: %v", err)
				}
				break
			}
			got = append(got, string(e.Name)+"|"+string(e.Data))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q (-naive +reader):\n%s", stream, diff)
		}
		if !bytes.Equal(raws, stream) {
			t.Fatalf("the raws put together are %q, want %q", raws, stream)
		}
	})
}

func BenchmarkScanner(b *testing.B) {
	event := "data: {\"id\":\"chatcmpl-123\",\"object\":\"chat.completion.chunk\",\"created\":1694268190,\"model\":\"m\"," +
		"\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"},\"finish_reason\":null}]}\n\n"
	for _, bench := range []struct {
		name  string
		chunk string
	}{
		{"lf", event},
		{"crlf", strings.ReplaceAll(event, "\n", "\r\n")},
		{"batch16", strings.Repeat(event, 16)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			chunk := []byte(bench.chunk)
			b.SetBytes(int64(len(chunk)))
			b.ReportAllocs()
			var s Scanner
			for b.Loop() {
				for p := chunk; len(p) > 0; {
					end := s.Feed(p)
					if end < 0 {
						break
					}
					p = p[end:]
				}
			}
		})
	}
}
