package openai

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
)

func TestAppendRequest(t *testing.T) {
	text := func(s string) neutral.Part { return neutral.Part{Kind: neutral.Text, Text: s} }
	user := func(parts ...neutral.Part) []neutral.Turn {
		return []neutral.Turn{{Role: neutral.User, Parts: parts}}
	}
	assistant := func(parts ...neutral.Part) []neutral.Turn {
		return []neutral.Turn{{Role: neutral.Assistant, Parts: parts}}
	}
	yes := true
	tools := []neutral.Tool{{Name: "f"}}
	signed := neutral.Signature{Value: "s", Origin: neutral.FromAnthropic}
	for _, tc := range []struct {
		name string
		r    neutral.Request
		path string // in what is written
		want string // what stands there, raw
		lost string
	}{
		{"usage is always asked for", neutral.Request{Stream: true}, "stream_options", `{"include_usage":true}`, ""},
		{"no stream", neutral.Request{}, "stream", ``, ""},
		{
			"results come first", neutral.Request{Turns: user(text("so?"), neutral.Part{Kind: neutral.Result, ID: "a", Parts: []neutral.Part{text("1")}}, neutral.Part{Kind: neutral.Result, ID: "b"})},
			"messages", `[{"role":"tool","tool_call_id":"a","content":"1"},{"role":"tool","tool_call_id":"b","content":""},{"role":"user","content":"so?"}]`, "",
		},
		{
			"an image in a result", neutral.Request{Turns: user(neutral.Part{Kind: neutral.Result, ID: "a", Parts: []neutral.Part{text("see"), {Kind: neutral.Image, URL: "http://x/y"}}}, text("so?"))},
			"messages", `[{"role":"tool","tool_call_id":"a","content":"see"},{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x/y"}},{"type":"text","text":"so?"}]}]`, "",
		},
		{"a tool that failed", neutral.Request{Turns: user(neutral.Part{Kind: neutral.Result, ID: "a", Failed: true, Parts: []neutral.Part{text("boom")}})}, "messages.0.content", `"boom"`, "unknown_field"},
		{"text as a file", neutral.Request{Turns: user(neutral.Part{Kind: neutral.File, Media: "text/plain", Data: "R3LDvMOfZQ==", Name: "a.txt"})}, "messages.0.content", `[{"type":"text","text":"Grüße"}]`, "names"},
		{"a file by its address", neutral.Request{Turns: user(text("a"), neutral.Part{Kind: neutral.File, URL: "http://x"})}, "messages.0.content", `[{"type":"text","text":"a"}]`, "files"},
		{"a file without a name", neutral.Request{Turns: user(neutral.Part{Kind: neutral.File, Media: "application/pdf", Data: "AA=="})}, "messages.0.content.0.file.filename", `"file"`, ""},
		{"an image of a store", neutral.Request{Turns: user(neutral.Part{Kind: neutral.Image, FileID: "f"})}, "messages.0.content", `""`, "images"},
		{"another sound", neutral.Request{Turns: user(neutral.Part{Kind: neutral.Audio, Media: "audio/ogg", Data: "AA=="})}, "messages.0.content", `""`, "audio"},
		{"an image of the assistant", neutral.Request{Turns: assistant(text("a"), neutral.Part{Kind: neutral.Image, URL: "http://x"})}, "messages.0.content", `[{"type":"text","text":"a"}]`, "images"},
		{"reasoning", neutral.Request{Turns: assistant(neutral.Part{Kind: neutral.Think, Text: "hm"}, text("a"))}, "messages.0", `{"role":"assistant","content":"a"}`, "thinking"},
		{"reasoning with a signature", neutral.Request{Turns: assistant(neutral.Part{Kind: neutral.Redacted, Signature: signed}, text("a"))}, "messages.0", `{"role":"assistant","content":"a"}`, "signature,thinking"},
		{"a call with a signature", neutral.Request{Turns: assistant(neutral.Part{Kind: neutral.Call, ID: "i", Name: "f", Args: "{}", Signature: signed})}, "messages.0.tool_calls.0", `{"id":"i","type":"function","function":{"name":"f","arguments":"{}"}}`, "signature"},
		{"text with a signature", neutral.Request{Turns: assistant(neutral.Part{Kind: neutral.Text, Text: "a", Signature: signed})}, "messages.0.content", `"a"`, "signature"},
		{"five stops", neutral.Request{Stop: []string{"1", "2", "3", "4", "5"}}, "stop", `["1","2","3","4"]`, "stop_sequences"},
		{"top_k", neutral.Request{TopK: "4"}, "top_k", ``, "top_k"},
		{"numbers as they were", neutral.Request{Temperature: "1.0e0"}, "temperature", `1.0e0`, ""},
		{"a choice without tools", neutral.Request{Choice: neutral.Choice{How: neutral.ChooseAny}}, "tool_choice", ``, "tool_choice"},
		{"auto without tools", neutral.Request{Choice: neutral.Choice{How: neutral.ChooseAuto}, Parallel: &yes}, "tool_choice", ``, ""},
		{"a tool by its name", neutral.Request{Tools: tools, Choice: neutral.Choice{How: neutral.ChooseTool, Name: "f"}}, "tool_choice", `{"type":"function","function":{"name":"f"}}`, ""},
		{"a schema without a name", neutral.Request{Format: neutral.Format{Kind: neutral.FormatSchema, Schema: `{"a": 1}`}}, "response_format", `{"type":"json_schema","json_schema":{"name":"response","schema":{"a": 1}}}`, ""},
		{"thinking off", neutral.Request{Thinking: neutral.Thinking{Off: true, Budget: "9000"}}, "reasoning_effort", `"none"`, ""},
		{"an effort before a budget", neutral.Request{Thinking: neutral.Thinking{Effort: "low", Budget: "9000"}}, "reasoning_effort", `"low"`, ""},
		{"a budget of the table", neutral.Request{Thinking: neutral.Thinking{Budget: "8192"}}, "reasoning_effort", `"medium"`, ""},
		{"a budget between", neutral.Request{Thinking: neutral.Thinking{Budget: "8191"}}, "reasoning_effort", `"low"`, "thinking"},
		{"the least budget", neutral.Request{Thinking: neutral.Thinking{Budget: "1"}}, "reasoning_effort", `"minimal"`, "thinking"},
		{"a huge budget", neutral.Request{Thinking: neutral.Thinking{Budget: "1e9"}}, "reasoning_effort", `"xhigh"`, "thinking"},
		{"a budget of nothing", neutral.Request{Thinking: neutral.Thinking{Budget: "0"}}, "reasoning_effort", `"none"`, ""},
		{"as much as it likes", neutral.Request{Thinking: neutral.Thinking{Budget: "-1"}}, "reasoning_effort", ``, ""},
		{"showing the reasoning", neutral.Request{Thinking: neutral.Thinking{Show: &yes}}, "reasoning_effort", ``, "thinking"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := Codec{}.AppendRequest([]byte("before"), &tc.r, "m")
			if err != nil {
				t.Fatal(err)
			}
			body, ok := strings.CutPrefix(string(out), "before")
			if !ok || !gjson.Valid(body) || gjson.Get(body, "model").Str != "m" {
				t.Fatalf("%s", out)
			}
			if got := gjson.Get(body, tc.path).Raw; got != tc.want {
				t.Errorf("%s = %s, want %s", tc.path, got, tc.want)
			}
			if got := tc.r.Losses.String(); got != tc.lost {
				t.Errorf("lost %q, want %q", got, tc.lost)
			}
		})
	}
}
