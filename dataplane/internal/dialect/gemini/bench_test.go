package gemini

import (
	"testing"

	"fairway/dataplane/internal/dialect/neutral"
)

const benchChunk = `{"candidates": [{"content": {"parts": [{"text": " the quick brown fox jumps over\n the lazy dog, \"again\" and again"}],` +
	`"role": "model"},"index": 0}],"usageMetadata": {"promptTokenCount": 1200,"candidatesTokenCount": 31,"totalTokenCount": 1331,` +
	`"promptTokensDetails": [{"modality": "TEXT","tokenCount": 1200}],"thoughtsTokenCount": 100},"modelVersion": "gemini-2.5-flash",` +
	`"responseId": "8pRkaJXoNJbAvdIP"}`

func BenchmarkEventReader(b *testing.B) {
	data := []byte(benchChunk)
	h := Codec{}.NewEventReader()
	n := 0
	emit := func(e *neutral.Event) { n += len(e.Raw) }
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		h.Read(nil, data, emit)
	}
	if n == 0 {
		b.Fatal("nothing was read")
	}
}

func BenchmarkEventWriter(b *testing.B) {
	w := Codec{}.NewEventWriter(answering())
	dst := w.Append(make([]byte, 0, 4096), &neutral.Event{Kind: neutral.Begin, ID: "8pRkaJXoNJbAvdIP"})
	dst = w.Append(dst, &neutral.Event{Kind: neutral.PartBegin, Part: neutral.Text})
	e := &neutral.Event{Kind: neutral.Delta, Part: neutral.Text, Raw: []byte(` the quick brown fox jumps over\n the lazy dog`)}
	b.ReportAllocs()
	for b.Loop() {
		dst = w.Append(dst[:0], e)
	}
	if len(dst) == 0 {
		b.Fatal("nothing was written")
	}
}

func BenchmarkReadRequest(b *testing.B) {
	for _, body := range files(b, "testdata/requests/conversation.json") {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			if _, f := (Codec{}).ReadRequest(body, "m", true); f != nil {
				b.Fatal(f)
			}
		}
	}
}

func BenchmarkAppendRequest(b *testing.B) {
	for _, body := range files(b, "testdata/requests/conversation.json") {
		r, f := Codec{}.ReadRequest(body, "m", true)
		if f != nil {
			b.Fatal(f)
		}
		dst := make([]byte, 0, 8192)
		b.ReportAllocs()
		for b.Loop() {
			if dst, f = (Codec{}).AppendRequest(dst[:0], r, "gemini-3-pro"); f != nil {
				b.Fatal(f)
			}
		}
	}
}

func TestEventsAllocateNothing(t *testing.T) {
	data := []byte(benchChunk)
	h, w := Codec{}.NewEventReader(), Codec{}.NewEventWriter(answering())
	dst := make([]byte, 0, 4096)
	emit := func(e *neutral.Event) { dst = w.Append(dst, e) }
	h.Read(nil, data, emit)
	if n := testing.AllocsPerRun(100, func() {
		dst = dst[:0]
		h.Read(nil, data, emit)
	}); n > 0 {
		t.Errorf("%v allocations for an event", n)
	}
	if len(dst) == 0 {
		t.Error("nothing was written")
	}
}
