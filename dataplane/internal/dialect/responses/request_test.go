package responses

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"fairway/dataplane/internal/dialect/neutral"
	"fairway/pkg/fault"
)

// What makes no sense, or what only another provider's memory could answer, is refused by the name of the field.
func TestReadRequestRefuses(t *testing.T) {
	for _, tc := range []struct{ body, param string }{
		{`{}`, "input"},
		{`{"input":7}`, "input"},
		{`{"input":["x"]}`, "input[0]"},
		{`{"input":"x","instructions":[]}`, "instructions"},
		{`{"input":"x","max_output_tokens":"9"}`, "max_output_tokens"},
		{`{"input":"x","temperature":true}`, "temperature"},
		{`{"input":"x","parallel_tool_calls":1}`, "parallel_tool_calls"},
		{`{"input":"x","previous_response_id":"resp_1"}`, "previous_response_id"},
		{`{"input":"x","conversation":"conv_1"}`, "conversation"},
		{`{"input":"x","conversation":{"id":"conv_1"}}`, "conversation"},
		{`{"input":"x","prompt":{"id":"pmpt_1"}}`, "prompt"},
		{`{"input":"x","background":true}`, "background"},
		{`{"input":[{"type":"item_reference","id":"msg_1"}]}`, "input[0]"},
		{`{"input":[{"id":"msg_1"}]}`, "input[0]"},
		{`{"input":[{"type":"compaction","encrypted_content":"x"}]}`, "input[0]"},
		{`{"input":[{}]}`, "input[0].type"},
		{`{"input":[{"role":"tool","content":"x"}]}`, "input[0].role"},
		{`{"input":[{"role":"user"}]}`, "input[0].content"},
		{`{"input":[{"role":"user","content":[{"text":"x"}]}]}`, "input[0].content[0].type"},
		{`{"input":[{"role":"user","content":"a"},{"role":"user","content":[{"type":"input_text","text":"x"},{"type":"input_text"}]}]}`, "input[1].content[1].text"},
		{`{"input":[{"role":"user","content":[{"type":"input_image"}]}]}`, "input[0].content[0].image_url"},
		{`{"input":[{"role":"user","content":[{"type":"input_image","image_url":"data:image/png,raw"}]}]}`, "input[0].content[0].image_url"},
		{`{"input":[{"role":"user","content":[{"type":"input_file","filename":"a"}]}]}`, "input[0].content[0].file_data"},
		{`{"input":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"x","format":"ogg"}}]}]}`, "input[0].content[0].input_audio.format"},
		{`{"input":[{"type":"function_call","name":"f","arguments":"{}"}]}`, "input[0].call_id"},
		{`{"input":[{"type":"function_call","call_id":"c","arguments":"{}"}]}`, "input[0].name"},
		{`{"input":[{"type":"function_call","call_id":"c","name":"f","arguments":{}}]}`, "input[0].arguments"},
		{`{"input":[{"type":"function_call_output","output":"x"}]}`, "input[0].call_id"},
		{`{"input":[{"type":"function_call_output","call_id":"c"}]}`, "input[0].output"},
		{`{"input":"x","tools":{}}`, "tools"},
		{`{"input":"x","tools":[{"name":"f"}]}`, "tools[0].type"},
		{`{"input":"x","tools":[{"type":"function"}]}`, "tools[0].name"},
		{`{"input":"x","tools":[{"type":"function","name":"f","parameters":"x"}]}`, "tools[0].parameters"},
		{`{"input":"x","tool_choice":"some"}`, "tool_choice"},
		{`{"input":"x","tool_choice":{"type":"function"}}`, "tool_choice.name"},
		{`{"input":"x","tool_choice":{}}`, "tool_choice.type"},
		{`{"input":"x","reasoning":"high"}`, "reasoning"},
		{`{"input":"x","reasoning":{"effort":"huge"}}`, "reasoning.effort"},
		{`{"input":"x","text":"json"}`, "text"},
		{`{"input":"x","text":{"format":{"type":"xml"}}}`, "text.format.type"},
		{`{"input":"x","text":{"format":{"type":"json_schema","name":"n"}}}`, "text.format.schema"},
	} {
		r, f := Codec{}.ReadRequest([]byte(tc.body), "m", false)
		if f == nil || f.Kind != fault.Invalid || f.Param != tc.param || !strings.HasPrefix(f.Message, tc.param) || r != nil {
			t.Errorf("%s: got %+v, want a fault of %q", tc.body, f, tc.param)
		}
	}
}

func TestReadRequestLosses(t *testing.T) {
	for body, want := range map[string]string{
		`{"input":"x","store":false,"background":false,"truncation":"disabled","metadata":{},"top_logprobs":0}`: "",
		`{"input":"x","previous_response_id":null,"conversation":null,"prompt":null,"store":null}`:              "",
		`{"input":"x","store":true}`:                                                                   "state",
		`{"input":"x","moderation":{}}`:                                                                "safety",
		`{"input":"x","context_management":[{}]}`:                                                      "truncation",
		`{"input":"x","prompt_cache_retention":"24h"}`:                                                 "cache_control",
		`{"input":"x","reasoning":{"effort":"max"}}`:                                                   "thinking",
		`{"input":"x","reasoning":{"mode":"x"}}`:                                                       "unknown_field",
		`{"input":"x","text":{"more":1}}`:                                                              "unknown_field",
		`{"input":"x","tools":[{"type":"mcp"}]}`:                                                       "server_tools",
		`{"input":"x","tool_choice":{"type":"mcp"}}`:                                                   "server_tools,tool_choice",
		`{"input":[{"type":"computer_call_output"}]}`:                                                  "server_tools",
		`{"input":[{"type":"hologram"}]}`:                                                              "unknown_part",
		`{"input":[{"role":"user","content":"x","a":1}]}`:                                              "unknown_field",
		`{"input":"x","tool_choice":{"type":"allowed_tools","mode":"required","tools":[]}}`:            "tool_choice",
		`{"input":[{"role":"user","content":[{"type":"smell"}]}]}`:                                     "unknown_part",
		`{"input":[{"role":"system","content":[{"type":"input_image","image_url":"https://e.org"}]}]}`: "images",
		`{"input":[{"role":"assistant","content":[{"type":"output_text","text":"x","annotations":[{"type":"file_citation"}]}]}]}`: "citations",
	} {
		r, f := Codec{}.ReadRequest([]byte(body), "m", false)
		if f != nil {
			t.Errorf("%s: %v", body, f)
			continue
		}
		if got := r.Losses.String(); got != want {
			t.Errorf("%s: %q, want %q", body, got, want)
		}
	}
}

// What the dialect has no words for is named.
func TestAppendRequestLosses(t *testing.T) {
	foreign := neutral.Signature{Value: "x", Origin: neutral.FromAnthropic}
	part := func(role neutral.Role, p neutral.Part) neutral.Request {
		return neutral.Request{Turns: []neutral.Turn{{Role: role, Parts: []neutral.Part{p}}}}
	}
	for _, tc := range []struct {
		r    neutral.Request
		want string
	}{
		{neutral.Request{TopK: "1", Seed: "2", PresencePenalty: "0.5", Stop: []string{"x"}}, "penalties,seed,stop_sequences,top_k"},
		{part(neutral.Assistant, neutral.Part{Kind: neutral.Think, Text: "t", Signature: foreign}), "signature,thinking"},
		{part(neutral.Assistant, neutral.Part{Kind: neutral.Think, Signature: foreign}), "signature"},
		{part(neutral.Assistant, neutral.Part{Kind: neutral.Redacted, Signature: foreign}), "signature,thinking"},
		{part(neutral.Assistant, neutral.Part{Kind: neutral.Call, ID: "c", Name: "f", Args: "{}", Signature: foreign}), "signature"},
		{part(neutral.Assistant, neutral.Part{Kind: neutral.Image, Data: "aGk="}), "images"},
		{part(neutral.User, neutral.Part{Kind: neutral.Image, FileID: "file_011"}), "images"},
		{part(neutral.User, neutral.Part{Kind: neutral.File, FileID: "gs://x"}), "files"},
		{part(neutral.User, neutral.Part{Kind: neutral.Audio, Media: "audio/ogg", Data: "aGk="}), "audio"},
		{part(neutral.User, neutral.Part{Kind: neutral.Result, ID: "c", Parts: []neutral.Part{{Kind: neutral.Audio}, {Kind: neutral.Text, Text: "x"}}}), "audio"},
	} {
		out, f := Codec{}.AppendRequest(nil, &tc.r, "m")
		if got := tc.r.Losses.String(); f != nil || got != tc.want || !json.Valid(out) {
			t.Errorf("%+v: %q, want %q: %s", tc.r, got, tc.want, out)
		}
	}
}

func TestEffort(t *testing.T) {
	for _, tc := range []struct {
		t    neutral.Thinking
		want string
	}{
		{neutral.Thinking{}, ""},
		{neutral.Thinking{Off: true, Effort: "high"}, "none"},
		{neutral.Thinking{Effort: "low", Budget: "99999"}, "low"},
		{neutral.Thinking{Budget: "-1"}, ""},
		{neutral.Thinking{Budget: "0"}, "none"},
		{neutral.Thinking{Budget: "100"}, "minimal"},
		{neutral.Thinking{Budget: "1023"}, "minimal"},
		{neutral.Thinking{Budget: "1024"}, "low"},
		{neutral.Thinking{Budget: "8192"}, "medium"},
		{neutral.Thinking{Budget: "24576"}, "high"},
		{neutral.Thinking{Budget: "3.2768e4"}, "xhigh"},
	} {
		if got := effortOf(&tc.t); got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.t, got, tc.want)
		}
	}
}

func maybe[T any](t *rapid.T, what string, g *rapid.Generator[T], none T) T {
	if rapid.Bool().Draw(t, "has "+what) {
		return g.Draw(t, what)
	}
	return none
}

var (
	words  = rapid.StringMatching(`[a-z0-9_]{1,8}`)
	texts  = rapid.OneOf(rapid.StringMatching("[ -~\n\t\r\\\\\"äß€\U0001F600]{1,20}"), rapid.SampledFrom([]string{"\x00", "\u2028", "</s>", "data: x\n\n"}))
	number = rapid.Map(rapid.SampledFrom([]string{"1", "0.70", "1e-1", "4096"}), func(s string) neutral.Number { return neutral.Number(s) })
	args   = rapid.SampledFrom([]string{"{}", `{"a":1.50,"b":"\"\\\n"}`, `{"ü":[null]}`})
	schema = rapid.SampledFrom([]string{`{"type":"object","properties":{}}`, `{"type":"object","properties":{"usage":{"type":"string"}}}`})
)

func drawThink(t *rapid.T) neutral.Part {
	sig := neutral.Signature{
		Value:  "rs_" + words.Draw(t, "reasoning id") + ":" + rapid.StringMatching(`[A-Za-z0-9_=-]{1,20}`).Draw(t, "proof"),
		Origin: neutral.FromOpenAI,
	}
	return neutral.Part{Kind: neutral.Think, Text: maybe(t, "thought", texts, ""), Signature: sig}
}

func drawCall(t *rapid.T) neutral.Part {
	return neutral.Part{Kind: neutral.Call, ID: words.Draw(t, "call id"), Name: words.Draw(t, "tool"), Args: args.Draw(t, "args")}
}

func drawMedia(t *rapid.T, kind neutral.Kind) neutral.Part {
	p := neutral.Part{Kind: kind}
	if kind == neutral.Image {
		p.Detail = rapid.SampledFrom([]string{"low", "high", "auto"}).Draw(t, "detail")
	} else {
		p.Name = words.Draw(t, "file name")
	}
	switch rapid.IntRange(0, 2).Draw(t, "source") {
	case 0:
		p.Media, p.Data = "image/png", "aGVsbG8="
	case 1:
		p.URL = "https://example.org/" + words.Draw(t, "path")
	default:
		p.FileID = "file-" + words.Draw(t, "file id")
	}
	return p
}

// drawRequest draws a request that uses only what the dialect can say.
func drawRequest(t *rapid.T) *neutral.Request {
	yes := func(what string) *bool { b := rapid.Bool().Draw(t, what); return &b }
	r := &neutral.Request{
		Model: "m", Stream: rapid.Bool().Draw(t, "stream"),
		MaxTokens: maybe(t, "max tokens", number, ""), Temperature: maybe(t, "temperature", number, ""), TopP: maybe(t, "top p", number, ""),
		User: maybe(t, "user", texts, ""), Tier: maybe(t, "tier", rapid.SampledFrom([]string{"auto", "flex"}), ""),
	}
	if rapid.Bool().Draw(t, "has system") {
		r.System = []neutral.Part{{Kind: neutral.Text, Text: texts.Draw(t, "system")}}
	}
	role := neutral.User
	for range rapid.IntRange(1, 4).Draw(t, "turns") {
		turn := neutral.Turn{Role: role}
		for range rapid.IntRange(1, 4).Draw(t, "parts") {
			turn.Parts = append(turn.Parts, drawPart(t, role))
		}
		r.Turns = append(r.Turns, turn)
		next := []neutral.Role{neutral.User, neutral.Assistant, neutral.System}
		role = next[(int(role)-1+rapid.IntRange(1, 2).Draw(t, "next role"))%3]
	}
	for range rapid.IntRange(0, 2).Draw(t, "tools") {
		r.Tools = append(r.Tools, neutral.Tool{
			Name: words.Draw(t, "tool"), Description: maybe(t, "description", texts, ""), Schema: schema.Draw(t, "schema"), Strict: yes("strict"),
		})
	}
	r.Choice.How = rapid.SampledFrom([]neutral.Choose{0, neutral.ChooseAuto, neutral.ChooseNone, neutral.ChooseAny, neutral.ChooseTool}).Draw(t, "choice")
	if r.Choice.How == neutral.ChooseTool {
		r.Choice.Name = words.Draw(t, "chosen")
	}
	if rapid.Bool().Draw(t, "has parallel") {
		r.Parallel = yes("parallel")
	}
	r.Format.Kind = rapid.SampledFrom([]neutral.FormatKind{0, neutral.FormatText, neutral.FormatJSON, neutral.FormatSchema}).Draw(t, "format")
	if r.Format.Kind == neutral.FormatSchema {
		r.Format.Name, r.Format.Schema = words.Draw(t, "format name"), schema.Draw(t, "format schema")
		r.Format.Description, r.Format.Strict = maybe(t, "format description", texts, ""), yes("format strict")
	}
	switch effort := rapid.SampledFrom([]string{"", "none", "minimal", "low", "medium", "high", "xhigh"}).Draw(t, "effort"); effort {
	case "none":
		r.Thinking.Off = true
	default:
		r.Thinking.Effort = effort
		if rapid.Bool().Draw(t, "show") {
			show := true
			r.Thinking.Show, r.Thinking.Summary = &show, rapid.SampledFrom([]string{"auto", "concise", "detailed"}).Draw(t, "summary")
		}
	}
	return r
}

func drawPart(t *rapid.T, role neutral.Role) neutral.Part {
	text := neutral.Part{Kind: neutral.Text, Text: texts.Draw(t, "text")}
	kind := rapid.IntRange(0, 3).Draw(t, "kind")
	switch {
	case role == neutral.Assistant && kind == 1:
		return drawCall(t)
	case role == neutral.Assistant && kind == 2:
		return drawThink(t)
	case role == neutral.Assistant && kind == 3:
		text.Kind = neutral.Refusal
	case role == neutral.User && kind == 1:
		return drawMedia(t, neutral.Image)
	case role == neutral.User && kind == 2:
		return drawMedia(t, neutral.File)
	case role == neutral.User && kind == 3:
		p := neutral.Part{Kind: neutral.Result, ID: words.Draw(t, "call id"), Failed: rapid.Bool().Draw(t, "failed")}
		for range rapid.IntRange(0, 2).Draw(t, "results") {
			if rapid.Bool().Draw(t, "image") {
				p.Parts = append(p.Parts, drawMedia(t, neutral.Image))
			} else {
				p.Parts = append(p.Parts, text)
			}
		}
		return p
	}
	return text
}

func TestRequestSurvives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := drawRequest(t)
		body, f := Codec{}.AppendRequest(nil, want, "m")
		if f != nil || !json.Valid(body) {
			t.Fatalf("%v: %s", f, body)
		}
		got, f := Codec{}.ReadRequest(body, "m", want.Stream)
		if f != nil {
			t.Fatalf("%v: %s", f, body)
		}
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("(-want +got):\n%s\n%s", d, body)
		}
	})
}

// Whatever a client sends is refused, or becomes a request that reads back as the same one.
func FuzzReadRequest(f *testing.F) {
	paths, _ := filepath.Glob("testdata/*.request.json")
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"input":[{"role":"user","content":[{"type":"input_file","file_data":"data:a\"b;base64,\"}","filename":""}]}]}`))
	f.Add([]byte(`{"input":[{"type":"reasoning","summary":[],"encrypted_content":"a:b"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, fault := Codec{}.ReadRequest(body, "m", false)
		if fault != nil {
			if fault.Param == "" || r != nil {
				t.Fatalf("a fault without a field: %v", fault)
			}
			return
		}
		for i := 1; i < len(r.Turns); i++ {
			if r.Turns[i].Role == r.Turns[i-1].Role {
				t.Fatal("neighbours have the same role")
			}
		}
		if !json.Valid(body) {
			return
		}
		first, fault := Codec{}.AppendRequest(nil, r, "m")
		if fault != nil || !json.Valid(first) {
			t.Fatalf("%v: %s", fault, first)
		}
		again, fault := Codec{}.ReadRequest(first, "m", false)
		if fault != nil {
			t.Fatalf("%v: %s", fault, first)
		}
		second, fault := Codec{}.AppendRequest(nil, again, "m")
		if fault != nil || string(second) != string(first) {
			t.Fatalf("%v\nfirst:  %s\nsecond: %s", fault, first, second)
		}
	})
}
