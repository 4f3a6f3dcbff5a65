package gemini

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairway/dataplane/internal/dialect/neutral"
)

// say is a request with one user's text and rest as further members.
func say(rest string) []byte {
	if rest != "" {
		rest = "," + rest
	}
	return []byte(`{"contents":[{"role":"user","parts":[{"text":"x"}]}]` + rest + `}`)
}

func TestReadRefuses(t *testing.T) {
	for _, tc := range []struct{ body, param string }{
		{`{}`, "contents"},
		{`{"contents":[]}`, "contents"},
		{`{"contents":[{"role":"user","parts":[{"text":""}]}]}`, "contents"},
		{`{"contents":["x"]}`, "contents[0]"},
		{`{"contents":[{"role":"system","parts":[{"text":"x"}]}]}`, "contents[0].role"},
		{`{"contents":[{"role":"user","parts":[]}]}`, "contents[0].parts"},
		{`{"contents":[{"role":"user"}]}`, "contents[0].parts"},
		{`{"contents":[{"parts":[{"text":"a"},{"text":7}]}]}`, "contents[0].parts[1].text"},
		{`{"contents":[{"parts":[{"text":"a","inlineData":{}}]}]}`, "contents[0].parts[0]"},
		{`{"contents":[{"parts":["a"]}]}`, "contents[0].parts[0]"},
		{`{"contents":[{"parts":[{"inline_data":{"mime_type":"image/png","data":"?"}}]}]}`, "contents[0].parts[0].inlineData.data"},
		{`{"contents":[{"parts":[{"inlineData":{"data":"AAAA"}}]}]}`, "contents[0].parts[0].inlineData.mimeType"},
		{`{"contents":[{"parts":[{"inlineData":{"evil<script>":1,"mimeType":2}}]}]}`, "contents[0].parts[0].inlineData.mimeType"},
		{`{"contents":[{"parts":[{"fileData":{"mimeType":"a/b"}}]}]}`, "contents[0].parts[0].fileData.fileUri"},
		{`{"contents":[{"role":"user","parts":[{"functionCall":{"name":"f"}}]}]}`, "contents[0].parts[0].functionCall"},
		{`{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f","args":"{}"}}]}]}`, "contents[0].parts[0].functionCall.args"},
		{`{"contents":[{"role":"model","parts":[{"functionCall":{"args":{}}}]}]}`, "contents[0].parts[0].functionCall.name"},
		{`{"contents":[{"role":"model","parts":[{"functionResponse":{"name":"f"}}]}]}`, "contents[0].parts[0].functionResponse"},
		{`{"contents":[{"parts":[{"functionResponse":{"response":{}}}]}]}`, "contents[0].parts[0].functionResponse.name"},
		{`{"contents":[{"parts":[{"functionResponse":{"name":"f","response":"x"}}]}]}`, "contents[0].parts[0].functionResponse.response"},
		{string(say(`"systemInstruction":"x"`)), "systemInstruction"},
		{string(say(`"systemInstruction":{"parts":[{"text":1}]}`)), "systemInstruction.parts[0].text"},
		{string(say(`"tools":[{"functionDeclarations":[{"description":"x"}]}]`)), "tools[0].functionDeclarations[0].name"},
		{string(say(`"tools":[{"functionDeclarations":[{"name":"f","parameters":1}]}]`)), "tools[0].functionDeclarations[0].parameters"},
		{string(say(`"toolConfig":{"functionCallingConfig":{"mode":"SOME"}}`)), "toolConfig.functionCallingConfig.mode"},
		{string(say(`"generationConfig":{"temperature":"warm"}`)), "generationConfig.temperature"},
		{string(say(`"generationConfig":{"topK":true}`)), "generationConfig.topK"},
		{string(say(`"generationConfig":{"stopSequences":["a",1]}`)), "generationConfig.stopSequences[1]"},
		{string(say(`"generationConfig":{"responseMimeType":"text/html"}`)), "generationConfig.responseMimeType"},
		{string(say(`"generationConfig":{"responseSchema":{},"responseJsonSchema":{}}`)), "generationConfig.responseJsonSchema"},
		{string(say(`"generationConfig":{"thinkingConfig":{"thinkingLevel":"EXTREME"}}`)), "generationConfig.thinkingConfig.thinkingLevel"},
		{string(say(`"generationConfig":{"thinkingConfig":{"thinkingLevel":"LOW","thinkingBudget":5}}`)), "generationConfig.thinkingConfig"},
		{`[]`, ""},
		{`{"contents":[{"parts":[{"text":"a` + "\n" + `b"}]}]}`, ""}, // a control character in a string
	} {
		r, f := Codec{}.ReadRequest([]byte(tc.body), "m", false)
		if f == nil {
			t.Errorf("%s: accepted as %+v", tc.body, r)
			continue
		}
		if f.Param != tc.param || f.HTTPStatus() != 400 {
			t.Errorf("%s: %q %v, want param %q", tc.body, f.Param, f, tc.param)
		}
		if tc.param != "" && !strings.Contains(f.Message, tc.param) {
			t.Errorf("%s: %q does not name the field", tc.body, f.Message)
		}
	}
}

func TestReadLosses(t *testing.T) {
	for rest, want := range map[string]string{
		`"safetySettings":[]`:                              "",
		`"safetySettings":[{"category":"X"}]`:              "safety",
		`"cachedContent":"c"`:                              "state",
		`"labels":{"a":"b"}`:                               "metadata",
		`"serviceTier":"unspecified"`:                      "",
		`"serviceTier":"odd"`:                              "tier",
		`"store":true`:                                     "state",
		`"model":"models/x"`:                               "",
		`"never_heard_of":1`:                               "unknown_field",
		`"tools":[{"codeExecution":{}},{"urlContext":{}}]`: "server_tools",
		`"tools":[{"functionDeclarations":[{"name":"f","response":{}}]}]`:                              "schema",
		`"generationConfig":{"candidateCount":1}`:                                                      "",
		`"generationConfig":{"candidateCount":3}`:                                                      "n",
		`"generationConfig":{"responseLogprobs":true}`:                                                 "logprobs",
		`"generationConfig":{"responseModalities":["TEXT"]}`:                                           "",
		`"generationConfig":{"responseModalities":["TEXT","IMAGE","AUDIO"]}`:                           "audio,images",
		`"generationConfig":{"speechConfig":{}}`:                                                       "audio",
		`"generationConfig":{"mediaResolution":"MEDIA_RESOLUTION_LOW"}`:                                "image_detail",
		`"generationConfig":{"responseMimeType":"text/x.enum","responseSchema":{"type":"STRING"}}`:     "schema",
		`"generationConfig":{"oddity":1}`:                                                              "unknown_field",
		`"toolConfig":{"functionCallingConfig":{"mode":"VALIDATED"}}`:                                  "strict",
		`"toolConfig":{"retrievalConfig":{}}`:                                                          "server_tools",
		`"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["a","b"]}}`:       "",
		`"systemInstruction":{"parts":[{"inlineData":{"mimeType":"image/png","data":"AA=="}}]}`:        "images",
		`"tools":{"functionDeclarations":{"name":"f","behavior":"NON_BLOCKING","parameters":{"a":1}}}`: "unknown_field",
		`"tools":[{"functionDeclarations":[{"name":"a"},{"name":"b"},{"name":"c"}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["a","b"]}}`: "tool_choice",
	} {
		r, f := Codec{}.ReadRequest(say(rest), "m", false)
		if f != nil {
			t.Errorf("%s: %v", rest, f)
			continue
		}
		if got := r.Losses.String(); got != want {
			t.Errorf("%s: %q, want %q", rest, got, want)
		}
	}
	for part, want := range map[string]string{
		`{"executableCode":{"code":"x"}}`:                                        "server_tools",
		`{"codeExecutionResult":{}},{"toolCall":{}}`:                             "server_tools",
		`{"hologram":{}}`:                                                        "unknown_field,unknown_part",
		`{"text":"a","videoMetadata":{}}`:                                        "unknown_field",
		`{"text":"a","mediaResolution":{"level":"MEDIA_RESOLUTION_LOW"}}`:        "image_detail",
		`{"inlineData":{"mimeType":"image/png","data":"AA","displayName":"p"}}`:  "names",
		`{"functionResponse":{"name":"f","response":{},"parts":[{"text":"a"}]}}`: "unknown_field,unknown_part",
	} {
		r, f := Codec{}.ReadRequest([]byte(`{"contents":[{"parts":[{"text":"a"},`+part+`]}]}`), "m", false)
		if f != nil {
			t.Errorf("%s: %v", part, f)
			continue
		}
		if got := r.Losses.String(); got != want {
			t.Errorf("%s: %q, want %q", part, got, want)
		}
	}
}

func TestSchema(t *testing.T) {
	for google, want := range map[string]string{
		`{"type":"STRING"}`:                                                            `{"type":"string"}`,
		`{"type":"string","nullable":true}`:                                            `{"type":["string","null"]}`,
		`{"od\"d":1,"$ref":"#/x"}`:                                                     `{"od\"d":1,"$ref":"#/x"}`,
		`{"type":"TYPE_UNSPECIFIED"}`:                                                  `{}`,
		`{"type":"STRING","enum":["a"],"format":"enum","nullable":true}`:               `{"type":["string","null"],"enum":["a",null]}`,
		`{"type":"ARRAY","max_items":"3","items":{"type":"INTEGER","format":"int64"}}`: `{"type":"array","maxItems":3,"items":{"type":"integer","format":"int64"}}`,
		`{"anyOf":[{"type":"NUMBER","minimum":0.50},{"type":"NULL"}]}`:                 `{"anyOf":[{"type":"number","minimum":0.50},{"type":"null"}]}`,
		`{"type":"OBJECT","properties":{"type":{"type":"STRING"},"b":{"type":"BOOLEAN"}},"propertyOrdering":["b","none","b"]}`: `{"type":"object","properties":{"b":{"type":"boolean"},"type":{"type":"string"}}}`,
		`{"description":"d","example":{"a":1},"default":"x"}`:                                                                  `{"description":"d","examples":[{"a":1}],"default":"x"}`,
	} {
		r, f := Codec{}.ReadRequest(say(`"tools":[{"functionDeclarations":[{"name":"f","parameters":`+google+`}]}]`), "m", false)
		if f != nil {
			t.Errorf("%s: %v", google, f)
			continue
		}
		if got := r.Tools[0].Schema; got != want || r.Losses != 0 {
			t.Errorf("%s: %s, want %s (losses %s)", google, got, want, r.Losses)
		}
	}
}

func TestThinking(t *testing.T) {
	yes := true
	for _, tc := range []struct {
		model string
		t     neutral.Thinking
		want  string
		lossy bool
	}{
		{"gemini-2.5-flash", neutral.Thinking{}, ``, false},
		{"gemini-2.5-flash", neutral.Thinking{Effort: "minimal"}, `{"thinkingBudget":512}`, false},
		{"gemini-2.5-flash", neutral.Thinking{Effort: "medium", Show: &yes}, `{"thinkingBudget":8192,"includeThoughts":true}`, false},
		{"gemini-2.5-flash", neutral.Thinking{Effort: "xhigh"}, `{"thinkingBudget":24576}`, true},
		{"gemini-2.5-pro", neutral.Thinking{Effort: "xhigh"}, `{"thinkingBudget":32768}`, false},
		{"gemini-2.5-flash", neutral.Thinking{Off: true}, `{"thinkingBudget":0}`, false},
		{"models/gemini-2.5-pro", neutral.Thinking{Off: true}, `{"thinkingBudget":128}`, true},
		{"gemini-2.5-flash", neutral.Thinking{Budget: "-1"}, `{"thinkingBudget":-1}`, false},
		{"gemini-2.5-flash", neutral.Thinking{Budget: "99999"}, `{"thinkingBudget":24576}`, true},
		{"gemini-2.5-flash", neutral.Thinking{Summary: "auto"}, `{"includeThoughts":true}`, false},
		{"gemini-2.5-flash", neutral.Thinking{Summary: "detailed"}, `{"includeThoughts":true}`, true},
		{"gemini-2.0-flash", neutral.Thinking{Effort: "high", Show: &yes}, ``, true},
		{"gemini-2.0-flash", neutral.Thinking{Off: true}, ``, false},
		{"gemma-3-27b-it", neutral.Thinking{Budget: "5"}, ``, true},
		{"gemini-3-flash-preview", neutral.Thinking{Effort: "minimal"}, `{"thinkingLevel":"minimal"}`, false},
		{"gemini-3-flash-preview", neutral.Thinking{Off: true}, `{"thinkingLevel":"minimal"}`, true},
		{"gemini-3-pro-preview", neutral.Thinking{Effort: "medium"}, `{"thinkingLevel":"low"}`, true},
		{"gemini-3.1-pro-preview", neutral.Thinking{Effort: "medium"}, `{"thinkingLevel":"medium"}`, false},
		{"gemini-3.1-pro-preview", neutral.Thinking{Effort: "xhigh"}, `{"thinkingLevel":"high"}`, true},
		{"google/gemini-flash-latest", neutral.Thinking{Effort: "low"}, `{"thinkingLevel":"low"}`, false},
		{"gemini-3-pro", neutral.Thinking{Effort: "odd"}, ``, true},
		{"gemini-3-pro", neutral.Thinking{Budget: "4096"}, `{"thinkingBudget":4096}`, false},
	} {
		r := &neutral.Request{Turns: []neutral.Turn{{Role: neutral.User, Parts: []neutral.Part{{Kind: neutral.Text, Text: "x"}}}}, Thinking: tc.t}
		want := `{"contents":[{"role":"user","parts":[{"text":"x"}]}]}`
		if tc.want != "" {
			want = strings.TrimSuffix(want, "}") + `,"generationConfig":{"thinkingConfig":` + tc.want + `}}`
		}
		got, f := Codec{}.AppendRequest(nil, r, tc.model)
		if f != nil || string(got) != want {
			t.Errorf("%s %+v: %s, %v", tc.model, tc.t, got, f)
		}
		if r.Losses.Has(neutral.LossThinking) != tc.lossy {
			t.Errorf("%s %+v: losses %s", tc.model, tc.t, r.Losses)
		}
	}
}

// What Google cannot be told is named.
func TestAskLosses(t *testing.T) {
	no, yes := false, true
	text := func(s string) []neutral.Part { return []neutral.Part{{Kind: neutral.Text, Text: s}} }
	for _, tc := range []struct {
		name, model string
		change      func(r *neutral.Request)
		want        string
	}{
		{"nothing", "gemini-3-pro", func(*neutral.Request) {}, ""},
		{"user", "", func(r *neutral.Request) { r.User = "u" }, "user"},
		{"tier", "", func(r *neutral.Request) { r.Tier = "scale" }, "tier"},
		{"stops", "", func(r *neutral.Request) { r.Stop = make([]string, 6) }, "stop_sequences"},
		{"seed", "", func(r *neutral.Request) { r.Seed = "9999999999" }, "seed"},
		{"strict", "", func(r *neutral.Request) { r.Tools = []neutral.Tool{{Name: "f", Strict: &yes}} }, "strict"},
		{"one call", "", func(r *neutral.Request) { r.Tools = []neutral.Tool{{Name: "f"}}; r.Parallel = &no }, "tool_choice"},
		{"file of another", "", func(r *neutral.Request) {
			r.Turns[0].Parts = append(r.Turns[0].Parts, neutral.Part{Kind: neutral.File, FileID: "file-abc"})
		}, "files"},
		{"detail", "", func(r *neutral.Request) {
			r.Turns[0].Parts = append(r.Turns[0].Parts, neutral.Part{Kind: neutral.Image, URL: "https://x/a.png", Detail: "low"})
		}, "image_detail"},
		{"schema with tools", "gemini-2.5-pro", func(r *neutral.Request) {
			r.Tools, r.Format = []neutral.Tool{{Name: "f"}}, neutral.Format{Kind: neutral.FormatJSON}
		}, "schema"},
		{"schema with tools, newer", "gemini-3-pro", func(r *neutral.Request) {
			r.Tools, r.Format = []neutral.Tool{{Name: "f"}}, neutral.Format{Kind: neutral.FormatJSON}
		}, ""},
		{"foreign thinking", "", func(r *neutral.Request) {
			r.Turns = append(r.Turns, neutral.Turn{Role: neutral.Assistant, Parts: []neutral.Part{
				{Kind: neutral.Redacted, Signature: neutral.Signature{Value: "x", Origin: neutral.FromAnthropic}},
			}}, neutral.Turn{Role: neutral.User, Parts: text("y")})
		}, "signature"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := &neutral.Request{Turns: []neutral.Turn{{Role: neutral.User, Parts: text("x")}}}
			tc.change(r)
			if _, f := (Codec{}).AppendRequest(nil, r, tc.model); f != nil {
				t.Fatal(f)
			}
			if got := r.Losses.String(); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// A system turn goes to the system's words; what is empty leaves no trace; a result without a call is refused.
func TestAskTurns(t *testing.T) {
	part := func(s string) []neutral.Part { return []neutral.Part{{Kind: neutral.Text, Text: s}} }
	r := &neutral.Request{Turns: []neutral.Turn{
		{Role: neutral.User, Parts: part("a")},
		{Role: neutral.System, Parts: part("now terse")},
		{Role: neutral.User, Parts: part("b")},
		{Role: neutral.Assistant, Parts: part("")},
		{Role: neutral.User, Parts: part("c")},
	}}
	got, f := Codec{}.AppendRequest(nil, r, "")
	want := `{"systemInstruction":{"parts":[{"text":"now terse"}]},"contents":[{"role":"user","parts":[{"text":"a"},{"text":"b"},{"text":"c"}]}]}`
	if f != nil || string(got) != want {
		t.Errorf("%s, %v", got, f)
	}
	for name, parts := range map[string][]neutral.Part{
		"nothing to say":        part(""),
		"result without a call": {{Kind: neutral.Result, ID: "x"}},
	} {
		r := &neutral.Request{Turns: []neutral.Turn{{Role: neutral.User, Parts: parts}}}
		if _, f := (Codec{}).AppendRequest(nil, r, ""); f == nil || f.HTTPStatus() != 400 {
			t.Errorf("%s: %v", name, f)
		}
	}
	// Arguments that are no object stay visible to the model.
	r = &neutral.Request{Turns: []neutral.Turn{
		{Role: neutral.Assistant, Parts: []neutral.Part{{Kind: neutral.Call, ID: "i", Name: "f", Args: `{"a":`}}},
		{Role: neutral.User, Parts: part("c")},
	}}
	got, f = Codec{}.AppendRequest(nil, r, "")
	want = `{"contents":[{"role":"model","parts":[{"functionCall":{"id":"i","name":"f","args":{"arguments":"{\"a\":"}}}]},{"role":"user","parts":[{"text":"c"}]}]}`
	if f != nil || string(got) != want {
		t.Errorf("%s, %v", got, f)
	}
}

// A history that a client kept as the pieces of a stream is what it was, signature included.
func TestStreamedHistory(t *testing.T) {
	body := `{"contents":[{"parts":[{"text":"q"}]},
		{"role":"model","parts":[{"text":"a","thought":true}]},{"role":"model","parts":[{"text":"b","thought":true}]},
		{"role":"model","parts":[{"text":"","thought":true,"thoughtSignature":"c2ln"}]},
		{"role":"model","parts":[{"text":"c"}]},{"role":"model","parts":[{"text":"d"}]},{"role":"model","parts":[{"text":""}]},
		{"parts":[{"text":"r"}]},{"parts":[{"text":"s"}]}]}`
	r, f := Codec{}.ReadRequest([]byte(body), "m", false)
	if f != nil {
		t.Fatal(f)
	}
	want := []neutral.Turn{
		{Role: neutral.User, Parts: []neutral.Part{{Kind: neutral.Text, Text: "q"}}},
		{Role: neutral.Assistant, Parts: []neutral.Part{
			{Kind: neutral.Think, Text: "ab", Signature: neutral.Signature{Value: "c2ln", Origin: neutral.FromGemini}},
			{Kind: neutral.Text, Text: "cd"},
		}},
		{Role: neutral.User, Parts: []neutral.Part{{Kind: neutral.Text, Text: "r"}, {Kind: neutral.Text, Text: "s"}}},
	}
	if diff := cmp.Diff(want, r.Turns); diff != "" {
		t.Error(diff)
	}
}

// Ids are the same each time, differ within a conversation, and results find their calls by name in order.
func TestCallIDs(t *testing.T) {
	call := `{"functionCall":{"name":"f","args":{}}}`
	answer := func(s string) string { return `{"functionResponse":{"name":"f","response":{"output":"` + s + `"}}}` }
	round := func(n string) string {
		return `,{"role":"model","parts":[` + call + `,` + call + `]},{"parts":[` + answer(n+"1") + `,` + answer(n+"2") + `]}`
	}
	body := []byte(`{"contents":[{"parts":[{"text":"q"}]}` + round("a") + round("b") + `]}`)
	var ids, results []string
	for range 2 {
		r, f := Codec{}.ReadRequest(body, "m", false)
		if f != nil {
			t.Fatal(f)
		}
		ids, results = nil, nil
		for _, turn := range r.Turns {
			for _, p := range turn.Parts {
				switch p.Kind {
				case neutral.Call:
					ids = append(ids, p.ID)
				case neutral.Result:
					results = append(results, p.ID)
				}
			}
		}
	}
	if diff := cmp.Diff(ids, results); diff != "" || len(ids) != 4 {
		t.Errorf("calls and results differ (%d): %s", len(ids), diff)
	}
	seen := map[string]bool{}
	for _, id := range ids {
		if seen[id] {
			t.Errorf("%s twice", id)
		}
		seen[id] = true
	}
}

// Many calls that nobody answers cost no more than a bounded search.
func TestManyCalls(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"contents":[{"role":"model","parts":[`)
	for i := range 3 * maxOpen {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"functionCall":{"name":"f` + strconv.Itoa(i) + `"}}`)
	}
	b.WriteString(`]},{"parts":[{"functionResponse":{"name":"f` + strconv.Itoa(3*maxOpen-1) + `","response":{}}}]}]}`)
	r, f := Codec{}.ReadRequest([]byte(b.String()), "m", false)
	if f != nil {
		t.Fatal(f)
	}
	if got, want := r.Turns[1].Parts[0].ID, r.Turns[0].Parts[3*maxOpen-1].ID; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// A value that nests too deeply for a parser that recurses is refused before one sees it.
func TestDepth(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 1<<20) + "1" + strings.Repeat("}", 1<<20)
	if _, f := (Codec{}).ReadRequest([]byte(deep), "m", false); f == nil {
		t.Error("the request was accepted")
	}
	if _, err := (Codec{}).ReadResponse([]byte(deep)); err == nil {
		t.Error("the response was accepted")
	}
	if isArgs(deep) {
		t.Error("the arguments were accepted")
	}
}
