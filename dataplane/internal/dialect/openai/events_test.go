package openai

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/sse"
)

// script runs data through a reader and shows what it emits.
func script(data ...string) (out string, complete bool) {
	var b strings.Builder
	r := Codec{}.NewEventReader()
	emit := func(e *neutral.Event) { b.WriteString(line(e)) }
	for _, d := range data {
		r.Read(nil, []byte(d), emit)
	}
	complete = r.Close(emit)
	return b.String(), complete
}

func TestReadEvents(t *testing.T) {
	delta := func(d string) string { return `{"id":"i","model":"m","choices":[{"delta":` + d + `}]}` }
	const stop = `{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`
	for _, tc := range []struct {
		name string
		data []string
		want []string // in what is emitted, in this order
		not  string
		done bool
	}{
		{"nothing", nil, nil, "begin", false},
		{"only the mark", []string{doneMark}, []string{"failed"}, "end", false},
		{"the mark without a reason", []string{delta(`{"content":"a"}`), doneMark}, []string{"delta a", "finish 0", "end"}, "", true},
		{"a reason without the mark", []string{delta(`{"content":"a"}`), stop}, []string{"delta a", "finish 1", "end"}, "", true},
		{"nothing counts behind the mark", []string{delta(`{"content":"a"}`), doneMark, delta(`{"content":"b"}`)}, []string{"end"}, "delta b", true},
		{"not JSON", []string{`{"choices":[{"delta":{"content":"a}]}`, stop}, []string{"failed"}, "delta", false},
		{"a line end inside a string", []string{delta("{\"content\":\"a\nb\"}")}, []string{"failed"}, "delta", false},
		{"neither object nor mark", []string{`[1]`, `"x"`, delta(`{"content":"a"}`), stop}, []string{"delta a", "finish 1"}, "", true},
		{"an error in a 200", []string{`{"error":{"message":"m","code":"rate_limit_exceeded"}}`}, []string{"failed {Status:429"}, "begin", false},
		{"an error as text", []string{`{"error":"boom"}`}, []string{"failed {Status:500", "boom"}, "", false},
		{"an error that is null", []string{`{"error":null,"choices":[{"delta":{"content":"a"}}]}`, stop}, []string{"delta a"}, "failed", true},
		{"an error without an envelope", []string{`{"object":"error","message":"too long","type":"BadRequestError","code":400}`}, []string{"failed {Status:400 Code:400", "too long"}, "", false},
		{"usage only", []string{`{"id":"i","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}`, doneMark}, []string{"begin i", "usage {Input:1", "finish 0", "end"}, "", true},
		{"a null reason and null usage", []string{`{"choices":[{"delta":{"content":"a"},"finish_reason":null}],"usage":null}`}, []string{"delta a"}, "usage", false},
		{"an empty reason", []string{`{"choices":[{"delta":{"content":"a"},"finish_reason":""}]}`}, []string{"delta a"}, "finish", false},
		{"reason and content at once", []string{`{"choices":[{"delta":{"content":"a"},"finish_reason":"length"}]}`}, []string{"delta a", "end of part", "finish 2", "end"}, "", true},
		{"content behind the reason", []string{stop, delta(`{"content":"a"}`), doneMark}, []string{"delta a", "finish 1"}, "", true},
		{"an old function call", []string{delta(`{"function_call":{"name":"f","arguments":""}}`), delta(`{"function_call":{"arguments":"{}"}}`), stop}, []string{`id="call_`, `name="f"`, "delta {}", "finish 4"}, "", true},
		{"no id at all", []string{delta(`{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{\"a\":1}"}}]}`), delta(`{"tool_calls":[{"index":0,"function":{"name":"g","arguments":"{}"}}]}`), stop}, []string{`name="f"`, `delta {\"a\":1}`, `name="g"`, "delta {}"}, `id=""`, true},
		{"no name at all", []string{delta(`{"tool_calls":[{"index":0,"id":"a","function":{"arguments":"{}"}}]}`), stop}, []string{"failed"}, "part", false},
		{"a piece behind the end of its call", []string{delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}`), delta(`{"content":"x"}`), delta(`{"tool_calls":[{"index":0,"function":{"arguments":""}}]}`), stop}, []string{`name="f"`, "delta x", "finish 4"}, "failed", true},
		{"the name in each piece", []string{delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":"}}]}`), delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"1}"}}]}`), delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":""}}]}`), stop}, []string{`name="f"`, `delta {\"x\":`, "delta 1}", "end of part", "finish"}, "failed", true},
		{"arguments that are an object", []string{delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":{"x": "y"}}}]}`), stop}, []string{`delta {\"x\": \"y\"}`}, "", true},
		{"a brace by its number", []string{delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"\u007b\u0022\u007D\u0022:1\u007D"}}]}`), delta(`{"content":"x"}`), stop}, []string{`name="f"`, "end of part", "delta x"}, "", true},
		{"a call that waits", []string{delta(`{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}}]}`), delta(`{"content":"x"}`), delta(`{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}`), stop}, []string{`name="f"`, "delta {", "delta }", "end of part", "delta x"}, "", true},
		{"reasoning by both names", []string{delta(`{"reasoning":"a","reasoning_content":"a"}`), stop}, []string{"delta a", "end of part"}, "delta a\n  delta a", true},
		{"a signature behind its text", []string{delta(`{"reasoning_content":"a"}`), delta(`{"reasoning_details":[{"type":"reasoning.text","text":"","signature":"s","format":"anthropic","index":0}]}`), stop}, []string{"delta a", "end of part signature={s 1}"}, "", true},
		{"only a signature", []string{delta(`{"reasoning_details":[{"type":"reasoning.text","signature":"s","format":"anthropic"}]}`), stop}, []string{"part 8", "end of part signature={s 1}"}, "delta", true},
		{"two thoughts", []string{delta(`{"reasoning_details":[{"type":"reasoning.text","text":"a","index":0}]}`), delta(`{"reasoning_details":[{"type":"reasoning.text","text":"b","index":1}]}`), stop}, []string{"delta a", "end of part", "part 8", "delta b"}, "", true},
		{"a summary", []string{delta(`{"reasoning":"s","reasoning_details":[{"type":"reasoning.summary","summary":"s"}]}`), stop}, []string{"delta s", "end of part"}, "delta s\n  delta s", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, complete := script(tc.data...)
			rest := out
			for _, want := range tc.want {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Fatalf("no %q in order in:\n%s", want, out)
				}
				rest = after
			}
			if tc.not != "" && strings.Contains(out, tc.not) {
				t.Errorf("%q in:\n%s", tc.not, out)
			}
			if complete != tc.done {
				t.Errorf("complete = %v", complete)
			}
		})
	}
}

// Arguments that nobody can be told of yet are held, but not without end.
func TestReadEventsIsBounded(t *testing.T) {
	for name, first := range map[string]string{
		"no name":        `{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"a","function":{}}]}}]}`,
		"another before": `{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}},{"index":1,"id":"b","function":{"name":"f"}}]}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			r := Codec{}.NewEventReader()
			failed := false
			emit := func(e *neutral.Event) { failed = failed || e.Kind == neutral.Failed }
			r.Read(nil, []byte(first), emit)
			piece := []byte(`{"choices":[{"delta":{"tool_calls":[{"index":1,"function":{"arguments":"` + strings.Repeat("x", 1<<16) + `"}}]}}]}`)
			for range 20 {
				r.Read(nil, piece, emit)
			}
			if !failed || r.Close(emit) {
				t.Error("it went on")
			}
		})
	}
	t.Run("calls", func(t *testing.T) {
		r := Codec{}.NewEventReader()
		failed := false
		emit := func(e *neutral.Event) { failed = failed || e.Kind == neutral.Failed }
		for i := range maxCalls + 1 {
			r.Read(nil, fmt.Appendf(nil, `{"choices":[{"delta":{"tool_calls":[{"index":%d,"id":"%d","function":{"name":"f","arguments":"{"}}]}}]}`, i, i), emit)
		}
		if !failed {
			t.Error("it went on")
		}
	})
}

// What the writer says of events that no chat upstream emits.
func TestWriteEvents(t *testing.T) {
	signed := neutral.Signature{Value: "s", Origin: neutral.FromGemini}
	custom := &neutral.Request{Tools: []neutral.Tool{{Name: "code", Schema: customSchema}}}
	for _, tc := range []struct {
		name   string
		a      neutral.Answering
		events []neutral.Event
		want   []string // in order
		not    string
		lost   string
	}{
		{
			"ids and times of our own", neutral.Answering{Model: "m", ID: "x", Created: 7}, []neutral.Event{{Kind: neutral.Begin}},
			[]string{`"id":"chatcmpl-x"`, `"created":7,"model":"m"`, `"role":"assistant"`}, `"usage"`, "",
		},
		{"usage that nobody asked for", neutral.Answering{}, []neutral.Event{{Kind: neutral.Begin}, {Kind: neutral.Usage}, {Kind: neutral.End}}, []string{`"finish_reason":"stop"`, "[DONE]"}, `"usage"`, ""},
		{
			"usage said twice", neutral.Answering{WantUsage: true},
			[]neutral.Event{{Kind: neutral.Begin}, {Kind: neutral.Usage}, {Kind: neutral.Finish, Stop: neutral.StopLength}, {Kind: neutral.Usage}, {Kind: neutral.End}},
			[]string{`"finish_reason":"length"`, `"choices":[],"usage":{`, "[DONE]"}, `"finish_reason":"stop"`, "",
		},
		{"usage that nobody said", neutral.Answering{WantUsage: true}, []neutral.Event{{Kind: neutral.Begin}, {Kind: neutral.End}}, []string{`"usage":null`, "[DONE]"}, `"choices":[],`, ""},
		{
			"a call without arguments", neutral.Answering{}, []neutral.Event{{Kind: neutral.Begin}, {Kind: neutral.PartBegin, Part: neutral.Call, ID: "i", Name: "f"}, {Kind: neutral.PartEnd}, {Kind: neutral.End}},
			[]string{`"arguments":""`, `"arguments":"{}"`, `"finish_reason":"tool_calls"`}, "", "",
		},
		{
			"a custom tool", neutral.Answering{Request: custom},
			[]neutral.Event{
				{Kind: neutral.Begin}, {Kind: neutral.PartBegin, Part: neutral.Call, ID: "i", Name: "code"}, {Kind: neutral.Delta, Raw: []byte(`{\"input\":\"a\\n`)},
				{Kind: neutral.Delta, Raw: []byte(`\\\"b\\\"\"}`)}, {Kind: neutral.PartEnd}, {Kind: neutral.End},
			},
			[]string{`"type":"custom","custom":{"name":"code","input":""}`, `"custom":{"input":"a\n\"b\""}`, `"finish_reason":"tool_calls"`}, "arguments", "",
		},
		{
			"signed text", neutral.Answering{}, []neutral.Event{{Kind: neutral.Begin}, {Kind: neutral.PartBegin, Part: neutral.Text}, {Kind: neutral.PartEnd, Signature: signed}},
			nil, "signature", "signature",
		},
		{"sound", neutral.Answering{}, []neutral.Event{{Kind: neutral.Begin}, {Kind: neutral.PartBegin, Part: neutral.Audio, Data: "AA=="}, {Kind: neutral.PartEnd}}, nil, "AA==", "audio"},
		{
			"a failure before anything", neutral.Answering{}, []neutral.Event{{Kind: neutral.Failed, Failure: &dialect.UpstreamError{Status: 529, Message: "a\n\"b\""}}},
			[]string{`{"error":{"message":"a\n\"b\"","type":"server_error","param":null,"code":null}}`}, "[DONE]", "",
		},
		{
			"a failure with a code", neutral.Answering{}, []neutral.Event{{Kind: neutral.Failed, Failure: &dialect.UpstreamError{Status: 429, Code: "slow_down"}}},
			[]string{`"type":"rate_limit_error","param":null,"code":"slow_down"`}, "[DONE]", "",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := Codec{}.NewEventWriter(&tc.a)
			var out []byte
			for i := range tc.events {
				out = w.Append(out, &tc.events[i])
			}
			rest := string(out)
			for _, want := range tc.want {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Fatalf("no %q in order in:\n%s", want, out)
				}
				rest = after
			}
			if tc.not != "" && strings.Contains(string(out), tc.not) {
				t.Errorf("%q in:\n%s", tc.not, out)
			}
			if got := w.Losses().String(); got != tc.lost {
				t.Errorf("lost %q, want %q", got, tc.lost)
			}
		})
	}
}

// ordered checks that events come as the hub promises them.
type ordered struct {
	last       neutral.EventKind
	open, over bool
}

func (o *ordered) check(e *neutral.Event) string {
	bad := ""
	switch {
	case o.over:
		bad = "behind the end"
	case e.Kind == neutral.Failed:
		o.over = true
	case (e.Kind == neutral.Begin) != (o.last == 0):
		bad = "begin"
	case e.Kind == neutral.PartBegin && o.open, e.Kind == neutral.Delta && !o.open, e.Kind == neutral.PartEnd && !o.open:
		bad = "part"
	case (e.Kind == neutral.Finish || e.Kind == neutral.End) && o.open:
		bad = "end of an open part"
	case e.Kind == neutral.Delta && !gjson.Valid(`"`+string(e.Raw)+`"`):
		bad = "delta"
	}
	switch e.Kind {
	case neutral.PartBegin:
		o.open = true
		if e.Part == neutral.Call && (e.ID == "" || e.Name == "") {
			bad = "call"
		}
	case neutral.PartEnd:
		o.open = false
	case neutral.End:
		o.over = true
	}
	o.last = e.Kind
	return bad
}

// Whatever an upstream streams, the events are in order, and what they become is events of JSON.
func FuzzReadEvents(f *testing.F) {
	for _, name := range []string{"text", "calls", "interleaved", "same_index", "late", "openrouter", "azure", "error", "mistral", "image"} {
		f.Add(file(f, "streams/"+name+".sse"))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var o ordered
		var out []byte
		w := Codec{}.NewEventWriter(answering)
		failed := false
		complete := replay(body, func(e *neutral.Event) {
			if bad := o.check(e); bad != "" {
				t.Fatalf("%s: %s", bad, line(e))
			}
			failed = failed || e.Kind == neutral.Failed
			out = w.Append(out, e)
		})
		if complete == failed && complete || complete != (o.over && !failed) {
			t.Fatalf("complete = %v, failed = %v, over = %v", complete, failed, o.over)
		}
		for _, event := range bytes.SplitAfter(out, []byte("\n\n")) {
			if data := sse.Data(event); len(data) > 0 && string(data) != doneMark && !gjson.ValidBytes(data) {
				t.Fatalf("wrote %q", event)
			}
		}
	})
}

func FuzzReadResponse(f *testing.F) {
	for _, name := range []string{"text", "calls", "refusal", "pieces"} {
		f.Add(file(f, "responses/"+name+".json"))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := Codec{}.ReadResponse(body)
		if err != nil {
			return
		}
		out := Codec{}.AppendResponse(nil, r, answering)
		if !gjson.ValidBytes(out) {
			t.Fatalf("wrote %s", out)
		}
		again, err := Codec{}.ReadResponse(out)
		if err != nil || again.Stop != 0 && len(again.Parts) > len(r.Parts) {
			t.Fatalf("%v, %d parts, then %d", err, len(r.Parts), len(again.Parts))
		}
	})
}

func TestReadResponseRefuses(t *testing.T) {
	for _, body := range []string{``, `{`, `{}`, `[]`, `{"choices":{}}`, `{"choices":[]}`, `{"choices":[{}]}`, `{"choices":[{"message":"x"}]}`, `{"error":{"message":"x"}}`} {
		if r, err := (Codec{}).ReadResponse([]byte(body)); err == nil {
			t.Errorf("%s: %+v", body, r)
		}
	}
}

var textDelta = []byte(`{"id":"chatcmpl-BkX0aQ1b2c3d4e5f6g7h8i9j","object":"chat.completion.chunk","created":1750000000,"model":"gpt-4o-2024-08-06",` +
	`"service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" hello there"},"logprobs":null,` +
	`"finish_reason":null}],"usage":null,"obfuscation":"kXb3Zq"}`)

var callDelta = []byte(`{"id":"chatcmpl-BkX0aQ1b2c3d4e5f6g7h8i9j","object":"chat.completion.chunk","created":1750000000,"model":"gpt-4o-2024-08-06",` +
	`"service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"city"}}]},` +
	`"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"kXb3Zq"}`)

func BenchmarkReadEvents(b *testing.B) {
	for name, data := range map[string][]byte{"text": textDelta, "call": callDelta} {
		b.Run(name, func(b *testing.B) {
			r := Codec{}.NewEventReader()
			n := 0
			emit := func(*neutral.Event) { n++ }
			r.Read(nil, []byte(`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f"}}]}}]}`), emit)
			if name == "text" {
				r = Codec{}.NewEventReader()
			}
			b.ReportAllocs()
			for b.Loop() {
				r.Read(nil, data, emit)
			}
			if n < b.N {
				b.Fatalf("%d events", n)
			}
		})
	}
}

func BenchmarkWriteEvents(b *testing.B) {
	w := Codec{}.NewEventWriter(answering)
	out := w.Append(nil, &neutral.Event{Kind: neutral.Begin, ID: "chatcmpl-BkX0aQ1b2c3d4e5f6g7h8i9j", Created: 1750000000})
	out = w.Append(out, &neutral.Event{Kind: neutral.PartBegin, Part: neutral.Text})
	e := &neutral.Event{Kind: neutral.Delta, Raw: []byte(" hello there")}
	b.ReportAllocs()
	for b.Loop() {
		if out = w.Append(out[:0], e); len(out) == 0 {
			b.Fatal("nothing written")
		}
	}
}

func BenchmarkReadRequest(b *testing.B) {
	body := file(b, "requests/agent.json")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (Codec{}).ReadRequest(body, "m", true); err != nil {
			b.Fatal(err)
		}
	}
}
