package dialect

import (
	"testing"
)

func TestOutputText(t *testing.T) {
	for _, tc := range []struct {
		name, piece string
		want        int
	}{
		{"chat", `data: {"id":"x","choices":[{"index":0,"delta":{"content":"hello"},"finish_reason":null}]}`, 5},
		{"two choices", `{"choices":[{"delta":{"content":"ab"}},{"delta":{"content":"c","refusal":"d"}}]}`, 4},
		{"two events", "data: {\"delta\":{\"content\":\"ab\"}}\n\ndata: {\"delta\":{\"content\":\"c\"}}\n\n", 3},
		{"completions", `data: {"choices":[{"text":"hello: \"text\":","index":0}]}`, 16},
		{"spaces", `{"delta": { "content" : "abc" } }`, 3},
		{"inside a delta once", `{"delta":{"text":"abc"}}`, 3},
		{"other names", `{"xdelta":"a","delta2":"b","context":"c","text":"d"}`, 1},
		{"a kind", `{"delta":{"type":"text_delta","text":"abc"}}`, 3},
		{"a role", `{"delta":{"role":"assistant","content":"abc"}}`, 3},
		{"anthropic's proof", `{"delta":{"type":"signature_delta","signature":"EqQBCkYIBxgCKkA"}}`, 0},
		{"thinking", `{"delta":{"type":"thinking_delta","thinking":"abc"}}`, 3},
		{"gemini's proof", `{"parts":[{"text":"ab","thoughtSignature":"CsMBAdHtim8"}]}`, 2},
		{"converse's proof", `{"delta":{"reasoningContent":{"signature":"EqQBCkYIBxgCKkA"}}}`, 0},
		{"converse's thinking", `{"delta":{"reasoningContent":{"text":"abc"}}}`, 3},
		{"the same thought twice", `{"delta":{"reasoning":"abc","reasoning_details":[{"type":"reasoning.text","text":"abc","signature":"s"}]}}`, 3},
		{"none", `data: [DONE]`, 0},
		{"cut in the delta", `{"delta":{"content":"abc`, 0},
		{"cut in the delta after text", `{"delta":{"a":"xy","b":"abc`, 0},
		{"cut in the delta, whole text in it", `{"delta":{"x":[{"text":"abc"}`, 3},
		{"cut before", `tent":"abc"}}],"text":"d"`, 1},
		{"starts with a colon", `:"abc","delta":"d"`, 1},
		{"nothing", ``, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := OutputText([]byte(tc.piece)); got != tc.want {
				t.Errorf("%d bytes, want %d", got, tc.want)
			}
		})
	}
}

func BenchmarkOutputText(b *testing.B) {
	event := []byte(`data: {"id":"chatcmpl-0123456789","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o",` +
		`"choices":[{"index":0,"delta":{"content":" hello there"},"finish_reason":null}],"x":"y"}` + "\n\n")
	b.ReportAllocs()
	for b.Loop() {
		if OutputText(event) == 0 {
			b.Fatal("no text")
		}
	}
}
