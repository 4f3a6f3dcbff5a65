package dialecttest

import (
	"encoding/json"
	"strings"
	"testing"

	"fairway/dataplane/internal/dialect"
	"fairway/dataplane/internal/dialect/neutral"
)

// deep is how deep the hostile nest. What recursed with it would need some hundred bytes of stack for each level, and a
// body of the largest size that is taken, nested all through, would end the process.
const deep = 100_000

// nests are values that nest, whole and only opened, and, where they are not too long for that, those that mean something.
func nests(levels int) map[string]string {
	all := map[string]string{
		"lists":        strings.Repeat("[", levels) + strings.Repeat("]", levels),
		"open objects": strings.Repeat(`{"a":`, levels),
	}
	if levels < deep {
		all["objects"] = strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels)
		all["schemas"] = strings.Repeat(`{"type":"object","properties":{"a":`, levels) + "{}" + strings.Repeat("}}", levels)
		all["results"] = strings.Repeat(`[{"type":"tool_result","tool_use_id":"a","content":`, levels) + `""` + strings.Repeat("}]", levels)
		all["documents"] = strings.Repeat(`[{"type":"document","source":{"type":"content","content":`, levels) + `""` + strings.Repeat("}}]", levels)
		all["parts"] = strings.Repeat(`{"parts":[`, levels) + strings.Repeat("]}", levels)
	}
	return all
}

// quoted is a JSON string.
func quoted(t *testing.T, s string) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// shapes are requests, answers and events with a place for what is hostile, %: bare, and % in a string for arguments.
func shapes() map[string][]string {
	return map[string][]string{
		"chat": {
			`%`, `{"messages":[{"role":"user","content":%}]}`, `{"messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"f","parameters":%}}]}`,
			`{"messages":[{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"%"}}]}],"x":%}`,
			`{"choices":[{"message":{"content":%}}]}`, `{"choices":[{"message":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"%"}}]}}]}`,
			`{"choices":[{"delta":{"content":%}}]}`, `{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":%}}]}}]}`,
			`{"choices":[{"delta":{"reasoning_details":%}}]}`, `{"choices":%}`, `{"usage":%}`, `{"error":%}`,
		},
		"responses": {
			`%`, `{"input":%}`, `{"input":[{"role":"user","content":%}]}`, `{"input":"a","tools":[{"type":"function","name":"f","parameters":%}]}`,
			`{"input":[{"type":"function_call","call_id":"a","name":"f","arguments":"%"}]}`,
			`{"input":[{"type":"function_call_output","call_id":"a","output":%}]}`,
			`{"output":%}`, `{"status":"completed","output":[{"type":"function_call","call_id":"a","name":"f","arguments":"%"}]}`,
			`{"type":"response.output_item.done","item":%}`, `{"type":"response.output_item.done","item":{"type":"function_call","call_id":"a","name":"f","arguments":"%"}}`,
			`{"type":"response.completed","response":%}`, `{"type":"response.completed","response":{"output":[{"type":"message","content":%}]}}`, `{"type":"error","error":%}`,
		},
		"anthropic": {
			`%`, `{"messages":%}`, `{"messages":[{"role":"user","content":%}]}`, `{"system":%,"messages":[{"role":"user","content":"a"}]}`,
			`{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":%}]}]}`,
			`{"messages":[{"role":"user","content":"a"}],"tools":[{"name":"f","input_schema":%}]}`,
			`{"content":%}`, `{"content":[{"type":"tool_use","id":"a","name":"f","input":%}]}`,
			`{"type":"message_start","message":%}`, `{"type":"content_block_start","index":0,"content_block":%}`,
			`{"type":"content_block_delta","index":0,"delta":%}`, `{"type":"message_delta","usage":%}`, `{"type":"error","error":%}`,
		},
		"gemini": {
			`%`, `{"contents":%}`, `{"contents":[{"parts":%}]}`, `{"contents":[{"parts":[{"text":"a"}]}],"systemInstruction":%}`,
			`{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f","args":%}}]}]}`,
			`{"contents":[{"parts":[{"functionResponse":{"name":"f","response":%}}]}]}`,
			`{"contents":[{"parts":[{"text":"a"}]}],"tools":[{"functionDeclarations":[{"name":"f","parameters":%}]}]}`,
			`{"candidates":%}`, `{"candidates":[{"content":{"parts":%}}]}`, `{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":%}}]}}]}`,
			`{"usageMetadata":%}`, `{"error":%}`, `[{"error":%}]`,
		},
		"converse": {
			`%`, `{"output":{"message":{"content":%}}}`, `{"output":{"message":{"content":[{"toolUse":{"name":"f","toolUseId":"a","input":%}}]}}}`,
			`{"start":%}`, `{"contentBlockIndex":0,"delta":%}`, `{"usage":%}`,
		},
	}
}

// names are those that events have, where a line alone names them.
func (s *side) names() []string {
	if s.writer != nil {
		return []string{""}
	}
	return []string{"error", "messageStart", "contentBlockStart", "contentBlockDelta", "messageStop", "metadata"}
}

// Nobody can make a reader, or what is written of what it read, recurse as deep as a body is long.
func TestNesting(t *testing.T) {
	for _, s := range append(clients(), bedrock()) {
		for _, levels := range [...]int{120, deep} { // what a peek lets pass, and what it does not
			for kind, nest := range nests(levels) {
				t.Run(s.name+" "+kind, func(t *testing.T) {
					for _, shape := range shapes()[s.name] {
						body := strings.ReplaceAll(shape, `"%"`, quoted(t, nest))
						bare := strings.Contains(body, "%")
						body = strings.ReplaceAll(body, "%", nest)
						s.meet(t, []byte(body), bare && levels == deep)
					}
				})
			}
		}
	}
}

// meet gives a body to all that reads in a dialect. deep: it nests too deep for any of them.
func (s *side) meet(t *testing.T, body []byte, deep bool) {
	t.Helper()
	start := string(body[:min(len(body), 100)])
	_, f := dialect.PeekBody(body, "m")
	if deep && f == nil {
		t.Errorf("a client may send %s", start)
	}
	if s.reader != nil && f == nil {
		if r, f := s.reader.ReadRequest(body, "m", true); f == nil {
			for _, to := range append(clients(), bedrock()) {
				q := *r
				out, f := to.asker.AppendRequest(nil, &q, to.model)
				if f == nil && !json.Valid(out) {
					t.Errorf("%s is asked what is no JSON, for %s", to.name, start)
				}
			}
		}
	}
	r, err := s.hearer.ReadResponse(body)
	if err == nil {
		if deep {
			t.Errorf("an answer that nests: %s", start)
		}
		for _, to := range clients() {
			if out := to.writer.AppendResponse(nil, r, answering()); !dialect.ValidBytes(out) {
				t.Errorf("%s is answered what is no JSON, or nests, for %s", to.name, start)
			}
		}
	}
	for _, name := range s.names() {
		reader := s.hearer.NewEventReader()
		failed := false
		emit := func(e *neutral.Event) { failed = failed || e.Kind == neutral.Failed }
		reader.Read([]byte(name), body, emit)
		reader.Close(emit)
		if deep && !failed {
			t.Errorf("an event %q that nests: %s", name, start)
		}
	}
}
