package anthropic

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"fairway/dataplane/internal/dialect/neutral"
)

// What makes no sense in its own dialect is refused with the name of the field.
func TestReadRequestRefuses(t *testing.T) {
	const user = `{"role":"user","content":"hi"}`
	for _, tc := range []struct{ name, members, param string }{
		{"no messages", `"max_tokens":1`, "messages"},
		{"messages no array", `"messages":{}`, "messages"},
		{"messages empty", `"messages":[]`, "messages"},
		{"message no object", `"messages":["hi"]`, "messages[0]"},
		{"no role", `"messages":[{"content":"hi"}]`, "messages[0].role"},
		{"other role", `"messages":[` + user + `,{"role":"tool","content":"hi"}]`, "messages[1].role"},
		{"no content", `"messages":[{"role":"user"}]`, "messages[0].content"},
		{"content no blocks", `"messages":[{"role":"user","content":7}]`, "messages[0].content"},
		{"block no object", `"messages":[{"role":"user","content":["hi"]}]`, "messages[0].content[0]"},
		{"block without type", `"messages":[{"role":"user","content":[{"text":"x"}]}]`, "messages[0].content[0].type"},
		{"text without text", `"messages":[` + user + `,{"role":"user","content":[{"type":"text","text":"x"},{"type":"text"}]}]`, "messages[1].content[1].text"},
		{"image without source", `"messages":[{"role":"user","content":[{"type":"image"}]}]`, "messages[0].content[0].source.type"},
		{"image of no kind", `"messages":[{"role":"user","content":[{"type":"image","source":{"type":"x"}}]}]`, "messages[0].content[0].source.type"},
		{"image without data", `"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png"}}]}]`, "messages[0].content[0].source.data"},
		{"call by the user", `"messages":[{"role":"user","content":[{"type":"tool_use","id":"a","name":"f","input":{}}]}]`, "messages[0].content[0].type"},
		{"call without id", `"messages":[{"role":"assistant","content":[{"type":"tool_use","name":"f","input":{}}]}]`, "messages[0].content[0].id"},
		{"input no object", `"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":[]}]}]`, "messages[0].content[0].input"},
		{"result by the assistant", `"messages":[{"role":"assistant","content":[{"type":"tool_result","tool_use_id":"a"}]}]`, "messages[0].content[0].type"},
		{"result in a result", `"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"tool_result","tool_use_id":"b"}]}]}]`, ""},
		{"thinking by the user", `"messages":[{"role":"user","content":[{"type":"thinking","thinking":"x","signature":"s"}]}]`, "messages[0].content[0].type"},
		{"is_error no boolean", `"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","is_error":1}]}]`, "messages[0].content[0].is_error"},
		{"part of a result", `"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text"}]}]}]`, "messages[0].content[0].content[0].text"},
		{"system no text", `"system":7,"messages":[` + user + `]`, "system"},
		{"system with an image", `"system":[{"type":"image","source":{"type":"url","url":"u"}}],"messages":[` + user + `]`, "system"},
		{"system block", `"system":[{"type":"text"}],"messages":[` + user + `]`, "system[0].text"},
		{"max_tokens no number", `"max_tokens":"7","messages":[` + user + `]`, "max_tokens"},
		{"stops no array", `"stop_sequences":"x","messages":[` + user + `]`, "stop_sequences"},
		{"stop no string", `"stop_sequences":["a",1],"messages":[` + user + `]`, "stop_sequences[1]"},
		{"tools no array", `"tools":{},"messages":[` + user + `]`, "tools"},
		{"tool without name", `"tools":[{"input_schema":{}}],"messages":[` + user + `]`, "tools[0].name"},
		{"schema no object", `"tools":[{"name":"f","input_schema":"x"}],"messages":[` + user + `]`, "tools[0].input_schema"},
		{"choice of no kind", `"tool_choice":{"type":"required"},"messages":[` + user + `]`, "tool_choice.type"},
		{"choice without name", `"tool_choice":{"type":"tool"},"messages":[` + user + `]`, "tool_choice.name"},
		{"thinking of no kind", `"thinking":{"type":"hard"},"messages":[` + user + `]`, "thinking.type"},
		{"thinking without budget", `"thinking":{"type":"enabled"},"messages":[` + user + `]`, "thinking.budget_tokens"},
		{"format of no kind", `"output_config":{"format":{"type":"json"}},"messages":[` + user + `]`, "output_config.format.type"},
		{"format without schema", `"output_format":{"type":"json_schema"},"messages":[` + user + `]`, "output_format.schema"},
		{"metadata no object", `"metadata":"x","messages":[` + user + `]`, "metadata"},
		{"broken escape", `"messages":[{"role":"user","content":"a\qb"}]`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, f := Codec{}.ReadRequest([]byte(`{"model":"m",`+tc.members+`}`), "m", false)
			switch {
			case f == nil:
				t.Fatal("it was read")
			case f.HTTPStatus() != 400 || tc.param != "" && f.Param != tc.param || !strings.Contains(f.Message, f.Param):
				t.Errorf("%d %q: %s, want 400 %q", f.HTTPStatus(), f.Param, f.Message, tc.param)
			}
		})
	}
}

func userSays(text string) []neutral.Turn {
	return []neutral.Turn{{Role: neutral.User, Parts: []neutral.Part{{Kind: neutral.Text, Text: text}}}}
}

// What other dialects ask for, and what becomes of it.
func TestAppendRequest(t *testing.T) {
	const old, new46, new47 = "claude-sonnet-4-5", "claude-opus-4-6", "claude-opus-4-7"
	yes, no := true, false
	hi := userSays("hi")
	tool := []neutral.Tool{{Name: "f"}}
	text := func(s string) neutral.Part { return neutral.Part{Kind: neutral.Text, Text: s} }
	call := func(id string) neutral.Part {
		return neutral.Part{Kind: neutral.Call, ID: id, Name: "f", Args: `{"a":1}`}
	}
	result := func(id string) neutral.Part {
		return neutral.Part{Kind: neutral.Result, ID: id, Parts: []neutral.Part{text("r")}}
	}
	const hiJSON = `"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]`
	const f = `,"tools":[{"name":"f","input_schema":{"type":"object","properties":{}}}]`
	for _, tc := range []struct {
		name, model string
		r           neutral.Request
		want        string // without the model, and without the default max_tokens
		losses      string
	}{
		{"least", old, neutral.Request{Turns: hi}, hiJSON, ""},
		{"stream", old, neutral.Request{Turns: hi, Stream: true}, hiJSON + `,"stream":true`, ""},
		{"max_tokens by another spelling", old, neutral.Request{Turns: hi, MaxTokens: "1e2"}, `"max_tokens":100,` + hiJSON, ""},
		{"system turns first", old, neutral.Request{
			System: []neutral.Part{text("a")},
			Turns:  append([]neutral.Turn{{Role: neutral.System, Parts: []neutral.Part{text("b")}}}, hi...),
		}, `"system":[{"type":"text","text":"a"},{"type":"text","text":"b"}],` + hiJSON, ""},
		{"system turn in the middle, results first", old, neutral.Request{Turns: []neutral.Turn{
			hi[0], {Role: neutral.Assistant, Parts: []neutral.Part{call("a")}},
			{Role: neutral.System, Parts: []neutral.Part{text("now")}},
			{Role: neutral.User, Parts: []neutral.Part{text("t"), result("a")}},
		}}, `"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},` +
			`{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"a":1}}]},` +
			`{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":"r"}]},` +
			`{"type":"text","text":"<system>\nnow\n</system>"},{"type":"text","text":"t"}]}]`, ""},
		{"assistant first", old, neutral.Request{Turns: []neutral.Turn{{Role: neutral.Assistant, Parts: []neutral.Part{text("yes?")}}, hi[0]}},
			`"messages":[{"role":"user","content":[{"type":"text","text":"."}]},{"role":"assistant","content":[{"type":"text","text":"yes?"}]},` +
				`{"role":"user","content":[{"type":"text","text":"hi"}]}]`, ""},
		{"nothing between two of one", old, neutral.Request{Turns: []neutral.Turn{
			hi[0], {Role: neutral.Assistant, Parts: []neutral.Part{{Kind: neutral.Think, Text: "hm"}}}, hi[0],
		}}, `"messages":[{"role":"user","content":[{"type":"text","text":"hi"},{"type":"text","text":"hi"}]}]`, "thinking"},
		{"foreign and own thoughts", old, neutral.Request{Turns: []neutral.Turn{hi[0], {Role: neutral.Assistant, Parts: []neutral.Part{
			{Kind: neutral.Think, Text: "g", Signature: neutral.Signature{Value: "s", Origin: neutral.FromGemini}},
			{Kind: neutral.Think, Signature: neutral.Signature{Value: "s", Origin: neutral.FromAnthropic}},
			{Kind: neutral.Redacted, Signature: neutral.Signature{Value: "d", Origin: neutral.FromAnthropic}},
			{Kind: neutral.Redacted, Signature: neutral.Signature{Value: "d", Origin: neutral.FromOpenAI}},
			text("x"),
		}}}}, `"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[` +
			`{"type":"thinking","thinking":"","signature":"s"},{"type":"redacted_thinking","data":"d"},{"type":"text","text":"x"}]}]`, "signature,thinking"},
		{"ids", old, neutral.Request{Turns: []neutral.Turn{
			hi[0], {Role: neutral.Assistant, Parts: []neutral.Part{call(""), call("f:1")}},
			{Role: neutral.User, Parts: []neutral.Part{result(""), result("f:1")}},
		}}, `"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[` +
			`{"type":"tool_use","id":"call_1","name":"f","input":{"a":1}},{"type":"tool_use","id":"f_3a_1","name":"f","input":{"a":1}}]},` +
			`{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","content":[{"type":"text","text":"r"}]},` +
			`{"type":"tool_result","tool_use_id":"f_3a_1","content":[{"type":"text","text":"r"}]}]}]`, ""},
		{"arguments that are none", old, neutral.Request{Turns: []neutral.Turn{hi[0], {Role: neutral.Assistant, Parts: []neutral.Part{
			{Kind: neutral.Call, ID: "a", Name: "f", Args: `{"a":`}, {Kind: neutral.Call, ID: "b", Name: "f"},
		}}, {Role: neutral.User, Parts: []neutral.Part{{Kind: neutral.Result, ID: "a", Failed: true}}}}},
			`"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[` +
				`{"type":"tool_use","id":"a","name":"f","input":{"arguments":"{\"a\":"}},{"type":"tool_use","id":"b","name":"f","input":{}}]},` +
				`{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":"failed"}],"is_error":true}]}]`, ""},
		{"pictures and files", old, neutral.Request{Turns: []neutral.Turn{{Role: neutral.User, Parts: []neutral.Part{
			{Kind: neutral.Image, URL: "https://e.com/a", Detail: "low"},
			{Kind: neutral.Image, URL: "data:image/gif;base64,R0lGOD"},
			{Kind: neutral.Image, Data: "/9j/"},
			{Kind: neutral.Image, FileID: "file-openai"},
			{Kind: neutral.File, Media: "text/csv", Data: "YQ==", Name: "a.csv"},
			{Kind: neutral.File, Media: "application/zip", Data: "YQ=="},
			{Kind: neutral.File, URL: "https://e.com/a.pdf"},
			{Kind: neutral.Audio, Data: "YQ=="},
		}}}}, `"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://e.com/a"}},` +
			`{"type":"image","source":{"type":"base64","media_type":"image/gif","data":"R0lGOD"}},` +
			`{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"/9j/"}},` +
			`{"type":"document","source":{"type":"text","media_type":"text/plain","data":"a"},"title":"a.csv"},` +
			`{"type":"document","source":{"type":"url","url":"https://e.com/a.pdf"}}]}]`, "audio,files,image_detail,images"},
		{"what does not exist there", old, neutral.Request{
			Turns: hi, Seed: "1", FrequencyPenalty: "0.5", PresencePenalty: "0", Tier: "flex", Stop: []string{" \n", "x"},
			Format: neutral.Format{Kind: neutral.FormatJSON},
		}, hiJSON + `,"stop_sequences":["x"]`, "penalties,schema,seed,stop_sequences,tier"},
		{"penalties of 0", old, neutral.Request{Turns: hi, FrequencyPenalty: "0.0"}, hiJSON, ""},

		{"schema", old, neutral.Request{Turns: hi, Format: neutral.Format{Kind: neutral.FormatSchema, Schema: `{"type":"object"}`}},
			hiJSON + `,"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}`, ""},
		{"tool schema without a type", old, neutral.Request{Turns: hi, Tools: []neutral.Tool{{Name: "f", Schema: ` { "properties":{}}`, Strict: &yes}, {Name: "g", Schema: `{}`}, {Name: "h", Schema: `true`}}},
			hiJSON + `,"tools":[{"name":"f","input_schema":{"type":"object","properties":{}},"strict":true},` +
				`{"name":"g","input_schema":{"type":"object"}},{"name":"h","input_schema":{"type":"object","properties":{}}}]`, "schema"},
		{"one tool at a time", old, neutral.Request{Turns: hi, Tools: tool, Parallel: &no},
			hiJSON + f + `,"tool_choice":{"type":"auto","disable_parallel_tool_use":true}`, ""},
		{"any tool", old, neutral.Request{Turns: hi, Tools: tool, Choice: neutral.Choice{How: neutral.ChooseAny}, Parallel: &yes},
			hiJSON + f + `,"tool_choice":{"type":"any","disable_parallel_tool_use":false}`, ""},
		{"one tool", old, neutral.Request{Turns: hi, Tools: tool, Choice: neutral.Choice{How: neutral.ChooseTool, Name: "f"}},
			hiJSON + f + `,"tool_choice":{"type":"tool","name":"f"}`, ""},
		{"choice without tools", old, neutral.Request{Turns: hi, Choice: neutral.Choice{How: neutral.ChooseAny}}, hiJSON, "tool_choice"},

		{"effort as a budget", old, neutral.Request{Turns: hi, Thinking: neutral.Thinking{Effort: "medium"}},
			`"max_tokens":16384,` + hiJSON + `,"thinking":{"type":"enabled","budget_tokens":8192}`, ""},
		{"least effort", old, neutral.Request{Turns: hi, Thinking: neutral.Thinking{Effort: "minimal", Summary: "auto"}},
			`"max_tokens":9216,` + hiJSON + `,"thinking":{"type":"enabled","budget_tokens":1024,"display":"summarized"}`, ""},
		{"budget beyond the answer", old, neutral.Request{Turns: hi, MaxTokens: "4000", Thinking: neutral.Thinking{Effort: "high"}},
			`"max_tokens":4000,` + hiJSON + `,"thinking":{"type":"enabled","budget_tokens":3999}`, "thinking"},
		{"no room to think", old, neutral.Request{Turns: hi, MaxTokens: "1024", Thinking: neutral.Thinking{Effort: "high"}},
			`"max_tokens":1024,` + hiJSON, "thinking"},
		{"budget too small", old, neutral.Request{Turns: hi, MaxTokens: "9000", Thinking: neutral.Thinking{Budget: "10"}},
			`"max_tokens":9000,` + hiJSON + `,"thinking":{"type":"enabled","budget_tokens":1024}`, "thinking"},
		{"budget of nothing", old, neutral.Request{Turns: hi, Thinking: neutral.Thinking{Budget: "0"}}, hiJSON + `,"thinking":{"type":"disabled"}`, ""},
		{"as much as it likes", old, neutral.Request{Turns: hi, Thinking: neutral.Thinking{Budget: "-1"}},
			`"max_tokens":32768,` + hiJSON + `,"thinking":{"type":"enabled","budget_tokens":24576}`, "thinking"},
		{"unknown effort", old, neutral.Request{Turns: hi, Thinking: neutral.Thinking{Effort: "heroic"}}, hiJSON, "thinking"},
		{"forced tool", old, neutral.Request{Turns: hi, Tools: tool, Choice: neutral.Choice{How: neutral.ChooseAny}, Thinking: neutral.Thinking{Effort: "low"}},
			hiJSON + f + `,"tool_choice":{"type":"any"}`, "thinking"},
		{"a loop that did not think", old, neutral.Request{Thinking: neutral.Thinking{Effort: "low"}, Turns: []neutral.Turn{
			hi[0], {Role: neutral.Assistant, Parts: []neutral.Part{call("a")}}, {Role: neutral.User, Parts: []neutral.Part{result("a")}},
		}}, `"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},` +
			`{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"a":1}}]},` +
			`{"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":[{"type":"text","text":"r"}]}]}]`, "thinking"},
		{"adaptive", new46, neutral.Request{Turns: hi, MaxTokens: "9", Thinking: neutral.Thinking{Effort: "xhigh", Show: &no}},
			`"max_tokens":9,` + hiJSON + `,"thinking":{"type":"adaptive","display":"omitted"},"output_config":{"effort":"max"}`, ""},
		{"adaptive by budget", new47, neutral.Request{Turns: hi, MaxTokens: "9", Thinking: neutral.Thinking{Budget: "30000", Show: &yes}},
			`"max_tokens":9,` + hiJSON + `,"thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"high"}`, "thinking"},
		{"adaptive, least", new47, neutral.Request{Turns: hi, MaxTokens: "9", Thinking: neutral.Thinking{Effort: "minimal"}},
			`"max_tokens":9,` + hiJSON + `,"thinking":{"type":"adaptive"},"output_config":{"effort":"low"}`, ""},
		{"adaptive, most", new47, neutral.Request{Turns: hi, Thinking: neutral.Thinking{Effort: "xhigh"}},
			`"max_tokens":40960,` + hiJSON + `,"thinking":{"type":"adaptive"},"output_config":{"effort":"xhigh"}`, ""},
		{"adaptive as it likes", new47, neutral.Request{Turns: hi, Thinking: neutral.Thinking{Budget: "-1"}},
			hiJSON + `,"thinking":{"type":"adaptive"}`, ""},

		{"hot", old, neutral.Request{Turns: hi, Temperature: "1.7"}, hiJSON + `,"temperature":1`, "temperature"},
		{"both samplers", old, neutral.Request{Turns: hi, Temperature: "0.70", TopP: "0.9", TopK: "5"}, hiJSON + `,"temperature":0.70,"top_k":5`, "temperature"},
		{"both samplers before", "claude-3-5-haiku-latest", neutral.Request{Turns: hi, Temperature: "0.70", TopP: "0.9"}, hiJSON + `,"temperature":0.70,"top_p":0.9`, ""},
		{"samplers with thoughts", old, neutral.Request{Turns: hi, MaxTokens: "9000", TopP: "0.9", TopK: "5", Temperature: "0.5", Thinking: neutral.Thinking{Effort: "low"}},
			`"max_tokens":9000,` + hiJSON + `,"thinking":{"type":"enabled","budget_tokens":1024}`, "temperature,top_k"},
		{"samplers that are fixed", new47, neutral.Request{Turns: hi, TopP: "0.99", TopK: "5", Temperature: "0.5"}, hiJSON, "temperature,top_k"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := tc.want
			if !strings.HasPrefix(want, `"max_tokens"`) {
				want = `"max_tokens":8192,` + want
			}
			want = `x{"model":"` + tc.model + `",` + want + `}`
			got, f := Codec{}.AppendRequest([]byte("x"), &tc.r, tc.model)
			if f != nil {
				t.Fatal(f)
			}
			if d := cmp.Diff(want, string(got)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if !json.Valid(got[1:]) {
				t.Error("not JSON")
			}
			if got := tc.r.Losses.String(); got != tc.losses {
				t.Errorf("losses = %q, want %q", got, tc.losses)
			}
		})
	}
}

func TestAppendRequestNothingToSay(t *testing.T) {
	r := &neutral.Request{Turns: []neutral.Turn{{Role: neutral.User, Parts: []neutral.Part{{Kind: neutral.Audio, Data: "YQ=="}}}}}
	if _, f := (Codec{}).AppendRequest(nil, r, "m"); f == nil || f.Param != "messages" {
		t.Errorf("fault = %v, want one that names messages", f)
	}
}

func TestGeneration(t *testing.T) {
	for model, want := range map[string]int{
		"claude-sonnet-4-5-20250929": 405, "claude-sonnet-4-20250514": 400, "claude-opus-4-1": 401, "claude-opus-4-6": 406,
		"us.anthropic.claude-opus-4-7-v1:0": 407, "claude-opus-4-5@20251101": 405, "anthropic/claude-opus-4.6": 406,
		"claude-3-5-sonnet-latest": 305, "claude-3-haiku-20240307": 300, "claude-2.1": 201, "claude-sonnet-5": 500, "claude-fable-5-1": 501,
		"claude-mythos-preview": 407, "gpt-5": 0, "claude-": 0, "claude-next": 0, "": 0,
	} {
		if got := generation(model); got != want {
			t.Errorf("%q: %d, want %d", model, got, want)
		}
	}
}

// A conversation of what the API can say comes back as it was.
func TestRequestThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawRequest(t)
		body, f := Codec{}.AppendRequest(nil, want, want.Model)
		if f != nil {
			t.Fatal(f)
		}
		if want.Losses != 0 {
			t.Fatalf("losses: %s in %s", want.Losses, body)
		}
		got, f := Codec{}.ReadRequest(body, want.Model, want.Stream)
		if f != nil {
			t.Fatalf("%s: %v", body, f)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("%s\n(-want +got):\n%s", body, d)
		}
	})
}

func drawText(t *rapid.T, label string) string { return rapid.StringN(1, 20, -1).Draw(t, label) }

func drawRequest(t *rapid.T) *neutral.Request {
	pick := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	coin := func(label string) bool { return rapid.Bool().Draw(t, label) }
	r := &neutral.Request{Model: "claude-sonnet-4-5", MaxTokens: neutral.Number(pick("max", "5000", "100")), Stream: coin("stream")}
	if coin("system") {
		r.System = []neutral.Part{{Kind: neutral.Text, Text: drawText(t, "system text")}}
	}
	for i := range rapid.IntRange(1, 4).Draw(t, "turns") {
		r.Turns = append(r.Turns, drawTurn(t, i))
	}
	if coin("tools") {
		strict := coin("strict")
		r.Tools = []neutral.Tool{
			{Name: "f", Description: drawText(t, "description"), Schema: `{"type":"object","properties":{"a":{"type":"string"}}}`, Strict: &strict},
			{Name: "g", Schema: `{ "type" : "object" }`},
		}
		r.Choice.How = neutral.Choose(rapid.IntRange(0, int(neutral.ChooseTool)).Draw(t, "choice"))
		if r.Choice.How == neutral.ChooseTool {
			r.Choice.Name = "g"
		}
		if r.Choice.How == neutral.ChooseAuto || r.Choice.How == neutral.ChooseAny || r.Choice.How == neutral.ChooseTool {
			many := coin("parallel")
			r.Parallel = &many
		}
	}
	switch pick("thinking", "none", "off", "budget", "effort") {
	case "off":
		r.Thinking.Off = true
	case "budget":
		if r.MaxTokens == "5000" && r.Choice.How < neutral.ChooseAny && !unthinkingLoop(r.Turns) {
			r.Thinking.Budget = "2048"
		}
	case "effort":
		r.Model = "claude-opus-4-7"
		if r.Choice.How < neutral.ChooseAny {
			show := coin("show")
			r.Thinking = neutral.Thinking{Effort: pick("effort", "low", "medium", "high", "xhigh"), Show: &show}
		}
	case "none":
		r.Temperature = neutral.Number(pick("temperature", "", "0.70", "1"))
		if r.Temperature == "" {
			r.TopP = neutral.Number(pick("top_p", "", "0.5"))
		}
		r.TopK = neutral.Number(pick("top_k", "", "40"))
	}
	if coin("stop") {
		r.Stop = []string{"END", "x" + drawText(t, "stop text")}
	}
	if coin("schema") {
		r.Format = neutral.Format{Kind: neutral.FormatSchema, Schema: `{"type":"object"}`}
	}
	r.User = pick("user", "", "user-1")
	r.Tier = pick("tier", "", "auto", "default")
	return r
}

func drawTurn(t *rapid.T, i int) neutral.Turn {
	turn := neutral.Turn{Role: neutral.User}
	kinds := []string{"text", "image", "image url", "image file", "file", "text file", "result"}
	if i%2 == 1 {
		turn.Role = neutral.Assistant
		kinds = []string{"text", "think", "empty think", "redacted", "call"}
	}
	own := func() neutral.Signature {
		return neutral.Signature{Value: rapid.StringMatching(`[A-Za-z0-9+/]{4,20}`).Draw(t, "signature"), Origin: neutral.FromAnthropic}
	}
	results := 0
	for range rapid.IntRange(1, 4).Draw(t, "parts") {
		p := neutral.Part{}
		switch rapid.SampledFrom(kinds).Draw(t, "kind") {
		case "text":
			p = neutral.Part{Kind: neutral.Text, Text: drawText(t, "text")}
		case "image":
			p = neutral.Part{Kind: neutral.Image, Media: "image/png", Data: "iVBORw0KGgo="}
		case "image url":
			p = neutral.Part{Kind: neutral.Image, URL: "https://e.com/" + drawText(t, "path")}
		case "image file":
			p = neutral.Part{Kind: neutral.Image, FileID: "file_1"}
		case "file":
			p = neutral.Part{Kind: neutral.File, Media: "application/pdf", Data: "JVBERi0xLjQK", Name: drawText(t, "name")}
		case "text file":
			p = neutral.Part{Kind: neutral.File, Media: "text/plain", Data: "aGk="}
		case "result":
			p = neutral.Part{
				Kind: neutral.Result, ID: rapid.StringMatching(`[a-zA-Z0-9_-]{1,9}`).Draw(t, "id"), Failed: rapid.Bool().Draw(t, "failed"),
				Parts: []neutral.Part{{Kind: neutral.Text, Text: drawText(t, "result")}},
			}
			// Results stand first.
			turn.Parts = append(turn.Parts[:results], append([]neutral.Part{p}, turn.Parts[results:]...)...)
			results++
			continue
		case "think":
			p = neutral.Part{Kind: neutral.Think, Text: drawText(t, "thought"), Signature: own()}
		case "empty think":
			p = neutral.Part{Kind: neutral.Think, Signature: own()}
		case "redacted":
			p = neutral.Part{Kind: neutral.Redacted, Signature: own()}
		case "call":
			p = neutral.Part{Kind: neutral.Call, ID: rapid.StringMatching(`[a-zA-Z0-9_-]{1,9}`).Draw(t, "id"), Name: "f", Args: `{"a": 1.50}`}
		}
		turn.Parts = append(turn.Parts, p)
	}
	return turn
}

// Whatever is read can be written, as JSON that is read again; and what was written once comes out the same from then on.
func FuzzReadRequest(f *testing.F) {
	for _, body := range inputs(f, "request/*.json") {
		f.Add(body, "claude-sonnet-4-5")
	}
	f.Add([]byte(`{"messages":[{"role":"user","content":"hi"}],"max_tokens":1e3,"temperature":-0}`), "claude-opus-4-7")
	f.Add([]byte(`{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"x"}]},{"role":"user","content":[{"type":"text","text":"a"},`+
		`{"type":"tool_result","tool_use_id":"a:b","is_error":true}]}],"tools":[{"name":"f"}],"tool_choice":{"type":"any"},"thinking":{"type":"adaptive"}}`), "")
	f.Fuzz(func(t *testing.T, body []byte, model string) {
		if !json.Valid(body) || len(body) == 0 || body[0] != '{' {
			return
		}
		q, fault := Codec{}.ReadRequest(body, model, false)
		if fault != nil {
			if fault.HTTPStatus() != 400 {
				t.Fatalf("%d %v", fault.HTTPStatus(), fault)
			}
			return
		}
		if n := EstimateTokens(q); n < base {
			t.Fatalf("%d tokens", n)
		}
		var written [3][]byte
		for i := range written {
			if written[i], fault = (Codec{}).AppendRequest(nil, q, model); fault != nil {
				if i > 0 {
					t.Fatalf("%s: %v", written[i-1], fault)
				}
				return
			}
			if !json.Valid(written[i]) {
				t.Fatalf("not JSON: %s", written[i])
			}
			if q, fault = (Codec{}).ReadRequest(written[i], model, false); fault != nil {
				t.Fatalf("%s: %v", written[i], fault)
			}
		}
		if string(written[1]) != string(written[2]) {
			t.Fatalf("not the same again:\n%s\n%s", written[1], written[2])
		}
	})
}

func BenchmarkRequest(b *testing.B) {
	body := inputs(b, "request/agent.json")["testdata/request/agent.json"]
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, f := (Codec{}).ReadRequest(body, "claude-sonnet-4-5", true); f != nil {
				b.Fatal(f)
			}
		}
	})
	b.Run("append", func(b *testing.B) {
		q, f := Codec{}.ReadRequest(body, "claude-sonnet-4-5", true)
		if f != nil {
			b.Fatal(f)
		}
		var dst []byte
		b.ReportAllocs()
		for b.Loop() {
			dst, _ = Codec{}.AppendRequest(dst[:0], q, "claude-sonnet-4-5")
		}
	})
}
