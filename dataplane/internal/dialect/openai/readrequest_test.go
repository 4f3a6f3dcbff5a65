package openai

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/fault"
)

func TestReadRequestRefuses(t *testing.T) {
	const hi = `{"role":"user","content":"hi"}`
	for _, tc := range []struct{ body, param string }{
		{`{}`, "messages"},
		{`{"messages":null}`, "messages"},
		{`{"messages":[]}`, "messages"},
		{`{"messages":"hi"}`, "messages"},
		{`{"messages":[7]}`, "messages[0]"},
		{`{"messages":[{"content":"x"}]}`, "messages[0].role"},
		{`{"messages":[{"role":7,"content":"x"}]}`, "messages[0].role"},
		{`{"messages":[{"role":"robot","content":"x"}]}`, "messages[0].role"},
		{`{"messages":[{"role":"user"}]}`, "messages[0].content"},
		{`{"messages":[{"role":"user","content":null}]}`, "messages[0].content"},
		{`{"messages":[{"role":"user","content":[]}]}`, "messages[0].content"},
		{`{"messages":[{"role":"user","content":{}}]}`, "messages[0].content"},
		{`{"messages":[` + hi + `,{"role":"user","content":["x"]}]}`, "messages[1].content[0]"},
		{`{"messages":[{"role":"user","content":[{"text":"x"}]}]}`, "messages[0].content[0].type"},
		{`{"messages":[{"role":"user","content":[{"type":"text"}]}]}`, "messages[0].content[0].text"},
		{`{"messages":[` + hi + `,` + hi + `,{"role":"user","content":[{"type":"text","text":"x"},{"type":"refusal","refusal":"x"}]}]}`, "messages[2].content[1].type"},
		{`{"messages":[{"role":"system","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}]}`, "messages[0].content[0].type"},
		{`{"messages":[{"role":"assistant","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}]}`, "messages[0].content[0].type"},
		{`{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}`, "messages[0].content[0].image_url.url"},
		{`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png,x"}}]}]}`, "messages[0].content[0].image_url.url"},
		{`{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"x","format":"ogg"}}]}]}`, "messages[0].content[0].input_audio.format"},
		{`{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"format":"wav"}}]}]}`, "messages[0].content[0].input_audio.data"},
		{`{"messages":[{"role":"user","content":[{"type":"file","file":{"filename":"x"}}]}]}`, "messages[0].content[0].file"},
		{`{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"f","file_data":"x"}}]}]}`, "messages[0].content[0].file"},
		{`{"messages":[{"role":"user","content":[{"type":"file","file":{"file_data":"data:x"}}]}]}`, "messages[0].content[0].file.file_data"},
		{`{"messages":[{"role":"assistant"}]}`, "messages[0].content"},
		{`{"messages":[{"role":"assistant","tool_calls":{}}]}`, "messages[0].tool_calls"},
		{`{"messages":[{"role":"assistant","tool_calls":[{"function":{"name":"x"}}]}]}`, "messages[0].tool_calls[0].id"},
		{`{"messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"x"}},{"id":"x"}]}]}`, "messages[0].tool_calls[1].function.name"},
		{`{"messages":[{"role":"assistant","function_call":{}}]}`, "messages[0].function_call.name"},
		{`{"messages":[{"role":"tool","content":"x"}]}`, "messages[0].tool_call_id"},
		{`{"messages":[{"role":"function","name":"f","content":"x"}]}`, "messages[0].role"},
		{`{"messages":[` + hi + `],"temperature":"hot"}`, "temperature"},
		{`{"messages":[` + hi + `],"max_tokens":[]}`, "max_tokens"},
		{`{"messages":[` + hi + `],"parallel_tool_calls":1}`, "parallel_tool_calls"},
		{`{"messages":[` + hi + `],"user":1}`, "user"},
		{`{"messages":[` + hi + `],"stop":1}`, "stop"},
		{`{"messages":[` + hi + `],"stop":["a",1]}`, "stop"},
		{`{"messages":[` + hi + `],"reasoning_effort":"a lot"}`, "reasoning_effort"},
		{`{"messages":[` + hi + `],"response_format":"json"}`, "response_format"},
		{`{"messages":[` + hi + `],"response_format":{"type":"xml"}}`, "response_format.type"},
		{`{"messages":[` + hi + `],"response_format":{"type":"json_schema","json_schema":{}}}`, "response_format.json_schema.name"},
		{`{"messages":[` + hi + `],"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":1}}}`, "response_format.json_schema.schema"},
		{`{"messages":[` + hi + `],"tools":{}}`, "tools"},
		{`{"messages":[` + hi + `],"tools":[1]}`, "tools[0]"},
		{`{"messages":[` + hi + `],"tools":[{}]}`, "tools[0].type"},
		{`{"messages":[` + hi + `],"tools":[{"type":"function"}]}`, "tools[0].function"},
		{`{"messages":[` + hi + `],"tools":[{"type":"function","function":{}}]}`, "tools[0].function.name"},
		{`{"messages":[` + hi + `],"tools":[{"type":"function","function":{"name":"x","parameters":[]}}]}`, "tools[0].function.parameters"},
		{`{"messages":[` + hi + `],"tools":[{"type":"custom","custom":{}}]}`, "tools[0].custom.name"},
		{`{"messages":[` + hi + `],"tool_choice":"any"}`, "tool_choice"},
		{`{"messages":[` + hi + `],"tool_choice":{"type":"function"}}`, "tool_choice.function.name"},
		{`{"messages":[` + hi + `],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"none","tools":[]}}}`, "tool_choice.allowed_tools.mode"},
		{`{"messages":[` + hi + `],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto"}}}`, "tool_choice.allowed_tools.tools"},
		{`{"messages":[` + hi + `],"functions":{}}`, "functions"},
		{`{"messages":[` + hi + `],"function_call":"required"}`, "function_call"},
	} {
		if !json.Valid([]byte(tc.body)) {
			t.Fatalf("%s: not JSON", tc.body)
		}
		_, err := Codec{}.ReadRequest([]byte(tc.body), "m", false)
		switch {
		case err == nil:
			t.Errorf("%s: accepted", tc.body)
		case err.Param != tc.param || err.Kind != fault.Invalid || !strings.HasPrefix(err.Message, tc.param+" "):
			t.Errorf("%s: %q %v %q, want %q", tc.body, err.Param, err.Kind, err.Message, tc.param)
		}
	}
}

// Each field that the form cannot hold, alone.
func TestReadRequestLosses(t *testing.T) {
	for field, want := range map[string]string{
		`"n":1`: "", `"n":2`: "n", `"n":null`: "",
		`"store":true`: "state", `"verbosity":"low"`: "verbosity", `"prompt_cache_key":"k"`: "cache_control",
		`"stream_options":{"include_usage":true}`: "", `"new":{}`: "unknown_field", `"new":null`: "",
		`"user":"a","safety_identifier":"a"`: "", `"user":"a","safety_identifier":"b"`: "user",
		`"functions":[{"name":"f"}]`: "unknown_field", `"tools":[{"type":"code_interpreter"}]`: "server_tools",
		`"tools":[{"type":"function","function":{"name":"f"},"cache_control":{}}]`:      "cache_control",
		`"tools":[{"type":"custom","custom":{"name":"f","format":{"type":"text"}}}]`:    "",
		`"response_format":{"type":"json_schema","json_schema":{"name":"x","other":1}}`: "unknown_field",
		`"modalities":["text"]`: "", `"modalities":["text","audio"]`: "audio", `"web_search_options":{}`: "server_tools",
	} {
		body := `{"messages":[{"role":"user","content":"hi"}],` + field + `}`
		r, err := Codec{}.ReadRequest([]byte(body), "m", false)
		if err != nil {
			t.Errorf("%s: %v", field, err)
			continue
		}
		if got := r.Losses.String(); got != want {
			t.Errorf("%s: lost %q, want %q", field, got, want)
		}
	}
}

// Where a client that collected a stream kept the pieces of the reasoning, they are one thought again.
func TestReasoningInPieces(t *testing.T) {
	var b strings.Builder
	b.WriteString(`[`)
	for range 50_000 {
		b.WriteString(`{"type":"reasoning.text","text":"ab","index":0},`)
	}
	b.WriteString(`{"type":"reasoning.text","signature":"s","format":"google-gemini-v1","index":0}]`)
	var l neutral.Losses
	parts := readReasoning(nil, gjson.Result{}, gjson.Parse(b.String()), &l)
	if len(parts) != 1 || len(parts[0].Text) != 100_000 || parts[0].Signature != (neutral.Signature{Value: "s", Origin: neutral.FromGemini}) || l != 0 {
		t.Errorf("%d parts, %d bytes, lost %q", len(parts), len(parts[0].Text), l)
	}
}

func FuzzReadRequest(f *testing.F) {
	for _, name := range []string{"agent", "media", "reasoning", "lossy", "harmless", "functions"} {
		f.Add(file(f, "requests/"+name+".json"))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !gjson.ValidBytes(body) || !gjson.ParseBytes(body).IsObject() {
			t.Skip()
		}
		r, err := Codec{}.ReadRequest(body, "m", true)
		if err != nil {
			if err.Kind != fault.Invalid || err.Param == "" {
				t.Fatalf("refused with %v %q", err, err.Param)
			}
			return
		}
		for i, turn := range r.Turns {
			if i > 0 && r.Turns[i-1].Role == turn.Role || len(turn.Parts) == 0 {
				t.Fatalf("turn %d: %+v", i, turn)
			}
			for _, p := range turn.Parts {
				if p.Kind == neutral.Call && (p.ID == "" || !gjson.Parse(p.Args).IsObject() || !gjson.Valid(p.Args)) {
					t.Fatalf("call %+v", p)
				}
			}
		}
		for _, asker := range []neutral.Asker{Codec{}, ReasoningCodec{}} {
			out, err := asker.AppendRequest(nil, r, "m")
			if err != nil || !gjson.ValidBytes(out) {
				t.Fatalf("%v %s", err, out)
			}
		}
	})
}
