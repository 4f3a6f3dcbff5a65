package responses

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/money"
)

var foreign = neutral.Signature{Value: "c2ln", Origin: neutral.FromAnthropic}

// drawAnswer draws an answer that uses only what the dialect can say.
func drawAnswer(t *rapid.T) *neutral.Response {
	r := &neutral.Response{Created: 1756420290, Model: "asked", ID: "resp_a1b2"}
	for range rapid.IntRange(0, 5).Draw(t, "parts") {
		p := neutral.Part{Kind: neutral.Text, Text: texts.Draw(t, "text")}
		switch rapid.IntRange(0, 6).Draw(t, "kind") {
		case 0:
			p = drawCall(t)
		case 1:
			p = drawCall(t)
			p.Name, p.Args = "shell", textArgs(p.Args) // takes free text
		case 2:
			p = drawThink(t)
		case 3:
			p = neutral.Part{Kind: neutral.Think, Text: p.Text, Signature: rapid.SampledFrom([]neutral.Signature{{}, foreign}).Draw(t, "signature")}
		case 4:
			p = neutral.Part{Kind: neutral.Redacted, Signature: foreign}
		case 5:
			p.Kind = neutral.Refusal
		}
		if rapid.IntRange(0, 9).Draw(t, "image") == 0 {
			p = neutral.Part{Kind: neutral.Image, Media: "image/webp", Data: "aGVsbG8="}
		}
		r.Parts = append(r.Parts, p)
	}
	calls, refused := false, false
	for _, p := range r.Parts {
		calls, refused = calls || p.Kind == neutral.Call, refused || p.Kind == neutral.Refusal
	}
	r.Stop = rapid.SampledFrom([]neutral.Stop{stopOf(calls, refused), neutral.StopLength}).Draw(t, "stop")
	if rapid.Bool().Draw(t, "counted") {
		r.Counted = true
		r.Usage = money.Tokens{Input: 100, Cached: 30, CacheWrite: 20, Output: 50, Reasoning: 40}
	}
	return r
}

func TestResponseSurvives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawAnswer(t)
		body := Codec{}.AppendResponse(nil, want, &answering)
		got, err := Codec{}.ReadResponse(body)
		if err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("(-want +got):\n%s\n%s", d, body)
		}
	})
}

// collect builds the answer that events tell of. It fails if they come in no order of a stream.
type collect struct {
	t    testing.TB
	r    neutral.Response
	raw  []byte
	open neutral.Kind
	last neutral.EventKind
	fail *dialect.UpstreamError
}

func (c *collect) take(e *neutral.Event) {
	bad := func() { c.t.Fatalf("event %s after %d, part %d open", line(e), c.last, c.open) }
	if c.last == neutral.End || c.last == neutral.Failed || c.last == 0 && e.Kind != neutral.Begin && e.Kind != neutral.Failed {
		bad()
	}
	c.last = e.Kind
	if (e.Kind == neutral.Delta || e.Kind == neutral.PartEnd) == (c.open == 0) && e.Kind != neutral.Failed {
		bad()
	}
	switch e.Kind {
	case neutral.Begin:
		c.r.ID, c.r.Model, c.r.Created = e.ID, e.Name, e.Created
	case neutral.PartBegin:
		c.open, c.raw = e.Part, nil
		c.r.Parts = append(c.r.Parts, neutral.Part{
			Kind: e.Part, ID: e.ID, Name: e.Name, Media: e.Media, Data: e.Data, Signature: e.Signature,
		})
	case neutral.Delta:
		c.raw = append(c.raw, e.Raw...)
		if !json.Valid([]byte(`"` + string(e.Raw) + `"`)) {
			c.t.Fatalf("a delta is not the inside of a JSON string: %s", e.Raw)
		}
	case neutral.PartEnd:
		p := &c.r.Parts[len(c.r.Parts)-1]
		if p.Kind == neutral.Call {
			p.Args = unescaped(c.raw)
		} else {
			p.Text = unescaped(c.raw)
		}
		if e.Signature.Value != "" {
			p.Signature = e.Signature
		}
		c.open = 0
	case neutral.Finish:
		c.r.Stop = e.Stop
	case neutral.Usage:
		c.r.Usage, c.r.Counted = e.Tokens, true
	case neutral.Failed:
		c.fail = e.Failure
	}
}

// play tells an answer as events, its texts in pieces of n bytes, escapes left whole.
func play(r *neutral.Response, n int, emit neutral.Emit) {
	emit(&neutral.Event{Kind: neutral.Begin, ID: "upstream", Name: "other", Created: r.Created})
	for i := range r.Parts {
		p := &r.Parts[i]
		begin, end := neutral.Event{Kind: neutral.PartBegin, Part: p.Kind, ID: p.ID, Name: p.Name, Media: p.Media, Data: p.Data}, neutral.Event{Kind: neutral.PartEnd}
		if p.Kind == neutral.Redacted {
			begin.Signature = p.Signature
		} else {
			end.Signature = p.Signature
		}
		emit(&begin)
		text := p.Text + p.Args
		for len(text) > 0 {
			cut := min(n, len(text))
			for cut < len(text) && text[cut]&0xc0 == 0x80 {
				cut++
			}
			emit(&neutral.Event{Kind: neutral.Delta, Raw: escaped(nil, text[:cut])})
			text = text[cut:]
		}
		emit(&end)
	}
	emit(&neutral.Event{Kind: neutral.Finish, Stop: r.Stop})
	if r.Counted {
		emit(&neutral.Event{Kind: neutral.Usage, Tokens: r.Usage})
	}
	emit(&neutral.Event{Kind: neutral.End})
}

func TestStreamSurvives(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := drawAnswer(rt)
		n := rapid.IntRange(1, 9).Draw(rt, "piece")
		w := Codec{}.NewEventWriter(&answering)
		var stream []byte
		play(want, n, func(e *neutral.Event) { stream = w.Append(stream, e) })
		checkStream(t, stream)
		got := collect{t: t}
		if !relay(t, stream, got.take) || got.last != neutral.End {
			rt.Fatalf("the stream is not complete:\n%s", stream)
		}
		if d := cmp.Diff(want, &got.r, cmpopts.EquateEmpty()); d != "" {
			rt.Fatalf("(-want +got):\n%s\n%s", d, stream)
		}
		if w.Losses() != 0 {
			rt.Fatalf("losses: %s", w.Losses())
		}
		// The end of the stream holds the same answer as a plain response.
		var last struct{ Response json.RawMessage }
		data := stream[bytes.LastIndex(stream, []byte("\ndata: "))+len("\ndata: "):]
		if err := json.Unmarshal(data, &last); err != nil {
			rt.Fatal(err)
		}
		end, err := Codec{}.ReadResponse(last.Response)
		if d := cmp.Diff(want, end, cmpopts.EquateEmpty()); err != nil || d != "" {
			rt.Fatalf("%v (-want +got):\n%s", err, d)
		}
	})
}

// A stream that only stops is not complete, wherever it stops.
func TestStreamCut(t *testing.T) {
	stream := []byte(file(t, "reasoning_tools.sse"))
	events := bytes.SplitAfter(stream, []byte("\n\n"))
	for i := range len(events) - 2 {
		got := collect{t: t}
		if relay(t, bytes.Join(events[:i], nil), got.take) || got.last == neutral.End {
			t.Fatalf("complete after %d events", i)
		}
	}
}

func TestStreamNonsense(t *testing.T) {
	for _, data := range []string{`{"type":"response.created"`, `[]`, `x`, `{"a":"\x"}`, "{\"type\":\"response.output_text.delta\",\"delta\":\"a\ndata: b\"}"} {
		got := collect{t: t}
		r := Codec{}.NewEventReader()
		r.Read(nil, []byte(data), got.take)
		if got.fail == nil || got.fail.Status != 502 || r.Close(got.take) {
			t.Errorf("%s: %+v", data, got.fail)
		}
	}
}

func TestStreamFailsBeforeItBegins(t *testing.T) {
	w := Codec{}.NewEventWriter(&answering)
	e := neutral.Event{Kind: neutral.Failed, Failure: &dialect.UpstreamError{Status: 429, Message: `"slow"`}}
	got := string(w.Append(nil, &e))
	want := "event: error\ndata: {\"type\":\"error\",\"sequence_number\":0,\"code\":\"rate_limit_exceeded\",\"message\":\"\\\"slow\\\"\",\"param\":null," +
		"\"error\":{\"type\":\"server_error\",\"code\":\"rate_limit_exceeded\",\"message\":\"\\\"slow\\\"\",\"param\":null}}\n\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if more := w.Append(nil, &e); len(more) > 0 {
		t.Errorf("it goes on: %s", more)
	}
}

// What has no place in a stream of the dialect is named, and leaves no trace in it.
func TestStreamLosses(t *testing.T) {
	w := Codec{}.NewEventWriter(&answering)
	var stream []byte
	play(&neutral.Response{Parts: []neutral.Part{
		{Kind: neutral.Text, Text: "a", Signature: foreign},
		{Kind: neutral.Audio, Data: "aGk="},
		{Kind: neutral.Image, URL: "https://example.org"},
		{Kind: neutral.Text, Text: "b"},
	}}, 9, func(e *neutral.Event) { stream = w.Append(stream, e) })
	checkStream(t, stream)
	if got, want := w.Losses().String(), "audio,images,signature"; got != want {
		t.Errorf("losses %q, want %q", got, want)
	}
	got := collect{t: t}
	relay(t, stream, got.take)
	if len(got.r.Parts) != 2 || got.r.Parts[1].Text != "b" {
		t.Errorf("parts %+v", got.r.Parts)
	}
}

// However long a stream, the writer keeps no more than its bound.
func TestStreamBound(t *testing.T) {
	w := Codec{}.NewEventWriter(&answering).(*eventWriter)
	send := func(e neutral.Event) []byte { return w.Append(nil, &e) }
	send(neutral.Event{Kind: neutral.Begin})
	piece := bytes.Repeat([]byte("x"), 1<<20)
	kept := func() int { return cap(w.output) + cap(w.parts) + cap(w.text) }
	for range 3 {
		send(neutral.Event{Kind: neutral.PartBegin, Part: neutral.Text})
		for range 10 {
			if out := send(neutral.Event{Kind: neutral.Delta, Raw: piece}); len(out) < len(piece) {
				t.Fatal("a delta is missing")
			}
		}
		send(neutral.Event{Kind: neutral.PartEnd})
		if kept() > 4*maxKept {
			t.Fatalf("it keeps %d bytes", kept())
		}
	}
	send(neutral.Event{Kind: neutral.Finish, Stop: neutral.StopEnd})
	// The end is two events that repeat the message: that it is done, and that the response is.
	if end := send(neutral.Event{Kind: neutral.End}); len(end) > 2*maxKept+1<<20 || !bytes.Contains(end, []byte("response.completed")) {
		t.Errorf("the end has %d bytes", len(end))
	}
}

func TestReadResponseRefuses(t *testing.T) {
	for _, body := range []string{
		``, `{}`, `{"output":[]`, `{"output":{},"status":"completed"}`, `{"output":[],"status":"queued"}`,
		`{"output":[],"status":"failed","error":{"code":"server_error","message":"m"}}`, `{"output":[],"status":"cancelled"}`,
	} {
		if r, err := (Codec{}).ReadResponse([]byte(body)); err == nil {
			t.Errorf("%s: %+v", body, r)
		}
	}
}

// drawEvent draws an event as an upstream might send it, with no regard to those before.
func drawEvent(t *rapid.T) string {
	raw := func() string {
		return rapid.SampledFrom([]string{`""`, `"a"`, `"{}"`, `"\\n\""`, `null`, `7`}).Draw(t, "string")
	}
	item := func() string {
		return rapid.SampledFrom([]string{
			`{"type":"message","content":[{"type":"output_text","text":` + raw() + `},{"type":"refusal","refusal":` + raw() + `}]}`,
			`{"type":"message","content":[]}`,
			`{"type":"function_call","call_id":"c","name":"f","arguments":` + raw() + `}`,
			`{"type":"function_call","id":"i","name":"shell","arguments":""}`,
			`{"type":"custom_tool_call","call_id":"c","name":"shell","input":` + raw() + `}`,
			`{"type":"reasoning","id":"rs_1","summary":[{"text":` + raw() + `}],"encrypted_content":` + raw() + `}`,
			`{"type":"reasoning","encrypted_content":"ZmFpcndheToxOnJlZGFjdGVkOnh5"}`,
			`{"type":"image_generation_call","result":` + raw() + `}`,
			`{"type":"web_search_call"}`, `{}`, `null`,
		}).Draw(t, "item")
	}
	kind := rapid.SampledFrom([]string{
		"created", "in_progress", "output_item.added", "output_item.added", "output_item.done", "output_item.done", "content_part.added",
		"content_part.done", "output_text.delta", "output_text.done", "refusal.delta", "refusal.done", "reasoning_summary_text.delta",
		"reasoning_text.delta", "function_call_arguments.delta", "function_call_arguments.done", "custom_tool_call_input.delta",
		"output_text.annotation.added", "novelty", "completed", "incomplete", "failed",
	}).Draw(t, "kind")
	e := `{"type":"response.` + kind + `"`
	for _, name := range []string{"output_index", "content_index", "summary_index"} {
		if rapid.IntRange(0, 3).Draw(t, "has "+name) > 0 {
			e += `,"` + name + `":` + rapid.SampledFrom([]string{"0", "0", "1", "2", "-1", "9999999999", `"x"`}).Draw(t, name)
		}
	}
	e += `,"delta":` + raw() + `,"text":` + raw() + `,"item":` + item() + `,"part":{"type":"output_text","text":` + raw() + `}`
	switch kind {
	case "completed", "incomplete", "failed":
		e += `,"response":{"id":"r","output":[` + item() + `,` + item() + `],"usage":{"input_tokens":1}}`
	}
	return e + `}`
}

// In whatever order an upstream sends what it knows, the events are in order, and what a client gets of them is a stream.
func TestAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		checkEvents(t, rapid.SliceOfN(rapid.Custom(drawEvent), 1, 12).Draw(rt, "events"))
	})
}

// Whatever an upstream sends, the same.
func FuzzEvents(f *testing.F) {
	paths, _ := filepath.Glob("testdata/*.sse")
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		var lines []string
		for l := range strings.Lines(string(b)) {
			if data, ok := strings.CutPrefix(l, "data: "); ok {
				lines = append(lines, strings.TrimSpace(data))
			}
		}
		f.Add(strings.Join(lines, "\n"))
	}
	f.Add(`{"type":"response.output_text.delta","output_index":5000,"content_index":-1,"delta":"\ud83d"}` + "\n[DONE]")
	f.Fuzz(func(t *testing.T, events string) {
		checkEvents(t, strings.Split(events, "\n"))
	})
}

func checkEvents(t *testing.T, events []string) {
	t.Helper()
	got := collect{t: t}
	w := Codec{}.NewEventWriter(&answering)
	r := Codec{}.NewEventReader()
	var stream []byte
	emit := func(e *neutral.Event) {
		got.take(e)
		stream = w.Append(stream, e)
	}
	for _, data := range events {
		r.Read(nil, []byte(data), emit)
	}
	complete := r.Close(emit)
	if complete != (got.last == neutral.End) {
		t.Fatalf("complete: %v, the last event is %d", complete, got.last)
	}
	if complete || got.last == neutral.Failed {
		checkStream(t, stream)
	}
}

// A response that can be read can be written, and reads back as the same one.
func FuzzReadResponse(f *testing.F) {
	for _, name := range []string{"tools.body.json", "incomplete.body.json", "citations.body.json"} {
		f.Add([]byte(file(f, name)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Codec{}.ReadResponse(body)
		if err != nil {
			return
		}
		first := Codec{}.AppendResponse(nil, r, &answering)
		again, err := Codec{}.ReadResponse(first)
		if err != nil {
			t.Fatalf("%v: %s", err, first)
		}
		if second := (Codec{}).AppendResponse(nil, again, &answering); string(second) != string(first) {
			t.Fatalf("first:  %s\nsecond: %s", first, second)
		}
	})
}

const textDelta = `{"type":"response.output_text.delta","sequence_number":412,"item_id":"msg_68b1f0c27d0c81a29a4c6f7a5b1c3d2e0f9a8b7c6d5e4f3a","output_index":1,` +
	`"content_index":0,"delta":" overall,","logprobs":[],"obfuscation":"Kx7mP2"}`

func BenchmarkReadDelta(b *testing.B) {
	r := Codec{}.NewEventReader()
	name, data := []byte("response.output_text.delta"), []byte(textDelta)
	n := 0
	emit := func(e *neutral.Event) { n += len(e.Raw) }
	b.ReportAllocs()
	for b.Loop() {
		r.Read(name, data, emit)
	}
	if n == 0 {
		b.Fatal("no text")
	}
}

func BenchmarkWriteDelta(b *testing.B) {
	w := Codec{}.NewEventWriter(&answering).(*eventWriter)
	w.Append(nil, &neutral.Event{Kind: neutral.Begin})
	w.Append(nil, &neutral.Event{Kind: neutral.PartBegin, Part: neutral.Text})
	e := neutral.Event{Kind: neutral.Delta, Raw: []byte(" overall,")}
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		dst = w.Append(dst[:0], &e)
		if len(w.text) > 64<<10 { // a long answer; not the growth of an endless one
			w.text = w.text[:0]
		}
	}
}

func BenchmarkReadRequest(b *testing.B) {
	body := []byte(file(b, "full.request.json"))
	b.ReportAllocs()
	for b.Loop() {
		if _, f := (Codec{}).ReadRequest(body, "m", true); f != nil {
			b.Fatal(f)
		}
	}
}

func BenchmarkAppendRequest(b *testing.B) {
	r, f := Codec{}.ReadRequest([]byte(file(b, "full.request.json")), "m", true)
	if f != nil {
		b.Fatal(f)
	}
	dst := make([]byte, 0, 16<<10)
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = Codec{}.AppendRequest(dst[:0], r, "m")
	}
}
