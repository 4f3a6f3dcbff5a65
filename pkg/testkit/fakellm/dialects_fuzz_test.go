package fakellm

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// exchangeFor is a request on a provider that serves every model.
func exchangeFor(f *testing.F) *exchange {
	f.Helper()
	p := New(Options{AnyModel: true})
	r := httptest.NewRequest(http.MethodPost, messagesPath, nil)
	return &exchange{p: p, r: r, w: httptest.NewRecorder()}
}

// A message that is answered is answered with JSON, and its stream says the same; a batch is a batch or refused.
func FuzzAnthropicMessages(f *testing.F) {
	for _, seed := range []string{
		messageBody(`"messages":[` + userTurn + `]`),
		messageBody(`"thinking":{"type":"enabled","budget_tokens":1024},"messages":[` + userTurn + `]`),
		messageBody(`"stop_sequences":["This"],"system":[{"type":"text","text":"a"}],"messages":[` + userTurn + `]`),
		messageBody(`"tools":[{"name":"a","input_schema":{"type":"object","required":["b"],"properties":{"b":{"enum":["\u00e9"]}}}}],` +
			`"messages":[` + userTurn + `]`),
		messageBody(`"messages":[` + userTurn + `,{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"b","input":{}}]},` +
			`{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}]`),
		messageBody(`"output_config":{"format":{"type":"json_schema","schema":{"type":"array","minItems":3,"items":{"$ref":"#"}}}},"messages":[` + userTurn + `]`),
		`{"requests":[{"custom_id":"a","params":` + messageBody(`"messages":[`+userTurn+`]`) + `}]}`,
	} {
		f.Add([]byte(seed))
	}
	x := exchangeFor(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		if inspectBody(body) != nil {
			return
		}
		for _, decode := range []func([]byte) (answer, *apiError){x.decodeCount, x.decodeBatch} {
			if a, fault := decode(body); fault == nil && !json.Valid(a.whole(stamp{}, true)) {
				t.Errorf("answer to %q is not JSON", body)
			}
		}
		a, fault := x.decodeMessages(body)
		if fault != nil {
			return
		}
		var whole struct {
			Content []struct {
				Text     string          `json:"text"`
				Thinking string          `json:"thinking"`
				Input    json.RawMessage `json:"input"`
			} `json:"content"`
		}
		if err := json.Unmarshal(a.whole(stamp{}, true), &whole); err != nil {
			t.Fatalf("answer to %q: %v", body, err)
		}
		var want, got string
		for _, b := range whole.Content {
			want += b.Text + b.Thinking + string(b.Input)
		}
		a.events(stamp{}, true, func(event []byte) bool {
			_, data, _ := bytes.Cut(event, []byte("\ndata: "))
			var e struct {
				Delta struct {
					Text        string `json:"text"`
					Thinking    string `json:"thinking"`
					PartialJSON string `json:"partial_json"`
				} `json:"delta"`
			}
			if err := json.Unmarshal(data, &e); err != nil {
				t.Fatalf("event %q: %v", event, err)
			}
			got += e.Delta.Text + e.Delta.Thinking + e.Delta.PartialJSON
			return true
		})
		if got != want {
			t.Errorf("the stream says %q, the message %q", got, want)
		}
	})
}

// Content that is answered is answered with JSON, and its streams, in both forms, say the same.
func FuzzGeminiContent(f *testing.F) {
	for _, seed := range []string{
		geminiBody,
		`{"contents":[{"parts":[{"inline_data":{"mime_type":"image/png","data":"AAE"}}]}],"generation_config":{"max_output_tokens":"7"}}`,
		`{"contents":[{"parts":[{"text":"a"}]}],"generationConfig":{"thinkingConfig":{"includeThoughts":true}}}`,
		`{"contents":[{"parts":[{"text":"fakellm_block=SAFETY"}]}]}`,
		`{"contents":[{"parts":[{"text":"a"}]}],"tools":[{"functionDeclarations":[{"name":"a","parameters":{"type":"OBJECT",` +
			`"properties":{"b":{"type":"NUMBER","minimum":-1.5e3}},"required":["b"]}}]}]}`,
		`{"contents":[{"role":"user","parts":[{"text":"a"}]},{"role":"model","parts":[{"functionCall":{"name":"b"}}]},` +
			`{"role":"user","parts":[{"functionResponse":{"name":"b","response":{"c":1}}}]}]}`,
		`{"content":{"parts":[{"text":"a"}]},"outputDimensionality":2}`,
		`{"requests":[{"model":"models/m","content":{"parts":[{"text":"a"}]}}]}`,
		`{"generateContentRequest":{"model":"models/m","contents":[{"parts":[{"text":"a"}]}]}}`,
	} {
		f.Add([]byte(seed))
	}
	x := exchangeFor(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		if inspectBody(body) != nil {
			return
		}
		for _, decode := range []func([]byte, string) (answer, *apiError){x.decodeCountTokens, x.decodeEmbedContent, x.decodeBatchEmbed} {
			if a, fault := decode(body, "m"); fault == nil && !json.Valid(a.whole(stamp{}, true)) {
				t.Errorf("answer to %q is not JSON", body)
			}
		}
		a, fault := x.decodeGenerate(body, "m", wholeGemini)
		if fault != nil {
			return
		}
		want := spokenIn(t, a.whole(stamp{}, true))
		for _, form := range []geminiForm{eventsGemini, arrayGemini} {
			a, fault := x.decodeGenerate(body, "m", form)
			if fault != nil {
				t.Fatal(fault.message)
			}
			var stream []byte
			a.events(stamp{}, true, func(event []byte) bool {
				stream = append(stream, event...)
				return true
			})
			stream = append(stream, a.cut.last(stamp{}, true)...)
			if form == eventsGemini {
				text := strings.TrimSuffix(strings.TrimPrefix(string(stream), "data: "), "\r\n\r\n")
				stream = []byte("[" + strings.ReplaceAll(text, "\r\n\r\ndata: ", ",") + "]")
			}
			if got := spokenIn(t, stream); got != want {
				t.Errorf("the stream says %q, the answer %q", got, want)
			}
		}
	})
}

// spokenIn joins what a response, or a list of them, says.
func spokenIn(t *testing.T, raw []byte) string {
	t.Helper()
	type response struct {
		Candidates []struct {
			Content struct {
				Parts []struct {
					Text         string `json:"text"`
					FunctionCall *struct {
						Args json.RawMessage `json:"args"`
					} `json:"functionCall"`
				} `json:"parts"`
			} `json:"content"`
		} `json:"candidates"`
	}
	var list []response
	if !bytes.HasPrefix(raw, []byte("[")) {
		raw = append(append([]byte("["), raw...), ']')
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatalf("%q: %v", raw, err)
	}
	var out strings.Builder
	for _, r := range list {
		for _, c := range r.Candidates {
			for _, part := range c.Content.Parts {
				out.WriteString(part.Text)
				if part.FunctionCall != nil {
					out.Write(part.FunctionCall.Args)
				}
			}
		}
	}
	return out.String()
}

// An instance of anything is JSON of bounded size.
func FuzzSample(f *testing.F) {
	for _, seed := range []string{
		`{"type":"object","required":["a","b"],"properties":{"a":{"$ref":"#"},"b":{"$ref":"#/$defs/c"}},"$defs":{"c":{"const":[1]}}}`,
		`{"type":["integer","null"],"minimum":-3}`, `{"anyOf":[{"type":"ARRAY","minItems":2,"items":{"type":"BOOLEAN"}}]}`, `true`, `{"enum":["\u0000"]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, schema []byte) {
		if !json.Valid(schema) {
			return
		}
		if got := sampleOf(schema); !json.Valid([]byte(got)) {
			t.Errorf("instance of %q: %q", schema, got)
		}
		if got := strings.Join(pieces(sampleOf(schema), 8), ""); got != sampleOf(schema) {
			t.Errorf("pieces of %q: %q", schema, got)
		}
	})
}
