package anthropic

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/money"
	"fairway/pkg/sse"
)

const (
	startEvent = `{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"usage":{"input_tokens":3,"output_tokens":1}}}`
	textBlock  = `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`
	toolBlock  = `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}`
	stopEvent  = `{"type":"content_block_stop","index":0}`
	endEvent   = `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}`
	doneEvent  = `{"type":"message_stop"}`
)

// stream is events of the data, without names: the type is in the data.
func stream(data ...string) []byte {
	var b []byte
	for _, d := range data {
		b = sse.AppendEvent(b, "", []byte(d))
	}
	return b
}

func textDelta(text string) string {
	return `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + text + `"}}`
}

// What real upstreams seldom send, and what never makes sense.
func TestEventReader(t *testing.T) {
	const begun = "begin \"msg_1\" \"m\"\nusage {Input:3 Cached:0 Output:1 CacheWrite:0 CacheWriteLong:0 Reasoning:0 AudioInput:0 AudioOutput:0}\n"
	const part, tool = "part 1 \"\" \"\" { 0}\n", "part 6 \"a\" \"f\" { 0}\n"
	const ends = "part ends { 0}\n"
	const failed = "failed {Status:502 Code: Type:api_error Message:the upstream "
	for _, tc := range []struct {
		name     string
		data     []string
		want     string // behind what startEvent gives
		complete bool
	}{
		{"text in the start", []string{startEvent, `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"a\n"}}`, doneEvent}, begun + part + "  delta a\\n\n" + ends + "end\n", true},
		{"whole input in the start", []string{startEvent, `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f","input":{"x":"\"y"}}}`, stopEvent, doneEvent}, begun + tool + "  delta {\\\"x\\\":\\\"\\\\\\\"y\\\"}\n" + ends + "end\n", true},
		{"input in the start and deltas", []string{startEvent, `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"a","name":"f","input":{"x":1}}}`, `{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}`, stopEvent, doneEvent}, begun + tool + "  delta {}\n" + ends + "end\n", true},
		{"no stop of a block", []string{startEvent, textBlock, strings.Replace(toolBlock, "0", "1", 1), endEvent, doneEvent}, begun + part + ends + tool + "  delta {}\n" + ends +
			"finish 1 \"\"\nusage {Input:3 Cached:0 Output:5 CacheWrite:0 CacheWriteLong:0 Reasoning:0 AudioInput:0 AudioOutput:0}\nend\n", true},
		{"ends behind its reason", []string{startEvent, endEvent}, begun + "finish 1 \"\"\nusage {Input:3 Cached:0 Output:5 CacheWrite:0 CacheWriteLong:0 Reasoning:0 AudioInput:0 AudioOutput:0}\nend\n", true},
		{"cut", []string{startEvent, textBlock, textDelta("a")}, begun + part + "  delta a\n", false},
		{"blocks that overlap", []string{startEvent, textBlock, strings.Replace(toolBlock, "0", "1", 1), textDelta("a"),
			`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}`, strings.Replace(stopEvent, "0", "1", 1), textDelta("b"), stopEvent, doneEvent},
			begun + part + "  delta a\n  delta b\n" + ends + tool + "  delta {}\n" + ends + "end\n", true},
		{"delta behind a block that waited", []string{startEvent, textBlock, strings.Replace(toolBlock, "0", "1", 1), strings.Replace(stopEvent, "0", "1", 1), stopEvent,
			`{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{}"}}`},
			begun + part + ends + tool + "  delta {}\n" + ends + failed + "added to a block that is not open}\n", false},
		{"block behind the reason", []string{startEvent, `{"type":"message_delta","delta":{"stop_reason":"end_turn"}}`, textBlock}, begun + "finish 1 \"\"\n" + failed + "began a block in a way that makes no sense}\n", false},
		{"two of one index", []string{startEvent, textBlock, toolBlock}, begun + part + failed + "began a block in a way that makes no sense}\n", false},
		{"unknown events and deltas", []string{startEvent, `{"type":"news"}`, textBlock, `{"type":"content_block_delta","index":0,"delta":{"type":"new_delta","text":"x"}}`, stopEvent, doneEvent}, begun + part + ends + "end\n", true},
		{"nothing behind the end", []string{startEvent, doneEvent, textBlock, doneEvent}, begun + "end\n", true},
		{"unknown reason", []string{startEvent, `{"type":"message_delta","delta":{"stop_reason":"bored","stop_sequence":"x"}}`, doneEvent}, begun + "finish 0 \"x\"\nend\n", true},

		{"error", []string{startEvent, `{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}`, doneEvent}, begun + "failed {Status:429 Code: Type:rate_limit_error Message:slow}\n", false},
		{"no JSON", []string{startEvent, `{"type":`}, begun + failed + "sent an event that is not JSON}\n", false},
		{"no object", []string{`[]`}, failed + "sent an event that is not JSON}\n", false},
		{"no start", []string{textBlock}, failed + "began a block in a way that makes no sense}\n", false},
		{"two starts", []string{startEvent, startEvent}, begun + failed + "began its answer in a way that makes no sense}\n", false},
		{"end without start", []string{doneEvent}, failed + "ended an answer that it did not begin}\n", false},
		{"delta without block", []string{startEvent, textDelta("a")}, begun + failed + "added to a block that is not open}\n", false},
		{"delta behind the block", []string{startEvent, textBlock, stopEvent, textDelta("a")}, begun + part + ends + failed + "added to a block that is not open}\n", false},
		{"delta of another block", []string{startEvent, textBlock, strings.Replace(textDelta("a"), "0", "1", 1)}, begun + part + failed + "added to a block that is not open}\n", false},
		{"delta of another kind", []string{startEvent, toolBlock, textDelta("a")}, begun + tool + failed + "added to a block what is not of its kind}\n", false},
		{"broken escape", []string{startEvent, textBlock, textDelta(`a\q`)}, begun + part + failed + "sent a string that is not JSON}\n", false},
		{"bare line end", []string{startEvent, textBlock, textDelta("a\nb")}, begun + part + failed + "sent a string that is not JSON}\n", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, _, complete := script(stream(tc.data...))
			if d := cmp.Diff(tc.want, got); d != "" || complete != tc.complete {
				t.Errorf("complete = %v, (-want +got):\n%s", complete, d)
			}
		})
	}
}

func TestEventReaderBoundsSignatures(t *testing.T) {
	r := &eventReader{}
	last := neutral.EventKind(0)
	emit := func(e *neutral.Event) { last = e.Kind }
	r.Read(nil, []byte(startEvent), emit)
	r.Read(nil, []byte(`{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}`), emit)
	piece := []byte(`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"` + strings.Repeat("A", 1<<16) + `"}}`)
	for range maxSignature/(1<<16) + 1 {
		r.Read(nil, piece, emit)
	}
	if last != neutral.Failed {
		t.Errorf("the last event is %d, want Failed", last)
	}
}

// What others say and the dialect has no word for.
func TestEventWriterLosses(t *testing.T) {
	w := Codec{}.NewEventWriter(answering())
	var out []byte
	for _, e := range []neutral.Event{
		{Kind: neutral.Begin, ID: "chatcmpl-1"},
		{Kind: neutral.PartBegin, Part: neutral.Audio, Data: "YQ=="}, {Kind: neutral.Delta, Raw: []byte("x")}, {Kind: neutral.PartEnd},
		{Kind: neutral.PartBegin, Part: neutral.Image, Data: "YQ=="}, {Kind: neutral.PartEnd},
		{Kind: neutral.PartBegin, Part: neutral.Refusal}, {Kind: neutral.Delta, Raw: []byte("no")},
		{Kind: neutral.PartEnd, Signature: neutral.Signature{Value: "s", Origin: neutral.FromGemini}},
		{Kind: neutral.PartBegin, Part: neutral.Call, ID: "a", Name: "f"}, {Kind: neutral.Delta, Raw: []byte("{}")},
		{Kind: neutral.PartEnd, Signature: neutral.Signature{Value: "s", Origin: neutral.FromGemini}},
		{Kind: neutral.PartBegin, Part: neutral.Think}, {Kind: neutral.PartEnd, Signature: neutral.Signature{Value: "s", Origin: neutral.FromGemini}},
		{Kind: neutral.Finish, Stop: neutral.StopEnd}, {Kind: neutral.End}, {Kind: neutral.End},
	} {
		out = w.Append(out, &e)
	}
	if got := w.Losses().String(); got != "audio,images,signature" {
		t.Errorf("losses = %q", got)
	}
	golden(t, "testdata/stream/others.written", out)
	got, _, complete := script(out)
	if !complete || !strings.Contains(got, "part ends {s 2}") {
		t.Errorf("the envelope was not read again:\n%s", got)
	}
}

func TestEventWriterFailed(t *testing.T) {
	for _, tc := range []struct {
		name string
		f    *dialect.UpstreamError
		want string
	}{
		{"own", &dialect.UpstreamError{Status: 529, Type: "overloaded_error", Message: "Overloaded"}, `{"type":"overloaded_error","message":"Overloaded"}`},
		{"other's", &dialect.UpstreamError{Status: 429, Type: "requests", Code: "rate_limit_exceeded", Message: "a \"b\"\n"}, `{"type":"rate_limit_error","message":"a \"b\"\n"}`},
		{"nothing", nil, `{"type":"api_error","message":"the upstream failed"}`},
		{"bare", &dialect.UpstreamError{Status: 500}, `{"type":"api_error","message":"the upstream failed"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := Codec{}.NewEventWriter(answering())
			got := string(w.Append(nil, &neutral.Event{Kind: neutral.Failed, Failure: tc.f}))
			if want := "event: error\ndata: {\"type\":\"error\",\"error\":" + tc.want + "}\n\n"; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if more := w.Append(nil, &neutral.Event{Kind: neutral.End}); len(more) > 0 {
				t.Errorf("%s follows the error", more)
			}
		})
	}
}

// told is a stream as far as this dialect can say it, with deltas joined and counts as they are at the end.
func told(r neutral.EventReader, stream []byte) (lines []string, tokens money.Tokens, ended bool) {
	var text []byte
	part := false
	emit := func(e *neutral.Event) {
		switch e.Kind {
		case neutral.Begin:
		case neutral.Delta:
			text = append(text, e.Raw...)
		case neutral.Usage:
			tokens = e.Tokens
		case neutral.PartBegin:
			part = true
			lines = append(lines, fmt.Sprintf("part %d %q %q %q", e.Part, e.ID, e.Name, e.Signature.Value))
		case neutral.PartEnd:
			part = false
			lines = append(lines, string(text), fmt.Sprintf("%q", e.Signature.Value))
			text = text[:0]
		case neutral.Finish:
			if e.Stop == 0 {
				e.Stop = neutral.StopEnd
			}
			lines = append(lines, fmt.Sprintf("finish %d %q", e.Stop, e.Sequence))
		case neutral.Failed:
			lines = append(lines, string(text), "failed")
			ended = true
		case neutral.End:
			if part {
				lines = append(lines, "a part is open")
			}
			ended = true
		}
	}
	feed(r, stream, emit)
	r.Close(emit)
	return lines, tokens, ended
}

// What is written from events is read as the same events.
func TestStreamThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := Codec{}.NewEventWriter(answering())
		var out []byte
		var want []string
		put := func(e neutral.Event) { out = w.Append(out, &e) }
		put(neutral.Event{Kind: neutral.Begin, ID: "msg_1"})
		called := false
		for range rapid.IntRange(0, 5).Draw(t, "parts") {
			e := neutral.Event{Kind: neutral.PartBegin, Part: rapid.SampledFrom([]neutral.Kind{neutral.Text, neutral.Think, neutral.Redacted, neutral.Call}).Draw(t, "part")}
			end := neutral.Event{Kind: neutral.PartEnd}
			sig := neutral.Signature{Value: rapid.StringMatching(`[A-Za-z0-9+/]{1,9}`).Draw(t, "signature"), Origin: neutral.Origin(rapid.IntRange(1, 3).Draw(t, "origin"))}
			switch e.Part {
			case neutral.Redacted:
				e.Signature = sig
			case neutral.Think:
				end.Signature = sig
			case neutral.Call:
				called = true
				e.ID, e.Name = rapid.String().Draw(t, "id"), rapid.String().Draw(t, "name")
			}
			want = append(want, fmt.Sprintf("part %d %q %q %q", e.Part, e.ID, e.Name, e.Signature.Value))
			put(e)
			var text []byte
			if e.Part != neutral.Redacted {
				for range rapid.IntRange(1, 3).Draw(t, "deltas") {
					raw := dialect.AppendEscaped(nil, rapid.StringN(1, 9, -1).Draw(t, "delta"))
					text = append(text, raw...)
					put(neutral.Event{Kind: neutral.Delta, Raw: raw})
				}
			}
			put(end)
			want = append(want, string(text), fmt.Sprintf("%q", end.Signature.Value))
		}
		stop := neutral.Stop(rapid.IntRange(1, int(neutral.StopContext)).Draw(t, "stop"))
		if stop == neutral.StopEnd && called {
			stop = neutral.StopCall
		}
		sequence := ""
		if stop == neutral.StopSequence {
			sequence = rapid.String().Draw(t, "sequence")
		}
		want = append(want, fmt.Sprintf("finish %d %q", stop, sequence))
		put(neutral.Event{Kind: neutral.Finish, Stop: stop, Sequence: sequence})
		count := func(label string) int64 { return rapid.Int64Range(0, 1<<20).Draw(t, label) }
		tokens := money.Tokens{Cached: count("cached"), CacheWrite: count("write"), CacheWriteLong: count("long"), Reasoning: count("thought")}
		tokens.Input = tokens.Cached + tokens.CacheWrite + tokens.CacheWriteLong + count("input")
		tokens.Output = tokens.Reasoning + count("output")
		put(neutral.Event{Kind: neutral.Usage, Tokens: tokens})
		put(neutral.Event{Kind: neutral.End})

		got, used, ended := told(Codec{}.NewEventReader(), out)
		if d := cmp.Diff(want, got); d != "" || !ended {
			t.Fatalf("%s\nended = %v, (-want +got):\n%s", out, ended, d)
		}
		if d := cmp.Diff(tokens, used); d != "" {
			t.Fatalf("usage (-want +got):\n%s", d)
		}
		if u, ok := (Answers{}).Usage(out[:min(len(out), 2048)], out[max(0, len(out)-8192):]); !ok || u != tokens {
			t.Fatalf("%s\nthe relay finds %+v %v, want %+v", out, u, ok, tokens)
		}
	})
}

// Whatever an upstream sends: events come in their order, are JSON strings, and what is written from them is read as the
// same events.
func FuzzEventReader(f *testing.F) {
	for _, stream := range inputs(f, "stream/*.sse") {
		f.Add(stream)
	}
	f.Add(stream(startEvent, textBlock, textDelta(`\ud83d`), stopEvent, endEvent, doneEvent))
	f.Add(stream(startEvent, strings.Replace(toolBlock, "{}", `{"a":[1]}`, 1), stopEvent, doneEvent))
	f.Fuzz(func(t *testing.T, in []byte) {
		open, over, begun, finished := false, false, false, false
		w := Codec{}.NewEventWriter(answering())
		var out []byte
		check := func(e *neutral.Event) {
			if over || !begun && e.Kind != neutral.Begin && e.Kind != neutral.Failed {
				t.Fatalf("%s out of its order", line(e))
			}
			switch e.Kind {
			case neutral.Begin:
				begun = true
			case neutral.PartBegin, neutral.PartEnd:
				if open == (e.Kind == neutral.PartBegin) || finished {
					t.Fatalf("%s out of its order", line(e))
				}
				open = !open
			case neutral.Delta:
				if !open || len(e.Raw) == 0 || !json.Valid([]byte(`"`+string(e.Raw)+`"`)) {
					t.Fatalf("delta %q", e.Raw)
				}
			case neutral.Finish, neutral.End:
				if open || finished && e.Kind == neutral.Finish {
					t.Fatalf("%s out of its order", line(e))
				}
				finished = true
			}
			over = e.Kind == neutral.End || e.Kind == neutral.Failed
			out = w.Append(out, e)
		}
		r := Codec{}.NewEventReader()
		feed(r, in, check)
		if complete := r.Close(check); complete && !over {
			t.Fatal("complete without an end")
		}
		for _, data := range dataOf(out) {
			if !json.Valid(data) {
				t.Fatalf("not JSON: %s", data)
			}
		}
		want, tokens, ended := told(Codec{}.NewEventReader(), in)
		if !ended || len(want) > 0 && want[len(want)-1] == "failed" || bytes.Contains(in, []byte("ZmFpcndheTo")) {
			return
		}
		if len(want) == 0 || !strings.HasPrefix(want[len(want)-1], "finish") {
			want = append(want, `finish 1 ""`)
		}
		for _, l := range want {
			if strings.HasPrefix(l, "part 6 ") { // an end with a call is one for it
				want[len(want)-1] = strings.Replace(want[len(want)-1], "finish 1 ", "finish 4 ", 1)
			}
		}
		got, used, _ := told(Codec{}.NewEventReader(), out)
		if d := cmp.Diff(want, got); d != "" || tokens != used {
			t.Fatalf("%s\nused %+v, want %+v, (-want +got):\n%s", out, used, tokens, d)
		}
	})
}

func dataOf(stream []byte) [][]byte {
	var all [][]byte
	s := sse.NewReader(bytes.NewReader(stream), 1<<24)
	for {
		e, err := s.Next()
		if err != nil {
			return all
		}
		all = append(all, bytes.Clone(e.Data))
	}
}

func BenchmarkEventReader(b *testing.B) {
	r := Codec{}.NewEventReader()
	none := func(*neutral.Event) {}
	r.Read(nil, []byte(startEvent), none)
	r.Read(nil, []byte(textBlock), none)
	name, data := []byte("content_block_delta"), []byte(textDelta(` the quick \"brown\" fox jumps`))
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		r.Read(name, data, none)
	}
}

func BenchmarkEventWriter(b *testing.B) {
	w := Codec{}.NewEventWriter(answering())
	dst := w.Append(nil, &neutral.Event{Kind: neutral.PartBegin, Part: neutral.Text})
	e := &neutral.Event{Kind: neutral.Delta, Raw: []byte(` the quick \"brown\" fox jumps`)}
	b.ReportAllocs()
	for b.Loop() {
		dst = w.Append(dst[:0], e)
	}
}
