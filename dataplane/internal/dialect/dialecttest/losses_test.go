package dialecttest

import (
	"testing"

	"fairway/dataplane/internal/dialect/neutral"
)

// What a stream says and events cannot hold is named, in every dialect, and nothing is where there is nothing to say.
func TestStreamLosses(t *testing.T) {
	for _, tc := range []struct {
		side, name string // name is of events; "" = their data says it
		data       string
		want       string
	}{
		{"chat", "", `{"choices":[{"index":0,"delta":{"content":"a","refusal":null,"annotations":[],"audio":null},"logprobs":null}],"usage":null}`, ""},
		{"chat", "", `{"choices":[{"index":0,"delta":{}},{"index":1,"delta":{"content":"b"}}]}`, "n"},
		{"chat", "", `{"choices":[{"index":1,"delta":{"content":"b"}}]}`, "n"},
		{"chat", "", `{"choices":[{"delta":{"content":"a"},"logprobs":{"content":[]}}]}`, "logprobs"},
		{"chat", "", `{"choices":[{"delta":{"audio":{"id":"a","transcript":"hi"}}}]}`, "audio"},
		{"chat", "", `{"choices":[{"delta":{"annotations":[{"type":"url_citation"}]}}]}`, "citations"},
		{"chat", "", `{"choices":[{"delta":{"images":[{"image_url":{"url":"https://example.com"}}]}}]}`, "images"},
		{"chat", "", `{"choices":[{"delta":{"images":[{"image_url":{"url":"data:image/png;base64,aGk="}}]}}]}`, ""},
		{"chat", "", `{"choices":[{"delta":{"reasoning_details":[{"type":"reasoning.text","text":"a","signature":"s","format":"unknown"}]}}]}`, "signature"},
		{"chat", "", `{"choices":[{"delta":{"reasoning_details":[{"type":"reasoning.encrypted","data":"s"}]}}]}`, "signature"},
		{"chat", "", `{"choices":[{"delta":{"reasoning_details":[{"type":"reasoning.dream"}]}}]}`, "unknown_part"},
		{"chat", "", `{"choices":[{"delta":{"content":[{"type":"reference","reference_ids":[1]}]}}]}`, "unknown_part"},

		{"responses", "", `{"type":"response.output_text.delta","delta":"a","logprobs":[]}`, ""},
		{"responses", "", `{"type":"response.output_item.done","output_index":0,"item":{"type":"message","content":[{"type":"output_text","text":"a","annotations":[],"logprobs":[]}]}}`, ""},
		{"responses", "", `{"type":"response.output_text.annotation.added","annotation":{"type":"url_citation"}}`, "citations"},
		{"responses", "", `{"type":"response.output_item.done","output_index":0,"item":{"type":"message","content":[{"type":"output_text","text":"a","annotations":[{}],"logprobs":[{}]}]}}`, "citations,logprobs"},
		{"responses", "", `{"type":"response.output_item.done","output_index":0,"item":{"type":"message","content":[{"type":"output_audio"},{"type":"output_smell"}]}}`, "audio,unknown_part"},
		{"responses", "", `{"type":"response.output_item.done","output_index":0,"item":{"type":"web_search_call"}}`, "server_tools"},
		{"responses", "", `{"type":"response.output_item.done","output_index":0,"item":{"type":"dream"}}`, "unknown_part"},
		{"responses", "", `{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","summary":[{"text":"a"}],"content":[{"text":"b"}]}}`, "thinking"},

		{"anthropic", "", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, ""},
		{"anthropic", "", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"","citations":[{}]}}`, "citations"},
		{"anthropic", "", `{"type":"content_block_start","index":0,"content_block":{"type":"server_tool_use"}}`, "server_tools"},
		{"anthropic", "", `{"type":"content_block_start","index":0,"content_block":{"type":"dream"}}`, "unknown_part"},
		{"anthropic", "", `{"type":"message_delta","delta":{"stop_reason":"end_turn","container":{"id":"a"}}}`, "state"},

		{"gemini", "", `{"candidates":[{"content":{"parts":[{"text":"a","thought":true,"thoughtSignature":"s"}]},"groundingMetadata":{},"index":0}]}`, ""},
		{"gemini", "", `{"candidates":[{"content":{"parts":[{"text":"a"}]}},{"content":{"parts":[{"text":"b"}]}}]}`, "n"},
		{"gemini", "", `{"candidates":[{"groundingMetadata":{"webSearchQueries":["a"]}}]}`, "citations"},
		{"gemini", "", `{"candidates":[{"logprobsResult":{"topCandidates":[]}}]}`, "logprobs"},
		{"gemini", "", `{"candidates":[{"content":{"parts":[{"executableCode":{"code":"a"}}]}}]}`, "server_tools"},
		{"gemini", "", `{"candidates":[{"content":{"parts":[{"dream":1}]}}]}`, "unknown_field"},
		{"gemini", "", `{"candidates":[{"content":{"parts":[{"fileData":{"mimeType":"image/png","fileUri":"https://example.com"}}]}}]}`, "images"},
		{"gemini", "", `{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"video/mp4","data":"aGk="}}]}}]}`, "files"},
		{"gemini", "", `{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"aGk="},"thoughtSignature":"s"}]}}]}`, "signature"},

		{"converse", "contentBlockDelta", `{"contentBlockIndex":0,"delta":{"text":"a"},"p":"ab"}`, ""},
		{"converse", "contentBlockStart", `{"contentBlockIndex":0,"start":{"toolUse":{"name":"f","toolUseId":"a"}}}`, ""},
		{"converse", "contentBlockStart", `{"contentBlockIndex":0,"start":{"toolUse":{"name":"f","toolUseId":"a","type":"server_tool_use"}}}`, "server_tools"},
		{"converse", "contentBlockDelta", `{"contentBlockIndex":0,"delta":{"citation":{"title":"a"}}}`, "citations"},
		{"converse", "contentBlockDelta", `{"contentBlockIndex":0,"delta":{"toolResult":[]}}`, "server_tools"},
		{"converse", "contentBlockDelta", `{"contentBlockIndex":0,"delta":{"image":{"source":{"s3Location":{}}}}}`, "images"},
		{"converse", "contentBlockDelta", `{"contentBlockIndex":0,"delta":{"dream":1}}`, "unknown_part"},
	} {
		t.Run(tc.side+" "+tc.want, func(t *testing.T) {
			for _, s := range append(clients(), bedrock()) {
				if s.name != tc.side {
					continue
				}
				r := s.hearer.NewEventReader()
				drop := func(e *neutral.Event) {
					if e.Kind == neutral.Failed {
						t.Errorf("it fails: %+v", e.Failure)
					}
				}
				if s.name == "anthropic" {
					r.Read(nil, []byte(`{"type":"message_start","message":{}}`), drop)
				}
				r.Read([]byte(tc.name), []byte(tc.data), drop)
				if got := r.Losses().String(); got != tc.want {
					t.Errorf("%s: %q, want %q", tc.data, got, tc.want)
				}
			}
		})
	}
}
