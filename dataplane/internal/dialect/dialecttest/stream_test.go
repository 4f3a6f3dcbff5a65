package dialecttest

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/money"
	"fairway/pkg/sse"
)

func answering() *neutral.Answering {
	return &neutral.Answering{Model: "alias", ID: "random", Created: 1, WantUsage: true, Request: &neutral.Request{}}
}

// answer draws what a model may answer. Parts of one kind do not follow each other where nothing would tell them apart.
func (d *draw) answer(upstream *side) *neutral.Response {
	r := &neutral.Response{Model: "alias", Stop: neutral.StopEnd, Counted: true}
	kinds := []neutral.Kind{neutral.Text, neutral.Think, neutral.Call}
	if d.can&refusals != 0 {
		kinds = append(kinds, neutral.Refusal)
	}
	if d.can&images != 0 {
		kinds = append(kinds, neutral.Image)
	}
	if d.can&hidden != 0 && upstream.origin != neutral.FromOpenAI { // whose thoughts without a text are just that
		kinds = append(kinds, neutral.Redacted)
	}
	var last neutral.Kind
	called, refused := false, false
	for range rapid.IntRange(1, 5).Draw(d.T, "parts") {
		p := neutral.Part{Kind: rapid.SampledFrom(kinds).Draw(d.T, "kind")}
		if p.Kind == last {
			continue
		}
		last = p.Kind
		switch p.Kind {
		case neutral.Text, neutral.Refusal:
			p.Text = d.words("text")
			refused = refused || p.Kind == neutral.Refusal
		case neutral.Think:
			p.Text = d.words("thought")
			p.Signature = d.proof(upstream)
		case neutral.Redacted:
			p.Signature = d.proof(upstream)
		case neutral.Call:
			p, last, called = d.call(), 0, true
		case neutral.Image:
			p.Media, p.Data, last = "image/png", "aGVsbG8=", 0
		}
		r.Parts = append(r.Parts, p)
	}
	switch {
	case d.yes("cut"):
		r.Stop = neutral.StopLength
	case called:
		r.Stop = neutral.StopCall
	case refused || d.yes("filtered"):
		r.Stop = neutral.StopFilter
	}
	n := func(label string, most int64) int64 { return rapid.Int64Range(0, most).Draw(d.T, label) }
	r.Usage = money.Tokens{Input: n("input", 1e6), Output: n("output", 1e6)}
	r.Usage.Cached = n("cached", r.Usage.Input)
	if d.can&cacheWrites != 0 {
		r.Usage.CacheWrite = n("written", r.Usage.Input-r.Usage.Cached)
	}
	if d.can&reasonings != 0 {
		r.Usage.Reasoning = n("reasoning", r.Usage.Output)
	}
	return r
}

// proof draws a signature of the upstream's own.
func (d *draw) proof(upstream *side) neutral.Signature {
	return neutral.Signature{
		Value:  upstream.proof + rapid.StringMatching(`([A-Za-z0-9]{4}){1,3}`).Draw(d.T, "proof"),
		Origin: upstream.origin,
	}
}

// play tells an answer as a stream does, its texts in pieces.
func (d *draw) play(r *neutral.Response, emit neutral.Emit) {
	size := rapid.IntRange(1, 9).Draw(d.T, "piece")
	neutral.Replay(r, func(e *neutral.Event) {
		if e.Kind != neutral.Delta {
			emit(e)
			return
		}
		for raw := e.Raw; len(raw) > 0; {
			n := whole(raw, size)
			emit(&neutral.Event{Kind: neutral.Delta, Raw: raw[:n]})
			raw = raw[n:]
		}
	})
}

// whole is about how many bytes of raw can be cut off without cutting an escape or a rune.
func whole(raw []byte, size int) int {
	n := 0
	for n < len(raw) && n < size {
		switch {
		case raw[n] != '\\':
			n++
		case raw[n+1] == 'u':
			n += len(`\u0000`)
		default:
			n += 2
		}
		for n < len(raw) && raw[n]&0xc0 == 0x80 {
			n++
		}
	}
	return n
}

// hear gives a stream to a reader, which may keep nothing of it; every event must be JSON, but for chat's mark.
func hear(t *rapid.T, r neutral.EventReader, stream []byte, emit neutral.Emit) {
	t.Helper()
	events := sse.NewReader(bytes.NewReader(stream), 0)
	for {
		e, err := events.Next()
		if err != nil {
			break
		}
		if !json.Valid(e.Data) && string(e.Data) != "[DONE]" {
			t.Fatalf("no JSON: %s", e.Data)
		}
		name, data := bytes.Clone(e.Name), bytes.Clone(e.Data)
		r.Read(name, data, emit)
		// Whoever kept a piece of it will show: the buffer is the relay's.
		copy(name, bytes.Repeat([]byte{'#'}, len(name)))
		copy(data, bytes.Repeat([]byte{'#'}, len(data)))
	}
	if !r.Close(emit) || r.Losses() != 0 {
		t.Fatalf("not complete, or losses %s:\n%s", r.Losses(), stream)
	}
}

// meant is an answer without what says the same in other words: a client's dialect holds foreign proofs in envelopes,
// and Gemini has no reasoning but thoughts.
func meant(r *neutral.Response) *neutral.Response {
	for i := range r.Parts {
		p := &r.Parts[i]
		p.Signature = neutral.Unwrap(p.Signature.Value, p.Signature.Origin)
	}
	return r
}

// differ compares answers. Ids and times may be made up.
func differ(want, got *neutral.Response) string {
	a, b := *want, *got
	a.ID, a.Created, a.Losses = b.ID, b.Created, b.Losses
	if reflect.DeepEqual(a, b) {
		return "" // cmp takes its time
	}
	return cmp.Diff(a, b, cmpopts.EquateEmpty())
}

// compare compares what was told with what was heard of it.
func compare(t *rapid.T, who string, want *neutral.Response, heard *neutral.Collector, stream []byte) {
	t.Helper()
	got, ok := heard.Response()
	if diff := differ(want, meant(got)); !ok || diff != "" {
		t.Fatalf("%s: ended %v (-want +got):\n%s\n%s", who, ok, diff, stream)
	}
}

// What an upstream streams in its dialect, and both sides can say, reaches the client as it was meant.
func TestStreams(t *testing.T) {
	for _, client := range clients() {
		for _, upstream := range append(clients(), bedrock()) {
			t.Run(client.name+" from "+upstream.name, func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					d := &draw{T: t, can: client.can & upstream.can}
					want := d.answer(&upstream)
					stream := d.told(&upstream, want)
					var heard, told neutral.Collector
					var out []byte
					w := client.writer.NewEventWriter(answering())
					events := 0
					hear(t, upstream.hearer.NewEventReader(), stream, func(e *neutral.Event) {
						if upstream.writer == nil && e.Kind == neutral.Begin {
							e.Name = want.Model // Converse does not name the model
						}
						events++
						heard.Append(nil, e)
						out = w.Append(out, e)
					})
					compare(t, "heard", want, &heard, stream)
					if w.Losses() != 0 || len(out) > 4096+1024*events+16*len(stream) {
						t.Fatalf("losses %s, %d bytes of %d:\n%s", w.Losses(), len(out), len(stream), out)
					}
					hear(t, client.hearer.NewEventReader(), out, func(e *neutral.Event) { told.Append(nil, e) })
					compare(t, "told", want, &told, out)
				})
			})
		}
	}
}

// What an upstream answers at once reaches the client as it was meant, too.
func TestAnswers(t *testing.T) {
	for _, client := range clients() {
		for _, upstream := range clients() {
			t.Run(client.name+" from "+upstream.name, func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					d := &draw{T: t, can: client.can & upstream.can}
					want := d.answer(&upstream)
					if d.can&ordered == 0 {
						order(want)
					}
					r := *want
					for _, s := range [...]*side{&upstream, &client} {
						body := s.writer.AppendResponse(nil, &r, answering())
						if !json.Valid(body) || r.Losses != 0 {
							t.Fatalf("%s: losses %s: %s", s.name, r.Losses, body)
						}
						got, err := s.hearer.ReadResponse(body)
						if err != nil || got.Losses != 0 {
							t.Fatalf("%s: %v, losses %s: %s", s.name, err, got.Losses, body)
						}
						r = *got
						if diff := differ(want, meant(got)); diff != "" {
							t.Fatalf("%s (-want +got):\n%s\n%s", s.name, diff, body)
						}
					}
				})
			})
		}
	}
}

// order leaves of an answer what a message of chat can hold, and in its order: it has one place for each kind of part.
func order(r *neutral.Response) {
	ranks := map[neutral.Kind]int{neutral.Text: 1, neutral.Refusal: 2, neutral.Image: 3, neutral.Call: 4}
	slices.SortStableFunc(r.Parts, func(a, b neutral.Part) int { return ranks[a.Kind] - ranks[b.Kind] })
	r.Parts = slices.CompactFunc(r.Parts, func(a, b neutral.Part) bool {
		return a.Kind == b.Kind && (a.Kind == neutral.Text || a.Kind == neutral.Refusal)
	})
}

// told is an answer as an upstream streams it.
func (d *draw) told(s *side, r *neutral.Response) (stream []byte) {
	if s.writer == nil {
		d.play(r, tellBedrock(&stream))
		return stream
	}
	w := s.writer.NewEventWriter(answering())
	d.play(r, func(e *neutral.Event) { stream = w.Append(stream, e) })
	if w.Losses() != 0 {
		d.Fatalf("%s loses %s: %s", s.name, w.Losses(), stream)
	}
	return stream
}

// tellBedrock writes events as Bedrock does, which has no writer because no client speaks its dialect
// (https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html).
func tellBedrock(stream *[]byte) neutral.Emit {
	block, delta := 0, ""
	var stop string
	say := func(name, data string) { *stream = sse.AppendEvent(*stream, name, []byte(data)) }
	quoted := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			panic(err)
		}
		return string(b)
	}
	add := func(delta string) {
		say("contentBlockDelta", `{"contentBlockIndex":`+strconv.Itoa(block)+`,"delta":`+delta+`,"p":"abcdefgh"}`)
	}
	return func(e *neutral.Event) {
		switch e.Kind {
		case neutral.Begin:
			say("messageStart", `{"p":"abcd","role":"assistant"}`)
		case neutral.PartBegin:
			switch e.Part {
			case neutral.Text:
				delta = `{"text":"*"}`
			case neutral.Think:
				delta = `{"reasoningContent":{"text":"*"}}`
			case neutral.Call:
				delta = `{"toolUse":{"input":"*"}}`
				say("contentBlockStart", `{"contentBlockIndex":`+strconv.Itoa(block)+`,"p":"a","start":{"toolUse":{"name":`+
					quoted(e.Name)+`,"toolUseId":`+quoted(e.ID)+`}}}`)
			case neutral.Redacted:
				add(`{"reasoningContent":{"redactedContent":` + quoted(e.Signature.Value) + `}}`)
			case neutral.Image:
				add(`{"image":{"format":"png","source":{"bytes":` + quoted(e.Data) + `}}}`)
			}
		case neutral.Delta:
			add(strings.Replace(delta, "*", string(e.Raw), 1))
		case neutral.PartEnd:
			if e.Signature.Value != "" {
				add(`{"reasoningContent":{"signature":` + quoted(e.Signature.Value) + `}}`)
			}
			say("contentBlockStop", `{"contentBlockIndex":`+strconv.Itoa(block)+`,"p":"abcdefghij"}`)
			block++
		case neutral.Finish:
			stop = map[neutral.Stop]string{
				neutral.StopEnd: "end_turn", neutral.StopLength: "max_tokens", neutral.StopCall: "tool_use", neutral.StopFilter: "content_filtered",
			}[e.Stop]
			say("messageStop", `{"p":"abc","stopReason":`+quoted(stop)+`}`)
		case neutral.Usage:
			u := &e.Tokens
			say("metadata", `{"metrics":{"latencyMs":7},"p":"a","usage":{"inputTokens":`+strconv.FormatInt(u.Input-u.Cached-u.CacheWrite, 10)+
				`,"outputTokens":`+strconv.FormatInt(u.Output, 10)+`,"totalTokens":`+strconv.FormatInt(u.Input+u.Output, 10)+
				`,"cacheReadInputTokens":`+strconv.FormatInt(u.Cached, 10)+`,"cacheWriteInputTokens":`+strconv.FormatInt(u.CacheWrite, 10)+`}}`)
		case neutral.End, neutral.Failed:
		}
	}
}
