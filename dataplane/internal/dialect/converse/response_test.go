package converse

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/money"
)

const answer = `{"metrics":{"latencyMs":1275},"output":{"message":{"content":[` +
	`{"reasoningContent":{"reasoningText":{"signature":"EqRkL+/=","text":"Hm \"so\"."}}},` +
	`{"reasoningContent":{"redactedContent":"cmVk"}},` +
	`{"text":"Grüße"},` +
	`{"toolUse":{"input":{"n": 1.50},"name":"look","toolUseId":"tooluse_1"}},` +
	`{"toolUse":{"input":null,"name":"go","toolUseId":"tooluse_2"}},` +
	`{"image":{"format":"png","source":{"bytes":"iVBO"}}},` +
	`{"citationsContent":{"content":[{"text":"cited"}],"citations":[{"title":"t"}]}},` +
	`{"somethingNew":{}}` +
	`],"role":"assistant"}},"stopReason":"tool_use","usage":{"cacheDetails":[{"inputTokens":30,"ttl":"1h"},{"inputTokens":10,"ttl":"5m"}],` +
	`"cacheReadInputTokens":100,"cacheWriteInputTokens":40,"inputTokens":9,"outputTokens":3,"serverToolUsage":{},"totalTokens":152}}`

var used = money.Tokens{Input: 149, Cached: 100, CacheWrite: 10, CacheWriteLong: 30, Output: 3}

func TestReadResponse(t *testing.T) {
	got, err := Codec{}.ReadResponse([]byte(answer))
	if err != nil {
		t.Fatal(err)
	}
	want := &neutral.Response{
		Parts: []neutral.Part{
			{Kind: neutral.Think, Text: `Hm "so".`, Signature: signed},
			{Kind: neutral.Redacted, Signature: neutral.Signature{Value: "cmVk", Origin: neutral.FromAnthropic}},
			text("Grüße"),
			{Kind: neutral.Call, ID: "tooluse_1", Name: "look", Args: `{"n": 1.50}`},
			{Kind: neutral.Call, ID: "tooluse_2", Name: "go", Args: `{}`},
			{Kind: neutral.Image, Media: "image/png", Data: "iVBO"},
			text("cited"),
		},
		Stop: neutral.StopCall, Usage: used, Counted: true,
	}
	want.Losses.Add(neutral.LossCitations)
	want.Losses.Add(neutral.LossUnknownPart)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, body := range []string{``, `{`, `[]`, `{}`, `{"output":{}}`, `{"message":"no"}`, `{"output":{"message":{"content":{}}}}`} {
		if r, err := (Codec{}).ReadResponse([]byte(body)); err == nil {
			t.Errorf("%s: %+v", body, r)
		}
	}
}

func TestStops(t *testing.T) {
	for word, want := range map[string]neutral.Stop{
		"end_turn": neutral.StopEnd, "max_tokens": neutral.StopLength, "stop_sequence": neutral.StopSequence,
		"tool_use": neutral.StopCall, "guardrail_intervened": neutral.StopFilter, "content_filtered": neutral.StopFilter,
		"model_context_window_exceeded": neutral.StopContext, "malformed_tool_use": 0, "": 0,
	} {
		if got := stopOf(word); got != want {
			t.Errorf("%s: %v, want %v", word, got, want)
		}
	}
}

// feed reads a stream of "name data" lines, and writes down what is emitted.
func feed(stream string) (trace string, complete bool) {
	r := Codec{}.NewEventReader()
	var b strings.Builder
	emit := func(e *neutral.Event) {
		names := [...]string{"", "begin", "part", "delta", "part end", "finish", "usage", "end", "failed"}
		b.WriteString(names[e.Kind])
		switch e.Kind {
		case neutral.PartBegin:
			fmt.Fprintf(&b, " kind=%d id=%q name=%q media=%q data=%q signature=%q", e.Part, e.ID, e.Name, e.Media, e.Data, e.Signature.Value)
		case neutral.Delta:
			fmt.Fprintf(&b, " %s", e.Raw)
		case neutral.PartEnd:
			fmt.Fprintf(&b, " signature=%q", e.Signature.Value)
		case neutral.Finish:
			fmt.Fprintf(&b, " stop=%d sequence=%q", e.Stop, e.Sequence)
		case neutral.Usage:
			fmt.Fprintf(&b, " %+v", e.Tokens)
		case neutral.Failed:
			fmt.Fprintf(&b, " %+v", *e.Failure)
		}
		b.WriteByte('\n')
	}
	for line := range strings.Lines(stream) {
		name, data, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		r.Read([]byte(name), []byte(data), emit)
	}
	complete = r.Close(emit)
	return b.String(), complete
}

func TestStreams(t *testing.T) {
	for name, tc := range map[string]struct {
		stream   string
		complete bool
	}{
		"whole": {`messageStart {"p":"abcdefgh","role":"assistant"}
contentBlockDelta {"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"Hm "}},"p":"ab"}
contentBlockDelta {"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"\"so\"."}},"p":"abc"}
contentBlockDelta {"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"EqRk"}},"p":"abc"}
contentBlockDelta {"contentBlockIndex":0,"delta":{"reasoningContent":{"signature":"L+/="}},"p":"abc"}
contentBlockStop {"contentBlockIndex":0,"p":"abcdefghijklm"}
contentBlockDelta {"contentBlockIndex":1,"delta":{"text":"Gr\u00fc\u00dfe\n"},"p":"a"}
contentBlockDelta {"contentBlockIndex":1,"delta":{"text":""},"p":"a"}
contentBlockStop {"contentBlockIndex":1}
contentBlockStart {"contentBlockIndex":2,"p":"abcd","start":{"toolUse":{"name":"look","toolUseId":"tooluse_1"}}}
contentBlockDelta {"contentBlockIndex":2,"delta":{"toolUse":{"input":""}},"p":"ab"}
contentBlockDelta {"contentBlockIndex":2,"delta":{"toolUse":{"input":"{\"n\": 1"}},"p":"ab"}
contentBlockDelta {"contentBlockIndex":2,"delta":{"toolUse":{"input":".50}"}},"p":"ab"}
contentBlockStop {"contentBlockIndex":2}
contentBlockStart {"contentBlockIndex":3,"start":{"toolUse":{"name":"go","toolUseId":"tooluse_2"}}}
contentBlockStop {"contentBlockIndex":3}
messageStop {"p":"abcdef","stopReason":"tool_use"}
metadata {"metrics":{"latencyMs":551},"p":"abcde","usage":{"inputTokens":9,"outputTokens":3,"totalTokens":12,"cacheReadInputTokens":5}}
`, true},
		"redacted, and no stops": {`messageStart {"role":"assistant"}
contentBlockDelta {"contentBlockIndex":0,"delta":{"reasoningContent":{"redactedContent":"cmVk"}}}
contentBlockDelta {"contentBlockIndex":1,"delta":{"reasoningContent":{"signature":"EqRk"}}}
contentBlockDelta {"contentBlockIndex":2,"delta":{"text":"a"}}
contentBlockDelta {"contentBlockIndex":3,"delta":{"text":"b"}}
contentBlockDelta {"contentBlockIndex":4,"delta":{"image":{"source":{"bytes":"iVBO"}}}}
somethingNew {"a":1}
messageStop {"stopReason":"stop_sequence","additionalModelResponseFields":{"stop_sequence":"END"}}
`, true},
		"cut": {`messageStart {"role":"assistant"}
contentBlockDelta {"contentBlockIndex":0,"delta":{"text":"a"}}
`, false},
		"exception": {`messageStart {"role":"assistant"}
contentBlockDelta {"contentBlockIndex":0,"delta":{"text":"a"}}
error {"__type":"throttlingException","message":"Too many tokens"}
contentBlockDelta {"contentBlockIndex":0,"delta":{"text":"b"}}
`, false},
		"nonsense": {"messageStart {\"role\":\"assistant\"}\ncontentBlockDelta 7\n", false},
		"nothing":  {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			trace, complete := feed(tc.stream)
			golden(t, "stream_"+strings.ReplaceAll(strings.ReplaceAll(name, ",", ""), " ", "_")+".txt", []byte(trace))
			if complete != tc.complete {
				t.Errorf("complete: %v", complete)
			}
		})
	}
}

// What a stream says is what the plain answer says.
func TestStreamsSayTheSame(t *testing.T) {
	type block struct {
		kind       int
		text, args string
	}
	quoted := func(s string) string {
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	rapid.Check(t, func(t *rapid.T) {
		blocks := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) block {
			return block{rapid.IntRange(0, 3).Draw(t, "kind"), rapid.String().Draw(t, "text"), quoted(rapid.String().Draw(t, "args"))}
		}), 1, 5).Draw(t, "blocks")
		var plain []string
		var events []string
		add := func(name, format string, a ...any) { events = append(events, name, fmt.Sprintf(format, a...)) }
		for i, b := range blocks {
			half := len([]rune(b.text)) / 2
			first, second := string([]rune(b.text)[:half]), string([]rune(b.text)[half:])
			switch b.kind {
			case 0:
				plain = append(plain, `{"text":`+quoted(b.text)+`}`)
				add("contentBlockDelta", `{"contentBlockIndex":%d,"delta":{"text":%s}}`, i, quoted(first))
				add("contentBlockDelta", `{"contentBlockIndex":%d,"delta":{"text":%s}}`, i, quoted(second))
			case 1:
				plain = append(plain, `{"toolUse":{"toolUseId":"t","name":"f","input":{"a":`+b.args+`}}}`)
				add("contentBlockStart", `{"contentBlockIndex":%d,"start":{"toolUse":{"toolUseId":"t","name":"f"}}}`, i)
				add("contentBlockDelta", `{"contentBlockIndex":%d,"delta":{"toolUse":{"input":"{\"a\":"}}}`, i)
				add("contentBlockDelta", `{"contentBlockIndex":%d,"delta":{"toolUse":{"input":%s}}}`, i, quoted(b.args+"}"))
			case 2:
				plain = append(plain, `{"reasoningContent":{"reasoningText":{"text":`+quoted(b.text)+`,"signature":"sig"}}}`)
				add("contentBlockDelta", `{"contentBlockIndex":%d,"delta":{"reasoningContent":{"text":%s}}}`, i, quoted(b.text))
				add("contentBlockDelta", `{"contentBlockIndex":%d,"delta":{"reasoningContent":{"signature":"sig"}}}`, i)
			case 3:
				plain = append(plain, `{"reasoningContent":{"redactedContent":"cmVk"}}`)
				add("contentBlockDelta", `{"contentBlockIndex":%d,"delta":{"reasoningContent":{"redactedContent":"cmVk"}}}`, i)
			}
			if rapid.Bool().Draw(t, "stop") || b.kind == 1 {
				add("contentBlockStop", `{"contentBlockIndex":%d}`, i)
			}
		}
		add("messageStop", `{"stopReason":"end_turn"}`)
		usage := `"usage":{"inputTokens":9,"outputTokens":3,"totalTokens":12}`
		add("metadata", "{%s}", usage)
		want, err := Codec{}.ReadResponse([]byte(`{"output":{"message":{"content":[` + strings.Join(plain, ",") + `]}},"stopReason":"end_turn",` + usage + `}`))
		if err != nil {
			t.Fatal(err)
		}
		got := &neutral.Response{Losses: want.Losses}
		var raw []byte
		emit := func(e *neutral.Event) {
			switch e.Kind {
			case neutral.PartBegin:
				raw = raw[:0]
				got.Parts = append(got.Parts, neutral.Part{Kind: e.Part, ID: e.ID, Name: e.Name, Signature: e.Signature})
			case neutral.Delta:
				raw = append(raw, e.Raw...)
			case neutral.PartEnd:
				p := &got.Parts[len(got.Parts)-1]
				var s string
				if err := json.Unmarshal([]byte(`"`+string(raw)+`"`), &s); err != nil {
					t.Fatal(err)
				}
				if e.Signature.Value != "" {
					p.Signature = e.Signature
				}
				if p.Kind == neutral.Call {
					p.Args = s
				} else {
					p.Text = s
				}
			case neutral.Finish:
				got.Stop = e.Stop
			case neutral.Usage:
				got.Usage, got.Counted = e.Tokens, true
			}
		}
		r := Codec{}.NewEventReader()
		for i := 0; i < len(events); i += 2 {
			r.Read([]byte(events[i]), []byte(events[i+1]), emit)
		}
		if !r.Close(emit) {
			t.Fatal("not complete")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAnswers(t *testing.T) {
	a := Answers{}
	body := []byte(answer)
	if got, ok := a.Usage(nil, body); !ok || got != used {
		t.Errorf("usage of the tail: %+v %v", got, ok)
	}
	if got, ok := a.Usage(body, []byte(`{"usage":7} {"usage"`)); !ok || got != used {
		t.Errorf("usage of the head: %+v %v", got, ok)
	}
	if got, ok := a.Usage(nil, []byte(`"text":"\"usage\":{\"inputTokens\":9}"`)); ok {
		t.Errorf("usage that a model wrote: %+v", got)
	}
	if n := a.BodyText(body); n < len(`Hm "so".Grüße{"n": 1.50}`) || n > 100 {
		t.Errorf("%d bytes of text", n)
	}
	if !a.Finished([]byte(`data: {"stopReason":"end_turn"}`)) || a.Finished([]byte(`data: {}`)) {
		t.Error("finished")
	}
	for _, tc := range []struct {
		status int
		body   string
		want   dialect.UpstreamError
	}{
		{429, `{"message":"Too many requests"}`, dialect.UpstreamError{Status: 429, Message: "Too many requests"}},
		{403, `{"Message":"Not you","__type":"com.amazon.x#AccessDeniedException"}`, dialect.UpstreamError{Status: 403, Type: "AccessDeniedException", Message: "Not you"}},
		{404, `{"message":"no such model"}`, dialect.UpstreamError{Status: 404, Code: "model_not_found", Message: "no such model"}},
		{502, `<html>`, dialect.UpstreamError{Status: 502}},
	} {
		if diff := cmp.Diff(tc.want, a.Error(tc.status, []byte(tc.body))); diff != "" {
			t.Errorf("%s: %s", tc.body, diff)
		}
	}
	if e, ok := a.ErrorBody([]byte(`{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}`)); !ok || e.Type != "UnknownOperationException" || e.Status != 500 {
		t.Errorf("error body: %+v %v", e, ok)
	}
	if e, ok := a.ErrorBody(body); ok {
		t.Errorf("error body: %+v", e)
	}
	if e, ok := a.ErrorEvent([]byte("event: error\ndata: {\"__type\":\"throttlingException\",\"message\":\"m\"}\n\n")); !ok || e != (dialect.UpstreamError{Status: 429, Type: "throttlingException", Message: "m"}) {
		t.Errorf("error event: %+v %v", e, ok)
	}
	if e, ok := a.ErrorEvent([]byte("event: error\ndata: oops\n\n")); !ok || e.Status != 500 {
		t.Errorf("odd error event: %+v %v", e, ok)
	}
	if e, ok := a.ErrorEvent([]byte("event: contentBlockDelta\ndata: {\"delta\":{\"text\":\"event: error __type\"}}\n\n")); ok {
		t.Errorf("error event: %+v", e)
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": 0, "2": 2 * time.Second, "-1": 0, "x": 0, "1e99": dialect.MaxAsked,
		"Thu, 01 Jan 2026 00:01:00 GMT": time.Minute, "Wed, 31 Dec 2025 00:01:00 GMT": 0,
	} {
		if got := a.RetryAfter(func(string) string { return v }, nil, now); got != want {
			t.Errorf("retry after %q: %v, want %v", v, got, want)
		}
	}
}

// FuzzReadResponse: a response that is read has counts that can be billed and calls with arguments that are JSON.
func FuzzReadResponse(f *testing.F) {
	f.Add([]byte(answer))
	f.Add([]byte(`{"output":{"message":{"content":[{"toolUse":{}}]}},"usage":{"inputTokens":1e300,"cacheWriteInputTokens":-1}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		check := func(u money.Tokens) {
			if u.Output < 0 || u.Cached < 0 || u.CacheWrite < 0 || u.CacheWriteLong < 0 || u.Input < u.Cached+u.CacheWrite+u.CacheWriteLong {
				t.Fatalf("%s: %+v", body, u)
			}
		}
		u, _ := Answers{}.Usage(body, body)
		check(u)
		Answers{}.Error(500, body)
		Answers{}.ErrorBody(body)
		Answers{}.ErrorEvent(body)
		Answers{}.BodyText(body)
		r, err := Codec{}.ReadResponse(body)
		if err != nil {
			return
		}
		check(r.Usage)
		for _, p := range r.Parts {
			if p.Kind == neutral.Call && !json.Valid([]byte(p.Args)) {
				t.Fatalf("%s: arguments %s", body, p.Args)
			}
		}
	})
}

// FuzzEvents: whatever comes, events keep their order: Begin first, parts in pairs, nothing after End or Failed.
func FuzzEvents(f *testing.F) {
	f.Add("messageStart {}\ncontentBlockDelta {\"delta\":{\"text\":\"a\"}}\nmessageStop {}\nmetadata {}\ncontentBlockStop {}")
	f.Add("contentBlockStart {\"start\":{\"toolUse\":{}}}\ncontentBlockDelta {\"delta\":{\"toolUse\":{\"input\":\"x\"}}}\nerror {}")
	f.Add("contentBlockDelta {\"delta\":{\"reasoningContent\":{\"signature\":\"a\",\"text\":\"b\",\"redactedContent\":\"c\"}}}\nmessageStop {}")
	f.Fuzz(func(t *testing.T, stream string) {
		last, open := neutral.EventKind(0), false
		emit := func(e *neutral.Event) {
			bad := last == neutral.End || last == neutral.Failed || last == 0 && e.Kind != neutral.Begin && e.Kind != neutral.Failed ||
				last != 0 && e.Kind == neutral.Begin
			switch e.Kind {
			case neutral.PartBegin:
				bad, open = bad || open, true
			case neutral.PartEnd:
				bad, open = bad || !open, false
			case neutral.Delta:
				bad = bad || !open || len(e.Raw) == 0
			case neutral.Finish, neutral.End:
				bad = bad || open
			}
			if bad {
				t.Fatalf("%d after %d: %q", e.Kind, last, stream)
			}
			last = e.Kind
		}
		r := Codec{}.NewEventReader()
		for line := range strings.SplitSeq(stream, "\n") {
			name, data, _ := strings.Cut(line, " ")
			r.Read([]byte(name), []byte(data), emit)
		}
		if complete := r.Close(emit); complete != (last == neutral.End) {
			t.Fatalf("complete is %v after %d: %q", complete, last, stream)
		}
	})
}

func BenchmarkEvents(b *testing.B) {
	r := Codec{}.NewEventReader()
	name, data := []byte("contentBlockDelta"), []byte(`{"contentBlockIndex":0,"delta":{"text":" word"},"p":"abcdefghijklmnop"}`)
	emit := func(*neutral.Event) {}
	b.ReportAllocs()
	for b.Loop() {
		r.Read(name, data, emit)
	}
}
