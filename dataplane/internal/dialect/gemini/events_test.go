package gemini

import (
	"encoding/json"
	"strings"
	"testing"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/sse"
)

// told is what a writer makes of events, between Begin and End.
func told(events ...neutral.Event) (string, neutral.Losses) {
	w := Codec{}.NewEventWriter(answering())
	var out []byte
	for i := range events {
		out = w.Append(out, &events[i])
	}
	return string(out), w.Losses()
}

const toldEnd = `"modelVersion":"alias","responseId":"random"}` + "\n\n"

func TestWriterCalls(t *testing.T) {
	last := func(reason string) string {
		return `data: {"candidates":[{"content":{"parts":[{"text":""}],"role":"model"},"finishReason":"` + reason + `","index":0}],` + toldEnd
	}
	call := func(id, args string) string {
		return `data: {"candidates":[{"content":{"parts":[{"functionCall":{"id":"` + id + `","name":"f","args":` + args + `}}],"role":"model"},"index":0}],` + toldEnd
	}
	for _, tc := range []struct {
		name   string
		deltas []string
		stop   neutral.Stop
		want   string
	}{
		{"whole", []string{`{\"a\":`, `\"\\\"\\n\"`, `}`}, neutral.StopCall, call("i", `{"a":"\"\n"}`) + last("STOP")},
		{"no arguments", nil, neutral.StopCall, call("i", `{}`) + last("STOP")},
		{"line ends are space", []string{`{\n\"a\":1\r\n}`}, neutral.StopCall, call("i", "{ \"a\":1  }") + last("STOP")},
		{"pair of escapes", []string{`{\"a\":\"\ud83d\ude00\u00e9\"}`}, neutral.StopCall, call("i", `{"a":"😀é"}`) + last("STOP")},
		{"cut", []string{`{\"a\":`}, neutral.StopLength, last("MAX_TOKENS")},
		{"no JSON", []string{`{\"a\":}`}, neutral.StopCall, last("MALFORMED_FUNCTION_CALL")},
		{"no object", []string{`[1]`}, neutral.StopCall, last("MALFORMED_FUNCTION_CALL")},
		{"control in a string", []string{`{\"a\":\"\u000a\"}`}, neutral.StopCall, last("MALFORMED_FUNCTION_CALL")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			events := []neutral.Event{{Kind: neutral.Begin}, {Kind: neutral.PartBegin, Part: neutral.Call, ID: "i", Name: "f"}}
			for _, d := range tc.deltas {
				events = append(events, neutral.Event{Kind: neutral.Delta, Part: neutral.Call, Raw: []byte(d)})
			}
			events = append(events, neutral.Event{Kind: neutral.PartEnd}, neutral.Event{Kind: neutral.Finish, Stop: tc.stop}, neutral.Event{Kind: neutral.End})
			if got, _ := told(events...); got != tc.want {
				t.Errorf("got\n%swant\n%s", got, tc.want)
			}
		})
	}
}

// What a writer holds is bounded: a call that is too long ends the stream with an error, once.
func TestWriterBounds(t *testing.T) {
	w := Codec{}.NewEventWriter(answering())
	out := w.Append(nil, &neutral.Event{Kind: neutral.PartBegin, Part: neutral.Call, ID: "i", Name: "f"})
	piece := []byte(strings.Repeat("x", 64<<10))
	for range 3 * maxArgs / len(piece) {
		out = w.Append(out, &neutral.Event{Kind: neutral.Delta, Raw: piece})
	}
	for _, kind := range []neutral.EventKind{neutral.PartEnd, neutral.Finish, neutral.End} {
		out = w.Append(out, &neutral.Event{Kind: kind})
	}
	want := `data: {"error":{"code":502,"message":"the arguments of a function call are too long","status":"INTERNAL"}}` + "\n\n"
	if string(out) != want {
		t.Errorf("%.300s", out)
	}
}

// Nothing that was thought is kept back when the stream fails, and nothing follows the error.
func TestWriterFails(t *testing.T) {
	got, _ := told(
		neutral.Event{Kind: neutral.PartBegin, Part: neutral.Think},
		neutral.Event{Kind: neutral.Delta, Raw: []byte(`a\n`)},
		neutral.Event{Kind: neutral.Failed, Failure: &dialect.UpstreamError{Status: 529, Message: `over"loaded`}},
		neutral.Event{Kind: neutral.End},
	)
	want := `data: {"candidates":[{"content":{"parts":[{"text":"a\n","thought":true}],"role":"model"},"index":0}],` + toldEnd +
		`data: {"error":{"code":529,"message":"over\"loaded","status":"UNAVAILABLE"}}` + "\n\n"
	if got != want {
		t.Errorf("got\n%s", got)
	}
	if e, ok := (Answers{}).ErrorEvent([]byte(got[strings.LastIndex(got, "data:"):])); !ok || e.Status != 529 {
		t.Errorf("%+v, %v", e, ok)
	}
}

// The last piece of thinking and its signature are one part; thinking without text keeps its signature; what only its
// provider can read comes back as that.
func TestWriterSignatures(t *testing.T) {
	anthropic := neutral.Signature{Value: "sig", Origin: neutral.FromAnthropic}
	got, losses := told(
		neutral.Event{Kind: neutral.PartBegin, Part: neutral.Think},
		neutral.Event{Kind: neutral.Delta, Raw: []byte(`a`)},
		neutral.Event{Kind: neutral.Delta, Raw: []byte(`b`)},
		neutral.Event{Kind: neutral.PartEnd, Signature: anthropic},
		neutral.Event{Kind: neutral.PartBegin, Part: neutral.Think},
		neutral.Event{Kind: neutral.PartEnd, Signature: anthropic},
		neutral.Event{Kind: neutral.PartBegin, Part: neutral.Redacted, Signature: anthropic},
		neutral.Event{Kind: neutral.PartEnd},
		neutral.Event{Kind: neutral.Finish, Stop: neutral.StopEnd},
		neutral.Event{Kind: neutral.End},
	)
	if losses != 0 {
		t.Errorf("losses %s", losses)
	}
	// As a client sends them back: the parts of all chunks.
	history := `{"contents":[{"parts":[{"text":"q"}]}`
	for event := range strings.SplitSeq(strings.TrimSpace(got), "\n\n") {
		var chunk struct {
			Candidates []struct{ Content json.RawMessage }
		}
		if err := json.Unmarshal(sse.Data([]byte(event+"\n\n")), &chunk); err != nil {
			t.Fatal(err)
		}
		history += "," + string(chunk.Candidates[0].Content)
	}
	r, f := Codec{}.ReadRequest([]byte(history+"]}"), "m", false)
	if f != nil {
		t.Fatal(f)
	}
	var kinds, texts []string
	for _, p := range r.Turns[1].Parts {
		if p.Signature != anthropic {
			t.Errorf("%+v", p)
		}
		kinds, texts = append(kinds, map[neutral.Kind]string{neutral.Think: "think", neutral.Redacted: "redacted"}[p.Kind]), append(texts, p.Text)
	}
	if strings.Join(kinds, " ") != "think think redacted" || strings.Join(texts, ",") != "ab,," {
		t.Errorf("%q %q", kinds, texts)
	}
}

func TestStops(t *testing.T) {
	for reason, want := range map[string]neutral.Stop{
		"STOP": neutral.StopEnd, "MAX_TOKENS": neutral.StopLength, "SAFETY": neutral.StopFilter, "RECITATION": neutral.StopFilter,
		"LANGUAGE": neutral.StopFilter, "BLOCKLIST": neutral.StopFilter, "PROHIBITED_CONTENT": neutral.StopFilter,
		"SPII": neutral.StopFilter, "IMAGE_SAFETY": neutral.StopFilter, "IMAGE_PROHIBITED_CONTENT": neutral.StopFilter,
		"IMAGE_RECITATION": neutral.StopFilter, "CONTINUATION": neutral.StopPause, "OTHER": 0, "MALFORMED_FUNCTION_CALL": 0,
		"UNEXPECTED_TOOL_CALL": 0, "TOO_MANY_TOOL_CALLS": 0, "NO_IMAGE": 0, "IMAGE_OTHER": 0, "NEW": 0, "": 0,
	} {
		if got := stopOf(reason, false); got != want {
			t.Errorf("%s: %d, want %d", reason, got, want)
		}
	}
	if got := stopOf("STOP", true); got != neutral.StopCall {
		t.Errorf("STOP with a call: %d", got)
	}
	for stop, want := range map[neutral.Stop]string{
		0: "OTHER", neutral.StopEnd: "STOP", neutral.StopLength: "MAX_TOKENS", neutral.StopSequence: "STOP", neutral.StopCall: "STOP",
		neutral.StopFilter: "SAFETY", neutral.StopPause: "CONTINUATION", neutral.StopContext: "MAX_TOKENS",
	} {
		if got := reasonOf(stop, false); got != want {
			t.Errorf("%d: %s, want %s", stop, got, want)
		}
	}
}

func TestReadResponseRefuses(t *testing.T) {
	for _, body := range []string{
		``, `[]`, `{}`, `{"candidates":[]}`, `{"candidates":[{"content":{"parts":[{"functionCall":"x"}]}}]}`,
		`{"candidates":[{"content":{"parts":[{"functionCall":{"args":{}}}]}}]}`, `{"promptFeedback":{}}`, "{\"candidates\":[{\"x\":\"\n\"}]}",
	} {
		if r, err := (Codec{}).ReadResponse([]byte(body)); err == nil {
			t.Errorf("%s: %+v", body, r)
		}
	}
}

// What would break a client's stream is refused instead: a line end or a wrong escape inside a string.
func TestReaderRefuses(t *testing.T) {
	for _, data := range []string{
		"{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\nb\"}]}}]}", `{"candidates":[{"content":{"parts":[{"text":"\q"}]}}]}`,
		`{"candidates":[{"content":{"parts":[{"text":"\u12"}]}}]}`, `{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":[]}}]}}]}`,
		`{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":"` + "\n" + `"}}}]}}]}`, `{} x`, `"x"`, ``, `{"error":7}`,
	} {
		var last neutral.Event
		h := Codec{}.NewEventReader()
		h.Read(nil, []byte(data), func(e *neutral.Event) { last = *e })
		if last.Kind != neutral.Failed || last.Failure.Status != 502 {
			t.Errorf("%s: %+v", data, last)
		}
		h.Read(nil, []byte(benchChunk), func(*neutral.Event) { t.Errorf("%s: an event after the end", data) })
		if h.Close(func(*neutral.Event) { t.Errorf("%s: an event after the end", data) }) {
			t.Errorf("%s: complete", data)
		}
	}
}
