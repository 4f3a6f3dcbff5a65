package gateway

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"runtime"
	"strings"
	"testing"
)

// decodes says whether the proxy reads what an upstream has compressed although it was asked not to. As long as it does
// not, such an answer is the upstream's failure.
const decodes = true

func gzipped(s string) string {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = io.WriteString(z, s)
	_ = z.Close()
	return out.String()
}

// zstandard is s in a frame of raw blocks (RFC 8878, 3.1.1).
func zstandard(s string) string {
	out := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0} // single segment, four bytes of size
	out = binary.LittleEndian.AppendUint32(out, uint32(len(s)))
	for first := true; first || len(s) > 0; first = false {
		n := min(len(s), 100_000)
		header := uint32(n) << 3
		if n == len(s) {
			header |= 1 // the last
		}
		out = append(out, byte(header), byte(header>>8), byte(header>>16))
		out = append(out, s[:n]...)
		s = s[n:]
	}
	return string(out)
}

// An upstream that compresses although it was asked not to.
func TestTrap13EncodedContent(t *testing.T) {
	events := delta("one") + ": ping\n\n" + usageEvent + doneEvent
	for _, tc := range []struct {
		name, coding string
		encode       func(string) string
		stream       bool
	}{
		{"gzip", "gzip", gzipped, false},
		{"GZIP", "GZIP", gzipped, false},
		{"zstd", "zstd", zstandard, false},
		{"gzip stream", "gzip", gzipped, true},
		{"zstd stream", "zstd", zstandard, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			plain := completion(strings.Repeat("content ", 1000))
			u := newTrap(t, func(l *line) {
				for {
					h, ok := l.request()
					if !ok {
						return
					}
					if got := h.header.Get("Accept-Encoding"); !decodes && got != "identity" {
						t.Errorf("the upstream was asked for %q", got)
					}
					if !tc.stream {
						l.say(sized(tc.encode(plain), "Content-Encoding: "+tc.coding))
						continue
					}
					body := tc.encode(events)
					l.say(strings.Replace(eventHead, "Transfer", "Content-Encoding: "+tc.coding+"\r\nTransfer", 1),
						chunk(body[:7]), chunk(body[7:len(body)-3]), chunk(body[len(body)-3:]), lastChunk)
				}
			})
			w.lure("m", u.base)
			w.publish()
			got := w.ask(chatPath, prompt("m", "x", tc.stream))
			if !decodes {
				if got.status < 500 || !strings.HasPrefix(got.body, `{"error":`) || got.header.Get("Content-Encoding") != "" {
					t.Errorf("%v, head %v", got, got.header)
				}
				return
			}
			want := plain
			if tc.stream {
				want = strings.Replace(events, usageEvent, "", 1)
			}
			if !got.good() || got.body != want || got.header.Get("Content-Encoding") != "" {
				t.Errorf("%v, head %v", got, got.header)
			}
			if r := w.record(); r.Error || r.Estimated || r.Output != 5 {
				t.Errorf("record = %+v", r)
			}
		})
	}
}

// What cannot be decoded at all: an unknown coding, two of them, or bytes that are not what they are said to be.
func TestTrap13ContentThatIsNotWhatItSays(t *testing.T) {
	for name, answer := range map[string]string{
		"unknown coding": sized(completion("x"), "Content-Encoding: x-rot13"),
		"two codings":    sized(gzipped(gzipped(completion("x"))), "Content-Encoding: gzip, gzip"),
		"not gzip":       sized(completion("x"), "Content-Encoding: gzip"),
		"cut gzip":       sized(gzipped(completion("x"))[:30], "Content-Encoding: gzip"),
		"bad checksum":   sized(gzipped(completion("x"))[:len(gzipped(completion("x")))-8]+"aaaabbbb", "Content-Encoding: gzip"),
		"not zstd":       sized(completion("x"), "Content-Encoding: zstd"),
		"cut zstd":       sized(zstandard(completion("x"))[:30], "Content-Encoding: zstd"),
		"zstd of 4 GiB":  sized("\x28\xb5\x2f\xfd\xa0\xff\xff\xff\xff\x03\xff\xff", "Content-Encoding: zstd"),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.lure("m", newTrap(t, always(answer)).base)
			w.publish()
			got := w.ask(chatPath, prompt("m", "x", false))
			if got.status < 500 || got.broken != nil || !strings.HasPrefix(got.body, `{"error":`) || got.header.Get("Content-Encoding") != "" {
				t.Errorf("%v, head %v", got, got.header)
			}
			if r := w.record(); !r.Error {
				t.Errorf("record = %+v", r)
			}
		})
	}
}

// A bomb costs the memory of its pieces, whether it is passed on in pieces or refused.
func TestTrap13Bombs(t *testing.T) {
	// Members may follow each other (RFC 1952, 2.2).
	bomb := strings.Repeat(gzipped(string(make([]byte, 1<<20))), 128)
	w := newWorld(t)
	w.lure("m", newTrap(t, always(sized(bomb, "Content-Encoding: gzip"))).base)
	w.publish()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c := w.caller()
	_, _ = io.WriteString(c, request(chatPath, w.key, prompt("m", "x", false), "Connection: close"))
	n, err := io.Copy(io.Discard, c.r)
	if err != nil {
		t.Error(err)
	}
	w.quiet()
	runtime.ReadMemStats(&after)
	if grown := int64(after.Sys) - int64(before.Sys); grown > 48<<20 {
		t.Errorf("%d bytes reached the client and the proxy grew by %d", n, grown)
	}
	if !decodes && n > 4<<10 {
		t.Errorf("%d bytes for a refusal", n)
	}
}
