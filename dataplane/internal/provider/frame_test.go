package provider

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"fairway/pkg/operation"
)

var update = flag.Bool("update", false, "write the golden files anew")

// encode writes one frame with AWS's own encoder.
func encode(t testing.TB, payload string, headers ...string) []byte {
	t.Helper()
	m := eventstream.Message{Payload: []byte(payload)}
	for i := 0; i+1 < len(headers); i += 2 {
		m.Headers.Set(headers[i], eventstream.StringValue(headers[i+1]))
	}
	var b bytes.Buffer
	if err := eventstream.NewEncoder().Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func event(t testing.TB, kind, payload string) []byte {
	return encode(t, payload, ":event-type", kind, ":content-type", "application/json", ":message-type", "event")
}

func chunk(t testing.TB, vendor string) []byte {
	return event(t, "chunk", `{"bytes":"`+base64.StdEncoding.EncodeToString([]byte(vendor))+`","p":"abcdefgh"}`)
}

func exception(t testing.TB, kind, message string) []byte {
	return encode(t, `{"message":"`+message+`"}`, ":exception-type", kind, ":content-type", "application/json", ":message-type", "exception")
}

// streams are what Bedrock sends; the goldens are what becomes of it.
func streams(t testing.TB) map[string]struct {
	op     operation.Operation
	frames [][]byte
} {
	return map[string]struct {
		op     operation.Operation
		frames [][]byte
	}{
		"converse": {operation.ConverseStream, [][]byte{
			event(t, "messageStart", `{"p":"abcdefghijkl","role":"assistant"}`),
			event(t, "contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"Hi \"there\""},"p":"abcd"}`),
			event(t, "contentBlockStop", "{\n  \"contentBlockIndex\": 0\n}"),
			event(t, "messageStop", `{"p":"abcdefghijklmnop","stopReason":"end_turn"}`),
			event(t, "metadata", `{"metrics":{"latencyMs":551},"p":"abcde","usage":{"inputTokens":9,"outputTokens":3,"totalTokens":12}}`),
		}},
		"converse_exception": {operation.Converse, [][]byte{
			event(t, "messageStart", `{"role":"assistant"}`),
			exception(t, "throttlingException", `Too many \"tokens\"`),
		}},
		"converse_error": {operation.ConverseStream, [][]byte{
			encode(t, "", ":message-type", "error", ":error-code", "InternalError", ":error-message", "An internal server error occurred"),
		}},
		"invoke": {operation.Messages, [][]byte{
			chunk(t, `{"type":"message_start","message":{"model":"claude-sonnet-4-5-20250929","id":"msg_bdrk_01","type":"message","role":"assistant","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":9,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":1}}}`),
			chunk(t, `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`),
			chunk(t, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Grüße"}}`),
			chunk(t, `{"type":"content_block_stop","index":0}`),
			chunk(t, `{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":4}}`),
			chunk(t, `{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":9,"outputTokenCount":4,"invocationLatency":700,"firstByteLatency":450}}`),
		}},
		"invoke_exception": {operation.Messages, [][]byte{
			chunk(t, `{"type":"ping"}`),
			exception(t, "modelStreamErrorException", "The model broke"),
			exception(t, "serviceUnavailableException", "Try later"),
		}},
		"odd": {operation.ConverseStream, [][]byte{
			event(t, "bad\nname", `{}`),
			event(t, "", "{\r\n}"),
		}},
	}
}

func TestUnframe(t *testing.T) {
	for name, s := range streams(t) {
		t.Run(name, func(t *testing.T) {
			a := adapter(t, Channel{Provider: bedrocks, Region: "r"})
			got, err := a.Unframe(s.op).Feed([]byte("before|"), bytes.Join(s.frames, nil))
			if err != nil {
				t.Fatal(err)
			}
			got, ok := bytes.CutPrefix(got, []byte("before|"))
			if !ok {
				t.Error("what stood in dst is gone")
			}
			file := filepath.Join("testdata", name+".sse")
			if *update {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if adapter(t, Channel{Provider: vertexes, Region: "r"}).Unframe(operation.Messages) != nil {
		t.Error("vertex frames its streams")
	}
}

// However the bytes come, the events are the same.
func TestUnframeInPieces(t *testing.T) {
	all := streams(t)
	rapid.Check(t, func(rt *rapid.T) {
		s := all[rapid.SampledFrom([]string{"converse", "invoke", "invoke_exception"}).Draw(rt, "stream")]
		b := bytes.Join(s.frames, nil)
		whole, err := (&eventStream{invoke: s.op == operation.Messages}).Feed(nil, b)
		if err != nil {
			rt.Fatal(err)
		}
		u := &eventStream{invoke: s.op == operation.Messages}
		var got []byte
		for len(b) > 0 {
			n := rapid.IntRange(1, min(len(b), 400)).Draw(rt, "n")
			if got, err = u.Feed(got, b[:n]); err != nil {
				rt.Fatal(err)
			}
			b = b[n:]
		}
		if !bytes.Equal(got, whole) {
			rt.Errorf("got  %s\nwant %s", got, whole)
		}
	})
}

func TestUnframeRefuses(t *testing.T) {
	good := event(t, "messageStop", `{}`)
	// resum makes the checksums of a frame right again.
	resum := func(b []byte) []byte {
		binary.BigEndian.PutUint32(b[8:], crc32.ChecksumIEEE(b[:8]))
		binary.BigEndian.PutUint32(b[len(b)-4:], crc32.ChecksumIEEE(b[:len(b)-4]))
		return b
	}
	change := func(f func(b []byte)) []byte { b := bytes.Clone(good); f(b); return b }
	for name, b := range map[string][]byte{
		"prelude":           change(func(b []byte) { b[4] ^= 1 }),
		"payload":           change(func(b []byte) { b[len(b)-5] ^= 1 }),
		"checksum":          change(func(b []byte) { b[len(b)-1] ^= 1 }),
		"too long":          resum(change(func(b []byte) { binary.BigEndian.PutUint32(b, maxFrame+1) })),
		"too short":         resum(change(func(b []byte) { binary.BigEndian.PutUint32(b, 15) })),
		"too many headers":  resum(change(func(b []byte) { binary.BigEndian.PutUint32(b[4:], uint32(len(b)-15)) })),
		"header of no type": resum(change(func(b []byte) { b[12+1+int(b[12])] = 10 })),
		"header too long":   resum(change(func(b []byte) { b[12+1+int(b[12])+1] = 0xff })),
		"header, no name":   resum(change(func(b []byte) { b[12] = 0 })),
		"not base64":        event(t, "chunk", `{"bytes":"!"}`),
	} {
		for _, piece := range []int{len(b), 1} {
			u := &eventStream{invoke: true}
			out, err := u.Feed(nil, good)
			if err != nil {
				t.Fatal(err)
			}
			for rest := b; len(rest) > 0 && err == nil; rest = rest[min(piece, len(rest)):] {
				out, err = u.Feed(out, rest[:min(piece, len(rest))])
			}
			if err == nil {
				t.Errorf("%s in pieces of %d: passed", name, piece)
			}
			if _, again := u.Feed(nil, good); again == nil {
				t.Errorf("%s: goes on after an error", name)
			}
		}
	}
}

func TestUnframeHoldsOneFrame(t *testing.T) {
	big := event(t, "contentBlockDelta", `{"delta":{"text":"`+strings.Repeat("x", 1<<20)+`"}}`)
	u := &eventStream{}
	var err error
	dst := make([]byte, 0, 2<<20)
	for b := bytes.Repeat(big, 3); len(b) > 0; b = b[min(4096, len(b)):] {
		if dst, err = u.Feed(dst[:0], b[:min(4096, len(b))]); err != nil {
			t.Fatal(err)
		}
		if cap(u.held) > 4*len(big) {
			t.Fatalf("holds %d bytes for a frame of %d", cap(u.held), len(big))
		}
	}
	if cap(u.held) > keep {
		t.Errorf("keeps %d bytes between frames", cap(u.held))
	}
	// A length without the bytes costs nothing.
	u = &eventStream{}
	prelude := binary.BigEndian.AppendUint32(nil, maxFrame)
	prelude = binary.BigEndian.AppendUint32(prelude, 0)
	prelude = binary.BigEndian.AppendUint32(prelude, crc32.ChecksumIEEE(prelude))
	if _, err := u.Feed(nil, append(prelude, 'x')); err != nil || cap(u.held) > 1024 {
		t.Errorf("holds %d bytes: %v", cap(u.held), err)
	}
}

func TestUnframeAllocates(t *testing.T) {
	for name, b := range map[string][]byte{
		"converse": event(t, "contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"word"},"p":"abcd"}`),
		"invoke":   chunk(t, `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"word"}}`),
	} {
		u, dst := &eventStream{invoke: name == "invoke"}, make([]byte, 0, 1024)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := u.Feed(dst, b); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations per frame", name, n)
		}
	}
}

// FuzzFrame compares with AWS's own decoder: it takes the same frames, and reads the same out of them.
func FuzzFrame(f *testing.F) {
	for _, s := range streams(f) {
		f.Add(bytes.Join(s.frames, nil))
	}
	f.Add([]byte{0, 0, 0, 16, 0, 0, 0, 0, 5, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		decoder, r := eventstream.NewDecoder(), bytes.NewReader(b)
		for rest := b; ; {
			n, err := frameLen(rest)
			if err == nil && (n == 0 || n > len(rest)) {
				return // more is to come
			}
			var got frame
			if err == nil {
				got, err = readFrame(rest[:n])
			}
			want, theirs := decoder.Decode(r, nil)
			if (err == nil) != (theirs == nil) {
				t.Fatalf("we say %v, AWS says %v", err, theirs)
			}
			if err != nil {
				return
			}
			if !bytes.Equal(got.payload, want.Payload) {
				t.Fatalf("payload %q, want %q", got.payload, want.Payload)
			}
			rest = rest[n:]
		}
	})
}

// FuzzUnframe: whatever comes, and in whatever pieces, what comes out is whole events without a line too many, and the same.
func FuzzUnframe(f *testing.F) {
	for _, s := range streams(f) {
		f.Add(bytes.Join(s.frames, nil), s.op == operation.Messages, 7)
	}
	f.Fuzz(func(t *testing.T, b []byte, invoke bool, piece int) {
		whole, err := (&eventStream{invoke: invoke}).Feed(nil, b)
		for e := range strings.SplitSeq(strings.TrimSuffix(string(whole), "\n\n"), "\n\n") {
			lines := strings.Split(e, "\n")
			if e != "" && (len(lines) > 2 || !strings.HasPrefix(lines[len(lines)-1], "data: ") || strings.Contains(e, "\r")) {
				t.Fatalf("event %q", e)
			}
		}
		u, got, rest := &eventStream{invoke: invoke}, []byte(nil), b
		var again error
		for piece = min(max(piece, 1), len(b)+1); len(rest) > 0 && again == nil; rest = rest[min(piece, len(rest)):] {
			got, again = u.Feed(got, rest[:min(piece, len(rest))])
		}
		if !bytes.Equal(got, whole) || (err == nil) != (again == nil) {
			t.Fatalf("in pieces of %d: %q, %v; at once: %q, %v", piece, got, again, whole, err)
		}
	})
}
