package dialecttest

import (
	"bytes"
	"testing"

	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/sse"
)

// BenchmarkConvertEvent is the cost of one delta of text on its way from an upstream's dialect to a client's: BenchmarkConvertEvent/client-upstream.
func BenchmarkConvertEvent(b *testing.B) {
	for _, client := range clients() {
		for _, upstream := range append(clients(), bedrock()) {
			b.Run(client.name+"-"+upstream.name, func(b *testing.B) {
				var stream []byte
				tell := tellBedrock(&stream)
				if upstream.writer != nil {
					w := upstream.writer.NewEventWriter(answering())
					tell = func(e *neutral.Event) { stream = w.Append(stream, e) }
				}
				for _, e := range []neutral.Event{
					{Kind: neutral.Begin, ID: "chatcmpl-0123456789", Name: "m"},
					{Kind: neutral.PartBegin, Part: neutral.Text},
					{Kind: neutral.Delta, Raw: []byte(` hello there`)},
				} {
					tell(&e)
				}
				var out []byte
				r, w := upstream.hearer.NewEventReader(), client.writer.NewEventWriter(answering())
				emit := func(e *neutral.Event) { out = w.Append(out, e) }
				var last sse.Event
				events := sse.NewReader(bytes.NewReader(stream), 0)
				for {
					e, err := events.Next()
					if err != nil {
						break
					}
					last.Name, last.Data = bytes.Clone(e.Name), bytes.Clone(e.Data)
					r.Read(last.Name, last.Data, emit)
				}
				b.ReportAllocs()
				for b.Loop() {
					out = out[:0]
					r.Read(last.Name, last.Data, emit)
				}
				if len(out) == 0 {
					b.Fatal("nothing was said")
				}
			})
		}
	}
}
